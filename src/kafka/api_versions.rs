//! ApiVersions (key 18), versions 0–4: which APIs a server speaks, and in which versions.
//!
//! It is asked before anything else is known, so it has two exceptions (KIP-511): the response's header is version 0
//! always, and a version that the server doesn't know is answered in the layout of version 0 with error 35
//! ([`unsupported_version`]).
//!
//! librdkafka before 2.2.0 steps wrong over the tagged fields of this response if the features' epoch is −1: leave
//! the feature lists empty and the epoch at its default, then no tag is written.

use core::ops::RangeInclusive;

use crate::kafka::api::ApiKey;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::message::{Message, messages};
use crate::kafka::wire::{DecodeError, Reader};

messages! {
    /// Asks for the versions, and introduces the client (KIP-511).
    request ApiVersionsRequest<'a>: ApiVersions {
        client_software_name: &'a str, in 3..;
        client_software_version: &'a str, in 3..;
    }

    /// The APIs a server speaks.
    response ApiVersionsResponse<'a>: ApiVersions {
        error_code: i16;
        api_keys: Vec<ApiVersion>;
        throttle_time_ms: i32, in 1..;
        supported_features: Vec<SupportedFeatureKey<'a>>, in 3.., tag 0;
        /// −1 if unknown.
        finalized_features_epoch: i64, in 3.., tag 1, default -1;
        finalized_features: Vec<FinalizedFeatureKey<'a>>, in 3.., tag 2;
        zk_migration_ready: bool, in 3.., tag 3;
    }

    /// The range of versions of one API, both ends included.
    struct ApiVersion {
        api_key: i16;
        min_version: i16;
        max_version: i16;
    }

    /// A feature and the levels the broker can do.
    struct SupportedFeatureKey<'a> {
        name: &'a str;
        min_version: i16;
        max_version: i16;
    }

    /// A feature and the level in force in the cluster; `transaction.version` ≥ 2 is transactions v2.
    struct FinalizedFeatureKey<'a> {
        name: &'a str;
        max_version_level: i16;
        min_version_level: i16;
    }
}

/// The answer to an ApiVersions request of a version that is not served. It is encoded in version 0, whatever was
/// asked.
///
/// Clients read out of it which version to ask in; so it lists at least ApiVersions itself.
pub fn unsupported_version(api_keys: Vec<ApiVersion>) -> ApiVersionsResponse<'static> {
    ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), api_keys, ..Default::default() }
}

/// The answer to a request of version `asked`, out of what follows the response's header: in that version, or in
/// version 0 if its error code says that the server doesn't know that version.
///
/// # Errors
/// Any [`DecodeError`].
pub fn decode_answer<'a>(asked: i16, reader: &mut Reader<'a>) -> Result<ApiVersionsResponse<'a>, DecodeError> {
    let unsupported = reader.clone().i16()? == ErrorCode::UnsupportedVersion.code();
    ApiVersionsResponse::decode(if unsupported { 0 } else { asked }, reader)
}

/// The newest version of an API within `ours` that a server serves too; `None` if there is none.
pub fn newest_common(served: &[ApiVersion], api: ApiKey, ours: RangeInclusive<i16>) -> Option<i16> {
    let theirs = served.iter().find(|served| served.api_key == api.code())?;
    let newest = theirs.max_version.min(*ours.end());
    (newest >= theirs.min_version && newest >= *ours.start()).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_chosen() {
        let served = [ApiVersion { api_key: 0, min_version: 3, max_version: 9 }];
        assert_eq!(newest_common(&served, ApiKey::Produce, 7..=12), Some(9));
        assert_eq!(newest_common(&served, ApiKey::Produce, 3..=7), Some(7));
        assert_eq!(newest_common(&served, ApiKey::Produce, 10..=12), None);
        assert_eq!(newest_common(&served, ApiKey::Produce, 0..=2), None);
        assert_eq!(newest_common(&served, ApiKey::Fetch, 0..=12), None);
    }

    #[test]
    fn an_unsupported_version_is_answered_in_version_0() {
        let served = vec![ApiVersion { api_key: 18, min_version: 0, max_version: 2 }];
        let mut answer = Vec::new();
        unsupported_version(served.clone()).encode(0, &mut answer).unwrap();
        let decoded = decode_answer(3, &mut Reader::new(&answer)).unwrap();
        assert_eq!(decoded, unsupported_version(served));
        let plain = ApiVersionsResponse { throttle_time_ms: 7, ..Default::default() };
        answer.clear();
        plain.encode(3, &mut answer).unwrap();
        assert_eq!(decode_answer(3, &mut Reader::new(&answer)), Ok(plain));
    }
}
