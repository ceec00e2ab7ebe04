//! gzip (RFC 1952), of one or several members. The decoder's memory is DEFLATE's window of 32 KiB and its tables, and the
//! names that may stand in member headers, which are held against the payload.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

pub(super) fn decoder<'a>(payload: &'a [u8]) -> impl Read + 'a {
    MultiGzDecoder::new(payload)
}

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(records).and_then(|()| encoder.try_finish()).ok()
}
