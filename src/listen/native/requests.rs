//! What is asked with an id: each request is a task of its own, so a slow one holds back nobody else.
//!
//! Invariants: at most [`OPEN_MAX`] requests and [`SUBSCRIPTIONS_MAX`] subscriptions of a connection are open; the end
//! of the connection ends them.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::executor::Executor;
use smol::Task;

use super::consuming::{self, Credit};
use super::errors::{of_offset, of_topic};
use super::outbox::{Gone, Outbox};
use super::publishing::Aliases;
use super::session::Greeted;
use super::{Context, grouping, lettering, ruling, tiering, topics, users};
use crate::broker::rights::{Denied, Operation, Resource};
use crate::broker::{Access, CommittedOffset, Granted, Right, TierSource, Topic, right};
use crate::frame::client_message::{CommitOffset, ReadOffset, Subscribe, Uplink};
use crate::frame::gateway_message::{Done, Pong, ReaderOffset, Text};
use crate::frame::{ClientMessage, Drain, ErrorCode, GatewayMessage, TierCursors, TierStretch, TopicRef, UplinkAction};
use crate::recent_log;

/// Most requests of a connection that are open.
const OPEN_MAX: usize = 16;
/// Most subscriptions of a connection.
const SUBSCRIPTIONS_MAX: usize = 64;
/// Largest piece of a text, bytes; a client takes at least twice as much.
const TEXT_BYTES_MAX: usize = 1_024;

/// The failure of one request.
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, text: impl ToString) -> Self {
        Self { code, text: text.to_string() }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::new(ErrorCode::NotAuthorized, denied)
    }
}

/// What came of a request that could be told.
pub(super) type Told = Result<Result<(), Failure>, Gone>;

/// The open requests of one connection.
pub(super) struct Requests {
    context: Arc<Context>,
    executor: Arc<Executor>,
    outbox: Outbox,
    access: Access,
    peer_bytes_max: usize,
    /// The client's id, and where it comes from.
    client: (String, String),
    open: Vec<Task<()>>,
    subscriptions: HashMap<u32, (Arc<Credit>, Task<()>)>,
    /// Whose stretches come on this connection.
    tier: Option<TierSource>,
}

/// What a request needs to be served.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) context: Arc<Context>,
    pub(super) outbox: Outbox,
    /// The broker, as the client may use it.
    pub(super) access: Access,
    /// Largest frame body that the client takes, bytes.
    pub(super) peer_bytes_max: usize,
    /// Of the request.
    pub(super) id: u32,
}

impl Requests {
    pub(super) fn new(
        context: &Arc<Context>,
        executor: &Arc<Executor>,
        outbox: &Outbox,
        greeted: &Greeted,
        peer: &str,
    ) -> Self {
        Self {
            client: (greeted.client_id.clone(), peer.to_owned()),
            access: greeted.access.clone(),
            context: Arc::clone(context),
            executor: Arc::clone(executor),
            outbox: outbox.clone(),
            peer_bytes_max: greeted.peer_bytes_max,
            open: Vec::new(),
            subscriptions: HashMap::new(),
            tier: None,
        }
    }

    /// Begins a request.
    pub(super) async fn begin(&mut self, message: &ClientMessage<'_>, aliases: &Aliases) -> Result<(), Gone> {
        match message {
            ClientMessage::Ping(ping) => {
                let now = self.context.broker.now();
                let pong = Pong { id: ping.id, time_ms: now.wall_ms, time_trusted: now.wall_trusted };
                self.outbox.send(GatewayMessage::Pong(pong)).await
            }
            ClientMessage::Credit(credit) => {
                if let Some((open, _)) = self.subscriptions.get(&credit.id) {
                    open.add(credit.bytes);
                }
                Ok(())
            }
            ClientMessage::Unsubscribe(unsubscribe) => {
                if let Some((_, task)) = self.subscriptions.remove(&unsubscribe.id) {
                    // After this nothing of it is sent any more.
                    task.cancel().await;
                }
                self.outbox.send(GatewayMessage::Done(Done { id: unsubscribe.id })).await
            }
            ClientMessage::Subscribe(subscribe) => self.subscribe(subscribe, aliases).await,
            ClientMessage::TierCursors(asked) => self.tier_cursors(asked).await,
            ClientMessage::TierStretch(stretch) => self.tier_stretch(stretch).await,
            other => self.begin_task(other, aliases).await,
        }
    }

