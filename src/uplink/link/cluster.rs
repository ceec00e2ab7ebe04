//! The upstream cluster as it was last heard of: brokers, topics, leaders; a connection to each broker that is needed; and the
//! requests that are answered one at a time (metadata, topics, producer ids). Batches go out in `session.rs`.
//!
//! Invariant: nothing here retries. Whoever asked decides by the error how long to wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::sending::producer::Identity;
use super::connection::{Connection, LinkError};
use super::dial::Dialer;
pub(in crate::uplink) use super::metadata::{Told, TopicState, ask_topics};
use super::versions::{NotSpoken, Versions};
use crate::config::HostPort;
use crate::kafka::api::ApiKey;
use crate::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse};
use crate::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, DescribeConfigsResult,
};
use crate::kafka::error_code::{ErrorCode, Shown};
use crate::kafka::header::read_response;
use crate::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::kafka::message::Request;
use crate::kafka::metadata::MetadataRequest;
use crate::kafka::wire::DecodeError;

/// A smaller `max.message.bytes` upstream is not believed: nothing would fit.
const BATCH_BYTES_MIN: usize = 256;
/// The number of a resource of kind topic in DescribeConfigs.
const RESOURCE_TOPIC: i8 = 2;
/// The settings of a topic upstream that matter here.
const SETTINGS: [&str; 5] = [
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "cleanup.policy",
    "compression.type",
];

/// Why the cluster did not do what it was asked.
#[derive(Clone, Debug)]
pub(in crate::uplink) enum ClusterError {
    /// No connection, or it failed: wait, then try again.
    Link(LinkError),
    /// The broker is too old or too new: only an upgrade helps.
    Version(NotSpoken),
    /// It offers no transactions: what is missing.
    NoTransactions(NotSpoken),
    /// It answered with an error code.
    Refused { api: ApiKey, code: i16, text: String },
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => error.fmt(f),
            Self::Version(error) => error.fmt(f),
            Self::NoTransactions(error) => write!(
                f,
                "no transactions, which delivery = \"exactly-once\" takes: {error}; set delivery = \"at-least-once\" for this \
                 uplink, which repeats the last records after a crash; or, if that is a Brooklet, protocol = \"brooklet\" and \
                 its native port"
            ),
            Self::Refused { api, code, text } => {
                write!(f, "{}: {}", api.name(), Shown(*code))?;
                if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
            }
        }
    }
}

impl std::error::Error for ClusterError {}

impl From<LinkError> for ClusterError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<NotSpoken> for ClusterError {
    fn from(error: NotSpoken) -> Self {
        Self::Version(error)
    }
}

/// A connection and what is spoken on it.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct Link {
    pub(in crate::uplink) connection: Arc<Connection>,
    pub(in crate::uplink) versions: Arc<Versions>,
}

impl Link {
    /// # Errors
    /// [`LinkError`], which says how far it came.
    pub(in crate::uplink) async fn dial(dialer: &Dialer, address: &HostPort) -> Result<Link, LinkError> {
        let (connection, versions) = dialer.dial(address).await?;
        Ok(Link { connection: Arc::new(connection), versions: Arc::new(versions) })
    }

