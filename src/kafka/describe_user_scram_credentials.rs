//! DescribeUserScramCredentials (key 50), version 0: which users have SCRAM credentials, never the credentials
//! (KIP-554). Flexible from the start.

use crate::kafka::message::messages;

messages! {
    /// Asks for users; all of them when none is named.
    request DescribeUserScramCredentialsRequest<'a>: DescribeUserScramCredentials {
        users: Option<Vec<UserName<'a>>>;
    }

    struct UserName<'a> {
        name: &'a str;
    }

    /// The users.
    response DescribeUserScramCredentialsResponse<'a>: DescribeUserScramCredentials {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<&'a str>;
        results: Vec<DescribeUserScramCredentialsResult<'a>>;
    }

    struct DescribeUserScramCredentialsResult<'a> {
        user: &'a str;
        error_code: i16;
        error_message: Option<&'a str>;
        credential_infos: Vec<CredentialInfo>;
    }

    struct CredentialInfo {
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8;
        iterations: i32;
    }
}
