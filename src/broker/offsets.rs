//! Offsets that named readers commit. The reader's name is what Kafka calls a group id.
//!
//! Invariant: a commit that changes nothing writes nothing.

use serde::{Deserialize, Serialize};

use super::Broker;
use super::call::call;
use super::error::OffsetError;
use super::topic::{Topic, TopicId};
use crate::limits;
use crate::store::Space;

/// The first byte of every value in `Space::Group`.
const FORMAT: u8 = 1;

/// An offset that a named reader has committed: the next one it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read; −1 is unknown.
    pub leader_epoch: i32,
    /// The reader's own note, at most [`limits::OFFSET_METADATA_BYTES_MAX`].
    pub metadata: String,
}

impl Broker {
    /// Commits offsets of `reader`, durable when this returns, all or none of them.
    ///
    /// # Errors
    /// [`OffsetError::Invalid`] for a name or a note that is too long or an offset below 0, or the store's.
    pub async fn commit_offsets(
        &self,
        reader: &str,
        offsets: Vec<(TopicId, i32, CommittedOffset)>,
    ) -> Result<(), OffsetError> {
        if reader.is_empty() || reader.len() > limits::READER_NAME_BYTES_MAX {
            let max = limits::READER_NAME_BYTES_MAX;
            return Err(OffsetError::Invalid(format!("a reader's name has 1 to {max} bytes")));
        }
        for (_, partition, committed) in &offsets {
            if committed.metadata.len() > limits::OFFSET_METADATA_BYTES_MAX {
                let max = limits::OFFSET_METADATA_BYTES_MAX;
                return Err(OffsetError::Invalid(format!("the metadata of an offset has at most {max} bytes")));
            }
            if committed.offset < 0 {
                let offset = committed.offset;
                return Err(OffsetError::Invalid(format!("partition {partition}: offset {offset} is below 0")));
            }
        }
        let entries: Vec<_> = offsets
            .into_iter()
            .map(|(topic, partition, committed)| (key(reader, topic, partition), encode(&committed)))
            .collect();
        call(
            &self.shared.store,
            move |draft| {
                for (key, value) in &entries {
                    if draft.get(Space::Group, key) != Some(value.as_slice()) {
                        draft.put(Space::Group, key, value)?;
                    }
                }
                Ok(())
            },
            |_| {},
        )
        .await?;
        Ok(())
    }

    /// What `reader` has committed for a partition, if anything.
    pub fn committed_offset(&self, reader: &str, topic: &Topic, partition: i32) -> Option<CommittedOffset> {
        let value = self.shared.store.get(Space::Group, &key(reader, topic.id, partition))?;
        match value.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }
}

/// Length of the reader's name, the name, topic UUID, partition.
fn key(reader: &str, topic: TopicId, partition: i32) -> Vec<u8> {
    let mut key = Vec::with_capacity(reader.len() + 22);
    key.extend_from_slice(&(reader.len() as u16).to_be_bytes());
    key.extend_from_slice(reader.as_bytes());
    key.extend_from_slice(&topic.0);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// Whether a key of `Space::Group` is of this topic.
pub(super) fn is_of(key: &[u8], topic: TopicId) -> bool {
    let Some(([high, low], rest)) = key.split_first_chunk() else { return false };
    let name_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    rest.get(name_bytes..).is_some_and(|rest| rest.starts_with(&topic.0))
}

fn encode(committed: &CommittedOffset) -> Vec<u8> {
    // Serializing owned values into a growing vector has nothing that can fail.
    postcard::to_extend(committed, vec![FORMAT]).unwrap_or_default()
}
