//! What an error code means for a transaction. Pure.

use std::fmt;

use crate::kafka::error_code::{ErrorCode, Shown};

/// Why a question has no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Failure {
    /// `None`: there was no answer at all.
    pub(super) code: Option<i16>,
    /// For people.
    pub(super) text: String,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The same question, a little later.
    Again,
    /// The same question, to whoever coordinates now.
    Elsewhere,
    /// Someone (or the coordinator itself, after a time-out) has taken the producer's place.
    Displaced,
    /// The coordinator has forgotten the producer: a new one.
    Forgotten,
    /// The transaction can't be saved.
    Lost,
    /// With a shorter time-out.
    Shorter,
    /// Someone must change something upstream first.
    Refused,
}

impl Failure {
    pub(super) fn code(code: i16) -> Self {
        Self { code: Some(code), text: String::new() }
    }

    pub(super) fn silence(text: impl fmt::Display) -> Self {
        Self { code: None, text: text.to_string() }
    }

    pub(super) fn remedy(&self) -> Remedy {
        let Some(code) = self.code else { return Remedy::Elsewhere };
        let Some(code) = ErrorCode::from_code(code) else { return Remedy::Refused };
        match code {
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => Remedy::Displaced,
            ErrorCode::InvalidProducerIdMapping => Remedy::Forgotten,
            ErrorCode::InvalidTxnState
            | ErrorCode::TransactionAbortable
            | ErrorCode::UnknownProducerId
            | ErrorCode::TransactionCoordinatorFenced
            | ErrorCode::OperationNotAttempted
            | ErrorCode::OutOfOrderSequenceNumber => Remedy::Lost,
            ErrorCode::InvalidTransactionTimeout => Remedy::Shorter,
            // Brokers give it for passing troubles of their own.
            ErrorCode::UnknownServerError => Remedy::Again,
            code if code.is_stale_coordinator() || code.is_stale_metadata() => Remedy::Elsewhere,
            code if code.is_retriable() => Remedy::Again,
            _ => Remedy::Refused,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = self.code.map_or("", hint);
        let parts = [self.code.map(|code| Shown(code).to_string()).unwrap_or_default(), hint.into(), self.text.clone()];
        f.write_str(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
    }
}

/// What someone has to do; empty if there is nothing to say beyond the name.
fn hint(code: i16) -> &'static str {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::TransactionalIdAuthorizationFailed) => {
            "the uplink's user needs WRITE and DESCRIBE on the transactional id brooklet.GATEWAY.UPLINK"
        }
        Some(ErrorCode::GroupAuthorizationFailed) => {
            "the uplink's user needs READ on the group brooklet.GATEWAY.UPLINK"
        }
        Some(ErrorCode::TopicAuthorizationFailed) => {
            "the uplink's user needs READ, WRITE and DESCRIBE on the topic brooklet.cursors"
        }
        Some(ErrorCode::InvalidTransactionTimeout) => {
            "the brokers' transaction.max.timeout.ms is below what any link takes"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_their_classes() {
        for (code, expected) in [
            (51, Remedy::Again),
            (88, Remedy::Again),
            (14, Remedy::Again),
            (-1, Remedy::Again),
            (15, Remedy::Elsewhere),
            (16, Remedy::Elsewhere),
            (6, Remedy::Elsewhere),
            (47, Remedy::Displaced),
            (90, Remedy::Displaced),
            (49, Remedy::Forgotten),
            (48, Remedy::Lost),
            (59, Remedy::Lost),
            (120, Remedy::Lost),
            (50, Remedy::Shorter),
            (53, Remedy::Refused),
            (30, Remedy::Refused),
            (9_999, Remedy::Refused),
        ] {
            assert_eq!(Failure::code(code).remedy(), expected, "{code}");
        }
        assert_eq!(Failure::silence("gone").remedy(), Remedy::Elsewhere);
        assert!(Failure::code(53).to_string().contains("WRITE"));
    }
}
