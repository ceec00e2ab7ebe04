//! A topic that somebody may use in one way.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use crate::broker::rights::Operation;
use crate::broker::topic::Topic;

/// A way to use a topic.
pub trait Right {
    /// The operation that it stands for.
    const OPERATION: Operation;
}

/// The ways to use a topic.
pub mod right {
    use super::{Operation, Right};

    macro_rules! rights {
        ($($(#[$about:meta])* $name:ident)*) => { $(
            $(#[$about])*
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}

            impl Right for $name {
                const OPERATION: Operation = Operation::$name;
            }
        )* };
    }

    rights! {
        /// Its records out.
        Read
        /// Records in.
        Write
        /// To be seen at all.
        Describe
        /// Records away, or the topic.
        Delete
        /// Its number of partitions changed.
        Alter
    }
}

/// A topic that the caller may use by the right `R`; only a check gives one. It is for one request: what lasts asks again
/// ([`super::Access::again`]), so that rights that are taken away are gone at the next request.
pub struct Granted<R> {
    topic: Arc<Topic>,
    right: PhantomData<R>,
}

impl<R: Right> Granted<R> {
    /// After a check.
    pub(super) fn new(topic: Arc<Topic>) -> Self {
        Self { topic, right: PhantomData }
    }

    /// The topic, to be kept.
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }
}

impl<R> Deref for Granted<R> {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}

impl<R> fmt::Debug for Granted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Granted").field(&self.topic.name).finish()
    }
}
