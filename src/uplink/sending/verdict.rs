//! What an error code of a Produce response means for the batch it answers.

use crate::kafka::error_code::ErrorCode;

/// What to do next with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Verdict {
    /// It is in the log upstream, now or since an earlier try.
    Appended,
    /// The same bytes again, later.
    Retry,
    /// The same bytes again, once metadata tells who leads now.
    RetryElsewhere,
    /// Larger than the topic takes: cut it.
    TooLarge,
    /// Its timestamps are outside what the topic takes: shift them.
    BadTimestamp,
    /// A sequence before this one is missing upstream.
    SequenceGap,
    /// The broker does not know (or not accept) the producer id any more.
    ProducerLost,
    /// It won't be taken, however often it is sent: someone must change something.
    Refused,
    /// The connection ended before the answer: it may or may not be in the log. The same bytes again.
    Unanswered,
}

/// The verdict of an error code.
pub(in crate::uplink) fn verdict(code: i16) -> Verdict {
    let Some(code) = ErrorCode::from_code(code) else { return Verdict::Refused };
    match code {
        ErrorCode::None | ErrorCode::DuplicateSequenceNumber => Verdict::Appended,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => Verdict::TooLarge,
        ErrorCode::InvalidTimestamp => Verdict::BadTimestamp,
        ErrorCode::OutOfOrderSequenceNumber => Verdict::SequenceGap,
        ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::InvalidProducerIdMapping
        | ErrorCode::ProducerFenced => Verdict::ProducerLost,
        code if code.is_stale_metadata() => Verdict::RetryElsewhere,
        // Brokers give it for passing troubles of their own.
        ErrorCode::UnknownServerError => Verdict::Retry,
        code if code.is_retriable() => Verdict::Retry,
        _ => Verdict::Refused,
    }
}

/// What someone has to do about a code that stalls a topic; empty if there is nothing to say beyond its name.
pub(in crate::uplink) fn remedy(code: i16) -> &'static str {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::UnknownTopicOrPartition) => {
            "the topic does not exist upstream: create it there, or set create_topics = true"
        }
        Some(ErrorCode::TopicAuthorizationFailed) => "the uplink's user needs WRITE and DESCRIBE on the topic upstream",
        Some(ErrorCode::ClusterAuthorizationFailed) => {
            "the uplink's user needs IDEMPOTENT_WRITE on the cluster, or WRITE on any topic"
        }
        Some(ErrorCode::InvalidTopic) => "the name is not allowed upstream: see the template `topic`",
        Some(ErrorCode::InvalidRecord) => "a compacted topic upstream takes no records without key",
        Some(ErrorCode::UnsupportedCompressionType) => "set `compression` to one that the brokers know",
        Some(ErrorCode::PolicyViolation) => "a policy of the cluster forbids it",
        Some(ErrorCode::InvalidReplicationFactor) => "set create_replication to at most the number of brokers",
        Some(ErrorCode::LeaderNotAvailable) => "the partition has no leader upstream",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_their_classes() {
        for (code, expected) in [
            (0, Verdict::Appended),
            (46, Verdict::Appended),
            (6, Verdict::RetryElsewhere),
            (3, Verdict::RetryElsewhere),
            (7, Verdict::Retry),
            (19, Verdict::Retry),
            (20, Verdict::Retry),
            (-1, Verdict::Retry),
            (10, Verdict::TooLarge),
            (32, Verdict::BadTimestamp),
            (45, Verdict::SequenceGap),
            (59, Verdict::ProducerLost),
            (47, Verdict::ProducerLost),
            (29, Verdict::Refused),
            (87, Verdict::Refused),
            (9_999, Verdict::Refused),
        ] {
            assert_eq!(verdict(code), expected, "{code}");
        }
    }
}
