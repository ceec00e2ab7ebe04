//! IncrementalAlterConfigs (key 44), versions 0–1: sets, resets, and edits settings of topics and brokers (KIP-339).
//! Version 1 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks for settings to change.
    request IncrementalAlterConfigsRequest<'a>: IncrementalAlterConfigs {
        resources: Vec<AlterConfigsResource<'a>>;
        validate_only: bool;
    }

    struct AlterConfigsResource<'a> {
        /// As [`super::describe_configs::DescribeConfigsResource::resource_type`].
        resource_type: i8;
        resource_name: &'a str;
        configs: Vec<AlterableConfig<'a>>;
    }

    struct AlterableConfig<'a> {
        name: &'a str;
        /// 0 set, 1 delete, 2 append to a list, 3 take out of a list.
        config_operation: i8;
        value: Option<&'a str>;
    }

    /// What became of each resource.
    response IncrementalAlterConfigsResponse<'a>: IncrementalAlterConfigs {
        throttle_time_ms: i32;
        responses: Vec<AlterConfigsResourceResponse<'a>>;
    }

    struct AlterConfigsResourceResponse<'a> {
        error_code: i16;
        error_message: Option<&'a str>;
        resource_type: i8;
        resource_name: &'a str;
    }
}
