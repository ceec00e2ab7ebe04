//! What a client may do, in words of MQTT: rights are those to the Kafka topic that a message belongs to.
//!
//! A subscription is refused where everything that it could bring is denied; else what is denied of it is left out when it would be
//! delivered, so that rights that change hold for subscriptions that are there.

use super::Context;
use super::log;
use super::message::Message;
use crate::broker::rights::{Denied, Operation, Resource};
use crate::broker::{Access, Topic};

/// Whether a client may have the messages of a topic.
pub(super) fn may_read(access: &Access, topic: &Topic) -> bool {
    access.may(Operation::Read, Resource::topic(&topic.name))
}

/// Whether a client may have a message that is retained.
pub(super) fn may_have(context: &Context, access: &Access, retained: &Message) -> bool {
    let publisher = retained.client.as_deref().unwrap_or_default();
    let mapped = context.options().rules.map(&retained.topic, publisher);
    access.may(Operation::Read, Resource::topic(&mapped.topic))
}

/// Whether a client may subscribe to `pattern`.
///
/// # Errors
/// [`Denied`]: for one of the topics, of which none may be read.
pub(super) fn allow_subscription(
    context: &Context,
    access: &Access,
    client: &str,
    pattern: &str,
) -> Result<(), Denied> {
    let mut denied = None;
    for topic in log::topics(&context.own).filter(|topic| context.options().rules.may_hold(pattern, &topic.name)) {
        if may_read(access, &topic) {
            return Ok(());
        }
        denied.get_or_insert(topic.name.clone());
    }
    let is_one = !pattern.split('/').any(|level| matches!(level, "+" | "#"));
    let name = denied.or_else(|| is_one.then(|| context.options().rules.map(pattern, client).topic));
    // Of topics to come nothing is known.
    name.map_or(Ok(()), |name| access.allow(Operation::Read, Resource::topic(&name)))
}

/// Whether a client may have a will published for it.
///
/// # Errors
/// [`Denied`].
pub(super) fn allow_will(context: &Context, access: &Access, client: &str, topic: &str) -> Result<(), Denied> {
    let mapped = context.options().rules.map(topic, client);
    access.allow(Operation::Write, Resource::topic(&mapped.topic))
}
