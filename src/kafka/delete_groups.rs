//! DeleteGroups (key 42), versions 0–2: forgets groups without members. Version 2 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks for groups to be forgotten.
    request DeleteGroupsRequest<'a>: DeleteGroups {
        groups_names: Vec<&'a str>;
    }

    /// Which are.
    response DeleteGroupsResponse<'a>: DeleteGroups {
        throttle_time_ms: i32;
        results: Vec<DeletableGroupResult<'a>>;
    }

    struct DeletableGroupResult<'a> {
        group_id: &'a str;
        error_code: i16;
    }
}
