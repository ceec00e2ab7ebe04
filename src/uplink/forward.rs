//! Records on their way: read, gathered, sent, acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batches::gather::{self, Gathered, Item, Rules, Takes};
use super::batches::partitioning::{self, Route};
use super::batches::provenance::Source;
use super::gentle::Open;
use super::link::cluster::ClusterError;
use super::scans::{Class, ScanStep};
use super::task::Forwarder;
use super::tier::Tier;
use crate::broker::dead_letter::Letter;
use crate::executor;
use crate::limits::is_internal_topic;
use crate::metrics::METRICS;
use crate::record::{BatchView, Saving};
use crate::store::{CommitSeq, PartitionId, ReadError, ScanChunk, ScannedBatch, Store};

/// How often a partition looks whether the time is known now.
const CLOCK_LOOK: Duration = Duration::from_secs(10);
/// Why it stands still until then.
const CLOCK_WAIT: &str = "the gateway does not know the time yet: what it stamped waits for it, see clock_wait";

/// A transaction that may take so much tells of a link of 11 Mbit/s and more.
const WIDE_BYTES: usize = 2 << 20;
/// With less than this on its way, such a link waits for the gateway rather than the other way round.
const HUNGRY_BYTES: usize = 512 << 10;
/// A batch is not cut into smaller parts than this, bytes.
const PART_BYTES_MIN: usize = 8 * 1024;

/// A scanned batch and where it goes; an owned [`Item`].
#[derive(Clone)]
struct Planned {
    scanned: ScannedBatch,
    topic: Arc<str>,
    route: Route,
    wanted: Vec<std::ops::Range<i64>>,
    source: Source,
    takes: Takes,
    /// Records that a transaction before has found to be undeliverable.
    condemned: Vec<Letter>,
}

impl Forwarder {
    /// Everything that can be done now: one step of each kind.
    ///
    /// # Errors
    /// [`ClusterError`], if the cluster as a whole is out of reach or of no use.
    pub(super) async fn forward(&mut self) -> Result<(), ClusterError> {
        if self.tier.is_some() {
            return self.forward_to_gateway().await;
        }
        // Where nothing may be sent, what is under way is still acknowledged.
        let open = self.ask_gate();
        if open == Open::Nothing || open == Open::Urgent && !self.mirror.has_urgent() {
            return self.end_open().await;
        }
        self.refresh().await?;
        self.renew_door().await;
        self.resume_due().await?;
        // A changed count waits until its topic is empty, and everything new waits for that.
        let settled = !self.settle_counts();
        if settled {
            self.read_on().await;
        }
        if self.exactly.is_some() {
            self.drive_transactions(settled && self.has_more()).await?;
        } else if self.producers.wants_identity() {
            let identity = self.cluster.new_identity().await?;
            self.producers.set_identity(identity);
        }
        self.send_ready();
        self.tell_centre().await;
        self.stall_blocked();
        // At the end, when the connections of this round are open.
        self.keep_alive();
        Ok(())
    }

    /// A transaction that is open is not held open until the gate opens again.
    async fn end_open(&mut self) -> Result<(), ClusterError> {
        if self.exactly.as_ref().is_some_and(|exactly| !exactly.is_at_rest()) {
            self.drive_transactions(false).await?;
            self.send_ready();
        }
        Ok(())
    }

    /// Whether there is more to read, at once.
    fn has_more(&self) -> bool {
        // What is urgent waits for no company.
        let waits = self.is_lingering() && !self.mirror.has_urgent();
        !self.reading.stash.is_empty() || !self.reading.at_end && !waits
    }

    fn is_lingering(&self) -> bool {
        self.reading.not_before.is_some_and(|at| at > Instant::now())
    }

