//! DeleteAcls (key 31), versions 1–3: removes rules of access, by filters. Version 2 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Which rules to remove.
    request DeleteAclsRequest<'a>: DeleteAcls {
        filters: Vec<DeleteAclsFilter<'a>>;
    }

    /// Codes as in [`super::describe_acls`].
    struct DeleteAclsFilter<'a> {
        resource_type_filter: i8;
        resource_name_filter: Option<&'a str>;
        pattern_type_filter: i8, default 3;
        principal_filter: Option<&'a str>;
        host_filter: Option<&'a str>;
        operation: i8;
        permission_type: i8;
    }

    /// What each filter has removed, in their order.
    response DeleteAclsResponse<'a>: DeleteAcls {
        throttle_time_ms: i32;
        filter_results: Vec<DeleteAclsFilterResult<'a>>;
    }

    struct DeleteAclsFilterResult<'a> {
        error_code: i16;
        error_message: Option<&'a str>;
        matching_acls: Vec<DeleteAclsMatchingAcl<'a>>;
    }

    struct DeleteAclsMatchingAcl<'a> {
        error_code: i16;
        error_message: Option<&'a str>;
        resource_type: i8;
        resource_name: &'a str;
        pattern_type: i8, default 3;
        principal: &'a str;
        host: &'a str;
        operation: i8;
        permission_type: i8;
    }
}
