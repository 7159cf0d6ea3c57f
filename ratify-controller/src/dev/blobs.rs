//! Reading and deleting blobs (OCI distribution specification, "Pulling blobs" and
//! "Deleting Blobs"), with the byte ranges of RFC 9110, section 14.

use std::ops::Range;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use ratify_core::Digest;

use super::{
    answer::{Answer, CONTENT_DIGEST, Refusal, empty, set, with_bytes},
    storage::Storage,
};

/// end-2: a blob, or the part of it that a `Range` header asks for.
pub(super) fn get(storage: &Storage, name: &str, digest: &Digest, headers: &HeaderMap) -> Answer {
    let content = storage.blob(name, digest).ok_or_else(|| unknown(digest))?;
    let mut response = match headers.get(header::RANGE).and_then(|value| value.to_str().ok()) {
        None => whole(content.bytes.clone()),
        Some(range) => part(&content.bytes, range)?,
    };
    set(response.headers_mut(), CONTENT_DIGEST, digest.as_str());
    set(response.headers_mut(), header::ACCEPT_RANGES, "bytes");
    Ok(response)
}

/// end-10: a blob is unlinked from the repository.
pub(super) fn delete(storage: &Storage, name: &str, digest: &Digest) -> Answer {
    if storage.delete_blob(name, digest) {
        return Ok(empty(StatusCode::ACCEPTED));
    }
    Err(unknown(digest))
}

fn whole(bytes: Bytes) -> Response<Body> {
    with_bytes(StatusCode::OK, "application/octet-stream", bytes)
}

fn part(bytes: &Bytes, range: &str) -> Answer {
    let length = bytes.len() as u64;
    match byte_range(range, length) {
        // A header that is not understood is ignored (RFC 9110, section 14.2).
        None => Ok(whole(bytes.clone())),
        Some(range) if range.is_empty() => {
            let text = format!("the blob has {length} bytes");
            Err(Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", text)
                .with_header(header::CONTENT_RANGE, format!("bytes */{length}")))
        }
        Some(Range { start, end }) => {
            let part = bytes.slice(start as usize..end as usize);
            let mut response =
                with_bytes(StatusCode::PARTIAL_CONTENT, "application/octet-stream", part);
            let text = format!("bytes {start}-{}/{length}", end - 1);
            set(response.headers_mut(), header::CONTENT_RANGE, &text);
            Ok(response)
        }
    }
}

/// The one range asked for, cut to the length; an empty one cannot be satisfied, and `None` is a
/// header of another unit, of several ranges, or malformed.
fn byte_range(header: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first: u64 = first.parse().ok()?;
    let end = match last {
        "" => length,
        last => match last.parse::<u64>().ok()? {
            // Backwards is invalid, and may be rejected (RFC 9110, section 14.2).
            last if last < first => return Some(length..length),
            last => last.saturating_add(1).min(length),
        },
    };
    Some(first.min(end)..end)
}

fn unknown(digest: &Digest) -> Refusal {
    let text = format!("no blob {digest} in this repository");
    Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_ranges_are_read_as_rfc_9110_says() {
        let cases = [
            ("bytes=0-3", Some(0..4)),
            ("bytes=4-", Some(4..10)),
            ("bytes=4-99", Some(4..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=10-", Some(10..10)),
            ("bytes=50-60", Some(10..10)),
            ("bytes=-0", Some(10..10)),
            ("bytes=5-2", Some(10..10)),
            ("bytes=0-1,4-5", None),
            ("lines=0-1", None),
            ("bytes=", None),
        ];
        for (header, expected) in cases {
            let actual = byte_range(header, 10);
            assert_eq!(actual, expected, "{header}");
        }
    }
}
