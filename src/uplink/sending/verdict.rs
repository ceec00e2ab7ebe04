//! What an error code of a Produce response means for the batch it answers.
//!
//! Three kinds of fault, and only the third ever takes a record out of the stream:
//! - passing ones, and a stale idea of the cluster: the same again, for ever;
//! - what an operator can change (permissions, missing topics, quotas, policies, replicas) and every code that isn't known: the
//!   topic waits with a backoff, for ever, and says why;
//! - what the record is (its size, its timestamp, its content): once it is found and alone, it becomes a letter.

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
    /// A record of it is invalid: find that one.
    BadRecord,
    /// A sequence before this one is missing upstream.
    SequenceGap,
    /// The broker does not know (or not accept) the producer id, or its transaction, any more.
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
        ErrorCode::InvalidRecord => Verdict::BadRecord,
        ErrorCode::OutOfOrderSequenceNumber => Verdict::SequenceGap,
        ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::InvalidProducerIdMapping
        | ErrorCode::ProducerFenced
        | ErrorCode::InvalidTxnState
        | ErrorCode::TransactionAbortable => Verdict::ProducerLost,
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
        Some(ErrorCode::TransactionalIdAuthorizationFailed) => {
            "the uplink's user needs WRITE and DESCRIBE on its transactional id"
        }
        Some(ErrorCode::GroupAuthorizationFailed) => "the uplink's user needs READ on its group",
        Some(ErrorCode::SaslAuthenticationFailed) => "the uplink's user or password is not accepted upstream",
        Some(ErrorCode::InvalidTopic) => "the name is not allowed upstream: see the template `topic`",
        Some(ErrorCode::InvalidRecord) => "upstream takes no such record; a compacted topic takes none without key",
        Some(ErrorCode::CorruptMessage) => "a checksum did not fit there: something in between changes bytes",
        Some(ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend) => {
            "too few replicas of the partition are in sync upstream: see its min.insync.replicas and its brokers"
        }
        Some(ErrorCode::ThrottlingQuotaExceeded) => "a quota upstream is used up",
        Some(ErrorCode::KafkaStorageError) => "a disk of the broker upstream has failed",
        Some(ErrorCode::UnsupportedForMessageFormat) => {
            "the topic upstream keeps an old message format: see its message.format.version"
        }
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

    /// Codes that are not here stall the topic until someone has done something.
    const TABLE: &[(Verdict, &[i16])] = &[
        (Verdict::Appended, &[0, 46]),
        (Verdict::TooLarge, &[10, 18]),
        (Verdict::BadTimestamp, &[32]),
        (Verdict::BadRecord, &[87]),
        (Verdict::SequenceGap, &[45]),
        (Verdict::ProducerLost, &[47, 48, 49, 59, 90, 120]),
        (Verdict::RetryElsewhere, &[3, 5, 6, 9, 13, 56, 72, 74, 75, 100, 103]),
        (Verdict::Retry, &[-1, 2, 7, 14, 15, 16, 19, 20, 41, 51, 70, 71, 78, 80, 83, 84, 88, 89, 106, 122, 123, 133]),
    ];

    #[test]
    fn every_code_falls_into_its_class() {
        for code in (-1..=133).chain([134, 9_999, i16::MIN, i16::MAX]) {
            let expected = TABLE.iter().find(|(_, codes)| codes.contains(&code)).map_or(Verdict::Refused, |(v, _)| *v);
            assert_eq!(verdict(code), expected, "{code}");
        }
    }

    /// The only verdicts by which a record ever leaves the stream undelivered.
    fn is_of_a_record(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::TooLarge | Verdict::BadTimestamp | Verdict::BadRecord)
    }

    #[test]
    fn nothing_that_an_operator_can_change_is_a_record_s_fault() {
        let of_a_record: Vec<i16> = (i16::MIN..=i16::MAX).filter(|code| is_of_a_record(verdict(*code))).collect();
        assert_eq!(of_a_record, [10, 18, 32, 87]);
        // Authorisation, missing and forbidden topics, too few replicas, quotas, policies, formats, disks.
        for code in [3, 17, 19, 20, 29, 30, 31, 35, 42, 43, 44, 53, 54, 56, 58, 76, 89] {
            assert!(!is_of_a_record(verdict(code)) && verdict(code) != Verdict::Appended, "{code}");
            let silent = [35, 42, 54];
            assert_eq!(remedy(code).is_empty(), silent.contains(&code), "{code}");
        }
    }
}
