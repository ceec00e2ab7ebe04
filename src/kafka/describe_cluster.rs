//! DescribeCluster (key 60), versions 0–2: the brokers and the controller. Flexible from the start; version 1 adds
//! the kind of endpoint, 2 fenced brokers.

use crate::kafka::message::messages;

messages! {
    /// Asks about the cluster.
    request DescribeClusterRequest: DescribeCluster {
        include_cluster_authorized_operations: bool;
        /// 1 brokers, 2 controllers.
        endpoint_type: i8, in 1.., default 1;
        include_fenced_brokers: bool, in 2..;
    }

    /// The cluster.
    response DescribeClusterResponse<'a>: DescribeCluster {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<&'a str>;
        endpoint_type: i8, in 1.., default 1;
        cluster_id: &'a str;
        controller_id: i32, default -1;
        brokers: Vec<DescribeClusterBroker<'a>>;
        /// A bit an operation; `i32::MIN` if not asked for.
        cluster_authorized_operations: i32, default i32::MIN;
    }

    struct DescribeClusterBroker<'a> {
        broker_id: i32;
        host: &'a str;
        port: i32;
        rack: Option<&'a str>;
        is_fenced: bool, in 2..;
    }
}
