//! What an error code of a Fetch or ListOffsets response means for its partition.

use crate::kafka::error_code::{ErrorCode, Shown};

/// The position is outside the log.
pub(super) fn is_out_of_range(code: i16) -> bool {
    code == ErrorCode::OffsetOutOfRange.code()
}

/// Another broker leads it now, or none, or the topic is gone.
pub(super) fn is_stale(code: i16) -> bool {
    ErrorCode::from_code(code).is_some_and(ErrorCode::is_stale_metadata)
}

/// A code and what to do about it, in a line.
pub(super) fn explain(code: i16) -> String {
    let remedy = match ErrorCode::from_code(code) {
        Some(ErrorCode::UnknownTopicOrPartition) => "the topic does not exist upstream: create it there",
        Some(ErrorCode::TopicAuthorizationFailed) => {
            "the downlink's user needs READ and DESCRIBE on the topic upstream"
        }
        Some(ErrorCode::InvalidTopic) => "the name is not allowed upstream: see `topics`",
        Some(ErrorCode::LeaderNotAvailable) => "the partition has no leader upstream",
        Some(ErrorCode::UnsupportedCompressionType) => {
            "the brokers keep it in a codec that this version of the protocol does not carry"
        }
        _ => return Shown(code).to_string(),
    };
    format!("{}: {remedy}", Shown(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_their_classes() {
        assert!(is_out_of_range(1) && is_stale(3) && is_stale(6) && !is_stale(29));
        assert!(explain(29).contains("needs READ") && explain(9_999).contains("9999"));
    }
}