    /// Reads what fits into the window, and puts it on its lanes.
    pub(super) async fn read_on(&mut self) {
        let lingering = self.is_lingering();
        let (window, scan_bytes) = (self.pacing.window(), self.pacing.scan_bytes());
        let waiting = self.producers.bytes() + self.tier.as_ref().map_or(0, Tier::bytes);
        let full = waiting + scan_bytes > window && waiting > 0;
        if full && self.has_more() {
            self.pacing.hold_back();
        }
        let full = full || self.has_many_letters() || self.tier.as_ref().is_some_and(Tier::is_full);
        let may = self.exactly.as_ref().is_none_or(|exactly| exactly.may_gather(Instant::now()));
        if full || !may || !self.has_more() {
            return;
        }
        if !self.reading.stash.is_empty() {
            return self.take_stashed().await;
        }
        self.listen_for_commits().await;
        let urgent_only = lingering || self.pacing.open() == Open::Urgent;
        let Some(step) = self.mirror.scan_step(urgent_only) else {
            self.reading.at_end = !lingering;
            return;
        };
        let store = self.broker.store().clone();
        let (partitions, careful) = (step.partitions.clone(), self.reading.careful);
        // Carefully: one commit at a time, whatever is in it.
        let scan = move || match careful {
            true => store.scan(step.from, &|_| true, 1),
            false => store.scan(step.from, &|partition| partitions.contains(&partition), scan_bytes),
        };
        match executor::unblock(scan).await {
            Ok(chunk) => self.take_chunk(step.class, chunk).await,
            Err(ReadError::Damaged(_)) if !careful => {
                self.reading.careful = true;
                self.busy = true;
            }
            Err(ReadError::Damaged(_)) => self.step_over(step).await,
            Err(error) => {
                self.failed(format!("the store can't be read: {error}"));
                self.reading.not_before = Some(Instant::now() + self.options.config.backoff_min);
            }
        }
    }

    async fn take_chunk(&mut self, class: Class, chunk: ScanChunk) {
        self.mirror.scanned(class, chunk.next, chunk.at_end);
        self.busy = true;
        self.reading.stash.extend(chunk.batches);
        self.take_stashed().await;
    }

    /// Gathers of what was read as much as is read at a time, however large the commit that it came from, or what the transaction has
    /// room for: what lies unpacked, put together and compressed at once is bounded by that.
    async fn take_stashed(&mut self) {
        let waiting = self.producers.bytes();
        let allowed = self.exactly.as_ref().map_or(usize::MAX, |exactly| exactly.room(waiting));
        let mut room = allowed.min(self.pacing.scan_bytes());
        if let Some(tier) = &self.tier {
            room = room.min(tier.frame_room());
        }
        let most = self.tier.as_ref().map_or(usize::MAX, Tier::batches_max);
        let mut batches = Vec::new();
        if self.exactly.is_some()
            && waiting == 0
            && self.reading.stash.front().is_some_and(|first| first.bytes.len() > allowed)
            && let Some(first) = self.reading.stash.pop_front()
        {
            return self.take_part(first, allowed.max(PART_BYTES_MIN)).await;
        }
        // A batch that is larger than any room goes alone.
        while let Some(first) = self.reading.stash.front()
            && (first.bytes.len() <= room || batches.is_empty() && (waiting == 0 || first.bytes.len() <= allowed))
            && batches.len() < most
        {
            room = room.saturating_sub(first.bytes.len());
            batches.extend(self.reading.stash.pop_front());
        }
        self.busy |= !batches.is_empty();
        self.take_batches(batches).await;
    }

    async fn take_batches(&mut self, batches: Vec<ScannedBatch>) {
        let planned: Vec<Planned> = batches.into_iter().filter_map(|scanned| self.plan(scanned)).collect();
        if !planned.is_empty() {
            self.take_planned(planned).await;
        }
    }

    /// As much of a batch as a transaction takes in time; the rest of its records comes next.
    async fn take_part(&mut self, scanned: ScannedBatch, room: usize) {
        self.busy = true;
        let again = scanned.clone();
        let Some(mut planned) = self.plan(scanned) else { return };
        if planned.cut(room) {
            self.reading.stash.push_front(again);
        }
        self.take_planned(vec![planned]).await;
    }

    async fn take_planned(&mut self, planned: Vec<Planned>) {
        METRICS.bytes_fetched.add(planned.iter().map(|planned| planned.scanned.bytes.len() as u64).sum());
        let (mut planned, mut gathered) = self.gather(planned).await;
        // What a topic takes may have changed since it was asked for.
        if self.renew_limits(&gathered.letters).await {
            for one in &mut planned {
                one.takes = self.takes(&one.topic).unwrap_or(one.takes);
            }
            (planned, gathered) = self.gather(planned).await;
        }
        match self.tier {
            Some(_) => self.take_in_parts(planned, gathered).await,
            None => self.take_gathered(gathered),
        }
    }

    /// Sends what was gathered to the gateway upstream, or halves of it: each must fit into one frame.
    async fn take_in_parts(&mut self, planned: Vec<Planned>, gathered: Gathered) {
        let mut parts = vec![(planned, gathered)];
        while let Some((planned, gathered)) = parts.pop() {
            match halves(&planned).filter(|_| !self.fits(&gathered)) {
                Some((first, second)) => {
                    let second = self.gather(second).await;
                    let first = self.gather(first).await;
                    parts.extend([second, first]);
                }
                None => self.send_stretches(gathered).await,
            }
        }
    }

