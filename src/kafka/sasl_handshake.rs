//! SaslHandshake (key 17), versions 0–1: chooses the mechanism of authentication. Never flexible.
//!
//! After version 0 the tokens follow bare, each with a length; after version 1 in SaslAuthenticate requests, which is
//! the one to use.

use crate::kafka::message::messages;

messages! {
    /// Proposes a mechanism.
    request SaslHandshakeRequest<'a>: SaslHandshake {
        mechanism: &'a str;
    }

    /// Whether it is taken, and which there are.
    response SaslHandshakeResponse<'a>: SaslHandshake {
        error_code: i16;
        mechanisms: Vec<&'a str>;
    }
}
