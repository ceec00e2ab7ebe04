//! Topic administration.

use std::future::Future;
use std::pin::Pin;

use super::errors::of_topic;
use super::requests::{Call, Failure, Told};
use crate::broker::{NewTopic, SettingsChange, Topic, TopicConfig, TopicError, right};
use crate::frame::client_message::{AlterTopic, Configs, CreateTopic};
use crate::frame::gateway_message::Topic as TopicMessage;
use crate::frame::{ClientMessage, GatewayMessage};

type Serving = Pin<Box<dyn Future<Output = Told> + Send>>;

/// Serves a message that is about topics; `None` for others.
pub(super) fn serve(call: Call, message: &ClientMessage<'_>) -> Option<Serving> {
    Some(match message {
        ClientMessage::CreateTopic(create) => Box::pin(create_topic(call, create)),
        ClientMessage::AlterTopic(alter) => Box::pin(alter_topic(call, alter)),
        ClientMessage::ListTopics(list) => Box::pin(list_topics(call, list.after.to_owned())),
        ClientMessage::DescribeTopic(describe) => Box::pin(describe_topic(call, describe.name.to_owned())),
        ClientMessage::DeleteTopic(delete) => Box::pin(delete_topic(call, delete.name.to_owned())),
        _ => return None,
    })
}

fn create_topic(call: Call, create: &CreateTopic<'_>) -> impl Future<Output = Told> + use<> {
    let new = NewTopic {
        name: create.name.to_owned(),
        partitions: (create.partitions > 0).then_some(create.partitions),
        configs: create.configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        id: None,
    };
    async move {
        let name = new.name.clone();
        let created = call.access.create_topic(new).await;
        finish(&call, &name, created.map(drop)).await
    }
}

fn alter_topic(call: Call, alter: &AlterTopic<'_>) -> impl Future<Output = Told> + use<> {
    let (name, partitions) = (alter.name.to_owned(), alter.partitions);
    let changes: Vec<_> = alter
        .configs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (!value.is_empty()).then(|| (*value).to_owned())))
        .collect();
    async move {
        let access = &call.access;
        let mut altered = Ok(());
        // Who may add partitions need not be one who may change settings.
        if !changes.is_empty() || partitions.is_none() {
            altered = access.change_settings(&name, SettingsChange::Some(changes)).await.map(drop);
        }
        if let (Ok(()), Some(partitions)) = (&altered, partitions) {
            altered = access.add_partitions(&name, partitions).await.map(drop);
        }
        finish(&call, &name, altered).await
    }
}

async fn list_topics(call: Call, after: String) -> Told {
    let topics = call.access.topics::<right::Describe>();
    for topic in topics.iter().filter(|topic| topic.name > after) {
        send(&call, topic, Configs::new()).await?;
    }
    call.done().await.map(Ok)
}

async fn describe_topic(call: Call, name: String) -> Told {
    let topic = match call.topic::<right::Describe>(&name) {
        Ok(topic) => topic,
        Err(failure) => return Ok(Err(failure)),
    };
    let values: Vec<_> = TopicConfig::KEYS.iter().filter_map(|key| Some((*key, topic.config.get(key)?))).collect();
    // There are fewer keys than a message holds.
    let configs = values.iter().map(|(key, value)| (*key, value.as_str())).collect();
    send(&call, &topic, configs).await?;
    call.done().await.map(Ok)
}

async fn delete_topic(call: Call, name: String) -> Told {
    let deleted = match call.access.topic(&name) {
        Ok(topic) => call.access.delete_topic(&topic).await,
        Err(error) => Err(error),
    };
    finish(&call, &name, deleted).await
}

async fn send(call: &Call, topic: &Topic, configs: Configs<'_>) -> Result<(), super::outbox::Gone> {
    let message =
        TopicMessage { id: call.id, name: &topic.name, uuid: topic.id.0, partitions: topic.partition_count(), configs };
    call.outbox.send(GatewayMessage::Topic(message)).await
}

async fn finish(call: &Call, name: &str, result: Result<(), TopicError>) -> Told {
    match result {
        Ok(()) => call.done().await.map(Ok),
        Err(error) => Ok(Err(Failure::new(of_topic(&error, name), error))),
    }
}

const _: () = assert!(TopicConfig::KEYS.len() <= crate::frame::CONFIGS_MAX);
