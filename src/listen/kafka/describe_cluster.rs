//! DescribeCluster: one broker, which controls itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID, acls};
use crate::kafka::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use crate::kafka::error_code::ErrorCode;

/// `endpoint_type` of brokers and of controllers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeClusterRequest = request.body()?;
        let (host, port) = context.address(&request);
        let broker = DescribeClusterBroker { broker_id: NODE_ID, host: &host, port: port.into(), ..Default::default() };
        let refused = match body.endpoint_type {
            BROKERS => None,
            CONTROLLERS => Some((ErrorCode::MismatchedEndpointType, "this is a broker; ask for brokers")),
            _ => Some((ErrorCode::UnsupportedEndpointType, "there are brokers (endpoint type 1) only")),
        };
        let response = match refused {
            Some((code, text)) => DescribeClusterResponse {
                error_code: code.code(),
                error_message: Some(text),
                endpoint_type: body.endpoint_type,
                ..Default::default()
            },
            None => DescribeClusterResponse {
                endpoint_type: BROKERS,
                cluster_id: &context.cluster_id,
                controller_id: NODE_ID,
                brokers: vec![broker],
                cluster_authorized_operations: acls::cluster_operations(
                    &request.access,
                    body.include_cluster_authorized_operations,
                ),
                ..Default::default()
            },
        };
        Ok(ready(request.answer(&response)?))
    })
}
