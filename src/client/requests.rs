//! The requests a [`Connection`] can make, each a message and its answer.

use std::time::Duration;

use super::consumer::OwnedRecord;
use super::{ClientError, Connection};
use crate::frame::{
    AlterTopic, ClientMessage, CommitOffset, Configs, CreateTopic, DeadLetters, DeleteTopic, DescribeTopic, Drain,
    DrainAction, Fetch, GatewayMessage, GroupAction, Groups, LetterAction, ListOffsets, ListTopics, Position,
    ReadOffset, RecentLog, Reload, RuleAction, Rules, Status, StoreFormat, TopicRef, Uplink, UplinkAction, UserAction,
    Users,
};

/// Most bytes that a gateway may answer in text.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A topic as a gateway tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Its partitions.
    pub partitions: u32,
    /// Its effective settings; empty in a list.
    pub configs: Vec<(String, String)>,
}

/// Where a partition starts and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The oldest offset kept.
    pub log_start: i64,
    /// One beyond the newest offset.
    pub high_watermark: i64,
    /// What the position asked for comes to.
    pub offset: i64,
}

/// Bounds of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// At most this many bytes, but one record at least.
    pub bytes_max: u32,
    /// Wait for this many bytes…
    pub bytes_min: u32,
    /// …up to this long, ms.
    pub wait_ms: u32,
}

/// A link that is replaced may take its time to end.
const RELOAD_TIME: Duration = Duration::from_secs(60);

impl Default for FetchOptions {
    fn default() -> Self {
        Self { bytes_max: 1024 * 1024, bytes_min: 1, wait_ms: 0 }
    }
}

/// What a fetch has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The oldest offset kept.
    pub log_start: i64,
    /// One beyond the newest offset.
    pub high_watermark: i64,
    /// Where to read on.
    pub next_offset: i64,
    /// The records.
    pub records: Vec<OwnedRecord>,
}

