//! AlterUserScramCredentials (key 51), version 0: sets and removes SCRAM credentials (KIP-554). Flexible from the start.
//!
//! The password does not cross the wire, but what is made of it by salt and iterations does, which is as good as the
//! password for this mechanism: the request belongs on a connection that nobody else reads.

use crate::kafka::hidden::Hidden;
use crate::kafka::message::messages;

messages! {
    /// What is removed and what is set.
    request AlterUserScramCredentialsRequest<'a>: AlterUserScramCredentials {
        deletions: Vec<ScramCredentialDeletion<'a>>;
        upsertions: Vec<ScramCredentialUpsertion<'a>>;
    }

    struct ScramCredentialDeletion<'a> {
        name: &'a str;
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8;
    }

    struct ScramCredentialUpsertion<'a> {
        name: &'a str;
        mechanism: i8;
        iterations: i32;
        salt: &'a [u8];
        salted_password: Hidden<'a>;
    }

    /// How it went, user by user.
    response AlterUserScramCredentialsResponse<'a>: AlterUserScramCredentials {
        throttle_time_ms: i32;
        results: Vec<AlterUserScramCredentialsResult<'a>>;
    }

    struct AlterUserScramCredentialsResult<'a> {
        user: &'a str;
        error_code: i16;
        error_message: Option<&'a str>;
    }
}
