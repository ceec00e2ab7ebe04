//! DescribeAcls (key 29), versions 1–3: rules of access, by a filter.
//!
//! Version 1 has types of patterns (KIP-290), 2 is flexible, 3 knows users as resources (KIP-373).
//!
//! Codes of all three APIs of rules: resources 1 any, 2 topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user; patterns 1
//! any, 2 match, 3 literal, 4 prefixed; operations 1 any, 2 all, 3 read, 4 write, 5 create, 6 delete, 7 alter, 8 describe, 9 cluster action,
//! 10 describe configs, 11 alter configs, 12 idempotent write, 13 create tokens, 14 describe tokens; permissions 1 any, 2 deny, 3 allow; 0 is
//! unknown.

use crate::kafka::message::messages;

messages! {
    /// Asks for the rules that pass a filter. What is null may be anything.
    request DescribeAclsRequest<'a>: DescribeAcls {
        resource_type_filter: i8;
        resource_name_filter: Option<&'a str>;
        pattern_type_filter: i8, default 3;
        principal_filter: Option<&'a str>;
        host_filter: Option<&'a str>;
        operation: i8;
        permission_type: i8;
    }

    /// The rules, by what they are about.
    response DescribeAclsResponse<'a>: DescribeAcls {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<&'a str>;
        resources: Vec<DescribeAclsResource<'a>>;
    }

    struct DescribeAclsResource<'a> {
        resource_type: i8;
        resource_name: &'a str;
        pattern_type: i8, default 3;
        acls: Vec<AclDescription<'a>>;
    }

    struct AclDescription<'a> {
        principal: &'a str;
        host: &'a str;
        operation: i8;
        permission_type: i8;
    }
}
