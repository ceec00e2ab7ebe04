//! AddOffsetsToTxn (key 25), versions 0–4: takes a group's positions into a transaction. Version 3 is flexible; not
//! needed in transactions v2.

use crate::kafka::message::messages;

messages! {
    /// Asks for a group to be taken in.
    request AddOffsetsToTxnRequest<'a>: AddOffsetsToTxn {
        transactional_id: &'a str;
        producer_id: i64;
        producer_epoch: i16;
        group_id: &'a str;
    }

    /// Whether it is.
    response AddOffsetsToTxnResponse: AddOffsetsToTxn {
        throttle_time_ms: i32;
        error_code: i16;
    }
}
