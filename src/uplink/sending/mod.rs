//! What is on its way to each partition upstream: sequences, requests, and what an answer means. Pure.

pub(in crate::uplink) mod lane;
pub(in crate::uplink) mod producer;
pub(in crate::uplink) mod verdict;
