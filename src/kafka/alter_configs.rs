//! AlterConfigs (key 33), versions 0–2: replaces the settings of topics and brokers. Version 2 is flexible.
//!
//! What a request does not name returns to its default; [`super::incremental_alter_configs`] is what clients use now.

use crate::kafka::message::messages;

messages! {
    /// Asks for settings to be replaced.
    request AlterConfigsRequest<'a>: AlterConfigs {
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
        value: Option<&'a str>;
    }

    /// What became of each resource.
    response AlterConfigsResponse<'a>: AlterConfigs {
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
