//! The uplink into a real Apache Kafka of three nodes, through a proxy that does at each step of a transaction what can go
//! wrong there. At the end a read_committed consumer must find every acknowledged reading once, in order.
//!
//! `scripts/torture.sh` brings up the cluster and starts this; on its own it is ignored.
//!
//! | file | what it is |
//! |---|---|
//! | `options` | what the script was told |
//! | `faults` | what goes wrong: decisions |
//! | `proxy` | between gateway and cluster; carries them out |
//! | `moves` | leadership from one broker to another |
//! | `devices` | who publishes |
//! | `centre` | what arrived, and whether it should have |
//! | `run` | the torture |
//! | `site`, `scenes`, `fleet` | single scenes |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may stop where it fails"
)]

#[path = "../by_hand/mod.rs"]
mod by_hand;
mod centre;
#[path = "../common/mod.rs"]
mod common;
mod devices;
mod faults;
mod fleet;
mod moves;
mod options;
mod proxy;
mod run;
mod scenes;
mod site;
