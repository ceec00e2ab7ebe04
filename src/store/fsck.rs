//! Verifies a stopped store from end to end, without changing it: is anything wrong, and where?
//!
//! Per segment: redb's checksums of all pages; that commits are complete and in sequence; checksum and structure of each
//! entry; each batch down to its last record; that offsets ascend without overlap, also across segments; and that the
//! index of a sealed segment is the one that its log gives. Then, that the store opens, with all state it needs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunks::Stream;
use super::clock::RealClock;
use super::disk::Disk;
use super::error::OpenError;
use super::format::{self, Entry, Stamps};
use super::heads::Partition;
use super::index::{BatchRef, SegmentIndex};
use super::open;
use super::options::StoreOptions;
use super::overlay::OverlayDisk;
use super::recovery::io_error;
use super::ring::segment_id;
use super::segment::{SegmentError, SegmentFile};
use super::types::{CommitSeq, PartitionId};
use super::view::View;
use crate::limits::{BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX};
use crate::record::{BatchView, VerifyLimits, verify};

const CACHE_BYTES: usize = 4 << 20;
/// Findings beyond these are only counted.
const FINDINGS_MAX: usize = 1_000;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    /// The commit, where it is one.
    pub commit: Option<CommitSeq>,
    /// The partition and base offset, where it is a batch.
    pub batch: Option<(PartitionId, i64)>,
    pub what: String,
}

/// What was verified, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    pub segments: u64,
    /// Spares and files that are on their way in or out.
    pub blank_files: u64,
    pub commits: u64,
    pub batches: u64,
    pub records: u64,
    /// Bytes of batches.
    pub batch_bytes: u64,
    /// The first ones; see `findings_total`.
    pub findings: Vec<Finding>,
    pub findings_total: u64,
}

/// Verifies the stopped store in `dir`, which is claimed meanwhile. Calls `progress` after each file: how many of how
/// many are done. Blocks; reads everything.
///
/// # Errors
/// [`OpenError::InUse`] if a process runs it, [`OpenError::Io`] if the directory can't be read. What is wrong with the
/// files is in the report.
pub fn fsck(dir: &Path, disk: Arc<dyn Disk>, progress: &mut dyn FnMut(u64, u64)) -> Result<FsckReport, OpenError> {
    let overlay: Arc<dyn Disk> = Arc::new(OverlayDisk::new(Arc::clone(&disk)));
    let mut ids = Vec::new();
    for entry in overlay.list(dir).map_err(|error| io_error(dir, error))? {
        ids.extend(entry.name.to_str().and_then(segment_id).map(|id| (id, dir.join(&entry.name))));
    }
    ids.sort_unstable();
    let total = ids.len() as u64;
    let mut check = Check {
        report: FsckReport::default(),
        next_offsets: HashMap::new(),
        next_commit: None,
        begins: HashMap::new(),
        gap: false,
        copy: false,
        kept: HashMap::new(),
    };
    // Claims the directory first: a running store changes under the eyes.
    let opened = open::inspect(StoreOptions::new(dir), disk, Arc::new(RealClock::default()));
    match &opened {
        Ok(handle) => {
            let (shared, kept) =
                (handle.current(), |partition: &Partition| Kept { from: partition.log_start, records: 0 });
            check.begins = begins(&shared.view());
            check.kept = shared.view().partitions.iter().map(|(&id, partition)| (id, kept(partition))).collect();
        }
        Err(OpenError::InUse(_)) => return Err(OpenError::InUse(dir.to_path_buf())),
        Err(OpenError::Damaged { file, what }) => check.found(file, None, None, what.clone()),
        Err(error) => check.found(dir, None, None, error.to_string()),
    }
    let rows: Vec<_> = match &opened {
        Ok(handle) => handle.current().view().rows().filter_map(Result::ok).collect(),
        Err(_) => Vec::new(),
    };
    let given_up = |id: u32| rows.iter().any(|row| (row.covers_from..row.id).contains(&id));
    for (done, (id, path)) in (1..).zip(&ids) {
        // Segments before it were rewritten into it, or taken out of the ring.
        check.gap = rows.iter().any(|row| row.id == *id && row.covers_from < row.id);
        if given_up(*id) {
            check.report.blank_files += 1;
        } else {
            check.file(&*overlay, path);
        }
        progress(done, total);
    }
    // Where something is damaged, the books differ by what is damaged.
    if let Ok(handle) = &opened
        && check.report.findings_total == 0
    {
        check.books(dir, &handle.current().view());
    }
    Ok(check.report)
}

