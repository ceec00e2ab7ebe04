//! Sets of operations, and which of them another one brings along.

use super::model::Operation;
use super::rule::What;

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(u16);

impl Bits {
    const EVERY: Self = {
        let mut every = Self(0);
        let mut at = 0;
        while at < Operation::ALL.len() {
            every.0 |= 1 << at;
            at += 1;
        }
        every
    };

    const fn of(operation: Operation) -> Self {
        Self(1 << operation as u16)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What a rule names.
    pub(super) const fn named(what: What) -> Self {
        match what {
            What::All => Self::EVERY,
            What::One(operation) => Self::of(operation),
        }
    }

    pub(super) const fn has(self, operation: Operation) -> bool {
        self.0 & Self::of(operation).0 != 0
    }

    /// Whether `operation` is allowed to whom these are: who may read, write, delete or alter something may see it (as in Kafka).
    pub(super) const fn allow(self, operation: Operation) -> bool {
        let by = match operation {
            Operation::Describe => Self::of(Operation::Describe)
                .or(Self::of(Operation::Read))
                .or(Self::of(Operation::Write))
                .or(Self::of(Operation::Delete))
                .or(Self::of(Operation::Alter)),
            Operation::DescribeConfigs => Self::of(Operation::DescribeConfigs).or(Self::of(Operation::AlterConfigs)),
            other => Self::of(other),
        };
        self.0 & by.0 != 0
    }
}

const _: () = assert!(Operation::ALL.len() <= u16::BITS as usize);
