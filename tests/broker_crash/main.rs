//! The whole broker on a disk that loses power: nothing acknowledged is ever lost, and what clients send again is
//! stored once.
//!
//! | file | what it is |
//! |---|---|
//! | `model`, `register`, `records` | what the gateway must hold, as its clients know it |
//! | `crew` | the same, of the members of a group |
//! | `gateway`, `tasks`, `clients`, `members` | the driver: a broker whose futures are polled by hand, and what its clients do |
//! | `check` | an open gateway against the model |
//! | `scene` | run, crash, open again |
//! | `cut`, `lives`, `failing`, `heal`, `full`, `slow`, `reader`, `damage` | a kind of fault each |
//! | `groups` | power cuts among members of a group |
//! | `intake` | what a downlink brings, with the power cut anywhere |
//! | `tiers` | what a gateway below forwards, with the power cut anywhere here |
//! | `replay`, `long` | seeds replay exactly; runs for hours, runs with planted faults |
//!
//! Everything is drawn from a seed and driven by one thread, so a failure prints its seed and happens again with it (see
//! scripts/crash.sh). Not in release builds, where there is no simulator.
#![cfg(debug_assertions)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod check;
mod clients;
mod crew;
mod cut;
mod damage;
mod failing;
mod full;
mod gateway;
mod groups;
#[path = "../crash_harness/mod.rs"]
mod harness;
mod heal;
mod intake;
mod lives;
mod long;
mod members;
mod model;
mod reader;
mod records;
mod register;
mod replay;
mod scene;
mod slow;
mod tasks;
mod tiers;

use harness::Verdict;
use scene::Case;

/// A test of the store as it is.
fn sound(test: fn(Case) -> Verdict) -> impl Fn(u64) -> Verdict {
    move |seed| test(Case { seed, planted: None })
}