struct Check {
    report: FsckReport,
    /// Where each partition goes on.
    next_offsets: HashMap<PartitionId, i64>,
    next_commit: Option<CommitSeq>,
    /// Commits may be missing before the segment at hand.
    gap: bool,
    /// Commits may be missing in the segment at hand.
    copy: bool,
    /// Where segments begin that follow upon a gap, and where that begins: what lay there was taken out.
    begins: HashMap<CommitSeq, CommitSeq>,
    /// What was found of each partition that there is.
    kept: HashMap<PartitionId, Kept>,
}

/// Records found of a partition, at its log start and behind it.
struct Kept {
    from: i64,
    records: u64,
}

/// The gaps that the directory of segments knows of: first commit behind each, first commit in it.
fn begins(view: &View) -> HashMap<CommitSeq, CommitSeq> {
    let rows: Vec<_> = view.rows().filter_map(Result::ok).collect();
    let firsts = rows.iter().skip(1).map(|row| row.first_commit);
    let firsts = firsts.chain(view.active().map(|active| active.first_commit));
    let gaps = rows.iter().zip(firsts).filter(|(row, next)| row.last_commit + 1 != *next);
    gaps.map(|(row, next)| (next, row.last_commit + 1)).collect()
}

impl Check {
    fn found(
        &mut self,
        file: &Path,
        commit: Option<CommitSeq>,
        batch: Option<(PartitionId, i64)>,
        what: impl Into<String>,
    ) {
        self.report.findings_total += 1;
        if self.report.findings.len() < FINDINGS_MAX {
            let file = file.to_path_buf();
            self.report.findings.push(Finding { file, commit, batch, what: what.into() });
        }
    }

    fn file(&mut self, disk: &dyn Disk, path: &Path) {
        let mut file = match SegmentFile::open_write(disk, path, CACHE_BYTES) {
            Ok(file) => file,
            Err(error) => return self.found(path, None, None, format!("it can't be opened: {error}")),
        };
        match file.check_pages() {
            Ok(true) => {}
            Ok(false) => self.found(path, None, None, "pages failed redb's checksums"),
            Err(error) => self.found(path, None, None, format!("checking its pages: {error}")),
        }
        match file.activation() {
            Ok(Some(activation)) => self.segment(&file, path, activation.first_commit),
            Ok(None) => self.report.blank_files += 1,
            Err(error) => self.found(path, None, None, error.to_string()),
        }
    }

    fn segment(&mut self, file: &SegmentFile, path: &Path, first_commit: CommitSeq) {
        self.report.segments += 1;
        self.copy = file.is_copy().unwrap_or(false);
        let (gap, begins) = (self.gap, self.begins.get(&first_commit).copied());
        let is_gap = |next: &CommitSeq| *next == first_commit || begins == Some(*next) || (gap && *next < first_commit);
        if let Some(next) = self.next_commit.replace(first_commit).filter(|next| !is_gap(next)) {
            self.found(path, None, None, format!("it begins with commit {first_commit}, expected {next}"));
        }
        let mut index = SegmentIndex::default();
        let walked = file.commits(0, |seq, stream| {
            self.commit(path, seq, &stream, &mut index);
            Ok(true)
        });
        if let Err(error) = walked {
            self.found(path, self.next_commit, None, error.to_string());
        }
        match file.sealed() {
            Ok(Some(seal)) => {
                if self.copy && self.next_commit.is_some_and(|next| next <= seal.last_commit) {
                    self.next_commit = Some(seal.last_commit + 1);
                }
                if Some(seal.last_commit + 1) != self.next_commit {
                    let what = format!("it was sealed with commit {}, which is not its last", seal.last_commit);
                    self.found(path, None, None, what);
                }
                if let Err(error) = self.index(file, path, &index) {
                    self.found(path, None, None, format!("reading its index: {error}"));
                }
            }
            Ok(None) => {}
            Err(error) => self.found(path, None, None, error.to_string()),
        }
    }

