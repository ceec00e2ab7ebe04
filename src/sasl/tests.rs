//! The RFCs' own examples, both sides against each other, and messages that nobody should send.

use proptest::prelude::*;

use super::client::{Credentials, Exchange, Step};
use super::server::{ScramBegun, read_plain};
use super::*;
use crate::secret::{ITERATIONS_MAX, ITERATIONS_MIN, ScramHash, Secret, Verifier};

fn scram(hash: ScramHash, user: &str, password: &str) -> Credentials {
    Credentials::Scram { hash, user: user.to_owned(), password: Secret::new(password) }
}

/// The example of RFC 7677, section 3.
#[test]
fn the_example_of_the_rfc_runs_on_both_sides() {
    let (first, mut client) =
        Exchange::begin(scram(ScramHash::Sha256, "user", "pencil"), "rOprNGfwEbeRWgbNEkqO").unwrap();
    assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let salt = crate::base64::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::of_password(ScramHash::Sha256, b"pencil", &salt, 4_096);
    let begun = ScramBegun::read(&first).unwrap();
    assert_eq!(begun.name(), "user");
    let (challenge, server) = begun.challenge(verifier, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").unwrap();
    assert_eq!(challenge, b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let proof =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(client.next(&challenge), Ok(Step::Send(proof.to_vec())));
    let last = server.finish(proof).unwrap();
    assert_eq!(last, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(client.next(&last), Ok(Step::Done));
}

/// What comes of a whole exchange: how the server and the client see it.
fn exchange(credentials: Credentials, verifier: Verifier) -> (Result<(), SaslError>, Result<Step, SaslError>) {
    let (first, mut client) = Exchange::begin(credentials, "clientnonce").unwrap();
    let (challenge, server) = ScramBegun::read(&first).unwrap().challenge(verifier, "servernonce").unwrap();
    let Step::Send(proof) = client.next(&challenge).unwrap() else { panic!("the client has more to say") };
    match server.finish(&proof) {
        Ok(last) => (Ok(()), client.next(&last)),
        Err(error) => (Err(error), client.next(b"e=invalid-proof")),
    }
}

#[test]
fn names_and_passwords_of_all_kinds_prove_themselves_and_others_do_not() {
    for hash in ScramHash::ALL {
        for (user, password) in [("a", "b"), ("a=b,c", "p,=w"), ("Zoë €", "pässwörd ☂"), ("x", &"long ".repeat(100))]
        {
            let verifier = Verifier::of_password(hash, password.as_bytes(), b"some salt here", ITERATIONS_MIN);
            assert_eq!(exchange(scram(hash, user, password), verifier.clone()), (Ok(()), Ok(Step::Done)));
            let (server, client) = exchange(scram(hash, user, "another"), verifier.clone());
            assert_eq!(server, Err(SaslError::Refused));
            assert_eq!(client, Err(SaslError::ServerSays("invalid-proof".to_owned())));
            assert!(verifier.fits(password.as_bytes()) && !verifier.fits(b"another") && !verifier.fits(b""));
        }
        let nobody = Verifier::of_nobody(hash, b"secret of the server", "eve", ITERATIONS_MIN);
        assert_eq!(nobody, Verifier::of_nobody(hash, b"secret of the server", "eve", ITERATIONS_MIN));
        assert_eq!(exchange(scram(hash, "eve", "x"), nobody).0, Err(SaslError::Refused));
    }
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let (first, mut client) = Exchange::begin(scram(ScramHash::Sha512, "u", "p"), "abc").unwrap();
    let verifier = Verifier::of_nobody(ScramHash::Sha512, b"?", "u", ITERATIONS_MIN);
    let (challenge, _) = ScramBegun::read(&first).unwrap().challenge(verifier, "def").unwrap();
    client.next(&challenge).unwrap();
    let forged = format!("v={}", crate::base64::encode(&[7; 64]));
    assert_eq!(client.next(forged.as_bytes()), Err(SaslError::NotTheServer));
}

#[test]
fn a_client_counts_iterations_before_it_does_any() {
    for (iterations, allowed) in [
        ("4095", false),
        ("4096", true),
        ("65536", true),
        ("65537", false),
        ("99999999999", false),
        ("0", false),
        ("04096", false),
        ("-1", false),
    ] {
        let (_, mut client) = Exchange::begin(scram(ScramHash::Sha256, "u", "p"), "abc").unwrap();
        let answer = client.next(format!("r=abcdef,s=c2FsdHNhbHQ=,i={iterations}").as_bytes());
        assert_eq!(answer.is_ok(), allowed, "{iterations}");
    }
    for nonce in ["abc", "abd9", "ab", "", "abc,", "abc\u{e9}"] {
        let (_, mut client) = Exchange::begin(scram(ScramHash::Sha256, "u", "p"), "abc").unwrap();
        assert!(client.next(format!("r={nonce},s=c2FsdHNhbHQ=,i=4096").as_bytes()).is_err(), "{nonce:?}");
    }
}

#[test]
fn what_is_no_first_message_is_refused() {
    let unsupported = ["p=tls-unique,,n=u,r=x", "n,,m=new,n=u,r=x", "n,a=other,n=u,r=x"];
    for message in unsupported {
        assert!(matches!(ScramBegun::read(message.as_bytes()), Err(SaslError::Unsupported(_))), "{message}");
    }
    let long = format!("n,,n=u,r={}", "x".repeat(NONCE_BYTES_MAX + 1));
    for message in [
        "",
        "n",
        "n,,",
        "n,,n=u",
        "n,,n=,r=x",
        "n,,r=x,n=u",
        "x,,n=u,r=x",
        "n,,n=u=,r=x",
        "n,,n=u=2c,r=x",
        "n,,n=u,r=",
        "n,u,n=u,r=x",
        "n,,n=u,r=x,",
        "n,,n=u,r=x,y",
        "n,,n=u,r=\u{7f}",
        &long,
    ] {
        assert!(matches!(ScramBegun::read(message.as_bytes()), Err(SaslError::Malformed(_))), "{message}");
    }
    assert!(ScramBegun::read(&[0xff; 8]).is_err());
    // Kafka's Java client adds an extension, and others name themselves twice.
    assert_eq!(ScramBegun::read(b"n,,n=u,r=x,tokenauth=true").unwrap().name(), "u");
    assert_eq!(ScramBegun::read(b"y,a=u=3Dv,n=u=3Dv,r=x").unwrap().name(), "u=v");
}

#[test]
fn a_proof_belongs_to_its_exchange() {
    let verifier = Verifier::of_password(ScramHash::Sha256, b"p", b"salt salt", ITERATIONS_MIN);
    let answer = |last: &str| {
        let begun = ScramBegun::read(b"n,,n=u,r=abc").unwrap();
        begun.challenge(verifier.clone(), "def").unwrap().1.finish(last.as_bytes())
    };
    let proof = crate::base64::encode(&[1; 32]);
    assert_eq!(answer(&format!("c=biws,r=abcdef,p={proof}")), Err(SaslError::Refused));
    assert_eq!(answer("c=biws,r=abcdef,p=AAAA"), Err(SaslError::Refused));
    assert_eq!(answer("c=biws,r=abcdef,p="), Err(SaslError::Refused));
    for foreign in [format!("c=biws,r=abcdeg,p={proof}"), format!("c=eSws,r=abcdef,p={proof}")] {
        assert!(matches!(answer(&foreign), Err(SaslError::Malformed(_))), "{foreign}");
    }
    // As librdkafka had it for long: the client's part of the nonce twice.
    assert_eq!(answer(&format!("c=biws,r=abcabcdef,p={proof}")), Err(SaslError::Refused));
    assert!(matches!(answer(&format!("c=biws,r=abcabcabcdef,p={proof}")), Err(SaslError::Malformed(_))));
    for broken in ["c=biws,r=abcdef", "r=abcdef,c=biws,p=AAAA", "c=!,r=abcdef,p=AAAA", ""] {
        assert!(matches!(answer(broken), Err(SaslError::Malformed(_))), "{broken}");
    }
}

#[test]
fn plain_carries_a_name_and_a_password() {
    let credentials = Credentials::Plain { user: "alice".to_owned(), password: Secret::new("s3cret") };
    let (message, mut client) = Exchange::begin(credentials, "").unwrap();
    assert_eq!(message, b"\0alice\0s3cret");
    assert_eq!(client.next(b""), Ok(Step::Done));
    let read = |message: &[u8]| read_plain(message).map(|(name, password)| (name, password.expose().to_vec()));
    let alice = Ok(("alice".to_owned(), b"s3cret".to_vec()));
    assert_eq!(read(&message), alice);
    assert_eq!(read(b"alice\0alice\0s3cret"), alice);
    assert!(matches!(read(b"bob\0alice\0s3cret"), Err(SaslError::Unsupported(_))));
    for wrong in [&b""[..], b"\0", b"\0a\0", b"\0\0b", b"a\0b", b"\0a\0b\0c", b"\0\xff\0b"] {
        assert!(matches!(read(wrong), Err(SaslError::Malformed(_))), "{wrong:?}");
    }
    let nul = Credentials::Plain { user: "a".to_owned(), password: Secret::new("b\0c") };
    assert!(Exchange::begin(nul, "").is_err());
}

#[test]
fn a_bearer_sends_its_token_and_hears_why_it_is_refused() {
    let bearer = |token: &str, extensions: &[(&str, &str)]| Credentials::Bearer {
        token: Secret::new(token),
        extensions: extensions.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
    };
    let (message, mut client) = Exchange::begin(bearer("ey.J.x", &[("logicalCluster", "lkc-1")]), "").unwrap();
    assert_eq!(message, b"n,,\x01auth=Bearer ey.J.x\x01logicalCluster=lkc-1\x01\x01");
    assert_eq!(client.next(b""), Ok(Step::Done));
    let (_, mut client) = Exchange::begin(bearer("old", &[]), "").unwrap();
    assert_eq!(client.next(b"{\"status\":\"invalid_token\"}"), Ok(Step::Send(vec![1])));
    assert!(client.refusal().unwrap().contains("invalid_token"));
    assert!(client.next(b"").unwrap_err().to_string().contains("invalid_token"));
    for wrong in [
        bearer("", &[]),
        bearer("a b", &[]),
        bearer("a\x01", &[]),
        bearer("t", &[("auth", "x")]),
        bearer("t", &[("a", "\x01")]),
    ] {
        assert!(Exchange::begin(wrong, "").is_err());
    }
}

#[test]
fn verifiers_are_kept_and_show_nothing() {
    for hash in ScramHash::ALL {
        let verifier = Verifier::of_password(hash, b"hunter2", b"0123456789abcdef", 5_000);
        let mut bytes = Vec::new();
        verifier.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(Verifier::decode(&mut &bytes[..cut]), None);
        }
        bytes.push(9);
        let mut rest = bytes.as_slice();
        assert_eq!(Verifier::decode(&mut rest), Some(verifier.clone()));
        assert_eq!(rest, [9]);
        let salted = hash.salted(b"hunter2", b"0123456789abcdef", 5_000);
        assert_eq!(Verifier::of_salted(hash, &salted, b"0123456789abcdef", 5_000), Ok(verifier.clone()));
        assert!(Verifier::of_salted(hash, &salted[1..], b"0123456789abcdef", 5_000).is_err());
        assert!(Verifier::of_salted(hash, &salted, b"short", 5_000).is_err());
        assert!(Verifier::of_salted(hash, &salted, b"0123456789abcdef", 4_095).is_err());
        assert!(Verifier::of_salted(hash, &salted, b"0123456789abcdef", ITERATIONS_MAX + 1).is_err());
        assert!(!format!("{verifier:?}").contains("key"));
    }
    assert!(check_password(b"x").is_ok() && check_password(b"").is_err() && check_password(b"a\0b").is_err());
    assert!(check_password(&[b'x'; PASSWORD_BYTES_MAX + 1]).is_err() && check_password(&[0xff]).is_err());
}

proptest! {
    #[test]
    fn no_message_panics(message in prop::collection::vec(any::<u8>(), 0..200), text in "[nyp]?,(a=[a-z=]{0,4})?,?(n=)?[a-z=,0-9]{0,9},r=[ -~]{0,20}") {
        for message in [message.as_slice(), text.as_bytes()] {
            if let Ok(begun) = ScramBegun::read(message) {
                let verifier = Verifier::of_nobody(ScramHash::Sha256, b"k", begun.name(), ITERATIONS_MIN);
                let (_, challenged) = begun.challenge(verifier, "n").unwrap();
                prop_assert!(challenged.finish(message).is_err());
            }
            let _ = read_plain(message);
            let _ = Verifier::decode(&mut &*message);
            let (_, mut client) = Exchange::begin(scram(ScramHash::Sha256, "u", "p"), "n").unwrap();
            prop_assert!(client.next(message).is_err());
        }
    }

    #[test]
    fn names_come_back_as_they_were(name in "[^\0]{1,40}") {
        let (first, _) = Exchange::begin(scram(ScramHash::Sha256, &name, "p"), "abc").unwrap();
        let begun = ScramBegun::read(&first).unwrap();
        prop_assert_eq!(begun.name(), name.as_str());
    }
}
