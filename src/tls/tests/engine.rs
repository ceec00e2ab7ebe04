//! The state without a socket: both sides, and what goes between them handed over by the test, in pieces of all sizes.

use std::io::IoSlice;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::super::engine::Engine;
use super::*;

fn pair(site: &Site, version: &'static SupportedProtocolVersion) -> (Engine, Engine) {
    let server = site.server(&site.listen()).config().unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let roots = super::files::authorities(&site.path("ca.pem")).unwrap();
    let client = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let served = Connection::Server(UnbufferedServerConnection::new(server).unwrap());
    (Engine::new(served), Engine::new(Connection::Client(UnbufferedClientConnection::new(client, name).unwrap())))
}

/// Hands over some of what is to be sent; what the other side reads of it.
fn carry(from: &mut Engine, to: &mut Engine, random: &mut fastrand::Rng) -> Vec<u8> {
    let most = random.usize(1..=20_000).min(from.outgoing().len());
    let bytes = from.outgoing().get(..random.usize(0..=most)).unwrap().to_vec();
    from.has_sent(bytes.len());
    match random.bool() {
        true => to.receive(&bytes),
        false => {
            let mut at = 0;
            while at < bytes.len() && to.pending() > 0 {
                to.receive_by(|room| {
                    let more = room.len().min(bytes.len() - at);
                    room[..more].copy_from_slice(&bytes[at..at + more]);
                    at += more;
                    (more, ())
                })
                .unwrap();
            }
            to.receive(&bytes[at..]);
        }
    }
    let mut read = Vec::new();
    let mut into = vec![0; random.usize(1..20_000)];
    while let Some(more) = to.read(&mut into).unwrap().filter(|more| *more > 0) {
        read.extend_from_slice(&into[..more]);
    }
    read
}

#[test]
fn in_pieces_of_any_size_everything_arrives_and_no_buffer_is_left() {
    let site = Site::new();
    for seed in 0..24 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut served, mut called) = pair(&site, if seed % 2 == 0 { &TLS13 } else { &TLS12 });
        called.process().unwrap();
        while served.state().is_handshaking() || called.state().is_handshaking() {
            assert!(carry(&mut called, &mut served, &mut random).is_empty());
            assert!(carry(&mut served, &mut called, &mut random).is_empty());
        }
        let (said, answered): (Vec<u8>, Vec<u8>) =
            ((0..200_000).map(|_| random.u8(..)).collect(), (0..70_000).map(|_| random.u8(..)).collect());
        let (mut heard, mut heard_back, mut at, mut back_at) = (Vec::new(), Vec::new(), 0, 0);
        while heard.len() < said.len() || heard_back.len() < answered.len() {
            let mut write = |engine: &mut Engine, bytes: &[u8], at: &mut usize| {
                let rest = &bytes[*at..];
                let (first, second) = rest.split_at(random.usize(0..=rest.len().min(9_000)));
                *at += engine.write(&[IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(second)]).unwrap();
            };
            write(&mut called, &said, &mut at);
            write(&mut served, &answered, &mut back_at);
            heard.extend(carry(&mut called, &mut served, &mut random));
            heard_back.extend(carry(&mut served, &mut called, &mut random));
        }
        assert!(heard == said && heard_back == answered, "seed {seed}");
        assert!(served.is_empty() && called.is_empty(), "seed {seed}: a buffer is left");
        called.close();
        called.close();
        while !called.outgoing().is_empty() {
            carry(&mut called, &mut served, &mut random);
        }
        assert_eq!(served.read(&mut [0; 8]).unwrap(), Some(0), "seed {seed}: the end");
    }
}

#[test]
fn what_is_wrong_is_told_to_the_other_side_and_nothing_goes_on_after_it() {
    let site = Site::new();
    for nonsense in [&b"\0\0\0\x04\0\0\0\x01"[..], b"\x16\x03\x01\xff\xff", b"\x17\x03\x03\0\x02ab"] {
        let (mut served, _) = pair(&site, &TLS13);
        served.receive(nonsense);
        let why = served.process().unwrap_err();
        assert_eq!(served.outgoing().first(), Some(&0x15), "an alert");
        served.has_sent(served.outgoing().len());
        served.receive(nonsense);
        assert_eq!(served.process().unwrap_err(), why);
        assert_eq!(served.read(&mut [0; 8]).unwrap_err(), why);
        assert_eq!(served.write(&[IoSlice::new(b"more")]).unwrap_err(), why);
        served.close();
        assert!(served.outgoing().is_empty());
    }
}
