//! CONNECT: who comes, what for, and what is granted (MQTT 5.0, sections 3.1.4 and 3.2).

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::hub::{self, Hub, NoPlace, Place};
use super::inbound::Inbound;
use super::log;
use super::message::Message;
use super::permits;
use super::publishing::{self, Will};
use super::session::Session;
use crate::broker::Access;
use crate::limits::{MQTT_CLIENT_ID_BYTES_MAX, MQTT_TOPIC_BYTES_MAX};
use crate::listen::arrival::Arrival;
use crate::listen::auth::Refused;
use crate::mqtt::{ConnAck, Connect, PropertiesBuilder, Property, Protocol, Publish, ReasonCode};
use crate::secret::Secret;

/// Topic aliases that a client may make.
pub(super) const ALIASES_MAX: u16 = 64;

/// What was agreed on.
pub(super) struct Greeted {
    pub(super) place: Place,
    pub(super) terms: Terms,
    pub(super) session: Session,
    pub(super) inbound: Inbound,
    /// After how many seconds, and what.
    pub(super) will: Option<(u32, Will)>,
    pub(super) session_present: bool,
    /// What CONNACK says besides.
    pub(super) told: PropertiesBuilder,
}

/// What both sides hold to on this connection.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) protocol: Protocol,
    pub(super) client: String,
    /// The broker, as the client may use it.
    pub(super) access: Access,
    /// The longest that the client is silent.
    pub(super) silence: Option<Duration>,
    /// The largest packet that the client takes, bytes.
    pub(super) packet_bytes_max: usize,
    /// Topic aliases that the client takes.
    pub(super) aliases_max: u16,
    /// Whether the client wants to read reasons.
    pub(super) problem_info: bool,
}

/// Why a client is not let in.
pub(super) struct Refusal {
    pub(super) reason: ReasonCode,
    pub(super) text: String,
}

