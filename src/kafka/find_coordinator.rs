//! FindCoordinator (key 10), versions 0–6: which broker keeps a group or a transaction.
//!
//! Up to version 3 it asks for one key and answers at the top level; from 4 on it asks for many and answers in
//! `coordinators` (KIP-699). Version 1 adds the type, 3 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks for coordinators.
    request FindCoordinatorRequest<'a>: FindCoordinator {
        /// Group or transactional id.
        key: &'a str, in 0..=3;
        /// 0 group, 1 transaction.
        key_type: i8, in 1..;
        coordinator_keys: Vec<&'a str>, in 4..;
    }

    /// The coordinators.
    response FindCoordinatorResponse<'a>: FindCoordinator {
        throttle_time_ms: i32, in 1..;
        error_code: i16, in 0..=3;
        error_message: Option<&'a str>, in 1..=3;
        node_id: i32, in 0..=3;
        host: &'a str, in 0..=3;
        port: i32, in 0..=3;
        coordinators: Vec<Coordinator<'a>>, in 4..;
    }

    /// The coordinator of one key.
    struct Coordinator<'a> {
        key: &'a str;
        node_id: i32;
        host: &'a str;
        port: i32;
        error_code: i16;
        error_message: Option<&'a str>;
    }
}
