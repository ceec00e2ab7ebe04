//! What goes over the link: every byte of every connection of an uplink is counted here, both ways, and leaves no faster than the
//! rate of the moment.
//!
//! It lies below whatever encrypts, so that is counted too. Headers of IP and TCP are not seen from here; they are added by what
//! a connection without losses takes: a header a segment, an acknowledgement for every second one, a handshake a connection.
//! Reads are buffered, so that a segment is rarely taken for two.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite, ready};
use smol::Timer;
use std::sync::Arc;

use super::super::gentle::Bucket;
use crate::metrics::METRICS;

/// Payload of a full segment over Ethernet or a mobile link, bytes.
const SEGMENT_BYTES: u64 = 1_400;
/// Headers of a segment: IPv4, TCP, its timestamps.
const HEADER_BYTES: u64 = 52;
/// Opening and closing a TCP connection: seven segments.
const CONNECTION_BYTES: u64 = 7 * HEADER_BYTES + 24;
/// Written at a time where there is a rate: so much of a second's bytes, within bounds.
const PACED_PART: u64 = 20;
const PACED_BYTES_MIN: u64 = 256;
const PACED_BYTES_MAX: u64 = 64 * 1_024;

/// What a link is believed to carry until it is measured, bytes a second; a faster one is not counted on either.
const PACE_BELIEVED: u64 = 64 * 1_024;
/// The slowest link that is served, bytes a second.
const PACE_MIN: u64 = 1_024;
/// After each request in vain the link is believed to be so many times slower.
const PACE_STEP: u64 = 8;
/// A request of less tells of round trips only.
const TELLING_BYTES: u64 = 4 * 1_024;
/// A round trip that is slower than the one believed counts for this part.
const ROUND_TRIP_PART: u64 = 8;

/// See the module.
#[derive(Debug)]
pub(in crate::uplink) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    /// Headers, estimated.
    headers: AtomicU64,
    /// Bytes a second; 0 is any.
    rate: AtomicU64,
    /// How fast requests get through, bytes a second: the slowest of late.
    pace: AtomicU64,
    /// How long the answer to something small takes where nothing else is under way, microseconds; 0 is unknown.
    round_trip: AtomicU64,
    bucket: Mutex<Bucket>,
    start: Instant,
}

impl Default for Meter {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        let (sent, received, headers, rate, round_trip) = (zero(), zero(), zero(), zero(), zero());
        let pace = AtomicU64::new(PACE_BELIEVED);
        Self { sent, received, headers, rate, pace, round_trip, bucket: Mutex::default(), start: Instant::now() }
    }
}

impl Meter {
    /// Bytes sent and received in all connections, without headers.
    pub(in crate::uplink) fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// All that went over the link, both ways, headers of IP and TCP included.
    pub(in crate::uplink) fn wire(&self) -> u64 {
        let (sent, received) = self.counts();
        sent + received + self.headers.load(Ordering::Relaxed)
    }

    /// The rate that is kept, bytes a second; `None`: any.
    pub(in crate::uplink) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// From now on this rate is kept.
    pub(in crate::uplink) fn set_rate(&self, rate: Option<u64>) {
        if self.rate() != rate {
            self.rate.store(rate.unwrap_or(0), Ordering::Relaxed);
            self.bucket.lock().unwrap_or_else(PoisonError::into_inner).set_rate(rate);
        }
    }

    /// How long the link takes to answer to something small; zero until it is known.
    pub(in crate::uplink) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip.load(Ordering::Relaxed))
    }

    /// A request of so many bytes was answered after that time; `alone`: nothing else was under way on its connection.
    pub(in crate::uplink) fn answered(&self, bytes: u64, took: Duration, alone: bool) {
        if bytes < TELLING_BYTES {
            if alone {
                self.answered_at_once(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
            }
            return;
        }
        let measured = (bytes as f64 / took.as_secs_f64().max(0.001)) as u64;
        self.pace.store(measured.clamp(PACE_MIN, PACE_BELIEVED), Ordering::Relaxed);
    }

    /// The fastest answer of late is the link's; what takes longer is mostly the broker's doing.
    fn answered_at_once(&self, took_us: u64) {
        let before = self.round_trip.load(Ordering::Relaxed);
        let slower = before + took_us.saturating_sub(before) / ROUND_TRIP_PART;
        let now = if before == 0 { took_us } else { slower.min(took_us) };
        self.round_trip.store(now, Ordering::Relaxed);
    }

    /// A request was not answered in time: perhaps because what lies in between is slower than was believed.
    pub(in crate::uplink) fn unanswered(&self) {
        self.pace.store((self.pace() / PACE_STEP).max(PACE_MIN), Ordering::Relaxed);
    }

    /// Bytes a second that are waited for at least.
    pub(in crate::uplink) fn pace(&self) -> u64 {
        self.pace.load(Ordering::Relaxed)
    }

    /// A connection was opened.
    fn connected(&self) {
        self.headers.fetch_add(CONNECTION_BYTES, Ordering::Relaxed);
    }

    fn count(&self, way: &AtomicU64, bytes: usize) {
        way.fetch_add(bytes as u64, Ordering::Relaxed);
        let segments = (bytes as u64).div_ceil(SEGMENT_BYTES);
        self.headers.fetch_add((segments + segments.div_ceil(2)) * HEADER_BYTES, Ordering::Relaxed);
    }

    /// How many of `bytes` to send next, and how long to wait before.
    fn grant(&self, bytes: usize) -> (usize, Duration) {
        let Some(rate) = self.rate() else { return (bytes, Duration::ZERO) };
        let most = (rate / PACED_PART).clamp(PACED_BYTES_MIN, PACED_BYTES_MAX);
        let bytes = bytes.min(usize::try_from(most).unwrap_or(usize::MAX));
        let now_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        (bytes, self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, now_us))
    }
}

