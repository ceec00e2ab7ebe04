//! DeleteTopics (key 20), versions 1–6.
//!
//! Up to version 5 topics are named in `topic_names`; version 6 has `topics`, by name or by id. Version 4 is
//! flexible, 5 explains errors.

use crate::kafka::message::messages;
use crate::kafka::wire::Uuid;

messages! {
    /// Asks for topics to be deleted.
    request DeleteTopicsRequest<'a>: DeleteTopics {
        topics: Vec<DeleteTopicState<'a>>, in 6..;
        topic_names: Vec<&'a str>, in 1..=5;
        timeout_ms: i32;
    }

    /// A topic, by name or, if that is null, by id.
    struct DeleteTopicState<'a> {
        name: Option<&'a str>;
        topic_id: Uuid;
    }

    /// Which are.
    response DeleteTopicsResponse<'a>: DeleteTopics {
        throttle_time_ms: i32;
        responses: Vec<DeletableTopicResult<'a>>;
    }

    struct DeletableTopicResult<'a> {
        name: Option<&'a str>, null 6..;
        topic_id: Uuid, in 6..;
        error_code: i16;
        error_message: Option<&'a str>, in 5..;
    }
}
