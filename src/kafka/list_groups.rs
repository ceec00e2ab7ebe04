//! ListGroups (key 16), versions 0–5: the groups a broker keeps. Version 3 is flexible, 4 filters by state, 5 by
//! type.

use crate::kafka::message::messages;

messages! {
    /// Asks for groups.
    request ListGroupsRequest<'a>: ListGroups {
        /// Empty: all.
        states_filter: Vec<&'a str>, in 4..;
        /// Empty: all.
        types_filter: Vec<&'a str>, in 5..;
    }

    /// The groups.
    response ListGroupsResponse<'a>: ListGroups {
        throttle_time_ms: i32, in 1..;
        error_code: i16;
        groups: Vec<ListedGroup<'a>>;
    }

    struct ListedGroup<'a> {
        group_id: &'a str;
        protocol_type: &'a str;
        group_state: &'a str, in 4..;
        group_type: &'a str, in 5..;
    }
}
