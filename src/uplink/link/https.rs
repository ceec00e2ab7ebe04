//! One question by HTTP/1.1 (RFC 9112), as a client: a form is posted, and the answer read whole.
//!
//! Invariants: an answer is bounded, head and all; nothing of question or answer is in an error, but for the server's status.

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::connection::Transport;
use crate::config::HttpsUrl;

/// Longest answer, bytes. Tokens have a few kilobytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes that are read at a time.
const READ_BYTES: usize = 4 * 1024;

/// What a server has answered.
#[derive(PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Posts a form (`application/x-www-form-urlencoded`).
///
/// # Errors
/// A text: the connection ended, or it was no answer of HTTP.
pub(super) async fn post(
    stream: &mut dyn Transport,
    url: &HttpsUrl,
    authorization: &str,
    form: &str,
) -> Result<Answer, String> {
    let (host, path, bytes) = (url.authority(), &url.path, form.len());
    let request = Zeroizing::new(format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nAccept: application/json\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n{form}"
    ));
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    loop {
        let mut piece = Zeroizing::new([0; READ_BYTES]);
        let read = stream.read(&mut *piece).await.map_err(failed)?;
        bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
        if let Some(answer) = answer(&bytes, read == 0)? {
            return Ok(answer);
        }
        if read == 0 || bytes.len() > ANSWER_BYTES_MAX {
            return Err("its answer is not whole, or too long".to_owned());
        }
    }
}

/// The answer in `bytes`; `None` if there is to be more of it. `ended`: nothing comes any more.
fn answer(bytes: &[u8], ended: bool) -> Result<Option<Answer>, String> {
    const NO_HTTP: &str = "it does not speak HTTP";
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at_checked(end + 4).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| NO_HTTP)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status: u16 = words.next().and_then(|word| word.parse().ok()).filter(|_| is_http).ok_or(NO_HTTP)?;
    if (100..200).contains(&status) {
        // An answer to come is announced.
        return answer(rest, ended);
    }
    let field = |wanted: &str| {
        head.split("\r\n").skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    };
    let is_chunked = field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = match (is_chunked, field("content-length")) {
        (true, _) => chunks(rest)?,
        (false, Some(length)) => {
            let length: usize = length.parse().map_err(|_| NO_HTTP)?;
            rest.get(..length).map(|body| Zeroizing::new(body.to_vec()))
        }
        (false, None) => ended.then(|| Zeroizing::new(rest.to_vec())),
    };
    Ok(body.map(|body| Answer { status, body }))
}

/// What chunks hold (section 7.1); `None` while the last one is missing.
fn chunks(mut rest: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let mut body = Zeroizing::new(Vec::new());
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let (line, after) = rest.split_at_checked(end).unwrap_or_default();
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.filter(|size| *size <= ANSWER_BYTES_MAX).ok_or("its answer has a chunk without a size")?;
        if size == 0 {
            return Ok(Some(body));
        }
        let Some(chunk) = after.get(2..size + 2) else { return Ok(None) };
        body.extend_from_slice(chunk);
        match after.get(size + 2..size + 4) {
            None => return Ok(None),
            Some(b"\r\n") => rest = after.get(size + 4..).unwrap_or_default(),
            Some(_) => return Err("its answer has a chunk without an end".to_owned()),
        }
    }
}

/// A text as a form has it: all but letters, digits and `-._~` by their bytes in hexadecimal.
pub(super) fn escaped(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(*byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ended: bool) -> Result<Option<(u16, String)>, String> {
        let answer = answer(text.as_bytes(), ended)?;
        Ok(answer.map(|answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned())))
    }

    #[test]
    fn an_answer_ends_as_it_says() {
        let whole = |status, body: &str| Ok(Some((status, body.to_owned())));
        let sized = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nX: y\r\n\r\nbody and what is not of it";
        assert_eq!(read(sized, false), whole(200, "body"));
        for cut in 0..sized.len() - " and what is not of it".len() {
            assert_eq!(read(&sized[..cut], false), Ok(None), "{cut}");
        }
        let chunked = "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nbod\r\n1\r\ny\r\n0\r\n\r\n";
        assert_eq!(read(chunked, false), whole(401, "body"));
        for cut in 0..chunked.len() - 4 {
            assert_eq!(read(&chunked[..cut], false), Ok(None), "{cut}");
        }
        let open = "HTTP/1.0 200 OK\r\n\r\nbody";
        assert_eq!(read(open, false), Ok(None));
        assert_eq!(read(open, true), whole(200, "body"));
        assert_eq!(read(&format!("HTTP/1.1 100 Continue\r\n\r\n{sized}"), false), whole(200, "body"));
        for wrong in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(read(wrong, false).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_separates_is_escaped() {
        assert_eq!(escaped("a-B.9_~ &=%+ü".as_bytes()), "a-B.9_~%20%26%3D%25%2B%C3%BC");
    }
}
