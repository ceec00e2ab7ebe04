//! The broker's errors as Kafka's codes.

use crate::broker::groups::GroupError;
use crate::broker::rights::{Denied, ResourceKind, RuleError};
use crate::broker::{AdminError, CommitError, FetchError, OffsetError, ProduceError, TopicError};
use crate::kafka::error_code::ErrorCode;
use crate::record::BatchError;
use crate::store::{DraftError, StoreError};

/// For what somebody may not do.
pub(super) fn of_denied(denied: &Denied) -> ErrorCode {
    match denied.kind {
        ResourceKind::Topic => ErrorCode::TopicAuthorizationFailed,
        ResourceKind::Group => ErrorCode::GroupAuthorizationFailed,
        ResourceKind::Cluster => ErrorCode::ClusterAuthorizationFailed,
        ResourceKind::TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
    }
}

/// For what an administrator was not served with.
pub(super) fn of_admin(error: &AdminError) -> (ErrorCode, String) {
    let code = match error {
        AdminError::Denied(denied) => of_denied(denied),
        AdminError::Failed(_) => ErrorCode::UnknownServerError,
        AdminError::Store(error) => of_commit(error),
    };
    (code, error.to_string())
}

/// For a rule of access that was not added.
pub(super) fn of_rule(error: &RuleError) -> (ErrorCode, String) {
    let code = match error {
        RuleError::Invalid(_) => ErrorCode::InvalidRequest,
        RuleError::TooMany => ErrorCode::PolicyViolation,
    };
    (code, error.to_string())
}

/// For a batch that was not appended.
pub(super) fn of_produce(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::Denied(denied) => of_denied(denied),
        // As where the gateway shuts down: clients ask for metadata, and try again.
        ProduceError::Draining => ErrorCode::NotLeaderOrFollower,
        ProduceError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ProduceError::TooLarge { .. } | ProduceError::TooLargeUpstream(_) => ErrorCode::MessageTooLarge,
        ProduceError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
        ProduceError::Corrupt(error) => of_batch(error),
        ProduceError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        ProduceError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ProduceError::SessionFenced | ProduceError::NotYours(_) | ProduceError::SequenceGap { .. } => {
            ErrorCode::InvalidRequest
        }
        // The store failed in the midst of it. Of the codes that clients retry this one says that the batch may be in the
        // log; a KAFKA_STORAGE_ERROR is taken for a promise that it isn't.
        ProduceError::Store(CommitError::Store(StoreError::Poisoned(_))) => ErrorCode::NotEnoughReplicasAfterAppend,
        ProduceError::Store(error) => of_commit(error),
    }
}

fn of_batch(error: &BatchError) -> ErrorCode {
    match error {
        // Damaged on the way: the same batch, sent again, may arrive whole.
        BatchError::Crc { .. } | BatchError::Truncated | BatchError::Decompress(_) => ErrorCode::CorruptMessage,
        BatchError::Magic(_) => ErrorCode::UnsupportedForMessageFormat,
        BatchError::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::Malformed(_) | BatchError::Control => ErrorCode::InvalidRecord,
    }
}

/// For anything that the store did not take.
pub(super) fn of_commit(error: &CommitError) -> ErrorCode {
    match error {
        // Clients ask for metadata and retry: the gateway may be back, or have room again, by then.
        CommitError::Store(StoreError::Closed) => ErrorCode::NotLeaderOrFollower,
        CommitError::Store(_) => ErrorCode::KafkaStorageError,
        CommitError::Draft(DraftError::TooLarge) => ErrorCode::MessageTooLarge,
        CommitError::Draft(DraftError::UnknownPartition) => ErrorCode::UnknownTopicOrPartition,
        CommitError::Draft(DraftError::Invalid) => ErrorCode::InvalidRequest,
        CommitError::Draft(DraftError::Full | DraftError::StateFull | DraftError::StoreFull | DraftError::DiskFull) => {
            ErrorCode::KafkaStorageError
        }
    }
}

/// For a request to the coordinator, whose clients know no error of the storage: they look for it again, and retry.
pub(super) fn of_coordinator(error: &CommitError) -> ErrorCode {
    match of_commit(error) {
        ErrorCode::KafkaStorageError | ErrorCode::NotLeaderOrFollower => ErrorCode::CoordinatorNotAvailable,
        code => code,
    }
}

/// For a fetch that was not served.
pub(super) fn of_fetch(error: &FetchError) -> ErrorCode {
    match error {
        FetchError::Denied(denied) => of_denied(denied),
        FetchError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        FetchError::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        FetchError::Store(_) => ErrorCode::KafkaStorageError,
    }
}

/// For a topic operation that was not done.
pub(super) fn of_topic(error: &TopicError) -> ErrorCode {
    match error {
        TopicError::Denied(denied) => of_denied(denied),
        TopicError::Exists(_) => ErrorCode::TopicAlreadyExists,
        TopicError::Unknown(_) => ErrorCode::UnknownTopicOrPartition,
        TopicError::Invalid(_) => ErrorCode::InvalidConfig,
        TopicError::TooMany(_) => ErrorCode::PolicyViolation,
        TopicError::Store(error) => of_commit(error),
    }
}

/// For what a group refuses.
pub(super) fn of_group(error: &GroupError) -> ErrorCode {
    match error {
        GroupError::Denied(denied) => of_denied(denied),
        GroupError::InvalidName => ErrorCode::InvalidGroupId,
        GroupError::InvalidSession(_) => ErrorCode::InvalidSessionTimeout,
        GroupError::TooLarge(_) | GroupError::TooMany => ErrorCode::GroupMaxSizeReached,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::Fenced => ErrorCode::FencedInstanceId,
        GroupError::OldGeneration => ErrorCode::IllegalGeneration,
        GroupError::Rebalancing => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::NotEmpty => ErrorCode::NonEmptyGroup,
        GroupError::UnknownGroup => ErrorCode::GroupIdNotFound,
        GroupError::Subscribed => ErrorCode::GroupSubscribedToTopic,
        GroupError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
    }
}

/// For offsets that were not committed or deleted.
pub(super) fn of_offset(error: &OffsetError) -> ErrorCode {
    match error {
        OffsetError::Invalid(_) => ErrorCode::InvalidRequest,
        OffsetError::Group(error) => of_group(error),
        OffsetError::Store(CommitError::Draft(DraftError::TooLarge)) => ErrorCode::InvalidCommitOffsetSize,
        OffsetError::Store(error) => of_coordinator(error),
    }
}