    /// Unpacking and packing takes its time: not where sockets wait.
    async fn gather(&self, planned: Vec<Planned>) -> (Vec<Planned>, Gathered) {
        let (compression, saves, provenance) = (self.options.compression(), self.saves(), Arc::clone(&self.provenance));
        let (min_bytes, max_bytes) = (self.options.config.batch_min_bytes, self.options.config.batch_max_bytes);
        executor::unblock(move || {
            let rules = Rules { compression, saves, min_bytes, max_bytes, provenance: &provenance };
            let gathered = gather::gather(planned.iter().map(Planned::item).collect(), rules);
            (planned, gathered)
        })
        .await
    }

    /// Bytes are what counts, unless the link is seen to carry more than the compressor makes of what has piled up.
    fn saves(&self) -> Saving {
        let link = &self.options.config.link;
        let counted = link.rate_limit.is_some() || link.budget.is_some();
        let wide = self.exactly.as_ref().is_some_and(|exactly| exactly.allowed() >= WIDE_BYTES);
        let hungry = self.producers.bytes() < HUNGRY_BYTES && !self.reading.at_end;
        if wide && hungry && !counted { Saving::Time } else { Saving::Bytes }
    }

    fn plan(&mut self, scanned: ScannedBatch) -> Option<Planned> {
        let partition = scanned.partition;
        if scanned.base_offset > self.mirror.get(partition)?.gathered_to() {
            let log_start = self.broker.head(partition).map_or(0, |head| head.log_start);
            let evicted = self.mirror.evicted(partition, log_start.min(scanned.base_offset));
            self.count_evicted(partition, evicted);
        }
        let wanted = self.mirror.wanted(partition, scanned.base_offset..scanned.next_offset);
        if wanted.is_empty() {
            return None;
        }
        if scanned.provisional && self.waits_for_clock(partition) {
            return None;
        }
        let names = self.mirror.get(partition)?.names.clone();
        let Some(upstream) = self.upstreams.get(&names.upstream) else {
            self.stall_partition(partition, "the topic upstream is not known any more");
            return None;
        };
        let takes = upstream.takes();
        let source = match (scanned.gathered, is_internal_topic(&names.topic)) {
            (false, _) => Source::Client,
            (true, false) => Source::Native,
            (true, true) => Source::Internal,
        };
        let config = &self.options.config;
        let local = self.local(&names.topic, names.index);
        match partitioning::route(config.partitioning, &self.options.gateway, local, upstream.partitions) {
            Ok(route) => {
                let condemned = self.mirror.condemned(partition, scanned.base_offset..scanned.next_offset);
                Some(Planned { scanned, topic: names.upstream, route, wanted, source, takes, condemned })
            }
            Err(error) => {
                self.stall_partition(partition, &error.to_string());
                None
            }
        }
    }

    /// Whether a partition whose next batch bears a time that isn't known has still to wait for it.
    fn waits_for_clock(&mut self, partition: PartitionId) -> bool {
        let now = Instant::now();
        let until = *self.clock_until.get_or_insert(now + self.options.config.clock_wait);
        if until <= now {
            return false;
        }
        self.mirror.stall(partition, CLOCK_WAIT.into(), until.min(now + CLOCK_LOOK));
        true
    }

    fn take_gathered(&mut self, gathered: Gathered) {
        let Gathered { ready, pieces, letters, faults } = gathered;
        // Before the pieces, which may be done at once.
        letters.into_iter().for_each(|letter| self.mirror.condemn(letter));
        let mut parts = vec![0; pieces.len()];
        for at in ready.iter().flat_map(|ready| &ready.pieces) {
            if let Some(part) = parts.get_mut(*at) {
                *part += 1;
            }
        }
        let mut ids = Vec::new();
        for (piece, parts) in pieces.into_iter().zip(parts) {
            ids.push(self.mirror.gathered(piece.partition, piece.range, parts, piece.first_timestamp));
            if parts == 0 {
                self.publish(piece.partition);
            }
        }
        if let Some(exactly) = &mut self.exactly {
            exactly.gathered(ready.iter().map(|ready| ready.batch.bytes.len()).sum());
        }
        for batch in ready {
            let pieces = batch.pieces.iter().filter_map(|at| ids.get(*at).copied()).collect();
            self.producers.push(batch.lane, batch.batch, pieces);
        }
        for (partition, fault) in faults {
            self.alarm_partition(partition, &fault.to_string());
        }
    }

