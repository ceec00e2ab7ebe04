//! What the topics upstream are: whether they are there, how many partitions they have, and what they take.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::line::{Line, Reply};
use crate::frame::{ClientMessage, Configs, CreateTopic, DescribeTopic, ErrorCode, GatewayMessage, Topic};
use crate::uplink::link::cluster::{ClusterError, TopicLimits};
use crate::uplink::link::connection::LinkError;
use crate::uplink::parts::Upstream;
use crate::uplink::task::Forwarder;

/// Topics that are asked for at a time.
const AT_ONCE: usize = 8;

/// A topic upstream.
pub(super) type Described = Result<(u32, TopicLimits), (ErrorCode, String)>;

/// Asks for a topic.
///
/// # Errors
/// [`LinkError`], if the line is closed.
pub(super) fn ask(line: &Line, id: u32, name: &str) -> Result<Reply, LinkError> {
    line.ask(id, &ClientMessage::DescribeTopic(DescribeTopic { id, name }))
}

/// The answer to [`ask`].
///
/// # Errors
/// [`LinkError`], if there is none.
pub(super) async fn described(reply: Reply) -> Result<Described, LinkError> {
    let bodies = reply.bodies().await?;
    match bodies.first().map(|body| GatewayMessage::decode(body)) {
        Some(Ok(GatewayMessage::Topic(topic))) => Ok(Ok((topic.partitions, limits(&topic)))),
        Some(Ok(GatewayMessage::Failed(failed))) => Ok(Err((failed.code, failed.text.to_owned()))),
        _ => Err(LinkError::new("the answer to a request for a topic is none")),
    }
}

fn limits(topic: &Topic<'_>) -> TopicLimits {
    let setting = |name: &str| topic.configs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let mut limits = TopicLimits { told: true, ..TopicLimits::default() };
    if let Some(bytes) = setting("max.message.bytes").and_then(|value| value.parse().ok()) {
        limits.max_message_bytes = bytes;
    }
    limits.compression_type = setting("compression.type").map(str::to_owned);
    limits
}

impl Forwarder {
    /// Asks for the topics that are forwarded to, and creates those that are missing where that is configured.
    ///
    /// # Errors
    /// [`ClusterError`], if the gateway upstream is out of reach.
    pub(in crate::uplink) async fn learn_topics(&mut self) -> Result<(), ClusterError> {
        let names: BTreeSet<Arc<str>> =
            self.mirror.partitions().map(|(_, followed)| Arc::clone(&followed.names.upstream)).collect();
        let names: Vec<Arc<str>> = names.into_iter().filter(|name| self.has_started_or_due(name)).collect();
        let all = self.describe(&names).await?;
        self.link_works();
        self.refreshed();
        self.learn_status_topic_above().await?;
        for (name, described) in all {
            let described = match described {
                Err((ErrorCode::UnknownTopic, _)) if self.options.config.create_topics => {
                    self.create(&name, self.options.config.create_partitions.unwrap_or(0)).await?
                }
                described => described,
            };
            match described {
                Ok((partitions, limits)) => {
                    // Stretches arrive in their order, so another number takes effect at once.
                    let upstream = Upstream { partitions, heard: None, limits, limits_at: Instant::now() };
                    self.upstreams.insert(name, upstream);
                }
                Err((ErrorCode::UnknownTopic, _)) => {
                    let why = "the topic is missing upstream: create it there, or set create_topics for this uplink";
                    self.stall_topic(&name, why);
                }
                Err((code, text)) => self.stall_topic(&name, &format!("{code}: {text}")),
            }
        }
        self.tell_door(false);
        Ok(())
    }

    /// Asks for the topic of notices; it stops nothing if that can't be used.
    async fn learn_status_topic_above(&mut self) -> Result<(), ClusterError> {
        let Some(topic) = self.beacon.topic() else { return Ok(()) };
        let creates = self.options.config.create_topics && !self.beacon.creation_tried;
        let described = match self.describe(std::slice::from_ref(&topic)).await?.into_iter().next() {
            Some((_, Err((ErrorCode::UnknownTopic, _)))) if creates => {
                self.beacon.creation_tried = true;
                self.create(&topic, 1).await?
            }
            Some((_, described)) => described,
            None => return Ok(()),
        };
        self.heard_of_status_topic(match described {
            Ok((partitions, _)) => Ok(partitions),
            Err((ErrorCode::UnknownTopic, _)) => Err(self.beacon.missing()),
            Err((code, text)) => Err(format!("{topic}: {code}: {text}")),
        });
        Ok(())
    }

    /// What these topics take.
    ///
    /// # Errors
    /// [`ClusterError`], if the gateway upstream is out of reach.
    pub(in crate::uplink) async fn limits_above(
        &mut self,
        names: &[Arc<str>],
    ) -> Result<Vec<TopicLimits>, ClusterError> {
        let described = self.describe(names).await?;
        Ok(described.into_iter().map(|(_, one)| one.map(|(_, limits)| limits).unwrap_or_default()).collect())
    }

    async fn describe(&mut self, names: &[Arc<str>]) -> Result<Vec<(Arc<str>, Described)>, ClusterError> {
        let Some(tier) = &mut self.tier else { return Ok(Vec::new()) };
        let line = tier.line.clone().ok_or_else(|| LinkError::new("the connection was given up"))?;
        let room = tier.frame_room();
        let mut all = Vec::new();
        for some in names.chunks(AT_ONCE) {
            let asked: Result<Vec<Reply>, LinkError> =
                some.iter().map(|name| ask(&line, tier.new_id(), name)).collect();
            for (name, reply) in some.iter().zip(asked?) {
                let mut one = described(reply).await?;
                if let Ok((_, limits)) = &mut one {
                    // A batch must fit into a frame, too.
                    limits.max_message_bytes = limits.max_message_bytes.min(room);
                }
                all.push((Arc::clone(name), one));
            }
        }
        Ok(all)
    }

    /// `partitions`: 0 leaves their number to the gateway upstream.
    async fn create(&mut self, name: &Arc<str>, partitions: u32) -> Result<Described, ClusterError> {
        let Some(tier) = &mut self.tier else { return Ok(Err((ErrorCode::UnknownTopic, String::new()))) };
        let line = tier.line.clone().ok_or_else(|| LinkError::new("the connection was given up"))?;
        let id = tier.new_id();
        let create = CreateTopic { id, name, partitions, configs: Configs::new() };
        let bodies = line.ask(id, &ClientMessage::CreateTopic(create))?.bodies().await?;
        match bodies.first().map(|body| GatewayMessage::decode(body)) {
            Some(Ok(GatewayMessage::Done(_))) => {
                log::info!("uplink {}: created topic {name} upstream", self.options.name);
            }
            // Somebody else was faster.
            Some(Ok(GatewayMessage::Failed(failed))) if failed.code == ErrorCode::TopicExists => {}
            Some(Ok(GatewayMessage::Failed(failed))) => {
                let text = format!("the topic is missing upstream and can't be created: {}", failed.text);
                return Ok(Err((failed.code, text)));
            }
            _ => return Err(LinkError::new("the answer to the creation of a topic is none").into()),
        }
        let described = self.describe(std::slice::from_ref(name)).await?;
        let gone = || Err((ErrorCode::UnknownTopic, "it is gone again".to_owned()));
        Ok(described.into_iter().next().map_or_else(gone, |(_, one)| one))
    }
}
