//! JoinGroup (key 11), versions 0–9: enters a group of the classic protocol, and waits for its next generation.
//!
//! Version 1 adds the rebalance timeout, 4 makes a member without id join twice (MEMBER_ID_REQUIRED), 5 adds static
//! members (KIP-345), 6 is flexible, 7 answers with the protocol type, 9 lets the leader skip the assignment.

use crate::kafka::message::messages;

messages! {
    /// Asks to be a member of the next generation.
    request JoinGroupRequest<'a>: JoinGroup {
        group_id: &'a str;
        /// Without a heartbeat for this long, a member is out.
        session_timeout_ms: i32;
        /// How long members have to join again. −1 (version 0): as the session.
        rebalance_timeout_ms: i32, in 1.., default -1;
        /// "" for a new member.
        member_id: &'a str;
        group_instance_id: Option<&'a str>, in 5..;
        /// "consumer", "connect"…
        protocol_type: &'a str;
        /// Ways of assignment the member can do, the preferred first.
        protocols: Vec<JoinGroupRequestProtocol<'a>>;
        reason: Option<&'a str>, in 8..;
    }

    struct JoinGroupRequestProtocol<'a> {
        name: &'a str;
        /// Subscription, in a form the members know.
        metadata: &'a [u8];
    }

    /// The generation.
    response JoinGroupResponse<'a>: JoinGroup {
        throttle_time_ms: i32, in 2..;
        error_code: i16;
        generation_id: i32, default -1;
        protocol_type: Option<&'a str>, in 7..;
        /// The way of assignment all can do.
        protocol_name: Option<&'a str>, null 7..;
        /// Id of the member that assigns.
        leader: &'a str;
        skip_assignment: bool, in 9..;
        member_id: &'a str;
        /// To the leader: all of them. To others: empty.
        members: Vec<JoinGroupResponseMember<'a>>;
    }

    struct JoinGroupResponseMember<'a> {
        member_id: &'a str;
        group_instance_id: Option<&'a str>, in 5..;
        metadata: &'a [u8];
    }
}
