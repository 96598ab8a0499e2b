//! Reading HTTP/1.1 responses, by hand: as little work as will tell one from the next and check it.

use std::ops::Range;

/// One response in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Where the body is, in the buffer that was read from; what is left of it when chunks are put together.
    pub body: Range<usize>,
    /// Bytes of the buffer that the response takes.
    pub len: usize,
    /// Whether the server closes the connection after it.
    pub closes: bool,
}

/// Bytes that are no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP/1.1 response: {0}")]
pub struct Malformed(&'static str);

/// The response at the start of `buffer`, or nothing when there is only part of one. Of a chunked body the chunks are
/// moved together, so that it is whole.
///
/// # Errors
/// [`Malformed`].
pub fn read(buffer: &mut [u8]) -> Result<Option<Response>, Malformed> {
    let Some(end) = head_end(buffer) else { return Ok(None) };
    let head = &buffer[..end];
    let status = head
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.first_chunk::<3>())
        .ok_or(Malformed("the first line is no status line of HTTP/1.1"))?;
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let status = status
        .iter()
        .try_fold(0, |number, &byte| Some(number * 10 + digit(byte)?))
        .ok_or(Malformed("the status is no number"))?;
    let mut length = None;
    let (mut chunked, mut closes) = (false, false);
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        // Nearly all headers are of no interest; their first letter tells.
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = header(line, b"content-length") {
                    length = Some(number(value, 10).ok_or(Malformed("the content length is no number"))?);
                } else if let Some(value) = header(line, b"connection") {
                    closes = value.eq_ignore_ascii_case(b"close");
                }
            }
            Some(b't' | b'T') => {
                chunked |= header(line, b"transfer-encoding")
                    .is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
            }
            _ => {}
        }
    }
    if chunked {
        return dechunk(buffer, end, status, closes);
    }
    let length = match length {
        Some(length) => length,
        None if matches!(status, 204 | 304) => 0,
        None => return Err(Malformed("the body has no length")),
    };
    let len = end.checked_add(length).ok_or(Malformed("the content length is absurd"))?;
    Ok((len <= buffer.len()).then_some(Response { status, body: end..len, len, closes }))
}

/// One past the empty line that ends the head.
fn head_end(buffer: &[u8]) -> Option<usize> {
    let mut from = 0;
    // A line feed comes far less often than anything that would have to be compared.
    while let Some(at) = buffer[from..].iter().position(|&byte| byte == b'\n') {
        let next = from + at + 1;
        if buffer[next..].starts_with(b"\r\n") {
            return Some(next + 2);
        }
        from = next;
    }
    None
}

/// The value of a header line, if it is of this name (in small letters).
fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    usize::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// Puts the chunks that start at `start` together there.
fn dechunk(
    buffer: &mut [u8],
    start: usize,
    status: u16,
    closes: bool,
) -> Result<Option<Response>, Malformed> {
    // First whether all is there: nothing may be moved before.
    let mut chunks = Vec::new();
    let mut at = start;
    loop {
        let Some(line) = buffer[at..].iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let size = buffer[at..at + line].split(|&byte| byte == b';').next().unwrap_or_default();
        let size = number(size.trim_ascii(), 16).ok_or(Malformed("the size of a chunk is no number"))?;
        let from = at + line + 1;
        let to = from.checked_add(size).ok_or(Malformed("the size of a chunk is absurd"))?;
        let Some(rest) = buffer.get(to..) else { return Ok(None) };
        if rest.len() < 2 {
            return Ok(None);
        }
        if !rest.starts_with(b"\r\n") {
            return Err(Malformed("a chunk does not end where it should, or there are trailers"));
        }
        at = to + 2;
        if size == 0 {
            break;
        }
        chunks.push(from..to);
    }
    let mut end = start;
    for chunk in chunks {
        let len = chunk.len();
        buffer.copy_within(chunk, end);
        end += len;
    }
    Ok(Some(Response { status, body: start..end, len: at, closes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Response {
        for cut in 0..text.len() {
            assert_eq!(read(&mut text[..cut].to_vec()), Ok(None), "cut at {cut}");
        }
        read(&mut text.to_vec()).unwrap().unwrap()
    }

    #[test]
    fn a_body_has_its_length() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nContent-Length: 5\r\ndate: now\r\n\r\nhello";
        let response = all(text);
        assert_eq!((response.status, &text[response.body], response.len), (200, &b"hello"[..], text.len()));
        let mut two = [text.as_slice(), b"HTTP/1.1 404"].concat();
        assert_eq!(read(&mut two).unwrap().unwrap().len, text.len());
    }

    #[test]
    fn some_have_none() {
        let response = all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        assert_eq!((response.status, response.body.len(), response.closes), (204, 0, true));
    }

    #[test]
    fn chunks_are_put_together() {
        let mut text =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n0\r\n\r\n"
                .to_vec();
        let response = all(&text);
        let len = text.len();
        assert_eq!(read(&mut text).unwrap().unwrap(), response);
        assert_eq!((&text[response.body], response.len), (&b"hello!"[..], len));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for text in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxyz\r\n",
        ] {
            assert!(read(&mut text.to_vec()).is_err(), "{}", text.escape_ascii());
        }
    }
}
