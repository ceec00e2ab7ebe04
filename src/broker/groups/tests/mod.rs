//! Tests of the state machine: transcripts that are held against what it does, and random events against invariants.

mod keeping;
mod property;
mod transcript;
