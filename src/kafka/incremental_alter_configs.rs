//! IncrementalAlterConfigs (key 44), versions 0–1: sets, resets, and edits settings of topics and brokers (KIP-339).
//! Version 1 is flexible.

use crate::kafka::message::messages;

messages! {
    request IncrementalAlterConfigsRequest<'a>: IncrementalAlterConfigs {
        resources: Vec<AlterConfigsResource<'a>>;
        validate_only: bool;
    }

    struct AlterConfigsResource<'a> {
        resource_type: i8;
        resource_name: &'a str;
        configs: Vec<AlterableConfig<'a>>;
    }

    struct AlterableConfig<'a> {
        name: &'a str;
        config_operation: i8;
        value: Option<&'a str>;
    }

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
