//! Other people's client libraries, each playing the same scenes with a gateway; what they report is held against what
//! the gateway then has. `scripts/interop.sh clients` builds the drivers and starts this; on its own it is ignored.
//!
//! | file | what it is |
//! |---|---|
//! | `list` | the clients: a line each |
//! | `driver` | a client's driver program: calls, members of a group |
//! | `truth` | what the gateway holds, by a reader that shares nothing with it or with the client |
//! | `topics`, `records`, `groups`, `restarts` | the scenes: the matrix's rows |
//! | `matrix` | every client through every scene, the table |
//! | `libraries` | members of different libraries in one group |
//! | `load` | Kafka's own programs that make load and check it |
//!
//! A **driver** is a small program against one library, as its users would write it. `DRIVER VERB BOOTSTRAP ARGS…` exits
//! with 0 when done, with 3 and a line why where the library has no such thing, else with 1 and what went wrong on standard
//! error. Lines on standard output are flushed one by one. The verbs:
//!
//! | verb | does | prints |
//! |---|---|---|
//! | `version` (no bootstrap needed) | | name and version of the library |
//! | `create TOPIC PARTITIONS` | | |
//! | `produce TOPIC FROM TO CODEC [idempotent]` | key `kN`, value `vN` for FROM ≤ N < TO, batched, acks=all; done once all are acknowledged | |
//! | `consume TOPIC COUNT` | all partitions from the beginning, without a group | `PARTITION OFFSET KEY VALUE` a record |
//! | `group TOPIC GROUP [STRATEGY]` | a member, from the earliest; commits after every poll; leaves when its standard input ends | `assigned P…` on a change, `record PARTITION OFFSET KEY VALUE`, `committed PARTITION OFFSET` |
//! | `committed TOPIC GROUP` | | `PARTITION OFFSET` |
//! | `describe TOPIC` | | `partitions N`, `config NAME VALUE` |
//! | `alter TOPIC NAME VALUE` | | |
//! | `list-groups` | | a group a line |
//! | `describe-group GROUP` | | `STATE MEMBERS` |
//! | `delete-group GROUP` | | |
//! | `delete-records TOPIC PARTITION OFFSET` | | |
//! | `delete TOPIC` | | |
//!
//! `produce` and `group` live through a restart of the gateway by the library's own means.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may stop where it fails"
)]

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod groups;
mod libraries;
mod load;
mod matrix;
mod records;
mod restarts;
mod topics;
mod truth;
