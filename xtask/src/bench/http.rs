//! As much HTTP as a benchmark needs: one request over one connection, HTTP/1.0, so that every
//! server answers with a whole body and closes.

use std::io::{Read as _, Write as _};
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
    let mut stream =
        TcpStream::connect(server).with_context(|| format!("cannot reach {server}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let Request { method, path, content_type, body } = request;
    let mut message = format!(
        "{method} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("{server} broke off"))?;
    parse(&answer)
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
    fn half_a_head_is_no_answer() {
        assert!(parse(b"HTTP/1.0 200 OK\r\nA: b\r\n").is_err());
        assert!(parse(b"hello\r\n\r\n").is_err());
    }
}
