//! gzip (RFC 1952), of one or several members. The decoder's memory is DEFLATE's window of 32 KiB and its tables, and the
//! names that may stand in member headers, which are held against the payload.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::Saving;

pub(super) fn decoder<'a>(payload: &'a [u8]) -> impl Read + 'a {
    MultiGzDecoder::new(payload)
}

pub(super) fn compress(records: &[u8], saves: Saving, out: &mut Vec<u8>) -> Option<()> {
    let level = match saves {
        Saving::Bytes => Compression::default(),
        Saving::Time => Compression::fast(),
    };
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(records).and_then(|()| encoder.try_finish()).ok()
}
