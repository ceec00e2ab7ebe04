//! Heartbeat (key 12), versions 0–4: keeps a member in its group, and tells it of a rebalance.
//!
//! Version 3 adds static members, 4 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Says that the member lives.
    request HeartbeatRequest<'a>: Heartbeat {
        group_id: &'a str;
        generation_id: i32;
        member_id: &'a str;
        group_instance_id: Option<&'a str>, in 3..;
    }

    /// REBALANCE_IN_PROGRESS: join again.
    response HeartbeatResponse: Heartbeat {
        throttle_time_ms: i32, in 1..;
        error_code: i16;
    }
}