    /// Something in the commit at which `step` begins is damaged. Each partition's part of it is read for itself: the one that is
    /// damaged stalls, the others go on.
    async fn step_over(&mut self, step: ScanStep) {
        self.reading.careful = false;
        let gathered_to = |p: &PartitionId| Some((*p, self.mirror.get(*p)?.gathered_to()));
        let wanted: Vec<(PartitionId, i64)> = step.partitions.iter().filter_map(gathered_to).collect();
        let (store, commit) = (self.broker.store().clone(), step.from);
        let salvage = move || {
            let parts = wanted.into_iter().map(|(p, offset)| (p, salvage(&store, p, offset, commit)));
            parts.collect::<Vec<_>>()
        };
        let mut batches = Vec::new();
        for (partition, part) in executor::unblock(salvage).await {
            match part {
                Ok(part) => batches.extend(part),
                Err(error) => self.alarm_partition(partition, &format!("{error}; run `brooklet fsck`")),
            }
        }
        self.mirror.scanned(step.class, commit + 1, false);
        self.busy = true;
        self.reading.stash.extend(batches);
        self.take_stashed().await;
    }
}

/// The first and the second half of some batches, or of one batch's records; `None` if it is a single record.
fn halves(planned: &[Planned]) -> Option<(Vec<Planned>, Vec<Planned>)> {
    if let [one] = planned {
        let (first, last) = one.wanted.first().zip(one.wanted.last())?;
        let middle = first.start + (last.end - first.start) / 2;
        let part = |of: std::ops::Range<i64>| {
            let cut = |range: &std::ops::Range<i64>| range.start.max(of.start)..range.end.min(of.end);
            let wanted: Vec<_> = one.wanted.iter().map(cut).filter(|range| !range.is_empty()).collect();
            (!wanted.is_empty()).then(|| vec![Planned { wanted, ..one.clone() }])
        };
        let (first, second) = (part(i64::MIN..middle), part(middle..i64::MAX));
        return first.zip(second);
    }
    let (first, second) = planned.split_at_checked(planned.len() / 2).filter(|(first, _)| !first.is_empty())?;
    Some((first.to_vec(), second.to_vec()))
}

/// The batches of a partition from `offset` on that lie in `commit`, or before it. Blocks.
fn salvage(
    store: &Store,
    partition: PartitionId,
    mut offset: i64,
    commit: CommitSeq,
) -> Result<Vec<ScannedBatch>, ReadError> {
    let mut batches = Vec::new();
    while let Some(head) = store.head(partition).filter(|head| offset < head.readable_end()) {
        offset = offset.max(head.log_start);
        if store.scan_start(partition, offset)? > commit {
            break;
        }
        let read = store.read(partition, offset, 1)?;
        let mut rest = read.bytes.as_slice();
        while let Ok((view, after)) = BatchView::parse(rest) {
            rest = after;
            batches.push(ScannedBatch {
                commit,
                partition,
                base_offset: view.base_offset(),
                next_offset: view.next_offset(),
                bytes: view.bytes().into(),
                gateway_stamped: false,
                provisional: false,
                gathered: false,
                epoch: view.leader_epoch().unsigned_abs(),
            });
        }
        if read.next_offset <= offset {
            break;
        }
        offset = read.next_offset;
    }
    Ok(batches)
}

impl Planned {
    /// Leaves out the last records, so that about so many bytes are left, one record at least. Whether any was left out.
    fn cut(&mut self, bytes: usize) -> bool {
        let records = self.scanned.next_offset.abs_diff(self.scanned.base_offset).max(1);
        let each = (self.scanned.bytes.len() as u64).div_ceil(records).max(1);
        let mut left = i64::try_from((bytes as u64 / each).max(1)).unwrap_or(i64::MAX);
        let mut is_cut = false;
        for range in &mut self.wanted {
            let end = range.end.min(range.start.saturating_add(left));
            is_cut |= end < range.end;
            left -= end - range.start;
            range.end = end;
        }
        self.wanted.retain(|range| !range.is_empty());
        is_cut
    }

    fn item(&self) -> Item<'_> {
        Item {
            partition: self.scanned.partition,
            topic: Arc::clone(&self.topic),
            route: self.route,
            batch: &self.scanned.bytes,
            wanted: self.wanted.clone(),
            estimated: self.scanned.provisional,
            source: self.source,
            takes: self.takes,
            condemned: self.condemned.clone(),
        }
    }
}
