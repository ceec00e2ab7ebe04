//! What carries a secret shows it by no formatting: everything below that can be printed is, with one that would be found.

use brooklet::{
    client::{Address, Login},
    frame::{ClientMessage, Hello, MAGIC, VERSION_MAX, VERSION_MIN},
    kafka::{
        alter_user_scram_credentials::{AlterUserScramCredentialsRequest, ScramCredentialUpsertion},
        sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse},
    },
    mqtt::{Connect, PropertiesBuilder, Property, Protocol},
    sasl::{
        client::{Credentials, Exchange},
        server::{ScramBegun, read_plain},
    },
    secret::{ScramHash, Secret, Verifier},
};

const MARKER: &str = "hunter2-the-marker";

/// Both ways of printing.
fn shown(value: &dyn std::fmt::Debug) -> String {
    format!("{value:?}\n{value:#?}\n")
}

/// A text, or bytes as Debug writes them, in one line or in many.
fn forms(secret: &[u8]) -> [String; 4] {
    let list = format!("{secret:?}").trim_matches(['[', ']']).to_owned();
    [String::from_utf8_lossy(secret).into_owned(), list.clone(), list.replace(", ", ",\n"), base64(secret)]
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Whole groups only: the rest depends on what follows.
    bytes.chunks_exact(3).fold(String::new(), |mut text, group| {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        text.extend([18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize])));
        text
    })
}

fn assert_hidden(all: &str, secret: &[u8]) {
    let all = all.replace(char::is_whitespace, "");
    for form in forms(secret) {
        let form = form.replace(char::is_whitespace, "");
        assert!(!all.contains(&form), "{form:?} is shown");
    }
}

#[test]
fn no_message_that_carries_a_secret_shows_it() {
    let marker = MARKER.as_bytes();
    let secret = || Secret::new(MARKER);
    let mut all = shown(&secret());
    all += &shown(&Login { user: "alice".to_owned(), password: secret() });
    let login = Login { user: "alice".to_owned(), password: secret() };
    all += &shown(&Address::As(Box::new(Address::Tcp("h:1".to_owned())), login));
    // Kafka
    all += &shown(&SaslAuthenticateRequest { auth_bytes: marker.into() });
    all += &shown(&SaslAuthenticateResponse { auth_bytes: marker.into(), ..Default::default() });
    let upsertion = ScramCredentialUpsertion { name: "alice", salted_password: marker.into(), ..Default::default() };
    all += &shown(&AlterUserScramCredentialsRequest { upsertions: vec![upsertion], ..Default::default() });
    // MQTT
    let mut properties = PropertiesBuilder::default();
    properties.push(Property::AuthData(marker));
    let properties = properties.as_properties();
    let connect = Connect {
        protocol: Protocol::V5,
        user: Some("alice"),
        password: Some(marker),
        properties,
        ..Connect::default()
    };
    all += &shown(&connect);
    all += &shown(&brooklet::mqtt::Packet::Connect(connect));
    // Native
    let token = format!("\0alice\0{MARKER}");
    let hello = Hello {
        magic: MAGIC,
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        client_id: "dev",
        epoch: 0,
        next_sequence: 0,
        frame_bytes_max: 4_096,
        in_flight_max: 0,
        token: Some(token.as_bytes()),
    };
    all += &shown(&hello);
    all += &shown(&ClientMessage::Hello(hello));
    assert!(all.contains("alice") && all.contains("dev"), "{all}");
    assert_hidden(&all, marker);
}

#[test]
fn no_exchange_shows_what_it_proves() {
    let password = || Secret::new(MARKER);
    let hash = ScramHash::Sha256;
    let user = "alice".to_owned();
    let (salt, nonce) = (b"a salt of enough bytes", "a-fresh-nonce");
    let verifier = Verifier::of_password(hash, MARKER.as_bytes(), salt, 4_096);
    let mut all = shown(&verifier);
    for credentials in [
        Credentials::Plain { user: user.clone(), password: password() },
        Credentials::Bearer { token: password(), extensions: Vec::new() },
    ] {
        all += &shown(&credentials);
        let (message, exchange) = Exchange::begin(credentials, nonce).unwrap();
        all += &shown(&exchange);
        all += &shown(&brooklet::sasl::client::Step::Send(message));
    }
    all += &shown(&read_plain(format!("\0alice\0{MARKER}").as_bytes()).unwrap());
    let credentials = Credentials::Scram { hash, user, password: password() };
    all += &shown(&credentials);
    let (first, mut client) = Exchange::begin(credentials, nonce).unwrap();
    all += &shown(&client);
    let begun = ScramBegun::read(&first).unwrap();
    all += &shown(&begun);
    let (challenge, challenged) = begun.challenge(verifier, nonce).unwrap();
    all += &shown(&challenged);
    let proof = client.next(&challenge).unwrap();
    all += &shown(&proof);
    all += &shown(&client);
    let brooklet::sasl::client::Step::Send(proof) = proof else { panic!("no proof") };
    let signature = challenged.finish(&proof).unwrap();
    assert!(all.contains("alice"), "{all}");
    // What the password is salted to is as good as the password; with proof and signature one can try passwords out.
    let salted = hash.salted(MARKER.as_bytes(), salt, 4_096);
    for secret in [MARKER.as_bytes(), &salted, &proof, &signature] {
        assert_hidden(&all, secret);
    }
}
