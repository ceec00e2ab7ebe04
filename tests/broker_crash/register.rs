//! A value as its clients know it: what they were told is certain, what they asked for may be there.

use std::collections::VecDeque;

/// A value that changes in the order asked.
#[derive(Clone, Debug)]
pub struct Register<T> {
    pub known: Option<T>,
    asked: VecDeque<(u64, T)>,
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self { known: None, asked: VecDeque::new() }
    }
}

impl<T: Clone + PartialEq> Register<T> {
    /// It is this for certain.
    pub fn known(value: T) -> Self {
        Self { known: Some(value), asked: VecDeque::new() }
    }

    pub fn ask(&mut self, ticket: u64, value: T) {
        self.asked.push_back((ticket, value));
    }

    /// This request was done, and so was every one before it that wasn't refused.
    pub fn told(&mut self, ticket: u64) {
        while self.asked.front().is_some_and(|(asked, _)| *asked <= ticket) {
            self.known = self.asked.pop_front().filter(|(done, _)| *done == ticket).map(|(_, value)| value);
        }
    }

    /// This request was not done, and won't be.
    pub fn refused(&mut self, ticket: u64) {
        self.asked.retain(|(asked, _)| *asked != ticket);
    }

    /// What it may be.
    pub fn possible(&self, value: Option<&T>) -> bool {
        self.known.as_ref() == value || self.asked.iter().any(|(_, asked)| Some(asked) == value)
    }

    /// What it will be once everything asked for is done.
    pub fn last(&self) -> Option<&T> {
        self.asked.back().map(|(_, value)| value).or(self.known.as_ref())
    }

    /// It was found to be this.
    pub fn settle(&mut self, value: Option<T>) {
        *self = Self { known: value, asked: VecDeque::new() };
    }
}