/// A stream whose bytes are counted and paced.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    /// Bytes that may be written, once `wait` is over.
    granted: usize,
    wait: Option<Timer>,
}

impl<S> Metered<S> {
    /// Of a connection that was just opened.
    pub(super) fn new(stream: S, meter: Arc<Meter>) -> Self {
        meter.connected();
        Self { stream, meter, granted: 0, wait: None }
    }

    /// What it runs over.
    pub(super) fn inner(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.meter.count(&self.meter.received, read);
        METRICS.uplink_bytes_received.add(read as u64);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.granted == 0 && !buf.is_empty() {
            let (bytes, wait) = self.meter.grant(buf.len());
            self.granted = bytes;
            self.wait = (!wait.is_zero()).then(|| Timer::after(wait));
        }
        if let Some(timer) = &mut self.wait {
            ready!(Future::poll(Pin::new(timer), cx));
            self.wait = None;
        }
        let some = buf.get(..self.granted.min(buf.len())).unwrap_or(buf);
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, some))?;
        self.granted = self.granted.saturating_sub(written);
        self.meter.count(&self.meter.sent, written);
        METRICS.uplink_bytes_sent.add(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use futures_lite::io::Cursor;
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn both_ways_are_counted_with_headers() {
        let meter = Arc::new(Meter::default());
        let mut stream = Metered::new(Cursor::new(vec![7; 3_000]), Arc::clone(&meter));
        assert_eq!((meter.counts(), meter.wire()), ((0, 0), CONNECTION_BYTES));
        let read = block_on(async {
            let mut buf = [0; 2_000];
            stream.read(&mut buf).await.unwrap()
        });
        block_on(stream.write_all(&[1; 500])).unwrap();
        assert_eq!((read, meter.counts()), (2_000, (500, 2_000)));
        assert_eq!(meter.wire(), CONNECTION_BYTES + 2_500 + (2 + 1) * HEADER_BYTES + 2 * HEADER_BYTES);
    }

    #[test]
    fn a_rate_cuts_writes_and_lets_them_wait() {
        let meter = Meter::default();
        assert_eq!(meter.grant(1 << 20), (1 << 20, Duration::ZERO));
        meter.set_rate(Some(10_000));
        assert_eq!(meter.rate(), Some(10_000));
        let waits: Vec<_> = (0..20).map(|_| meter.grant(1 << 20)).collect();
        assert!(waits.iter().all(|(bytes, _)| *bytes == 500));
        // 10,000 bytes take a second, the first ones are on credit.
        let last = waits.last().map(|(_, wait)| *wait).unwrap();
        assert!(last > Duration::from_millis(500) && last < Duration::from_secs(1), "{last:?}");
        meter.set_rate(None);
        assert_eq!(meter.grant(9), (9, Duration::ZERO));
    }

    #[test]
    fn a_slow_link_is_believed_to_be_slow_until_it_is_fast() {
        let meter = Meter::default();
        let seconds = Duration::from_secs;
        meter.answered(100, seconds(9), true);
        assert_eq!(meter.pace(), PACE_BELIEVED);
        meter.answered(20_000, seconds(10), true);
        assert_eq!(meter.pace(), 2_000);
        meter.answered(100_000, Duration::from_millis(10), true);
        assert_eq!(meter.pace(), PACE_BELIEVED);
        let after: Vec<u64> = (0..3).map(|_| (meter.unanswered(), meter.pace()).1).collect();
        assert_eq!(after, [8_192, 1_024, 1_024]);
    }

    #[test]
    fn the_fastest_small_answer_is_the_round_trip() {
        let (meter, ms) = (Meter::default(), Duration::from_millis);
        assert_eq!(meter.round_trip(), Duration::ZERO);
        meter.answered(100, ms(80), true);
        meter.answered(100, ms(900), false);
        meter.answered(50_000, ms(500), true);
        assert_eq!(meter.round_trip(), ms(80));
        meter.answered(100, ms(880), true);
        assert_eq!(meter.round_trip(), ms(180));
        meter.answered(100, ms(60), true);
        assert_eq!(meter.round_trip(), ms(60));
    }

    #[test]
    fn what_is_paced_arrives_whole() {
        let meter = Arc::new(Meter::default());
        meter.set_rate(Some(1 << 20));
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut stream = Metered::new(Vec::new(), Arc::clone(&meter));
        block_on(stream.write_all(&bytes)).unwrap();
        assert_eq!((stream.stream == bytes, meter.counts().0), (true, 100_000));
    }
}