    async fn subscribe(&mut self, subscribe: &Subscribe<'_>, aliases: &Aliases) -> Result<(), Gone> {
        self.subscriptions.retain(|_, (_, task)| !task.is_finished());
        let call = self.call(subscribe.id);
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX || self.subscriptions.contains_key(&subscribe.id) {
            let text = format!("at most {SUBSCRIPTIONS_MAX} subscriptions a connection, each with an id of its own");
            return self.outbox.fail(subscribe.id, ErrorCode::InvalidArgument, &text).await;
        }
        let found = topic_name(subscribe.topic, aliases).and_then(|name| call.topic(name));
        let topic = match found {
            Ok(topic) => topic,
            Err(failure) => return self.outbox.fail(subscribe.id, failure.code, &failure.text).await,
        };
        let credit = Arc::new(Credit::new(subscribe.credit_bytes));
        let pushing = consuming::push(call.clone(), topic, subscribe.partition, subscribe.from, Arc::clone(&credit));
        let task = self.executor.spawn(call.run(pushing));
        self.subscriptions.insert(subscribe.id, (credit, task));
        Ok(())
    }

    async fn tier_cursors(&mut self, asked: &TierCursors<'_>) -> Result<(), Gone> {
        let call = self.call(asked.id);
        match tiering::source(&call, &self.client.0, asked) {
            Ok(source) => {
                self.tier = Some(source.clone());
                self.spawn(call.clone(), tiering::cursors(call, source, asked.topic)).await
            }
            Err(failure) => self.outbox.fail(asked.id, failure.code, &failure.text).await,
        }
    }

    async fn tier_stretch(&mut self, stretch: &TierStretch<'_>) -> Result<(), Gone> {
        let call = self.call(stretch.id);
        match tiering::begin(&call, self.tier.as_ref(), stretch).await {
            Ok(ticket) => self.spawn(call.clone(), tiering::finish(call, ticket)).await,
            Err(failure) => self.outbox.fail(stretch.id, failure.code, &failure.text).await,
        }
    }

    /// Lets a request be served beside the others, unless there are too many.
    async fn spawn(&mut self, call: Call, serving: impl Future<Output = Told> + Send + 'static) -> Result<(), Gone> {
        self.open.retain(|task| !task.is_finished());
        if self.open.len() >= OPEN_MAX {
            return call.overloaded().await;
        }
        self.open.push(self.executor.spawn(call.run(serving)));
        Ok(())
    }

    async fn begin_task(&mut self, message: &ClientMessage<'_>, aliases: &Aliases) -> Result<(), Gone> {
        let Some((id, topic)) = request_of(message) else { return Ok(()) };
        self.open.retain(|task| !task.is_finished());
        if self.open.len() >= OPEN_MAX {
            return self.call(id).overloaded().await;
        }
        let topic = match topic.map(|topic| topic_name(topic, aliases).map(str::to_owned)).transpose() {
            Ok(topic) => topic,
            Err(failure) => return self.outbox.fail(id, failure.code, &failure.text).await,
        };
        let call = self.call(id);
        let task = match (message, topic) {
            (ClientMessage::Fetch(fetch), Some(topic)) => {
                let wanted = consuming::Wanted::of(fetch);
                self.executor.spawn(call.clone().run(consuming::fetch(call, topic, wanted)))
            }
            (ClientMessage::ListOffsets(list), Some(topic)) => {
                let (partition, at) = (list.partition, list.at);
                self.executor.spawn(call.clone().run(consuming::list_offsets(call, topic, partition, at)))
            }
            (ClientMessage::CommitOffset(commit), Some(topic)) => {
                self.executor.spawn(call.clone().run(commit_offset(call, topic, commit)))
            }
            (ClientMessage::ReadOffset(read), Some(topic)) => {
                self.executor.spawn(call.clone().run(read_offset(call, topic, read)))
            }
            (ClientMessage::Status(_), _) => self.executor.spawn(call.clone().run(async move {
                if let Err(denied) = call.access.allow(Operation::Describe, Resource::CLUSTER) {
                    return Ok(Err(denied.into()));
                }
                let text = call.context.administration.status_json();
                call.text(&text).await.map(Ok)
            })),
            (ClientMessage::GroupJoin(join), Some(topic)) => {
                let client = self.client.clone();
                self.executor.spawn(call.clone().run(grouping::join(call, client, topic, join)))
            }
            (ClientMessage::GroupBeat(beat), _) => {
                self.executor.spawn(call.clone().run(grouping::beat(call, &beat.member)))
            }
            (ClientMessage::GroupLeave(leave), _) => {
                self.executor.spawn(call.clone().run(grouping::leave(call, &leave.member)))
            }
            (ClientMessage::GroupCommit(commit), Some(topic)) => {
                self.executor.spawn(call.clone().run(grouping::commit(call, topic, commit)))
            }
            (ClientMessage::Groups(groups), _) => self.executor.spawn(call.clone().run(grouping::look(call, groups))),
            (ClientMessage::DeadLetters(letters), _) => {
                self.executor.spawn(call.clone().run(lettering::serve(call, *letters)))
            }
            (ClientMessage::Rules(rules), _) => self.executor.spawn(call.clone().run(ruling::serve(call, rules))),
            (ClientMessage::Users(asked), _) => {
                self.executor.spawn(call.clone().run(users::serve(call, users::Asked::new(asked))))
            }
            (ClientMessage::RecentLog(_), _) => self.executor.spawn(call.clone().run(tell_log(call))),
            (ClientMessage::Reload(m), _) => self.executor.spawn(call.clone().run(reload(call, m.apply))),
            (ClientMessage::StoreFormat(m), _) => self.executor.spawn(call.clone().run(format_store(call, m.finalize))),
            (ClientMessage::Drain(drain), _) => self.executor.spawn(call.clone().run(empty(call, *drain))),
            (ClientMessage::Uplink(uplink), _) => self.executor.spawn(call.clone().run(steer_uplink(call, uplink))),
            (administration, _) => match topics::serve(call.clone(), administration) {
                Some(serving) => self.executor.spawn(call.run(serving)),
                None => return Ok(()),
            },
        };
        self.open.push(task);
        Ok(())
    }