    /// Sends one request, waits for the answer, and hands its body to `read`.
    pub(in crate::uplink) async fn ask<'a, M: Request<'a>, T>(
        &self,
        body: &M,
        read: impl FnOnce(i16, &[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, ClusterError> {
        self.ask_below(i16::MAX, body, read).await
    }

    /// As [`Link::ask`], in a version of at most `max`.
    pub(in crate::uplink) async fn ask_below<'a, M: Request<'a>, T>(
        &self,
        max: i16,
        body: &M,
        read: impl FnOnce(i16, &[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, ClusterError> {
        let version = self.versions.pick_below(M::KEY, max)?;
        let frame = self.connection.send(version, body)?.frame().await?;
        read(version, &frame).map_err(|error| {
            let (peer, api) = (self.connection.peer(), M::KEY.name());
            LinkError::new(format_args!("{peer}: the answer to {api} is not one: {error}")).into()
        })
    }
}

/// What a topic upstream takes. Kafka's defaults where the cluster doesn't tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct TopicLimits {
    /// Largest batch, bytes.
    pub(in crate::uplink) max_message_bytes: usize,
    /// How far a timestamp may be ahead of the broker's clock; `None`: not told.
    pub(in crate::uplink) ahead_max: Option<Duration>,
    /// How far a timestamp may lie back; `None`: not told, or any time.
    pub(in crate::uplink) behind_max: Option<Duration>,
    /// `cleanup.policy`, as it is written.
    pub(in crate::uplink) cleanup_policy: Option<String>,
    /// `compression.type`: anything but `producer` recompresses what passes through.
    pub(in crate::uplink) compression_type: Option<String>,
    /// Whether the cluster told at all.
    pub(in crate::uplink) told: bool,
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self {
            max_message_bytes: crate::limits::BATCH_BYTES_DEFAULT,
            ahead_max: None,
            behind_max: None,
            cleanup_policy: None,
            compression_type: None,
            told: false,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::uplink) struct Cluster {
    dialer: Dialer,
    bootstrap: Vec<HostPort>,
    /// As of the last metadata; empty before the first.
    brokers: BTreeMap<i32, HostPort>,
    controller: i32,
    links: BTreeMap<i32, Link>,
    /// To a bootstrap address: whose it is, is not known before the first metadata.
    seed: Option<Link>,
    topics: BTreeMap<Arc<str>, TopicState>,
    ids: BTreeMap<Arc<str>, [u8; 16]>,
}

impl Cluster {
    pub(in crate::uplink) fn new(dialer: Dialer, bootstrap: Vec<HostPort>) -> Self {
        Self {
            dialer,
            bootstrap,
            brokers: BTreeMap::new(),
            controller: -1,
            links: BTreeMap::new(),
            seed: None,
            topics: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    /// What its brokers are called with.
    pub(in crate::uplink) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// What was last heard of a topic.
    pub(in crate::uplink) fn topic(&self, name: &str) -> Option<&TopicState> {
        self.topics.get(name)
    }

    /// The broker that leads a partition, if there is one.
    pub(in crate::uplink) fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        match self.topics.get(topic)? {
            TopicState::Known(leaders) => leaders.get(usize::try_from(partition).ok()?).copied().flatten(),
            TopicState::Failed(_) => None,
        }
    }

    /// Makes a connection that was dialled elsewhere that of a broker.
    pub(in crate::uplink) fn adopt(&mut self, node: i32, link: Link) {
        self.links.insert(node, link);
        self.seed = None;
    }

    /// What is needed to dial a broker beside other work; `None` if it isn't in the metadata any more.
    pub(in crate::uplink) fn dialling(&self, node: i32) -> Option<(Dialer, HostPort)> {
        Some((self.dialer.clone(), self.brokers.get(&node)?.clone()))
    }

    /// The brokers as of the last metadata.
    pub(in crate::uplink) fn brokers(&self) -> &BTreeMap<i32, HostPort> {
        &self.brokers
    }

    /// The open connection to a broker.
    pub(in crate::uplink) fn open_link(&self, node: i32) -> Option<&Link> {
        self.links.get(&node).filter(|link| !link.connection.is_closed())
    }

    /// The versions spoken, for people; of any broker.
    pub(in crate::uplink) fn versions(&self) -> Option<String> {
        self.links.values().chain(&self.seed).next().map(|link| link.versions.summary())
    }

    /// Asks for brokers and for these topics.
    ///
    /// # Errors
    /// [`ClusterError`]; what was known before still stands then.
    pub(in crate::uplink) async fn refresh(&mut self, topics: &[Arc<str>]) -> Result<(), ClusterError> {
        let link = self.any_link().await?;
        let told = ask_topics(&link, topics).await?;
        self.learn(told);
        Ok(())
    }

    /// Takes over what metadata says.
    pub(in crate::uplink) fn learn(&mut self, told: Told) {
        let Told { brokers, controller, topics, ids } = told;
        // A broker that moved to another address gets a new connection.
        self.links.retain(|node, _| brokers.get(node).is_some_and(|address| self.brokers.get(node) == Some(address)));
        (self.brokers, self.controller, self.topics, self.ids) = (brokers, controller, topics, ids);
        self.adopt_seed();
    }

    /// The identity of a topic upstream; zeros if the cluster does not tell (before Kafka 2.8).
    pub(in crate::uplink) fn topic_id(&self, name: &str) -> [u8; 16] {
        self.ids.get(name).copied().unwrap_or_default()
    }

    /// What is needed to dial some broker beside other work: those known, in random order, then the bootstrap addresses.
    pub(in crate::uplink) fn dialling_any(&self) -> (Dialer, Vec<HostPort>) {
        let mut known: Vec<HostPort> = self.brokers.values().cloned().collect();
        let mut bootstrap = self.bootstrap.clone();
        fastrand::shuffle(&mut known);
        fastrand::shuffle(&mut bootstrap);
        known.extend(bootstrap);
        (self.dialer.clone(), known)
    }

    /// Keeps a connection that was dialled elsewhere, if there is none to that broker.
    pub(in crate::uplink) fn keep(&mut self, link: Link) {
        self.links.retain(|_, link| !link.connection.is_closed());
        self.seed = Some(link);
        self.adopt_seed();
    }

    /// A connection to this broker.
    ///
    /// # Errors
    /// [`ClusterError::Link`], also if the broker is not known any more.
    pub(in crate::uplink) async fn link(&mut self, node: i32) -> Result<Link, ClusterError> {
        if let Some(link) = self.open_link(node) {
            return Ok(link.clone());
        }
        let address = self.brokers.get(&node).cloned();
        let address = address.ok_or_else(|| LinkError::new(format_args!("broker {node} is not in the metadata")))?;
        let link = self.dial(&address).await?;
        self.links.insert(node, link.clone());
        self.seed = None;
        Ok(link)
    }

    /// Creates a topic; `None` leaves a number to the cluster. That it exists already is success.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub(in crate::uplink) async fn create_topic(
        &mut self,
        name: &str,
        partitions: Option<u32>,
        replication: Option<u16>,
        settings: &[(&str, &str)],
    ) -> Result<(), ClusterError> {
        let topic = CreatableTopic {
            name,
            num_partitions: partitions.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1),
            replication_factor: replication.and_then(|n| i16::try_from(n).ok()).unwrap_or(-1),
            configs: settings.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, validate_only: false };
        // Before KRaft only the controller created topics; since then every broker passes it on.
        let link = match self.link(self.controller).await {
            Ok(link) => link,
            Err(_) => self.any_link().await?,
        };
        let told = link.ask(&request, |version, frame| {
            let (_, response) = read_response::<CreateTopicsResponse<'_>>(version, frame)?;
            let result = response.topics.first();
            Ok(result.map(|result| (result.error_code, result.error_message.unwrap_or_default().to_owned())))
        });
        let unanswered = (ErrorCode::UnknownServerError.code(), "the answer leaves the topic out".to_owned());
        let (code, text) = told.await?.unwrap_or(unanswered);
        if code == 0 || code == ErrorCode::TopicAlreadyExists.code() {
            return Ok(());
        }
        Err(ClusterError::Refused { api: ApiKey::CreateTopics, code, text })
    }

    /// What topics take. Kafka's defaults for those this client may not ask about.
    ///
    /// # Errors
    /// [`ClusterError::Link`] only.
    pub(in crate::uplink) async fn limits(&mut self, topics: &[Arc<str>]) -> Result<Vec<TopicLimits>, ClusterError> {
        let resource = |topic| DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: topic,
            configuration_keys: Some(SETTINGS.to_vec()),
        };
        let resources = topics.iter().map(|topic| resource(topic)).collect();
        let request = DescribeConfigsRequest { resources, ..Default::default() };
        let link = self.any_link().await?;
        let told = link.ask(&request, |version, frame| {
            let (_, response) = read_response::<DescribeConfigsResponse<'_>>(version, frame)?;
            Ok(topics.iter().map(|topic| limits_in(&response, topic)).collect())
        });
        match told.await {
            Err(ClusterError::Version(_)) => Ok(vec![TopicLimits::default(); topics.len()]),
            other => other,
        }
    }

    /// A producer id for an idempotent producer.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub(in crate::uplink) async fn new_identity(&mut self) -> Result<Identity, ClusterError> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            // Of no meaning without a transaction, but some brokers want it positive.
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        };
        let link = self.any_link().await?;
        let (code, identity) = link
            .ask(&request, |version, frame| {
                let (_, told) = read_response::<InitProducerIdResponse>(version, frame)?;
                Ok((told.error_code, Identity { id: told.producer_id, epoch: told.producer_epoch }))
            })
            .await?;
        if code == 0 {
            return Ok(identity);
        }
        Err(ClusterError::Refused { api: ApiKey::InitProducerId, code, text: String::new() })
    }

    /// Asks every connection that has been idle for `every` for the brokers, the smallest answer there is. When the next one is due;
    /// `None` if no connection is open.
    pub(in crate::uplink) fn keep_alive(&mut self, every: Duration) -> Option<Instant> {
        let now = Instant::now();
        let mut next = None;
        for link in self.links.values().chain(&self.seed).filter(|link| !link.connection.is_closed()) {
            let mut due = link.connection.idle_since().unwrap_or(now) + every;
            if due <= now {
                due = now + every;
                let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
                let asked = link.versions.pick(ApiKey::Metadata).ok();
                let reply = asked.and_then(|version| link.connection.send(version, &request).ok());
                if let Some(reply) = reply {
                    // Nobody reads the answer; its absence closes the connection.
                    self.dialer.executor().spawn(async { drop(reply.frame().await) }).detach();
                }
            }
            next = Some(next.map_or(due, |next: Instant| next.min(due)));
        }
        next
    }

    /// A connection to any broker: an open one, else to those known, else to the bootstrap addresses, in random order.
    ///
    /// # Errors
    /// [`ClusterError::Link`] of the last one tried.
    pub(in crate::uplink) async fn any_link(&mut self) -> Result<Link, ClusterError> {
        let open = self.links.values().chain(&self.seed).find(|link| !link.connection.is_closed());
        if let Some(link) = open {
            return Ok(link.clone());
        }
        let mut known: Vec<i32> = self.brokers.keys().copied().collect();
        fastrand::shuffle(&mut known);
        for node in known {
            if let Ok(link) = self.link(node).await {
                return Ok(link);
            }
        }
        let mut addresses = self.bootstrap.clone();
        fastrand::shuffle(&mut addresses);
        let mut last = LinkError::new("no bootstrap address is configured");
        for address in addresses {
            match self.dial(&address).await {
                Ok(link) => {
                    self.seed = Some(link.clone());
                    return Ok(link);
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    async fn dial(&self, address: &HostPort) -> Result<Link, LinkError> {
        Link::dial(&self.dialer, address).await
    }

    /// The bootstrap connection becomes that of the broker with this address, so that none is opened twice.
    fn adopt_seed(&mut self) {
        let Some(seed) = &self.seed else { return };
        let owner = self.brokers.iter().find(|(_, address)| address.to_string() == seed.connection.peer());
        if let Some((node, _)) = owner
            && let Some(seed) = self.seed.take()
        {
            self.links.entry(*node).or_insert(seed);
        }
    }
}

fn limits_in(response: &DescribeConfigsResponse<'_>, topic: &str) -> TopicLimits {
    let mut limits = TopicLimits::default();
    let told = |result: &&DescribeConfigsResult<'_>| result.error_code == 0 && result.resource_name == topic;
    let Some(result) = response.results.iter().find(told) else { return limits };
    limits.told = true;
    for config in &result.configs {
        let Some(value) = config.value else { continue };
        let time = || value.parse().ok().filter(|ms| *ms < i64::MAX as u64).map(Duration::from_millis);
        match config.name {
            "max.message.bytes" => {
                let told = value.parse().unwrap_or(limits.max_message_bytes);
                limits.max_message_bytes = told.clamp(BATCH_BYTES_MIN, crate::limits::BATCH_BYTES_MAX);
            }
            "message.timestamp.after.max.ms" => limits.ahead_max = time(),
            "message.timestamp.before.max.ms" => limits.behind_max = time(),
            "cleanup.policy" => limits.cleanup_policy = Some(value.to_owned()),
            "compression.type" => limits.compression_type = Some(value.to_owned()),
            _ => {}
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::describe_configs::DescribeConfigsResourceResult;

    #[test]
    fn limits_come_from_the_topic_or_are_kafkas_defaults() {
        let config = |name, value| DescribeConfigsResourceResult { name, value: Some(value), ..Default::default() };
        let configs = vec![
            config("max.message.bytes", "2000"),
            config("message.timestamp.after.max.ms", "3600000"),
            config("message.timestamp.before.max.ms", "9223372036854775807"),
        ];
        let mut response = DescribeConfigsResponse {
            results: vec![DescribeConfigsResult { resource_name: "t", configs, ..Default::default() }],
            ..Default::default()
        };
        let limits = limits_in(&response, "t");
        assert_eq!((limits.max_message_bytes, limits.told), (2_000, true));
        assert_eq!((limits.ahead_max, limits.behind_max), (Some(Duration::from_secs(3_600)), None));
        response.results[0].error_code = 29;
        assert_eq!(limits_in(&response, "t"), TopicLimits::default());
    }
}
