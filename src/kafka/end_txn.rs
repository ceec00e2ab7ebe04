//! EndTxn (key 26), versions 0–5: commits or aborts a transaction.
//!
//! Version 3 is flexible; 5 is transactions v2 (KIP-890): the answer brings the producer id and epoch of the next
//! transaction, whose sequences start at 0.

use crate::kafka::message::messages;

messages! {
    /// Asks for the end of a transaction.
    request EndTxnRequest<'a>: EndTxn {
        transactional_id: &'a str;
        producer_id: i64;
        producer_epoch: i16;
        /// False: abort.
        committed: bool;
    }

    /// Whether it ended.
    response EndTxnResponse: EndTxn {
        throttle_time_ms: i32;
        error_code: i16;
        /// Of the next transaction; −1 before version 5 or with an error.
        producer_id: i64, in 5.., default -1;
        producer_epoch: i16, in 5.., default -1;
    }
}