    fn call(&self, id: u32) -> Call {
        Call {
            context: Arc::clone(&self.context),
            outbox: self.outbox.clone(),
            access: self.access.clone(),
            peer_bytes_max: self.peer_bytes_max,
            id,
        }
    }
}

fn topic_name<'a>(topic: TopicRef<'a>, aliases: &'a Aliases) -> Result<&'a str, Failure> {
    match topic {
        TopicRef::Name(name) => Ok(name),
        TopicRef::Alias(alias) => aliases.get(&alias).map(String::as_str).ok_or_else(|| {
            let text = format!("alias {alias} was never given to a topic on this connection");
            Failure::new(ErrorCode::UnknownTopic, text)
        }),
    }
}

/// The id of a request that is served by a task, and the topic it is about where that must exist.
fn request_of<'a>(message: &ClientMessage<'a>) -> Option<(u32, Option<TopicRef<'a>>)> {
    Some(match message {
        ClientMessage::Fetch(m) => (m.id, Some(m.topic)),
        ClientMessage::ListOffsets(m) => (m.id, Some(m.topic)),
        ClientMessage::CommitOffset(m) => (m.id, Some(m.topic)),
        ClientMessage::ReadOffset(m) => (m.id, Some(m.topic)),
        ClientMessage::CreateTopic(m) => (m.id, None),
        ClientMessage::ListTopics(m) => (m.id, None),
        ClientMessage::DescribeTopic(m) => (m.id, None),
        ClientMessage::AlterTopic(m) => (m.id, None),
        ClientMessage::DeleteTopic(m) => (m.id, None),
        ClientMessage::Status(m) => (m.id, None),
        ClientMessage::Uplink(m) => (m.id, None),
        ClientMessage::GroupJoin(m) => (m.id, Some(m.topic)),
        ClientMessage::GroupBeat(m) => (m.id, None),
        ClientMessage::GroupLeave(m) => (m.id, None),
        ClientMessage::GroupCommit(m) => (m.id, Some(m.topic)),
        ClientMessage::Groups(m) => (m.id, None),
        ClientMessage::DeadLetters(m) => (m.id, None),
        ClientMessage::Rules(m) => (m.id, None),
        ClientMessage::Users(m) => (m.id, None),
        ClientMessage::Drain(m) => (m.id, None),
        ClientMessage::RecentLog(m) => (m.id, None),
        ClientMessage::Reload(m) => (m.id, None),
        ClientMessage::StoreFormat(m) => (m.id, None),
        _ => return None,
    })
}

impl Call {
    /// Serves a request and tells if it failed.
    fn run(self, serving: impl Future<Output = Told> + Send + 'static) -> impl Future<Output = ()> + Send {
        self.serve(Box::pin(serving))
    }

    /// The same for all kinds of requests, so that it is in the binary once.
    async fn serve(self, serving: Pin<Box<dyn Future<Output = Told> + Send>>) {
        if let Ok(Err(failure)) = serving.await {
            // Whoever has gone does not want to know.
            let _ = self.outbox.fail(self.id, failure.code, &failure.text).await;
        }
    }

    async fn overloaded(&self) -> Result<(), Gone> {
        let text = format!("{OPEN_MAX} requests of this connection are open; wait for an answer");
        self.outbox.fail(self.id, ErrorCode::Overloaded, &text).await
    }

    /// The topic of this name, to be used in a certain way.
    pub(super) fn topic<R: Right>(&self, name: &str) -> Result<Granted<R>, Failure> {
        self.access.topic(name).map_err(|error| Failure::new(of_topic(&error, name), error))
    }

    pub(super) async fn done(&self) -> Result<(), Gone> {
        self.outbox.send(GatewayMessage::Done(Done { id: self.id })).await
    }