impl Connection {
    /// All topics, by name.
    pub async fn topics(&mut self) -> Result<Vec<TopicInfo>, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::ListTopics(ListTopics { id, after: "" })).await?;
        self.topic_answers(id).await
    }

    /// One topic with its settings.
    pub async fn topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::DescribeTopic(DescribeTopic { id, name })).await?;
        let mut topics = self.topic_answers(id).await?;
        topics.pop().ok_or_else(|| self.protocol("a topic was described by nothing"))
    }

    async fn topic_answers(&mut self, id: u32) -> Result<Vec<TopicInfo>, ClientError> {
        let mut topics = Vec::new();
        loop {
            let body = self.answer(id, Duration::ZERO).await?;
            match self.decode(&body)? {
                GatewayMessage::Topic(topic) => topics.push(TopicInfo {
                    name: topic.name.to_owned(),
                    uuid: topic.uuid,
                    partitions: topic.partitions,
                    configs: topic.configs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
                }),
                GatewayMessage::Done(_) => return Ok(topics),
                other => return Err(self.unexpected(&other)),
            }
        }
    }

    /// Creates a topic; 0 `partitions` for the gateway's default.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        let (id, configs) = (self.new_id(), settings(configs)?);
        self.send(&ClientMessage::CreateTopic(CreateTopic { id, name, partitions, configs })).await?;
        self.done(id).await
    }

    /// Changes a topic: more partitions, other settings (an empty value returns to the default).
    pub async fn alter_topic(
        &mut self,
        name: &str,
        partitions: Option<u32>,
        configs: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        let (id, configs) = (self.new_id(), settings(configs)?);
        self.send(&ClientMessage::AlterTopic(AlterTopic { id, name, partitions, configs })).await?;
        self.done(id).await
    }

    /// Deletes a topic with its records.
    pub async fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::DeleteTopic(DeleteTopic { id, name })).await?;
        self.done(id).await
    }

    /// Where a partition starts and ends, and which offset `at` is.
    pub async fn offsets(
        &mut self,
        topic: &str,
        partition: u32,
        at: Position,
    ) -> Result<PartitionOffsets, ClientError> {
        let (id, topic) = (self.new_id(), TopicRef::Name(topic));
        self.send(&ClientMessage::ListOffsets(ListOffsets { id, topic, partition, at })).await?;
        let body = self.answer(id, Duration::ZERO).await?;
        match self.decode(&body)? {
            GatewayMessage::Offsets(offsets) => Ok(PartitionOffsets {
                log_start: offsets.log_start,
                high_watermark: offsets.high_watermark,
                offset: offsets.offset,
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Saves a named reader's position.
    pub async fn commit_offset(
        &mut self,
        reader: &str,
        topic: &str,
        partition: u32,
        offset: i64,
    ) -> Result<(), ClientError> {
        let (id, topic) = (self.new_id(), TopicRef::Name(topic));
        let commit = CommitOffset { id, reader, topic, partition, offset, metadata: "" };
        self.send(&ClientMessage::CommitOffset(commit)).await?;
        self.done(id).await
    }

    /// A named reader's position, if it ever saved one.
    pub async fn read_offset(&mut self, reader: &str, topic: &str, partition: u32) -> Result<Option<i64>, ClientError> {
        let (id, topic) = (self.new_id(), TopicRef::Name(topic));
        self.send(&ClientMessage::ReadOffset(ReadOffset { id, reader, topic, partition })).await?;
        let body = self.answer(id, Duration::ZERO).await?;
        match self.decode(&body)? {
            GatewayMessage::ReaderOffset(offset) => Ok(offset.offset),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Reads once.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: u32,
        from: Position,
        options: FetchOptions,
    ) -> Result<Fetched, ClientError> {
        let FetchOptions { bytes_max, bytes_min, wait_ms } = options;
        let (id, topic) = (self.new_id(), TopicRef::Name(topic));
        self.send(&ClientMessage::Fetch(Fetch { id, topic, partition, from, bytes_max, bytes_min, wait_ms })).await?;
        let body = self.answer(id, Duration::from_millis(u64::from(wait_ms))).await?;
        match self.decode(&body)? {
            GatewayMessage::Records(set) => Ok(Fetched {
                log_start: set.log_start,
                high_watermark: set.high_watermark,
                next_offset: set.next_offset,
                records: set.iter().map(|record| OwnedRecord::of(partition, &record)).collect(),
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The gateway's status: a JSON object.
    pub async fn status(&mut self) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::Status(Status { id })).await?;
        self.text(id, Duration::ZERO).await
    }

    /// Looks at or steers uplinks; `name` "" for all. The answer is for people, or JSON for the status.
    pub async fn uplink(&mut self, action: UplinkAction, name: &str) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::Uplink(Uplink { id, action, name })).await?;
        // A check tries connections, and time-outs of its own come first.
        self.text(id, Duration::from_secs(60)).await
    }

    /// Looks at groups, or forgets one: JSON for the first two actions, "" for the third.
    pub async fn groups(&mut self, action: GroupAction, name: &str) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::Groups(Groups { id, action, name })).await?;
        self.text(id, Duration::ZERO).await
    }

    /// Looks at the letters from `first` to `last`, or settles them: JSON, as in [`crate::broker::dead_letter`].
    pub async fn dead_letters(&mut self, action: LetterAction, first: i64, last: i64) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::DeadLetters(DeadLetters { id, action, first, last })).await?;
        // Many commits, on a slow disk.
        self.text(id, Duration::from_secs(600)).await
    }

    /// Looks at rules of access, or changes them; JSON both ways, as in [`crate::broker::rights::report`].
    pub async fn rules(&mut self, action: RuleAction, text: &str) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::Rules(Rules { id, action, text })).await?;
        self.text(id, Duration::ZERO).await
    }

    /// Looks at users: JSON, as [`crate::broker::users::UserInfo`]s; or changes one.
    pub async fn users(&mut self, action: UserAction, name: &str, verifiers: &[u8]) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::Users(Users { id, action, name, verifiers })).await?;
        self.text(id, Duration::ZERO).await
    }

    /// The last lines of the gateway's log.
    pub async fn recent_log(&mut self) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::RecentLog(RecentLog { id })).await?;
        self.text(id, Duration::ZERO).await
    }

    /// Lets the gateway refuse new records and forward what it has, waiting at most `wait` (10 s); or ends that. What is left, as
    /// one JSON object.
    pub async fn drain(&mut self, action: DrainAction, wait: Duration) -> Result<String, ClientError> {
        let id = self.new_id();
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.send(&ClientMessage::Drain(Drain { id, action, wait_ms })).await?;
        self.text(id, wait).await
    }

    /// Lets the gateway read its configuration again and apply what can change without a restart; or, without `apply`, only tell what that
    /// would be. One JSON object.
    pub async fn reload(&mut self, apply: bool) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::Reload(Reload { id, apply })).await?;
        self.text(id, RELOAD_TIME).await
    }

    /// In which format the store is written, as one JSON object; `finalize` lets it be the newest first.
    pub async fn store_format(&mut self, finalize: bool) -> Result<String, ClientError> {
        let id = self.new_id();
        self.send(&ClientMessage::StoreFormat(StoreFormat { id, finalize })).await?;
        self.text(id, Duration::ZERO).await
    }

    async fn text(&mut self, id: u32, wait: Duration) -> Result<String, ClientError> {
        let mut whole = String::new();
        loop {
            let body = self.answer(id, wait).await?;
            match self.decode(&body)? {
                GatewayMessage::Text(text) if whole.len() + text.text.len() <= TEXT_BYTES_MAX => {
                    whole.push_str(text.text);
                    if text.last {
                        return Ok(whole);
                    }
                }
                GatewayMessage::Text(_) => return Err(self.protocol("an endless text")),
                other => return Err(self.unexpected(&other)),
            }
        }
    }

    pub(super) async fn done(&mut self, id: u32) -> Result<(), ClientError> {
        let body = self.answer(id, Duration::ZERO).await?;
        match self.decode(&body)? {
            GatewayMessage::Done(_) => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn protocol(&self, why: &str) -> ClientError {
        ClientError::Protocol(self.address().clone(), why.to_owned())
    }
}

fn settings<'a>(pairs: &[(&'a str, &'a str)]) -> Result<Configs<'a>, ClientError> {
    let too_many = || ClientError::Invalid(format!("at most {} settings at once", crate::frame::CONFIGS_MAX));
    Configs::from_slice(pairs).map_err(|_| too_many())
}
