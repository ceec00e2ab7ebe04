//! SaslAuthenticate (key 36), versions 0–2: one step of the mechanism's exchange. Version 1 adds the session's
//! lifetime (KIP-368), 2 is flexible.

use crate::kafka::hidden::Hidden;
use crate::kafka::message::messages;

messages! {
    /// A message of the client.
    request SaslAuthenticateRequest<'a>: SaslAuthenticate {
        auth_bytes: Hidden<'a>;
    }

    /// A message of the server.
    response SaslAuthenticateResponse<'a>: SaslAuthenticate {
        error_code: i16;
        error_message: Option<&'a str>;
        auth_bytes: Hidden<'a>;
        /// After this long the client must authenticate again; 0: never.
        session_lifetime_ms: i64, in 1..;
    }
}
