//! InitProducerId (key 22), versions 0–5: a producer id and epoch, for idempotent and transactional producers.
//!
//! Version 2 is flexible. From version 3 on a producer may bring its own id and epoch to have the epoch raised
//! (KIP-360). With a transactional id it fences older holders, and aborts their open transaction:
//! CONCURRENT_TRANSACTIONS until that is done.

use crate::kafka::message::messages;

messages! {
    /// Asks for a producer id.
    request InitProducerIdRequest<'a>: InitProducerId {
        /// Null for a producer that is idempotent only.
        transactional_id: Option<&'a str>;
        /// After how long an open transaction is aborted; of no meaning without a transactional id.
        transaction_timeout_ms: i32;
        /// The id it had; −1 for a new one.
        producer_id: i64, in 3.., default -1;
        /// The epoch it had; −1 for a new one.
        producer_epoch: i16, in 3.., default -1;
    }

    /// The id and epoch.
    response InitProducerIdResponse: InitProducerId {
        throttle_time_ms: i32;
        error_code: i16;
        /// −1 with an error.
        producer_id: i64, default -1;
        producer_epoch: i16;
    }
}
