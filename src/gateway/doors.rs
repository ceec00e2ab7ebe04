//! The doors of the listeners: which addresses are bound, and what is spoken there.

use std::net::SocketAddr;
use std::sync::Arc;

use super::administration::Listeners;
use super::certificates::Certificates;
use crate::config::{HttpListenConfig, ListenConfig, ListenTlsConfig, MqttListenConfig};
use crate::listen::accept::{self, Door};
use crate::tls;

/// What MQTT clients may ask for by ALPN (as registered with IANA); over WebSocket they ask for HTTP.
const MQTT_ALPN: &[&[u8]] = &[b"mqtt", b"http/1.1"];

/// What browsers may ask for by ALPN, beside others.
const HTTP_ALPN: &[&[u8]] = &[b"http/1.1"];

/// The doors of one listener.
#[derive(Default)]
pub(super) struct Doors {
    pub(super) all: Vec<Door>,
    pub(super) addresses: Addresses,
}

/// Where one listener is reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    /// In the clear.
    pub plain: Option<SocketAddr>,
    /// By TLS.
    pub tls: Option<SocketAddr>,
}

impl Addresses {
    /// Where it is reached at all: in the clear if it is.
    pub fn any(self) -> Option<SocketAddr> {
        self.plain.or(self.tls)
    }
}

/// The doors of all listeners.
pub(super) struct AllDoors {
    pub(super) native: Doors,
    pub(super) kafka: Doors,
    pub(super) mqtt: Doors,
    /// MQTT over WebSocket.
    pub(super) websocket: Doors,
    pub(super) http: Doors,
}

impl AllDoors {
    /// Where they are.
    pub(super) fn listeners(&self) -> Listeners {
        Listeners {
            native: self.native.addresses,
            kafka: self.kafka.addresses,
            mqtt: self.mqtt.addresses,
            websocket: self.websocket.addresses,
            http: self.http.addresses,
        }
    }

    /// Binds them all, and reads what they show.
    ///
    /// # Errors
    /// A text that names the key, what is wrong and what to do.
    pub(super) async fn bind(config: &ListenConfig, certificates: &Certificates) -> Result<Self, String> {
        let (native, kafka, mqtt) = (&config.native, &config.kafka, &config.mqtt);
        let held = |enabled, tls, name, alpn| held(enabled, tls, (name, alpn), certificates);
        let of_native = held(native.enabled, &native.tls, "native", &[])?;
        let of_kafka = held(kafka.enabled, &kafka.tls, "kafka", &[])?;
        let of_mqtt = held(mqtt.enabled, &mqtt.tls, "mqtt", MQTT_ALPN)?;
        Ok(Self {
            native: doors((native.enabled, native.addr), &native.tls, "native", of_native).await?,
            kafka: doors((kafka.enabled, kafka.addr), &kafka.tls, "kafka", of_kafka).await?,
            mqtt: doors((mqtt.enabled, mqtt.addr), &mqtt.tls, "mqtt", of_mqtt.clone()).await?,
            websocket: websocket_doors(mqtt, of_mqtt).await?,
            // The last: where it was not told where, it gives way.
            http: http(&config.http, certificates).await?,
        })
    }
}

type Held = Option<Arc<tls::ServerTls>>;

/// What a listener shows, if it speaks TLS.
fn held(
    enabled: bool,
    tls: &ListenTlsConfig,
    (name, alpn): (&str, &'static [&'static [u8]]),
    certificates: &Certificates,
) -> Result<Held, String> {
    if !enabled || !tls.is_on() {
        return Ok(None);
    }
    let held = Arc::new(tls::server(&format!("listen.{name}.tls"), tls, alpn, certificates.clock())?);
    certificates.watch(held.clone());
    Ok(Some(held))
}

async fn websocket_doors(mqtt: &MqttListenConfig, held: Held) -> Result<Doors, String> {
    let mut doors = Doors::default();
    if let Some(addr) = mqtt.websocket.filter(|_| mqtt.enabled) {
        doors.addresses.plain = Some(open(&mut doors.all, addr, "listen.mqtt.websocket", None).await?);
    }
    if let (Some(addr), Some(held)) = (mqtt.websocket_tls, held) {
        doors.addresses.tls = Some(open(&mut doors.all, addr, "listen.mqtt.tls.websocket", Some(held)).await?);
    }
    Ok(doors)
}

/// The gateway serves, seen or not: only an address that somebody has chosen is missed.
async fn http(config: &HttpListenConfig, certificates: &Certificates) -> Result<Doors, String> {
    let held = held(config.enabled, &config.tls, ("http", HTTP_ALPN), certificates)?;
    let bound = doors((config.enabled, config.address()), &config.tls, "http", held.clone()).await;
    match (bound, config.tls.addr) {
        (Err(why), addr) if config.addr.is_none() => {
            log::warn!("no page and no metrics at the usual address: {why}");
            let mut doors = Doors::default();
            // That one was chosen.
            if let Some((addr, held)) = addr.zip(held) {
                doors.addresses.tls = Some(open(&mut doors.all, addr, "listen.http.tls.addr", Some(held)).await?);
            }
            Ok(doors)
        }
        (bound, _) => bound,
    }
}

async fn doors(
    (enabled, addr): (bool, SocketAddr),
    tls: &ListenTlsConfig,
    name: &str,
    held: Held,
) -> Result<Doors, String> {
    let mut doors = Doors::default();
    if !enabled {
        return Ok(doors);
    }
    let own_key = format!("listen.{name}.addr");
    if !tls.takes_listener() {
        doors.addresses.plain = Some(open(&mut doors.all, addr, &own_key, None).await?);
    }
    if let Some(held) = held {
        let (addr, key) = match tls.addr {
            Some(addr) => (addr, format!("listen.{name}.tls.addr")),
            None => (addr, own_key),
        };
        doors.addresses.tls = Some(open(&mut doors.all, addr, &key, Some(held)).await?);
    }
    Ok(doors)
}

async fn open(
    doors: &mut Vec<Door>,
    addr: SocketAddr,
    key: &str,
    tls: Option<Arc<tls::ServerTls>>,
) -> Result<SocketAddr, String> {
    let listener = accept::bind(addr, key).await?;
    let bound = listener.local_addr().map_err(|error| format!("a listener has no address: {error}"))?;
    doors.push(Door { listener, tls });
    Ok(bound)
}
