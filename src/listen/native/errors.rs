//! The broker's errors as the protocol's codes.

use crate::broker::groups::GroupError;
use crate::broker::{CommitError, FetchError, IntakeError, OffsetError, ProduceError, TopicError};
use crate::frame::ErrorCode;
use crate::store::{DraftError, StoreError};

pub(super) fn of_produce(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::Denied(_) | ProduceError::NotYours(_) => ErrorCode::NotAuthorized,
        ProduceError::Draining => ErrorCode::ShuttingDown,
        ProduceError::UnknownPartition => ErrorCode::UnknownPartition,
        ProduceError::TooLarge { .. } | ProduceError::TooLargeUpstream(_) => ErrorCode::RecordTooLarge,
        ProduceError::Timestamp { .. } => ErrorCode::InvalidArgument,
        ProduceError::SessionFenced => ErrorCode::Fenced,
        ProduceError::SequenceGap { .. } => ErrorCode::SequenceGap,
        ProduceError::Store(error) => of_commit(error),
        // Of batches, which only gateways below send.
        ProduceError::Corrupt(_) => ErrorCode::InvalidArgument,
        ProduceError::OutOfOrderSequence { .. } | ProduceError::ProducerFenced => ErrorCode::Internal,
    }
}

/// For a stretch of a gateway below.
pub(super) fn of_intake(error: &IntakeError) -> ErrorCode {
    match error {
        IntakeError::Moved => ErrorCode::SequenceGap,
        IntakeError::UnknownPartition => ErrorCode::UnknownPartition,
        IntakeError::NotOwner(_) => ErrorCode::NotAuthorized,
        IntakeError::Refused(error) => of_produce(error),
        IntakeError::Store(error) => of_commit(error),
    }
}

pub(super) fn of_commit(error: &CommitError) -> ErrorCode {
    match error {
        CommitError::Store(StoreError::Full | StoreError::DiskFull) => ErrorCode::StoreFull,
        CommitError::Store(StoreError::Poisoned(_) | StoreError::Stopped(_)) => ErrorCode::StoreFailed,
        CommitError::Store(StoreError::Closed) => ErrorCode::ShuttingDown,
        CommitError::Draft(DraftError::Full | DraftError::StateFull | DraftError::StoreFull | DraftError::DiskFull) => {
            ErrorCode::StoreFull
        }
        CommitError::Draft(DraftError::TooLarge) => ErrorCode::RecordTooLarge,
        CommitError::Draft(DraftError::UnknownPartition) => ErrorCode::UnknownPartition,
        CommitError::Draft(DraftError::Invalid) => ErrorCode::InvalidArgument,
    }
}

pub(super) fn of_fetch(error: &FetchError) -> ErrorCode {
    match error {
        FetchError::Denied(_) => ErrorCode::NotAuthorized,
        FetchError::UnknownPartition => ErrorCode::UnknownPartition,
        FetchError::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        FetchError::Store(_) => ErrorCode::StoreFailed,
    }
}

pub(super) fn of_offset(error: &OffsetError) -> ErrorCode {
    match error {
        OffsetError::Invalid(_) => ErrorCode::InvalidArgument,
        OffsetError::Group(error) => of_group(error),
        OffsetError::Store(error) => of_commit(error),
    }
}

/// `name` is the topic that was asked for: a name that is not allowed has a code of its own.
pub(super) fn of_topic(error: &TopicError, name: &str) -> ErrorCode {
    match error {
        TopicError::Denied(_) => ErrorCode::NotAuthorized,
        TopicError::Exists(_) => ErrorCode::TopicExists,
        TopicError::Unknown(_) => ErrorCode::UnknownTopic,
        TopicError::Invalid(_) if crate::broker::validate_name(name).is_err() => ErrorCode::InvalidTopic,
        TopicError::Invalid(_) => ErrorCode::InvalidArgument,
        TopicError::TooMany(_) => ErrorCode::Overloaded,
        TopicError::Store(error) => of_commit(error),
    }
}

pub(super) fn of_group(error: &GroupError) -> ErrorCode {
    match error {
        GroupError::Denied(_) => ErrorCode::NotAuthorized,
        GroupError::InvalidName | GroupError::InvalidSession(_) | GroupError::TooLarge(_) => ErrorCode::InvalidArgument,
        GroupError::InconsistentProtocol => ErrorCode::Unsupported,
        GroupError::Fenced => ErrorCode::Fenced,
        GroupError::UnknownMember
        | GroupError::OldGeneration
        | GroupError::Rebalancing
        | GroupError::MemberIdRequired => ErrorCode::Rebalancing,
        GroupError::TooMany => ErrorCode::Overloaded,
        GroupError::NotEmpty | GroupError::Subscribed => ErrorCode::GroupInUse,
        GroupError::UnknownGroup => ErrorCode::UnknownGroup,
        GroupError::NotAvailable => ErrorCode::Overloaded,
    }
}
