//! The whole store on a disk that loses power: nothing acknowledged is ever lost, no offset used twice.
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
mod crash;
mod damage;
mod full;
#[path = "../crash_harness/mod.rs"]
mod harness;
mod model;
mod run;
mod scene;
