//! Gateways below, as they may use this broker.

use super::granted::right::Write;
use super::{Access, Granted};
use crate::broker::{IntakeError, IntakeTicket, TierBatch, TierMove, TierSource, TiersKnown};
use crate::record::SharedBytes;

impl Access {
    /// As [`crate::broker::Broker::tier_cursors`], and which store this is and who is above it: for who may write to any topic.
    ///
    /// # Errors
    /// [`IntakeError::Refused`], or as there.
    pub async fn tier_cursors(
        &self,
        source: &TierSource,
        topic: Option<[u8; 16]>,
    ) -> Result<(TiersKnown, [u8; 16], Vec<String>), IntakeError> {
        self.allow_idempotent_write().map_err(|denied| IntakeError::Refused(denied.into()))?;
        let known = self.broker().tier_cursors(source, topic).await?;
        Ok((known, self.broker().store().incarnation(), self.broker().gateways_above()))
    }

    /// As [`crate::broker::Broker::take_stretch`]: batches for partitions of topics.
    ///
    /// # Errors
    /// As there.
    pub async fn take_stretch(
        &self,
        source: &TierSource,
        moves: Vec<TierMove>,
        batches: Vec<(Granted<Write>, i32, SharedBytes)>,
    ) -> Result<IntakeTicket, IntakeError> {
        let batch = |(topic, partition, bytes): (Granted<Write>, i32, SharedBytes)| TierBatch {
            topic: topic.topic().clone(),
            partition,
            bytes,
        };
        self.broker().take_stretch(source, moves, batches.into_iter().map(batch).collect()).await
    }
}
