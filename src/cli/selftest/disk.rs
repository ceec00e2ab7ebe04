//! Measures the disk below a directory: how long a sync takes, how fast it is written.
//!
//! Invariants: writes at most [`BYTES_WRITTEN_MAX`], to one file that is gone afterwards, however it ends; a disk that stalls is given up
//! after [`TIME_MAX`].

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Syncs that are timed, each behind a block of its own.
const SYNCS: u64 = 200;
const BLOCK_BYTES: u64 = 4_096;
/// Written in one go to tell the rate.
const STREAM_BYTES: u64 = 8 * 1024 * 1024;
const PIECE_BYTES: u64 = 256 * 1024;
/// All that is written, without what the filesystem adds.
pub(super) const BYTES_WRITTEN_MAX: u64 = SYNCS * BLOCK_BYTES + STREAM_BYTES;
/// For each of the two measurements.
const TIME_MAX: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskFigures {
    pub(super) syncs: u64,
    /// fdatasync(2) of one block.
    pub(super) sync_p50: Duration,
    pub(super) sync_p99: Duration,
    /// With one sync at the end.
    pub(super) bytes_per_second: u64,
    /// Written in all.
    pub(super) bytes_written: u64,
}

/// Measures.
///
/// # Errors
/// The filesystem's.
pub(super) fn measure(dir: &Path) -> io::Result<DiskFigures> {
    let path = dir.join(format!(".brooklet-selftest-{}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    // A name less is all it takes: the blocks go with the handle.
    std::fs::remove_file(&path)?;
    let (mut times, written) = time_syncs(&file)?;
    times.sort_unstable();
    let (bytes, took) = stream(&file)?;
    Ok(DiskFigures {
        syncs: times.len() as u64,
        sync_p50: part(&times, 50),
        sync_p99: part(&times, 99),
        bytes_per_second: (u128::from(bytes) * 1_000_000 / took.as_micros().max(1)) as u64,
        bytes_written: written + bytes,
    })
}

fn time_syncs(file: &File) -> io::Result<(Vec<Duration>, u64)> {
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut block = vec![0; BLOCK_BYTES as usize];
    for number in 0..SYNCS {
        // What a drive could neither compress nor leave out.
        block.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        file.write_all_at(&block, number * BLOCK_BYTES)?;
        let at = Instant::now();
        file.sync_data()?;
        times.push(at.elapsed());
        if begun.elapsed() > TIME_MAX {
            break;
        }
    }
    let written = times.len() as u64 * BLOCK_BYTES;
    Ok((times, written))
}

fn stream(mut file: &File) -> io::Result<(u64, Duration)> {
    let piece: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(PIECE_BYTES as usize).collect();
    let begun = Instant::now();
    let mut bytes = 0;
    while bytes < STREAM_BYTES && begun.elapsed() < TIME_MAX {
        file.write_all(&piece)?;
        bytes += PIECE_BYTES;
        // In pieces, so that the kernel's memory can't take all of it at once.
        if bytes.is_multiple_of(4 * PIECE_BYTES) {
            file.sync_data()?;
        }
    }
    Ok((bytes, begun.elapsed()))
}

/// The time that `percent` of `sorted` stay within.
fn part(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_what_it_says_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let figures = measure(dir.path()).unwrap();
        assert!(figures.bytes_written <= BYTES_WRITTEN_MAX && figures.bytes_written > 0, "{figures:?}");
        assert!(figures.sync_p50 <= figures.sync_p99 && figures.bytes_per_second > 0, "{figures:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(measure(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn parts_of_a_hundred() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!((part(&times, 50), part(&times, 99)), (Duration::from_millis(100), Duration::from_millis(198)));
        assert_eq!((part(&[], 50), part(&times[..1], 99)), (Duration::ZERO, Duration::from_millis(1)));
    }
}
