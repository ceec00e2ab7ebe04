//! A Kafka client that authenticates, request by request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use brooklet::{
    kafka::{
        alter_user_scram_credentials::{
            AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, ScramCredentialDeletion,
            ScramCredentialUpsertion,
        },
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        describe_user_scram_credentials::{
            DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, UserName,
        },
        header::{read_response, write_request},
        message::Request,
        metadata::{MetadataRequest, MetadataResponse},
        sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse},
        sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse},
    },
    sasl::{
        Mechanism,
        client::{Credentials, Exchange, Step},
    },
    secret::{ScramHash, Secret},
};

/// See the module.
pub(crate) struct Client {
    stream: TcpStream,
}

/// A user as it is described: name, error code, mechanisms with their iterations.
type Described = (String, i16, Vec<(i8, i32)>);

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Client { stream }
    }

    /// The frame of the answer; `None` if the connection is closed instead.
    fn call<'a>(&mut self, version: i16, body: &impl Request<'a>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        write_request(&mut bytes, version, 7, Some("test"), body).unwrap();
        self.stream.write_all(&bytes).ok()?;
        self.frame()
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    pub(crate) fn api_versions(&mut self) {
        let frame = self.call(0, &ApiVersionsRequest::default()).unwrap();
        let (_, versions): (i32, ApiVersionsResponse) = read_response(0, &frame).unwrap();
        assert!([17, 36, 50, 51].iter().all(|key| versions.api_keys.iter().any(|api| api.api_key == *key)));
    }

    pub(crate) fn lists_topics(&mut self) -> bool {
        let Some(frame) = self.call(4, &MetadataRequest::default()) else { return false };
        let (_, metadata): (i32, MetadataResponse<'_>) = read_response(4, &frame).unwrap();
        metadata.brokers.len() == 1
    }

    pub(crate) fn handshake(&mut self, mechanism: &str) -> Option<(i16, Vec<String>)> {
        let frame = self.call(1, &SaslHandshakeRequest { mechanism })?;
        let (_, answer): (i32, SaslHandshakeResponse<'_>) = read_response(1, &frame).unwrap();
        Some((answer.error_code, answer.mechanisms.iter().map(|name| (*name).to_owned()).collect()))
    }

    /// Error code, the server's token and lifetime, and its words.
    pub(crate) fn token(&mut self, auth_bytes: &[u8]) -> Option<(i16, (Vec<u8>, i64), String)> {
        let frame = self.call(2, &SaslAuthenticateRequest { auth_bytes: auth_bytes.into() })?;
        let (_, answer): (i32, SaslAuthenticateResponse<'_>) = read_response(2, &frame).unwrap();
        let text = answer.error_message.unwrap_or_default().to_owned();
        Some((answer.error_code, (answer.auth_bytes.expose().to_vec(), answer.session_lifetime_ms), text))
    }

    /// The whole exchange: how long it holds, or why it failed.
    pub(crate) fn authenticate(&mut self, mechanism: Mechanism, user: &str, password: &str) -> Result<i64, String> {
        let (user, password) = (user.to_owned(), Secret::new(password));
        let credentials = match mechanism {
            Mechanism::Scram(hash) => Credentials::Scram { hash, user, password },
            _ => Credentials::Plain { user, password },
        };
        let (code, _) = self.handshake(mechanism.name()).ok_or("closed")?;
        assert_eq!(code, 0, "{mechanism:?}");
        let (mut message, mut exchange) =
            Exchange::begin(credentials, "a fresh nonce".replace(' ', "-").as_str()).unwrap();
        loop {
            let (code, (answer, lifetime), text) = self.token(&message).ok_or("closed")?;
            if code != 0 {
                assert_eq!(code, 58);
                assert!(self.frame().is_none(), "a failure ends the connection");
                return Err(text);
            }
            match exchange.next(&answer).map_err(|error| error.to_string())? {
                Step::Send(next) => message = next,
                Step::Done => return Ok(lifetime),
            }
        }
    }

    /// PLAIN by version 0 of the handshake, whose tokens have no frames.
    pub(crate) fn plain_without_frames(&mut self, user: &str, password: &str) -> bool {
        let frame = self.call(0, &SaslHandshakeRequest { mechanism: "PLAIN" }).unwrap();
        let (_, answer): (i32, SaslHandshakeResponse<'_>) = read_response(0, &frame).unwrap();
        assert_eq!(answer.error_code, 0);
        let token = format!("\0{user}\0{password}");
        self.stream.write_all(&(token.len() as u32).to_be_bytes()).unwrap();
        self.stream.write_all(token.as_bytes()).unwrap();
        self.frame().is_some_and(|token| token.is_empty()) && self.lists_topics()
    }

    pub(crate) fn users(&mut self, names: &[&str]) -> Vec<Described> {
        let users = Some(names.iter().map(|&name| UserName { name }).collect());
        let frame = self.call(0, &DescribeUserScramCredentialsRequest { users }).unwrap();
        let (_, answer): (i32, DescribeUserScramCredentialsResponse<'_>) = read_response(0, &frame).unwrap();
        assert_eq!(answer.error_code, 0);
        let described = answer.results.iter().map(|result| {
            let infos = result.credential_infos.iter().map(|info| (info.mechanism, info.iterations)).collect();
            (result.user.to_owned(), result.error_code, infos)
        });
        described.collect()
    }

    pub(crate) fn set_user(
        &mut self,
        name: &str,
        hash: ScramHash,
        password: &str,
        iterations: i32,
    ) -> (i16, Option<String>) {
        let salt = b"a salt of enough bytes";
        let salted = hash.salted(password.as_bytes(), salt, iterations as u32);
        let mechanism = if hash == ScramHash::Sha256 { 1 } else { 2 };
        let upsertion =
            ScramCredentialUpsertion { name, mechanism, iterations, salt, salted_password: salted.as_slice().into() };
        self.alter(&AlterUserScramCredentialsRequest { upsertions: vec![upsertion], ..Default::default() })
    }

    pub(crate) fn unset_user(&mut self, name: &str, mechanism: i8) -> (i16, Option<String>) {
        let deletions = vec![ScramCredentialDeletion { name, mechanism }];
        self.alter(&AlterUserScramCredentialsRequest { deletions, ..Default::default() })
    }

    fn alter(&mut self, request: &AlterUserScramCredentialsRequest<'_>) -> (i16, Option<String>) {
        let frame = self.call(0, request).unwrap();
        let (_, answer): (i32, AlterUserScramCredentialsResponse<'_>) = read_response(0, &frame).unwrap();
        assert_eq!(answer.results.len(), 1);
        (answer.results[0].error_code, answer.results[0].error_message.map(str::to_owned))
    }
}