    fn commit(&mut self, path: &Path, seq: CommitSeq, stream: &Stream, index: &mut SegmentIndex) {
        self.report.commits += 1;
        let next = self.next_commit.replace(seq + 1);
        if let Some(next) = next.filter(|next| *next != seq && !(self.copy && *next < seq)) {
            self.found(path, Some(seq), None, format!("commit {next} is missing"));
        }
        let entries = match format::parse_stream(&stream.bytes) {
            Ok((header, _)) if header.seq != seq => {
                return self.found(path, Some(seq), None, format!("it bears the number of commit {}", header.seq));
            }
            Ok((_, entries)) => entries,
            Err(what) => return self.found(path, Some(seq), None, what),
        };
        for placed in entries {
            let placed = match placed {
                Ok(placed) => placed,
                Err(what) => return self.found(path, Some(seq), None, what),
            };
            if let Entry::Batch { partition, made, bytes, .. } = placed.entry {
                let location = stream.locate(seq, placed.position, placed.bytes);
                if let Some(batch) = self.batch(path, partition, bytes, location) {
                    let provisional = made.stamps == Stamps::Provisional;
                    index.push(partition, &BatchRef { provisional, ..batch });
                }
            }
        }
    }

    fn batch(
        &mut self,
        path: &Path,
        partition: PartitionId,
        bytes: &[u8],
        location: super::chunks::Location,
    ) -> Option<BatchRef> {
        let commit = Some(location.commit);
        let view = match BatchView::parse(bytes) {
            Ok((view, [])) => view,
            Ok(_) => {
                self.found(path, commit, None, format!("partition {partition}: other bytes follow a batch"));
                return None;
            }
            Err(error) => {
                self.found(path, commit, None, format!("partition {partition}: {error}"));
                return None;
            }
        };
        let (base_offset, next_offset) = (view.base_offset(), view.next_offset());
        let place = Some((partition, base_offset));
        let limits = VerifyLimits {
            batch_bytes_max: BATCH_BYTES_MAX,
            decompressed_bytes_max: BATCH_DECOMPRESSED_BYTES_MAX,
            control_allowed: true,
            ..VerifyLimits::default()
        };
        match verify(&view, &limits) {
            Ok(_) => self.report.records += u64::from(view.record_count()),
            Err(error) => self.found(path, commit, place, error.to_string()),
        }
        self.report.batches += 1;
        self.report.batch_bytes += bytes.len() as u64;
        let expected = self.next_offsets.insert(partition, next_offset).unwrap_or(0);
        if base_offset < expected {
            self.found(path, commit, place, format!("its offsets were given before: {expected} is next"));
        }
        if let Some(kept) = self.kept.get_mut(&partition) {
            kept.records += next_offset.saturating_sub(base_offset.max(kept.from)).max(0).unsigned_abs();
        }
        Some(BatchRef { base_offset, next_offset, location, max_timestamp: view.max_timestamp(), provisional: false })
    }

    /// Compares the books of each partition with what was found: accepted = retained + removed by reason.
    fn books(&mut self, dir: &Path, view: &View) {
        for (id, partition) in &view.partitions {
            let (retained, found) =
                (partition.accounts().retained.records, self.kept.get(id).map_or(0, |kept| kept.records));
            if retained != found {
                let what = format!("partition {id}: {retained} records are retained by its books, {found} are there");
                self.found(dir, None, None, what);
            }
        }
    }

    /// Compares the index of a sealed segment with the one that its log gives.
    fn index(&mut self, file: &SegmentFile, path: &Path, expected: &SegmentIndex) -> Result<(), SegmentError> {
        let summaries: HashMap<_, _> = file.summaries()?.into_iter().collect();
        let mut differing = Vec::new();
        for (partition, index) in expected.iter() {
            let mut blocks = index.blocks();
            let mut same = summaries.get(&partition) == index.summary();
            file.index_blocks(partition, i64::MIN, |first, packed| {
                same &= blocks.next() == Some((first, packed));
                Ok(true)
            })?;
            if !same || blocks.next().is_some() {
                differing.push(partition);
            }
        }
        for partition in differing {
            self.found(path, None, None, format!("partition {partition}: its index differs from its log"));
        }
        if summaries.len() != expected.iter().count() {
            self.found(path, None, None, "its summary names partitions that are not in its log");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_name_other_records_than_there_are_are_found() {
        let mut view = View::new();
        for (id, next_offset) in [(1, 10), (2, 20), (3, 0)] {
            let partition = Partition { next_offset, ..Partition::default() };
            view.partitions.insert(PartitionId(id), partition);
        }
        let kept = |id, records| (PartitionId(id), Kept { from: 0, records });
        let mut check = Check {
            report: FsckReport::default(),
            next_offsets: HashMap::new(),
            next_commit: None,
            gap: false,
            copy: false,
            begins: HashMap::new(),
            kept: [kept(1, 10), kept(2, 19), kept(3, 0)].into(),
        };
        check.books(Path::new("store"), &view);
        let what: Vec<_> = check.report.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(what, ["partition 2: 20 records are retained by its books, 19 are there"]);
    }
}
