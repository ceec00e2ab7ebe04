//! Names of the headers by which a gateway tells where a record comes from. In a durable relation to what lies upstream
//! already: these may never change.

/// The gateway's id.
pub const GATEWAY: &[u8] = b"brooklet.gateway";
/// The native client that published the record.
pub const DEVICE: &[u8] = b"brooklet.device";
/// Where the record lay in the gateway's store, as text: incarnation (32 hexadecimal digits), store-wide partition number,
/// offset, with a slash between. No other record ever has the same.
pub const ORIGIN: &[u8] = b"brooklet.origin";
/// What precedes a label's name.
pub const LABEL_PREFIX: &[u8] = b"brooklet.label.";
/// Present where the time was only estimated.
pub const TIME: &[u8] = b"brooklet.time";
