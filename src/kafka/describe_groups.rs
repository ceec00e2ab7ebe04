//! DescribeGroups (key 15), versions 0–6: state and members of classic groups. Version 5 is flexible, 6 explains
//! errors.

use crate::kafka::message::messages;

messages! {
    /// Asks about groups.
    request DescribeGroupsRequest<'a>: DescribeGroups {
        groups: Vec<&'a str>;
        include_authorized_operations: bool, in 3..;
    }

    /// The groups.
    response DescribeGroupsResponse<'a>: DescribeGroups {
        throttle_time_ms: i32, in 1..;
        groups: Vec<DescribedGroup<'a>>;
    }

    struct DescribedGroup<'a> {
        error_code: i16;
        error_message: Option<&'a str>, in 6..;
        group_id: &'a str;
        /// "Dead", "Empty", "PreparingRebalance", "CompletingRebalance" or "Stable".
        group_state: &'a str;
        protocol_type: &'a str;
        protocol_data: &'a str;
        members: Vec<DescribedGroupMember<'a>>;
        /// A bit an operation; `i32::MIN` if not asked for.
        authorized_operations: i32, in 3.., default i32::MIN;
    }

    struct DescribedGroupMember<'a> {
        member_id: &'a str;
        group_instance_id: Option<&'a str>, in 4..;
        client_id: &'a str;
        client_host: &'a str;
        member_metadata: &'a [u8];
        member_assignment: &'a [u8];
    }
}
