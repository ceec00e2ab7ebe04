//! The Kafka client below the uplink: one connection, how it is dialled, what is spoken on it, and the cluster they lead to.
//! Nothing here retries: who asked decides by the error.

pub(in crate::uplink) mod cluster;
pub(in crate::uplink) mod connection;
pub(in crate::uplink) mod dial;
mod https;
mod login;
mod metadata;
pub(in crate::uplink) mod meter;
mod proxy;
pub(in crate::uplink) mod pulse;
#[cfg(test)]
mod tests;
mod token;
pub(in crate::uplink) mod versions;