    /// Sends a text in pieces.
    pub(super) async fn text(&self, text: &str) -> Result<(), Gone> {
        let mut rest = text;
        loop {
            let mut cut = rest.len().min(TEXT_BYTES_MAX);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (piece, after) = rest.split_at(cut);
            let message = Text { id: self.id, last: after.is_empty(), text: piece };
            self.outbox.send(GatewayMessage::Text(message)).await?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }
}

fn commit_offset(call: Call, topic: String, commit: &CommitOffset<'_>) -> impl Future<Output = Told> + use<> {
    let (reader, partition) = (commit.reader.to_owned(), commit.partition as i32);
    let metadata = commit.metadata.to_owned();
    let committed = CommittedOffset { offset: commit.offset, leader_epoch: -1, metadata };
    async move {
        let topic = match call.topic::<right::Read>(&topic) {
            Ok(topic) => topic,
            Err(failure) => return Ok(Err(failure)),
        };
        if topic.partition(partition).is_none() {
            return Ok(Err(no_partition(&topic, partition)));
        }
        let offsets = vec![(topic.id, partition, committed)];
        match call.access.commit_offsets(&reader, None, offsets).await {
            Ok(()) => call.done().await.map(Ok),
            Err(error) => Ok(Err(Failure::new(of_offset(&error), error))),
        }
    }
}

fn read_offset(call: Call, topic: String, read: &ReadOffset<'_>) -> impl Future<Output = Told> + use<> {
    let (reader, partition) = (read.reader.to_owned(), read.partition as i32);
    async move {
        let topic = match call.topic::<right::Describe>(&topic) {
            Ok(topic) => topic,
            Err(failure) => return Ok(Err(failure)),
        };
        if topic.partition(partition).is_none() {
            return Ok(Err(no_partition(&topic, partition)));
        }
        let committed = match call.access.committed_offset(&reader, &topic, partition) {
            Ok(committed) => committed,
            Err(denied) => return Ok(Err(denied.into())),
        };
        let (offset, metadata) = committed.map_or((None, String::new()), |c| (Some(c.offset), c.metadata));
        let answer = ReaderOffset { id: call.id, offset, metadata: &metadata };
        call.outbox.send(GatewayMessage::ReaderOffset(answer)).await.map(Ok)
    }
}

fn steer_uplink(call: Call, uplink: &Uplink<'_>) -> impl Future<Output = Told> + use<> {
    let (action, name) = (uplink.action, uplink.name.to_owned());
    let operation = match action {
        UplinkAction::Status => Operation::Describe,
        UplinkAction::Check | UplinkAction::Pause | UplinkAction::Resume | UplinkAction::Skip => Operation::Alter,
    };
    async move {
        if let Err(denied) = call.access.allow(operation, Resource::CLUSTER) {
            return Ok(Err(denied.into()));
        }
        match call.context.administration.uplink(action, &name).await {
            Ok(text) => call.text(&text).await.map(Ok),
            Err(text) => Ok(Err(Failure::new(ErrorCode::InvalidArgument, text))),
        }
    }
}

async fn tell_log(call: Call) -> Told {
    // It has the names of other clients: for those who may change the gateway.
    if let Err(denied) = call.access.allow(Operation::Alter, Resource::CLUSTER) {
        return Ok(Err(denied.into()));
    }
    call.text(&recent_log::text()).await.map(Ok)
}

async fn empty(call: Call, drain: Drain) -> Told {
    if let Err(denied) = call.access.allow(Operation::Alter, Resource::CLUSTER) {
        return Ok(Err(denied.into()));
    }
    let wait = Duration::from_millis(drain.wait_ms.into());
    match call.context.administration.drain(drain.action, wait).await {
        Ok(text) => call.text(&text).await.map(Ok),
        Err(text) => Ok(Err(Failure::new(ErrorCode::InvalidArgument, text))),
    }
}

async fn reload(call: Call, apply: bool) -> Told {
    if let Err(denied) = call.access.allow(Operation::Alter, Resource::CLUSTER) {
        return Ok(Err(denied.into()));
    }
    let told = call.context.administration.reload(apply).await;
    tell(call, told).await
}

async fn format_store(call: Call, finalize: bool) -> Told {
    if let Err(denied) = call.access.allow(Operation::Alter, Resource::CLUSTER) {
        return Ok(Err(denied.into()));
    }
    let told = call.context.administration.store_format(finalize).await;
    tell(call, told).await
}

async fn tell(call: Call, told: Result<String, String>) -> Told {
    match told {
        Ok(text) => call.text(&text).await.map(Ok),
        Err(text) => Ok(Err(Failure::new(ErrorCode::InvalidArgument, text))),
    }
}

pub(super) fn no_partition(topic: &Topic, partition: i32) -> Failure {
    let text =
        format!("topic {} has {} partitions, from 0; there is no {partition}", topic.name, topic.partition_count());
    Failure::new(ErrorCode::UnknownPartition, text)
}