impl Refusal {
    fn new(reason: ReasonCode, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// Lets a client in. An older connection under its id has ended when this returns.
pub(super) async fn greet(
    context: &Arc<Context>,
    arrival: &Arrival,
    connect: &Connect<'_>,
) -> Result<Greeted, Refusal> {
    let mut told = PropertiesBuilder::default();
    if connect.properties.find(|p| matches!(p, Property::AuthMethod(_)).then_some(())).is_some() {
        return Err(Refusal::new(ReasonCode::BAD_AUTHENTICATION_METHOD, "extended authentication is not offered"));
    }
    let access = let_in(context, arrival, connect).await?;
    let client = client_id(connect, &mut told)?;
    if connect.will.is_some_and(|will| will.topic.len() > MQTT_TOPIC_BYTES_MAX) {
        return Err(Refusal::new(ReasonCode::TOPIC_NAME_INVALID, "the will's topic is too long"));
    }
    if let Some(will) = connect.will {
        let allowed = permits::allow_will(context, &access, &client, will.topic);
        allowed.map_err(|denied| Refusal::new(ReasonCode::NOT_AUTHORIZED, denied.to_string()))?;
    }
    let (place, will_before) = Hub::enter(context, &access, &client).await.map_err(|why| match why {
        NoPlace::NotYours(why) => Refusal::new(ReasonCode::NOT_AUTHORIZED, why.to_string()),
        NoPlace::Full => {
            let max = context.options().sessions_max;
            let text = format!("{max} clients are connected or have sessions, which is the most");
            Refusal::new(ReasonCode::QUOTA_EXCEEDED, text)
        }
    })?;
    if connect.clean_start {
        // The session ends that its will belongs to; one that goes on has none published (MQTT 5.0, section 3.1.3.2.2).
        if let Some(will) = will_before {
            publishing::publish_will(context, will).await;
        }
        hub::forget(context, &client).await;
    }
    let stored = place.stored();
    let session_present = stored.is_some();
    let expiry_s = connect.session_expiry().min(context.options().session_expiry_s_max);
    if expiry_s != connect.session_expiry() {
        told.push(Property::SessionExpiry(expiry_s));
    }
    let open_max = receive_maximum(connect).min(context.options().in_flight_max);
    let mut session = Session::new((&client, place.owner.clone()), expiry_s, open_max, stored);
    session.resume(|pattern| log::ends(context, &context.own, pattern));
    // A session is there from now on: what is stored for it later is of use only if the client hears of it again.
    if session.is_kept() && !session_present {
        let row = (hub::session_row(&client), Some(session.to_stored().encode()));
        let stored = context.broker.change_rows(vec![row], Duration::ZERO).await;
        stored.map_err(|error| Refusal::new(ReasonCode::SERVER_UNAVAILABLE, error.to_string()))?;
    }
    let ids = if session_present { place.packet_ids() } else { Vec::new() };
    // 3.1.1 has no way to tell how many it may have open.
    let granted = if connect.protocol == Protocol::V5 { context.options().in_flight_max } else { u16::MAX };
    told.push(Property::ReceiveMaximum(granted));
    told.push(Property::TopicAliasMaximum(ALIASES_MAX));
    let keep_alive_s = keep_alive_s(connect, context.options().keep_alive_s_max);
    if keep_alive_s != connect.keep_alive {
        told.push(Property::ServerKeepAlive(keep_alive_s));
    }
    told.push(Property::MaximumPacketSize(u32::try_from(context.options().packet_bytes_max).unwrap_or(u32::MAX)));
    Ok(Greeted {
        will: will(&access, connect, &client),
        terms: terms(access, connect, &client, keep_alive_s),
        inbound: Inbound::new(granted, ids),
        place,
        session,
        session_present,
        told,
    })
}

/// The broker, as who is there may use it (section 3.1.3.5).
async fn let_in(context: &Context, arrival: &Arrival, connect: &Connect<'_>) -> Result<Access, Refusal> {
    let credentials = match (connect.user, connect.password) {
        (Some(user), Some(password)) => Some((user.to_owned(), Secret::new(password))),
        _ => None,
    };
    context.guard.get().let_in(arrival, credentials).await.map_err(|refused| {
        let reason = match refused {
            Refused::Wrong | Refused::Sasl(_) => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            Refused::Throttled | Refused::InTheClear | Refused::Method | Refused::Nobody => ReasonCode::NOT_AUTHORIZED,
        };
        Refusal::new(reason, refused.to_string())
    })
}

fn client_id(connect: &Connect<'_>, told: &mut PropertiesBuilder) -> Result<String, Refusal> {
    let invalid = |text: String| Err(Refusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, text));
    match connect.client_id {
        "" if connect.protocol == Protocol::V3 && !connect.clean_start => {
            invalid("a client without an id can't have its session kept: set clean session, or an id".to_owned())
        }
        "" => {
            let id = format!("auto-{:016x}", fastrand::u64(..));
            told.push(Property::AssignedClientId(&id));
            Ok(id)
        }
        id if id.len() > MQTT_CLIENT_ID_BYTES_MAX => {
            invalid(format!("the client id has {} bytes; at most {MQTT_CLIENT_ID_BYTES_MAX} are taken", id.len()))
        }
        id => Ok(id.to_owned()),
    }
}

fn receive_maximum(connect: &Connect<'_>) -> u16 {
    let asked = |property| if let Property::ReceiveMaximum(count) = property { Some(count) } else { None };
    connect.properties.find(asked).unwrap_or(u16::MAX)
}

/// The longest that the client is to be silent, seconds; 0: for ever. 3.1.1 has no way to tell it another time than its own.
fn keep_alive_s(connect: &Connect<'_>, max: Option<u16>) -> u16 {
    match max.filter(|_| connect.protocol == Protocol::V5) {
        Some(max) if connect.keep_alive == 0 || connect.keep_alive > max => max,
        _ => connect.keep_alive,
    }
}

fn terms(access: Access, connect: &Connect<'_>, client: &str, keep_alive_s: u16) -> Terms {
    let mut terms = Terms {
        access,
        protocol: connect.protocol,
        client: client.to_owned(),
        // Half as long again as it promised (section 3.1.2.10).
        silence: (keep_alive_s > 0).then(|| Duration::from_millis(1_500 * u64::from(keep_alive_s))),
        packet_bytes_max: usize::MAX,
        aliases_max: 0,
        problem_info: true,
    };
    for property in connect.properties.iter() {
        match property {
            Property::MaximumPacketSize(bytes) => terms.packet_bytes_max = bytes as usize,
            Property::TopicAliasMaximum(count) => terms.aliases_max = count,
            Property::RequestProblemInfo(wanted) => terms.problem_info = wanted,
            _ => {}
        }
    }
    terms
}

fn will(access: &Access, connect: &Connect<'_>, client: &str) -> Option<(u32, Will)> {
    let will = connect.will?;
    let delay = |property| if let Property::WillDelay(seconds) = property { Some(seconds) } else { None };
    let publish = Publish {
        qos: will.qos,
        retain: will.retain,
        topic: will.topic,
        properties: will.properties,
        payload: will.payload,
        ..Publish::default()
    };
    let now_ms = access.now().wall_ms;
    let message = Message::published(&publish, will.topic, client, now_ms);
    Some((will.properties.find(delay).unwrap_or(0), Will { message, access: access.clone() }))
}

/// CONNACK of a client that is let in.
pub(super) fn welcome<'a>(greeted: &'a Greeted) -> ConnAck<'a> {
    ConnAck {
        session_present: greeted.session_present,
        reason: ReasonCode::SUCCESS,
        properties: greeted.told.as_properties(),
    }
}
