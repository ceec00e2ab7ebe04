//! Whose a client id is: an MQTT session, and the sequences of a native client, belong to the principal that made them.
//!
//! Rows say so themselves: format 2 is the owner (an optional text, postcard) and then what a row of format 1 has. Rows of format 1 are
//! of a time in which nothing had an owner.
//!
//! Invariant: what is somebody's becomes another's only by [`super::rights`]'s say. What nobody owns belongs to the first who comes; so
//! does what ANONYMOUS has made, since everybody can be that: else whoever begins to authenticate would be kept from what is his.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::caller::{Caller, Principal};

/// The format without an owner, and with one.
const UNOWNED: u8 = 1;
const OWNED: u8 = 2;

/// Whom something belongs to. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner(Option<Arc<str>>);

/// A client id is another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotYours;

impl fmt::Display for NotYours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client id belongs to another user: use another id (see security.bind_client_ids)")
    }
}

impl std::error::Error for NotYours {}

impl Owner {
    /// Whom something belongs to once `caller` has it. The local socket is no name: what comes by it stays whose it is.
    pub(super) fn after(&self, caller: &Caller) -> Self {
        match caller.peer_at() {
            Some(_) => Self(Some(caller.principal().shared_name())),
            // No principal has this name.
            None if caller.is_gateway() => Self(Some("".into())),
            None => self.clone(),
        }
    }

    /// Whether `next` may have it without anybody's leave.
    pub(super) fn yields_to(&self, next: &Self) -> bool {
        let Some(name) = &self.0 else { return true };
        self == next || **name == *Principal::anonymous().name()
    }
}

/// A row with its owner.
pub fn encode_row<T: Serialize>(owner: &Owner, value: &T) -> Vec<u8> {
    // Serializing owned values into a growing vector has nothing that can fail.
    let row = postcard::to_extend(&owner.0.as_deref(), vec![OWNED]).unwrap_or_default();
    postcard::to_extend(value, row).unwrap_or_default()
}

/// What [`encode_row`] has made, or a row of the format before; `None` if it is neither.
pub fn decode_row<T: DeserializeOwned>(row: &[u8]) -> Option<(Owner, T)> {
    let (owner, body) = match row.split_first()? {
        (&UNOWNED, body) => (None, body),
        (&OWNED, body) => postcard::take_from_bytes::<Option<&str>>(body).ok()?,
        _ => return None,
    };
    Some((Owner(owner.map(Into::into)), postcard::from_bytes(body).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::broker::Listener;

    fn peer(name: &str) -> Caller {
        Caller::peer(Principal::new(name).unwrap(), Listener::Mqtt, Ipv4Addr::LOCALHOST.into())
    }

    #[test]
    fn rows_read_back_with_their_owner_and_those_before_without() {
        let value = (7_u64, "x".to_owned());
        for owner in [Owner::default(), Owner::default().after(&peer("alice"))] {
            let row = encode_row(&owner, &value);
            assert_eq!(decode_row(&row), Some((owner, value.clone())));
            for cut in 0..row.len() {
                assert_eq!(decode_row::<(u64, String)>(&row[..cut]), None);
            }
        }
        let before = [&[UNOWNED][..], &postcard::to_allocvec(&value).unwrap()].concat();
        assert_eq!(decode_row(&before), Some((Owner::default(), value)));
        assert_eq!(decode_row::<u64>(&[3, 1]), None);
    }

    #[test]
    fn what_is_somebodys_yields_to_nobody_else() {
        let [alice, bob, anonymous] = ["alice", "bob", "ANONYMOUS"].map(|name| Owner::default().after(&peer(name)));
        let gateway = Owner::default().after(&Caller::gateway());
        assert!(alice.yields_to(&alice) && !alice.yields_to(&bob) && !alice.yields_to(&anonymous));
        assert!(anonymous.yields_to(&alice) && Owner::default().yields_to(&bob));
        assert!(!gateway.yields_to(&alice) && !gateway.yields_to(&anonymous) && gateway.yields_to(&gateway));
        assert_eq!(alice.after(&Caller::local()), alice, "the local socket takes nothing away");
    }
}
