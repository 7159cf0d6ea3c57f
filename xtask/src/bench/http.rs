//! As much HTTP as a benchmark needs: one request over one connection, HTTP/1.0, so that every
//! server answers with a whole body and closes; and chunks of HTTP/1.1 for what has no end.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A server that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) path: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
}

/// What came back.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Sends a request and reads the answer to its end.
///
/// # Errors
/// When the server cannot be reached, stalls, or does not speak HTTP.
pub(super) fn send(server: SocketAddr, request: &Request<'_>) -> Result<Answer> {
    let mut stream = ask(server, request, "1.0")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("{server} broke off"))?;
    parse(&answer)
}

/// Fetches what has no end: the body, chunk after chunk (RFC 9112, section 7.1).
///
/// # Errors
/// As [`send`], and where the status is not 200.
pub(super) fn stream(server: SocketAddr, path: &str) -> Result<impl BufRead + use<>> {
    let request = Request { method: "GET", path, content_type: "text/plain", body: b"" };
    let mut reader = BufReader::new(ask(server, &request, "1.1")?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            bail!("the answer has no end of its head");
        }
    }
    let Answer { status, .. } = parse(head.as_bytes())?;
    if status != 200 || !head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n") {
        bail!("{server} answered {status} to {path}, or not in chunks");
    }
    Ok(BufReader::new(Chunks { reader, left: 0 }))
}

/// The content of chunks.
struct Chunks<R> {
    reader: R,
    /// What is left of the present chunk.
    left: u64,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let mut size = String::new();
            if self.reader.read_line(&mut size)? == 0 {
                return Ok(0);
            }
            // Behind the content of each chunk is an empty line.
            if size != "\r\n" {
                self.left = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                if self.left == 0 {
                    return Ok(0);
                }
            }
        }
        let read = self.reader.by_ref().take(self.left).read(buffer)?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn ask(server: SocketAddr, request: &Request<'_>, version: &str) -> Result<TcpStream> {
    let mut stream =
        TcpStream::connect(server).with_context(|| format!("cannot reach {server}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let Request { method, path, content_type, body } = request;
    let mut message = format!(
        "{method} {path} HTTP/{version}\r\nHost: {server}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    Ok(stream)
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        bail!("the answer has no end of its head");
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.context("the answer has no status")?;
    Ok(Answer { status, body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_what_follows_its_head() {
        let answer = parse(b"HTTP/1.0 404 Not Found\r\nA: b\r\n\r\nno\r\n\r\nsuch").unwrap();
        assert_eq!(answer, Answer { status: 404, body: b"no\r\n\r\nsuch".to_vec() });
    }

    #[test]
    fn chunks_are_joined_until_the_empty_one() {
        let reader: &[u8] = b"3\r\nabc\r\n19\r\n\n{defghijklmnopqrstuvwxyz\r\n\r\n0\r\n\r\n";
        let mut text = String::new();
        Chunks { reader, left: 0 }.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc\n{defghijklmnopqrstuvwxyz");
        assert!(Chunks { reader: b"x\r\n".as_slice(), left: 0 }.read(&mut [0; 9]).is_err());
    }

    #[test]
    fn half_a_head_is_no_answer() {
        assert!(parse(b"HTTP/1.0 200 OK\r\nA: b\r\n").is_err());
        assert!(parse(b"hello\r\n\r\n").is_err());
    }
}
