//! The Kafka codec against another implementation (`oracle`), and against hostile peers (`hostile`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../fuzz/allocations.rs"]
mod allocations;
mod debug_tree;
mod generate;
mod hostile;
mod oracle;
mod subjects;
