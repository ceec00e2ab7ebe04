//! DescribeConfigs (key 32), versions 1–4: settings of topics and brokers, their values and where these come from.
//!
//! Version 3 adds types and documentation of the settings (KIP-569), 4 is flexible.

use crate::kafka::message::messages;

messages! {
    request DescribeConfigsRequest<'a>: DescribeConfigs {
        resources: Vec<DescribeConfigsResource<'a>>;
        include_synonyms: bool;
        include_documentation: bool, in 3..;
    }

    struct DescribeConfigsResource<'a> {
        resource_type: i8;
        resource_name: &'a str;
        configuration_keys: Option<Vec<&'a str>>;
    }

    response DescribeConfigsResponse<'a>: DescribeConfigs {
        throttle_time_ms: i32;
        results: Vec<DescribeConfigsResult<'a>>;
    }

    struct DescribeConfigsResult<'a> {
        error_code: i16;
        error_message: Option<&'a str>;
        resource_type: i8;
        resource_name: &'a str;
        configs: Vec<DescribeConfigsResourceResult<'a>>;
    }

    struct DescribeConfigsResourceResult<'a> {
        name: &'a str;
        value: Option<&'a str>;
        read_only: bool;
        config_source: i8, default -1;
        is_sensitive: bool;
        synonyms: Vec<DescribeConfigsSynonym<'a>>;
        config_type: i8, in 3..;
        documentation: Option<&'a str>, in 3..;
    }

    struct DescribeConfigsSynonym<'a> {
        name: &'a str;
        value: Option<&'a str>;
        source: i8;
    }
}
