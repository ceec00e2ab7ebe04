//! What the gateway's messages do to a session.

use super::{
    Event, Identity, Numbering, SessionError, Storage,
    session::{Phase, Session, error_text},
};
use crate::frame::{ErrorCode, GatewayMessage, PublishError, VERSION_MAX, VERSION_MIN, Welcome, sequence};

/// The shortest pause after a retriable refusal, ms: a gateway that says "at once" is not asked in a tight loop.
const RETRY_MS_MIN: u32 = 20;

impl<I: Identity, S: Storage, B: AsRef<[u8]> + AsMut<[u8]>> Session<I, S, B> {
    /// Takes the body of a received frame.
    pub fn handle(&mut self, body: &[u8], now_ms: u64) -> Result<Option<Event>, SessionError<S::Error>> {
        let message = GatewayMessage::decode(body).map_err(SessionError::Decode)?;
        self.handle_message(&message, now_ms)
    }

    /// Takes a received message. Those that answer requests of other kinds are none of a session's business.
    pub fn handle_message(
        &mut self,
        message: &GatewayMessage<'_>,
        now_ms: u64,
    ) -> Result<Option<Event>, SessionError<S::Error>> {
        self.connection.quiet_since_ms = now_ms;
        let up = self.connection.phase == Phase::Up;
        match message {
            GatewayMessage::Failed(failed) if failed.id == 0 && failed.code != ErrorCode::Unsupported => {
                Err(SessionError::Ended(failed.code, error_text(failed.text)))
            }
            GatewayMessage::Welcome(welcome) if self.connection.phase == Phase::Greeted => {
                self.welcome(welcome, now_ms).map(Some)
            }
            _ if !up => Err(SessionError::Contradiction),
            GatewayMessage::Welcome(_) => Err(SessionError::Contradiction),
            GatewayMessage::Pong(pong) => {
                self.connection.pinged = false;
                self.set_clock(pong.time_ms, pong.time_trusted, now_ms);
                Ok(None)
            }
            GatewayMessage::AliasFailed(failed) => {
                self.connection.alias_failed |= failed.code.is_retriable();
                let text = error_text(failed.text);
                Ok(Some(Event::TopicRefused { topic: failed.alias, code: failed.code, text }))
            }
            GatewayMessage::Ack(ack) => {
                let newest = self.oldest() + u64::from(self.connection.sent);
                self.settle(sequence::expand(ack.up_to, newest))
            }
            GatewayMessage::AckAt(ack) => self.settle(ack.up_to),
            GatewayMessage::Upstream(upstream) => {
                // The oldest record kept has the number `settled + 1`.
                let total = upstream.up_to.saturating_add(self.settled + 1).checked_sub(self.oldest());
                Ok(total.filter(|total| *total > 0).map(|total| Event::Upstream { total }))
            }
            GatewayMessage::PublishError(error) => self.refused(error, now_ms).map(Some),
            _ => Ok(None),
        }
    }

    /// What happened without an answer: a record that can't be sent to this gateway was dropped.
    pub fn take_event(&mut self) -> Option<Event> {
        self.dropped.take()
    }

    fn oldest(&self) -> u64 {
        self.storage.numbering().map_or(1, |numbering| numbering.oldest)
    }

    fn set_clock(&mut self, time_ms: i64, trusted: bool, now_ms: u64) {
        self.connection.wall_offset_ms = trusted.then(|| time_ms.saturating_sub(now_ms as i64));
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, now_ms: u64) -> Result<Event, SessionError<S::Error>> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
            return Err(SessionError::Contradiction);
        }
        let next = welcome.last_sequence.saturating_add(1);
        let same = self.storage.numbering().filter(|had| welcome.resumed && had.epoch == welcome.epoch);
        match same {
            Some(had) => {
                let settled = next.saturating_sub(had.oldest);
                self.release(u32::try_from(settled).unwrap_or(u32::MAX))?;
                // The gateway may know of more than is held, if the storage has lost its newest entries.
                if self.oldest() < next {
                    self.set_numbering(welcome.epoch, next)?;
                }
            }
            None => self.set_numbering(welcome.epoch, next)?,
        }
        self.set_clock(welcome.time_ms, welcome.time_trusted, now_ms);
        let connection = &mut self.connection;
        connection.phase = Phase::Up;
        connection.base_timestamp = welcome.time_ms;
        connection.in_flight_max = u32::from(welcome.in_flight_max.min(self.identity.in_flight_max()).max(1));
        connection.frame_bytes_max = usize::try_from(welcome.frame_bytes_max).unwrap_or(usize::MAX);
        connection.ping_ms = u64::from(welcome.idle_seconds_max) * 1_000 / 3;
        Ok(Event::Connected { resumed: same.is_some() })
    }

    fn set_numbering(&mut self, epoch: u64, oldest: u64) -> Result<(), SessionError<S::Error>> {
        self.storage.set_numbering(Numbering { epoch, oldest }).map_err(SessionError::Storage)
    }

    /// Everything up to `sequence` is settled.
    fn settle(&mut self, up_to: u64) -> Result<Option<Event>, SessionError<S::Error>> {
        let Some(count) = up_to.saturating_add(1).checked_sub(self.oldest()).filter(|count| *count > 0) else {
            // Settled before: answers to records that were sent twice.
            return Ok(None);
        };
        match u32::try_from(count) {
            Ok(count) if count <= self.connection.sent => {
                self.release(count)?;
                Ok(Some(Event::Settled { total: self.settled }))
            }
            // What was never sent can't be settled.
            _ => Err(SessionError::Contradiction),
        }
    }

    fn refused(&mut self, error: &PublishError<'_>, now_ms: u64) -> Result<Event, SessionError<S::Error>> {
        let text = error_text(error.text);
        let index = error.sequence.checked_sub(self.oldest()).and_then(|index| u32::try_from(index).ok());
        let Some(index) = index.filter(|index| *index <= self.connection.sent) else {
            return Err(SessionError::Contradiction);
        };
        if !error.code.is_retriable() {
            let first = self.settled + 1 + u64::from(index);
            return Ok(Event::Refused { first, count: error.count, code: error.code, text });
        }
        let retry_ms = error.retry_ms.max(RETRY_MS_MIN);
        self.connection.sent = index;
        self.connection.pause_until_ms = now_ms.saturating_add(u64::from(retry_ms));
        if core::mem::take(&mut self.connection.alias_failed) {
            self.connection.aliases = 0;
        }
        Ok(Event::Delayed { code: error.code, retry_ms, text })
    }
}
