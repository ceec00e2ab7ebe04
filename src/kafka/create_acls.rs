//! CreateAcls (key 30), versions 1–3: adds rules of access. Version 2 is flexible.

use crate::kafka::message::messages;

messages! {
    /// The rules to add.
    request CreateAclsRequest<'a>: CreateAcls {
        creations: Vec<AclCreation<'a>>;
    }

    /// Codes as in [`super::describe_acls`].
    struct AclCreation<'a> {
        resource_type: i8;
        resource_name: &'a str;
        resource_pattern_type: i8, default 3;
        principal: &'a str;
        host: &'a str;
        operation: i8;
        permission_type: i8;
    }

    /// What became of each, in their order.
    response CreateAclsResponse<'a>: CreateAcls {
        throttle_time_ms: i32;
        results: Vec<AclCreationResult<'a>>;
    }

    struct AclCreationResult<'a> {
        error_code: i16;
        error_message: Option<&'a str>;
    }
}
