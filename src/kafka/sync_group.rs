//! SyncGroup (key 14), versions 0–5: the leader hands in the assignment of a generation, every member gets its own.
//!
//! Version 3 adds static members, 4 is flexible, 5 adds the protocol for a check.

use crate::kafka::message::messages;

messages! {
    /// Asks for the member's assignment.
    request SyncGroupRequest<'a>: SyncGroup {
        group_id: &'a str;
        generation_id: i32;
        member_id: &'a str;
        group_instance_id: Option<&'a str>, in 3..;
        protocol_type: Option<&'a str>, in 5..;
        protocol_name: Option<&'a str>, in 5..;
        /// From the leader: everyone's. From others: empty.
        assignments: Vec<SyncGroupRequestAssignment<'a>>;
    }

    struct SyncGroupRequestAssignment<'a> {
        member_id: &'a str;
        assignment: &'a [u8];
    }

    /// The assignment.
    response SyncGroupResponse<'a>: SyncGroup {
        throttle_time_ms: i32, in 1..;
        error_code: i16;
        protocol_type: Option<&'a str>, in 5..;
        protocol_name: Option<&'a str>, in 5..;
        assignment: &'a [u8];
    }
}
