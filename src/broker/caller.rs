//! Who asks the broker for something: a name, and where from.
//!
//! Invariants: a name is decided once, by whoever authenticates, and never changes for a [`Caller`]; what comes over the network is never
//! [`Caller::local`] or [`Caller::gateway`].

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use crate::limits;

/// The name of whoever has not authenticated, as in Kafka.
const ANONYMOUS: &str = "ANONYMOUS";
/// What stands in front of a name, as in Kafka: other types of principals are not known here.
const TYPE: &str = "User:";

/// Who somebody is: Kafka's `User:NAME`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The user of this name, without `User:`.
    ///
    /// # Errors
    /// A text that says what is allowed: 1 to [`limits::PRINCIPAL_BYTES_MAX`] bytes, no control characters, and not `*`, which stands for
    /// everyone in rules.
    pub fn new(name: &str) -> Result<Self, String> {
        let max = limits::PRINCIPAL_BYTES_MAX;
        if name.is_empty() || name.len() > max || name.chars().any(char::is_control) || name == "*" {
            return Err(format!("a user's name has 1 to {max} bytes, no control characters, and is not \"*\""));
        }
        Ok(Self(name.into()))
    }

    /// The principal as Kafka writes it, with `User:`.
    ///
    /// # Errors
    /// As [`Principal::new`], or another type than `User`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix(TYPE);
        name.ok_or_else(|| format!("{text:?} is no principal: write {TYPE}NAME")).and_then(Self::new)
    }

    /// Whoever has not authenticated.
    pub fn anonymous() -> Self {
        static NAME: LazyLock<Principal> = LazyLock::new(|| Principal(ANONYMOUS.into()));
        NAME.clone()
    }

    /// The name, without `User:`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The same, to be kept.
    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TYPE}{}", self.0)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A listener of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listener {
    Native,
    Kafka,
    Mqtt,
}

impl Listener {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Native, Self::Kafka, Self::Mqtt];

    /// Its name, as in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kafka => "kafka",
            Self::Mqtt => "mqtt",
        }
    }
}

/// Where a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind a listener, at this address.
    Peer(Listener, IpAddr),
    /// At the socket in the data directory, which file modes guard.
    Local,
    /// Within this process: the gateway's own work.
    Gateway,
}

/// Who asks, and where from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    place: Place,
}

impl Caller {
    /// Somebody who came by a listener.
    pub fn peer(principal: Principal, listener: Listener, host: IpAddr) -> Self {
        Self { principal, place: Place::Peer(listener, host.to_canonical()) }
    }

    /// The owner of the data directory, by its socket. May do everything.
    pub fn local() -> Self {
        Self { principal: Principal::anonymous(), place: Place::Local }
    }

    /// The gateway itself. May do everything.
    pub fn gateway() -> Self {
        Self { principal: Principal::anonymous(), place: Place::Gateway }
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether it is the gateway itself.
    pub(super) fn is_gateway(&self) -> bool {
        self.place == Place::Gateway
    }

    /// The listener it came by, and its address there; `None` for the local socket and the gateway itself.
    pub fn peer_at(&self) -> Option<(Listener, IpAddr)> {
        match self.place {
            Place::Peer(listener, host) => Some((listener, host)),
            Place::Local | Place::Gateway => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_read_back() {
        let alice = Principal::parse("User:alice").unwrap();
        assert_eq!((alice.name(), alice.to_string().as_str()), ("alice", "User:alice"));
        assert_eq!(Principal::anonymous(), Principal::new("ANONYMOUS").unwrap());
        let long = "x".repeat(limits::PRINCIPAL_BYTES_MAX + 1);
        for wrong in ["", "*", "a\nb", &long] {
            assert!(Principal::new(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["alice", "Group:x", "User:", "User:*"] {
            assert!(Principal::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_is_the_same_over_both_families() {
        let caller = Caller::peer(Principal::anonymous(), Listener::Kafka, "::ffff:127.0.0.1".parse().unwrap());
        assert_eq!(caller.peer_at(), Some((Listener::Kafka, "127.0.0.1".parse().unwrap())));
        assert_eq!(Caller::local().peer_at(), None);
    }
}
