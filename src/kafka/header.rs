//! The headers in front of requests (versions 1 and 2) and responses (versions 0 and 1), and whole frames made of them.
//!
//! The client id is a string of the old layout even in header version 2, so that a server can read it before it knows
//! whether it knows the API's version (KIP-511). Tags of headers are skipped; none is ever written.

use crate::kafka::api::ApiKey;
use crate::kafka::frame;
use crate::kafka::message::{Request, Response};
use crate::kafka::wire::{DecodeError, EncodeError, Layout, Reader, Wire, write_uvarint};

/// What stands in front of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Key on the wire; the codec needn't know it.
    pub api_key: i16,
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    pub client_id: Option<&'a str>,
}

/// Headers' own strings have the old layout in every version.
const OLD: Layout = Layout { version: 1, flexible: false };

impl<'a> RequestHeader<'a> {
    /// Takes the header off the reader; the request's body is what remains.
    ///
    /// The header of an API that the codec doesn't know is read as version 1, enough to name the API to people. A
    /// version that it doesn't know is taken to be as flexible as the newest known one.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn decode(reader: &mut Reader<'a>) -> Result<RequestHeader<'a>, DecodeError> {
        let header = RequestHeader {
            api_key: reader.i16()?,
            api_version: reader.i16()?,
            correlation_id: reader.i32()?,
            client_id: Wire::read(reader, OLD)?,
        };
        match ApiKey::from_code(header.api_key) {
            Some(api) if api.request_header_version(header.api_version) == 2 => reader.tagged(|_, _| Ok(false))?,
            _ => {}
        }
        Ok(header)
    }

    /// Appends the header.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for a client id over 32,767 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.api_key.to_be_bytes());
        out.extend_from_slice(&self.api_version.to_be_bytes());
        out.extend_from_slice(&self.correlation_id.to_be_bytes());
        self.client_id.write(out, OLD)?;
        match ApiKey::from_code(self.api_key) {
            Some(api) if api.request_header_version(self.api_version) == 2 => write_uvarint(out, 0),
            _ => {}
        }
        Ok(())
    }
}

/// Takes a response's header off the reader and yields its correlation id; the body is what remains.
///
/// # Errors
/// Any [`DecodeError`].
pub fn decode_response_header(api: ApiKey, version: i16, reader: &mut Reader<'_>) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if api.response_header_version(version) == 1 {
        reader.tagged(|_, _| Ok(false))?;
    }
    Ok(correlation_id)
}

/// Appends a response's header.
pub fn encode_response_header(api: ApiKey, version: i16, correlation_id: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if api.response_header_version(version) == 1 {
        write_uvarint(out, 0);
    }
}

/// Appends a whole request: size, header, body. On an error, `out` is as it was.
///
/// # Errors
/// Any [`EncodeError`].
pub fn write_request<'a, M: Request<'a>>(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &M,
) -> Result<(), EncodeError> {
    frame::write(out, |out| {
        RequestHeader { api_key: M::KEY.code(), api_version: version, correlation_id, client_id }.encode(out)?;
        body.encode(version, out)
    })
}

/// Appends a whole response: size, header, body. On an error, `out` is as it was.
///
/// # Errors
/// Any [`EncodeError`].
pub fn write_response<'a, M: Response<'a>>(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<(), EncodeError> {
    frame::write(out, |out| {
        encode_response_header(M::KEY, version, correlation_id, out);
        body.encode(version, out)
    })
}

/// The correlation id and body of a response, out of a frame's content.
///
/// # Errors
/// Any [`DecodeError`], also if bytes are left over.
pub fn read_response<'a, M: Response<'a>>(version: i16, frame: &'a [u8]) -> Result<(i32, M), DecodeError> {
    let mut reader = Reader::new(frame);
    let correlation_id = decode_response_header(M::KEY, version, &mut reader)?;
    let body = M::decode(version, &mut reader)?;
    reader.finish()?;
    Ok((correlation_id, body))
}
