//! LeaveGroup (key 13), versions 0–5: members go, so that the group needn't wait for their time-out.
//!
//! Up to version 2 one member at the top level, from 3 on many in `members`. Version 4 is flexible, 5 carries a
//! reason.

use crate::kafka::message::messages;

messages! {
    /// Says who goes.
    request LeaveGroupRequest<'a>: LeaveGroup {
        group_id: &'a str;
        member_id: &'a str, in 0..=2;
        members: Vec<MemberIdentity<'a>>, in 3..;
    }

    struct MemberIdentity<'a> {
        member_id: &'a str;
        group_instance_id: Option<&'a str>;
        reason: Option<&'a str>, in 5..;
    }

    /// Who is gone.
    response LeaveGroupResponse<'a>: LeaveGroup {
        throttle_time_ms: i32, in 1..;
        error_code: i16;
        members: Vec<MemberResponse<'a>>, in 3..;
    }

    struct MemberResponse<'a> {
        member_id: &'a str;
        group_instance_id: Option<&'a str>;
        error_code: i16;
    }
}
