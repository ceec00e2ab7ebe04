//! Reads a topic's records as they come, all partitions by one connection, by subscriptions with credit. As a member of
//! a group it reads its share of the partitions, and another one when the group rebalances.
//!
//! Invariants: a partition's records come in order and once, whatever connections break meanwhile, while the share stays
//! the same; credit is given back when what was pushed is used up, so at most a credit for each partition is held in
//! memory. Into a new share it goes where the group's last commit was: nothing is passed over.

use std::collections::VecDeque;
use std::time::Duration;

use smol::Timer;

use super::membership::{self, Membership};
use super::{Address, ClientError, Connection};
use crate::frame::{
    ClientMessage, Credit, ErrorCode, GatewayMessage, Position, Record, RecordSet, Subscribe, TopicRef, Unsubscribe,
};

/// The first pause before connecting again; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A record read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: i64,
    /// Ms since 1970 (UTC).
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    pub(super) fn of(partition: u32, record: &Record<'_>) -> Self {
        Self {
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// How to read a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// The client's id.
    pub client_id: String,
    /// One partition only.
    pub partition: Option<u32>,
    /// Where to start, where `group` has no position yet.
    pub from: Position,
    /// Go on for ever, and connect again when the connection breaks; else stop where the topic ended at the start.
    pub follow: bool,
    /// Start where this group has come to, and share the partitions with its other members; with `partition` it is but
    /// a name for positions.
    pub group: Option<String>,
    /// A name that stays the same over restarts of this process, within the group: its share then waits for it as long
    /// as the session lasts.
    pub instance: Option<String>,
    /// A member that isn't heard of for so long (6 s to 30 min) loses its share: call [`Consumer::next`] more often.
    pub session: Duration,
    /// Bytes that may be on the way for each partition.
    pub credit_bytes: u32,
}

impl Default for ConsumeOptions {
    fn default() -> Self {
        Self {
            client_id: "brooklet-consume".to_owned(),
            partition: None,
            from: Position::Beginning,
            follow: false,
            group: None,
            instance: None,
            session: Duration::from_secs(10),
            credit_bytes: 1024 * 1024,
        }
    }
}

/// Reads a topic.
#[derive(Debug)]
pub struct Consumer {
    address: Address,
    topic: String,
    options: ConsumeOptions,
    connection: Connection,
    membership: Option<Membership>,
    partitions: Vec<Partition>,
    received: VecDeque<OwnedRecord>,
}

#[derive(Debug)]
struct Partition {
    index: u32,
    /// `None` when everything wanted has come.
    subscription: Option<u32>,
    /// The next offset to receive.
    next: i64,
    /// The next offset to hand out.
    position: i64,
    /// What was committed last.
    committed: Option<i64>,
    end: Option<i64>,
    /// Credit to give back.
    owed: u32,
}

impl Consumer {
    /// Connects and subscribes to `topic`.
    pub async fn open(address: &Address, topic: &str, options: ConsumeOptions) -> Result<Self, ClientError> {
        let mut connection = Connection::open(address, &options.client_id).await?;
        let count = connection.topic(topic).await?.partitions;
        let mut membership = None;
        let wanted: Vec<u32> = match (options.partition, &options.group) {
            (Some(partition), _) if partition < count => vec![partition],
            (Some(partition), _) => {
                let text = format!("topic {topic} has {count} partitions, none with number {partition}");
                return Err(ClientError::Refused(ErrorCode::UnknownPartition, text));
            }
            (None, None) => (0..count).collect(),
            (None, Some(group)) => {
                let member = Membership::new(group, options.instance.as_deref(), options.session);
                membership.insert(member).join(&mut connection, topic).await?
            }
        };
        let mut partitions = Vec::new();
        for index in wanted {
            partitions.push(start(&mut connection, topic, index, &options).await?);
        }
        let (address, topic, received) = (address.clone(), topic.to_owned(), VecDeque::new());
        let mut consumer = Self { address, topic, options, connection, membership, partitions, received };
        consumer.subscribe().await?;
        Ok(consumer)
    }

    /// The next record; `None` at the end, unless following. Giving this up before it is done may lose the connection
    /// (not records, when following: the next call connects again).
    ///
    /// As a member of a group, commit before each call that may wait ([`Consumer::has_next`]): a call that waits may
    /// find that the group rebalances, and what wasn't committed then comes again, to this member or to another.
    pub async fn next(&mut self) -> Result<Option<OwnedRecord>, ClientError> {
        loop {
            if let Some(record) = self.received.pop_front() {
                if let Some(partition) = self.partitions.iter_mut().find(|p| p.index == record.partition) {
                    partition.position = record.offset + 1;
                }
                return Ok(Some(record));
            }
            for partition in &mut self.partitions {
                // Past what was skipped, too: there is nothing left to hand out.
                partition.position = partition.next;
            }
            // A share of nothing may become one of something.
            let may_grow = self.options.follow && self.membership.is_some();
            if !may_grow && self.partitions.iter().all(|partition| partition.subscription.is_none()) {
                return Ok(None);
            }
            match self.turn().await {
                Err(error) if self.options.follow && error.is_passing() => self.reconnect().await?,
                result => result?,
            }
        }
    }

    /// Whether [`Consumer::next`] has a record at hand, so that it won't wait.
    pub fn has_next(&self) -> bool {
        !self.received.is_empty()
    }

    /// Whether it goes on for ever, over broken connections.
    pub fn is_following(&self) -> bool {
        self.options.follow
    }

    /// The next offset of each partition: what was handed out lies before it.
    pub fn positions(&self) -> impl Iterator<Item = (u32, i64)> {
        self.partitions.iter().map(|partition| (partition.index, partition.position))
    }

    /// Saves the positions of the group in the options, if there is one. If it has rebalanced meanwhile they aren't
    /// saved: who has the partitions now goes on from the last ones that were.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let Some(group) = &self.options.group else { return Ok(()) };
        if let Some(membership) = &mut self.membership {
            let moved = self.partitions.iter_mut().filter(|partition| partition.committed != Some(partition.position));
            let moved: Vec<&mut Partition> = moved.collect();
            let offsets: Vec<_> = moved.iter().map(|partition| (partition.index, partition.position)).collect();
            match membership.commit(&mut self.connection, &self.topic, &offsets).await {
                Err(error) if membership::is_over(&error) => membership.hurry(),
                result => {
                    result?;
                    moved.into_iter().for_each(|partition| partition.committed = Some(partition.position));
                }
            }
            return Ok(());
        }
        for partition in &mut self.partitions {
            if partition.committed != Some(partition.position) {
                let (index, position) = (partition.index, partition.position);
                self.connection.commit_offset(group, &self.topic, index, position).await?;
                partition.committed = Some(position);
            }
        }
        Ok(())
    }

    /// Leaves the group, if it is in one, so that other members take over at once.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        match &self.membership {
            Some(membership) => membership.leave(&mut self.connection).await,
            None => Ok(()),
        }
    }

    /// Beats if that is due, and receives; or takes a new share.
    async fn turn(&mut self) -> Result<(), ClientError> {
        if let Some(membership) = &mut self.membership
            && membership.until_beat().is_zero()
        {
            match membership.beat(&mut self.connection).await {
                Err(error) if membership::is_over(&error) => {
                    // What was subscribed ends with the connection.
                    self.connection = Connection::open(&self.address, &self.options.client_id).await?;
                    self.take_share().await?;
                    return self.subscribe().await;
                }
                result => result?,
            }
        }
        self.receive().await
    }

    /// Joins the group again, and begins where it has come to.
    async fn take_share(&mut self) -> Result<(), ClientError> {
        let Some(membership) = &mut self.membership else { return Ok(()) };
        let share = membership.join(&mut self.connection, &self.topic).await?;
        self.received.clear();
        self.partitions.clear();
        for index in share {
            self.partitions.push(start(&mut self.connection, &self.topic, index, &self.options).await?);
        }
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), ClientError> {
        for partition in &mut self.partitions {
            partition.owed = 0;
            if partition.end.is_some_and(|end| partition.next >= end) {
                partition.subscription = None;
                continue;
            }
            let id = self.connection.new_id();
            let subscribe = Subscribe {
                id,
                topic: TopicRef::Name(&self.topic),
                partition: partition.index,
                from: Position::Offset(partition.next),
                credit_bytes: self.options.credit_bytes,
            };
            self.connection.send(&ClientMessage::Subscribe(subscribe)).await?;
            partition.subscription = Some(id);
        }
        Ok(())
    }

    /// Gives credit back and takes the next push.
    async fn receive(&mut self) -> Result<(), ClientError> {
        for partition in &mut self.partitions {
            if let (Some(id), 1..) = (partition.subscription, partition.owed) {
                let credit = Credit { id, bytes: std::mem::take(&mut partition.owed) };
                self.connection.send(&ClientMessage::Credit(credit)).await?;
            }
        }
        let body = match &self.membership {
            None => self.connection.next_push().await?,
            Some(membership) => match self.connection.push_within(membership.until_beat()).await? {
                Some(body) => body,
                None => return Ok(()),
            },
        };
        match self.connection.decode(&body)? {
            GatewayMessage::Push(set) => self.take(&set).await,
            GatewayMessage::Failed(failed) => Err(ClientError::Refused(failed.code, failed.text.to_owned())),
            other => Err(self.connection.unexpected(&other)),
        }
    }

    async fn take(&mut self, set: &RecordSet<'_>) -> Result<(), ClientError> {
        // A push of a subscription that has just ended is nobody's.
        let Some(partition) = self.partitions.iter_mut().find(|p| p.subscription == Some(set.id)) else {
            return Ok(());
        };
        let wanted = partition.next..partition.end.unwrap_or(i64::MAX);
        let records = set.iter().filter(|record| wanted.contains(&record.offset));
        self.received.extend(records.map(|record| OwnedRecord::of(partition.index, &record)));
        partition.next = partition.next.max(set.next_offset);
        partition.owed += u32::try_from(set.records.bytes().len()).unwrap_or(u32::MAX);
        if partition.end.is_some_and(|end| partition.next >= end) {
            partition.subscription = None;
            self.connection.send(&ClientMessage::Unsubscribe(Unsubscribe { id: set.id })).await?;
            self.connection.done(set.id).await?;
        }
        Ok(())
    }

    /// Goes on by a new connection: with the same share, if the group still knows it.
    async fn resume(&mut self) -> Result<(), ClientError> {
        if let Some(membership) = &mut self.membership {
            match membership.beat(&mut self.connection).await {
                Err(error) if membership::is_over(&error) => self.take_share().await?,
                result => result?,
            }
        }
        self.subscribe().await
    }

    async fn reconnect(&mut self) -> Result<(), ClientError> {
        let mut pause = RETRY_MIN;
        loop {
            let connected = Connection::open(&self.address, &self.options.client_id).await;
            let subscribed = match connected {
                Ok(connection) => {
                    self.connection = connection;
                    self.resume().await
                }
                Err(error) => Err(error),
            };
            match subscribed {
                Err(error) if error.is_passing() => log::debug!("{error}; trying again in {pause:?}"),
                result => return result,
            }
            Timer::after(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}

/// Where reading a partition starts and ends.
async fn start(
    connection: &mut Connection,
    topic: &str,
    index: u32,
    options: &ConsumeOptions,
) -> Result<Partition, ClientError> {
    let committed = match &options.group {
        Some(group) => connection.read_offset(group, topic, index).await?,
        None => None,
    };
    let at = committed.map_or(options.from, Position::Offset);
    let offsets = connection.offsets(topic, index, at).await?;
    let next = offsets.offset.max(offsets.log_start);
    let end = (!options.follow).then_some(offsets.high_watermark);
    Ok(Partition { index, subscription: None, next, position: next, committed, end, owed: 0 })
}
