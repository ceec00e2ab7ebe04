//! DescribeConfigs (key 32), versions 1–4: settings of topics and brokers, their values and where these come from.
//!
//! Version 3 adds types and documentation of the settings (KIP-569), 4 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks for the settings of resources.
    request DescribeConfigsRequest<'a>: DescribeConfigs {
        resources: Vec<DescribeConfigsResource<'a>>;
        include_synonyms: bool;
        include_documentation: bool, in 3..;
    }

    struct DescribeConfigsResource<'a> {
        /// 2 topic, 4 broker, 8 logger of a broker.
        resource_type: i8;
        resource_name: &'a str;
        /// Null: all.
        configuration_keys: Option<Vec<&'a str>>;
    }

    /// The settings.
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

    /// A setting.
    struct DescribeConfigsResourceResult<'a> {
        name: &'a str;
        /// Null if sensitive or unset.
        value: Option<&'a str>;
        read_only: bool;
        /// Where the value comes from: 1 topic, 2 broker (dynamic), 3 all brokers (dynamic), 4 broker's file, 5
        /// default, 6 logger.
        config_source: i8, default -1;
        is_sensitive: bool;
        /// The settings that could have given the value, first the one that did.
        synonyms: Vec<DescribeConfigsSynonym<'a>>;
        /// 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password; 0 unknown.
        config_type: i8, in 3..;
        documentation: Option<&'a str>, in 3..;
    }

    struct DescribeConfigsSynonym<'a> {
        name: &'a str;
        value: Option<&'a str>;
        /// As [`DescribeConfigsResourceResult::config_source`].
        source: i8;
    }
}
