//! What can be done, and to what.

use std::fmt;

use crate::broker::caller::Principal;

/// Something that may be allowed or denied: Kafka's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    /// What brokers of a cluster do among each other; known because Kafka's tools name it.
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    /// To write as an idempotent producer; whoever may write to any topic may do that (KIP-679).
    IdempotentWrite,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Delete,
        Self::Alter,
        Self::Describe,
        Self::ClusterAction,
        Self::DescribeConfigs,
        Self::AlterConfigs,
        Self::IdempotentWrite,
    ];

    /// Its name, as Kafka's tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Create => "Create",
            Self::Delete => "Delete",
            Self::Alter => "Alter",
            Self::Describe => "Describe",
            Self::ClusterAction => "ClusterAction",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::AlterConfigs => "AlterConfigs",
            Self::IdempotentWrite => "IdempotentWrite",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kinds of things that something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    Topic,
    Group,
    /// The gateway as a whole; there is one, [`CLUSTER`].
    Cluster,
    TransactionalId,
}

impl ResourceKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Topic, Self::Group, Self::Cluster, Self::TransactionalId];

    /// Its name, as Kafka's tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "Topic",
            Self::Group => "Group",
            Self::Cluster => "Cluster",
            Self::TransactionalId => "TransactionalId",
        }
    }

    /// What can be done to things of this kind.
    pub fn operations(self) -> &'static [Operation] {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs, IdempotentWrite, Read, Write,
        };
        match self {
            Self::Topic => &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs],
            Self::Group => &[Read, Delete, Describe],
            Self::Cluster => &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite],
            Self::TransactionalId => &[Write, Describe],
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of the one resource of [`ResourceKind::Cluster`], as in Kafka.
pub const CLUSTER: &str = "kafka-cluster";

/// One thing that something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resource<'a> {
    pub kind: ResourceKind,
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    /// The gateway as a whole.
    pub const CLUSTER: Self = Self { kind: ResourceKind::Cluster, name: CLUSTER };

    /// A topic.
    pub fn topic(name: &'a str) -> Self {
        Self { kind: ResourceKind::Topic, name }
    }

    /// A consumer group.
    pub fn group(name: &'a str) -> Self {
        Self { kind: ResourceKind::Group, name }
    }

    /// A transactional id.
    pub fn transactional_id(name: &'a str) -> Self {
        Self { kind: ResourceKind::TransactionalId, name }
    }
}

/// Somebody may not do something. Whether the thing is there isn't said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denied {
    pub principal: Principal,
    pub operation: Operation,
    pub kind: ResourceKind,
    pub name: String,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, operation, kind, name } = self;
        match kind {
            ResourceKind::Cluster => {
                write!(f, "not authorised: {principal} has no right to {operation} on the cluster")
            }
            _ => write!(f, "not authorised: {principal} has no right to {operation} on {kind} {name:?}"),
        }
    }
}

impl std::error::Error for Denied {}
