//! Who publishes when nobody says: `USER@HOST`, the same each time, so that the gateway remembers one client and not one
//! for each run, and records without a key stay with one key. USER is who the gateway knows: the user that logs in, else the name of the
//! certificate's file, else this machine's user; for a client id belongs to one user of the gateway.
//!
//! Two publishers of one id would fence each other. So a name is claimed for as long as the process lives, by an
//! abstract socket of the kernel's, which needs no file and cannot be left behind; further ones are `USER@HOST-2`…

use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::{client::Address, config::is_name_char, limits::CLIENT_ID_BYTES_MAX};

/// So many publishers of one user to one gateway are told apart; beyond that they share a name.
const CLAIMS_MAX: u32 = 256;
/// Longest user or host name that is taken whole.
const PART_BYTES_MAX: usize = 56;

/// A client id, and the claim to it.
#[derive(Debug)]
pub(super) struct ClientName {
    pub id: String,
    _claim: Option<UnixListener>,
}

impl ClientName {
    /// The one that was asked for, or the first that is free on this machine.
    pub(super) fn choose(asked: Option<&str>, gateway: &Address) -> ClientName {
        match asked {
            Some(id) => ClientName { id: id.to_owned(), _claim: None },
            None => ClientName::claim(&format!("{}@{}", known_as(gateway), host()), gateway),
        }
    }

    fn claim(name: &str, gateway: &Address) -> ClientName {
        for number in 1..=CLAIMS_MAX {
            let id = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            match bind(&format!("brooklet/{id}/{gateway}")) {
                Ok(claim) => return ClientName { id, _claim: Some(claim) },
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                // Names can't be claimed here: the plain one is right nearly always.
                Err(_) => break,
            }
        }
        ClientName { id: name.to_owned(), _claim: None }
    }
}

#[cfg(target_os = "linux")]
fn bind(name: &str) -> std::io::Result<UnixListener> {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn bind(_name: &str) -> std::io::Result<UnixListener> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn known_as(gateway: &Address) -> String {
    let known = match gateway {
        Address::As(_, login) => clean(&login.user),
        Address::Tls(_, tls) => {
            let stem = tls.cert.as_deref().and_then(Path::file_stem);
            stem.map(|stem| clean(&stem.to_string_lossy())).unwrap_or_default()
        }
        Address::Tcp(_) | Address::Unix(_) => String::new(),
    };
    if known.is_empty() { user() } else { known }
}

fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().filter_map(|variable| std::env::var(variable).ok());
    let named = named.map(|name| clean(&name)).find(|name| !name.is_empty());
    named.unwrap_or_else(|| format!("uid{}", rustix::process::geteuid().as_raw()))
}

fn host() -> String {
    let name = clean(&rustix::system::uname().nodename().to_string_lossy());
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// What may stand in an id.
fn clean(name: &str) -> String {
    name.chars().filter(|c| is_name_char(*c)).take(PART_BYTES_MAX).collect()
}

const _: () = assert!(2 * PART_BYTES_MAX + "@-256".len() <= CLIENT_ID_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_while_they_live() {
        let gateway = Address::Tcp(format!("test-{}:1", std::process::id()));
        let first = ClientName::choose(None, &gateway);
        assert!(first.id.contains('@') && first.id.len() <= CLIENT_ID_BYTES_MAX, "{}", first.id);
        assert_eq!(ClientName::choose(Some("me"), &gateway).id, "me");
        if cfg!(target_os = "linux") {
            let second = ClientName::choose(None, &gateway);
            assert_eq!(second.id, format!("{}-2", first.id));
            let id = first.id.clone();
            drop(first);
            assert_eq!(ClientName::choose(None, &gateway).id, id);
        }
    }

    #[test]
    fn what_may_not_stand_in_an_id_is_left_out() {
        assert_eq!(clean("ü ser/1@"), "ser1");
        assert_eq!(clean(&"x".repeat(500)).len(), PART_BYTES_MAX);
    }
}
