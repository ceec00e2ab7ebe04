//! The doors of the listeners: which addresses are bound, and what is spoken there.

use std::net::SocketAddr;
use std::sync::Arc;

use super::certificates::Certificates;
use crate::config::{ListenConfig, ListenTlsConfig};
use crate::listen::accept::{self, Door};
use crate::tls;

/// What MQTT clients may ask for by ALPN (as registered with IANA).
const MQTT_ALPN: &[&[u8]] = &[b"mqtt"];

/// The doors of one listener.
#[derive(Default)]
pub(super) struct Doors {
    pub(super) all: Vec<Door>,
    pub(super) addresses: Addresses,
}

/// Where one listener is reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Addresses {
    /// In the clear.
    pub(super) plain: Option<SocketAddr>,
    /// By TLS.
    pub(super) tls: Option<SocketAddr>,
}

impl Addresses {
    /// Where it is reached at all: in the clear if it is.
    pub(super) fn any(self) -> Option<SocketAddr> {
        self.plain.or(self.tls)
    }
}

/// The doors of all listeners.
pub(super) struct AllDoors {
    pub(super) native: Doors,
    pub(super) kafka: Doors,
    pub(super) mqtt: Doors,
}

impl AllDoors {
    /// Binds them all, and reads what they show.
    ///
    /// # Errors
    /// A text that names the key, what is wrong and what to do.
    pub(super) async fn bind(config: &ListenConfig, certificates: &Certificates) -> Result<Self, String> {
        let (native, kafka, mqtt) = (&config.native, &config.kafka, &config.mqtt);
        let doors = |enabled, addr, tls, name, alpn| doors((enabled, addr), tls, (name, alpn), certificates);
        Ok(Self {
            native: doors(native.enabled, native.addr, &native.tls, "native", &[]).await?,
            kafka: doors(kafka.enabled, kafka.addr, &kafka.tls, "kafka", &[]).await?,
            mqtt: doors(mqtt.enabled, mqtt.addr, &mqtt.tls, "mqtt", MQTT_ALPN).await?,
        })
    }
}

async fn doors(
    (enabled, addr): (bool, SocketAddr),
    tls: &ListenTlsConfig,
    (name, alpn): (&str, &'static [&'static [u8]]),
    certificates: &Certificates,
) -> Result<Doors, String> {
    let mut doors = Doors::default();
    if !enabled {
        return Ok(doors);
    }
    let held = match tls.is_on() {
        true => Some(Arc::new(tls::server(&format!("listen.{name}.tls"), tls, alpn, certificates.clock())?)),
        false => None,
    };
    if let Some(held) = &held {
        certificates.watch(held.clone());
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
