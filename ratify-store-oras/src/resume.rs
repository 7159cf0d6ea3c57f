//! [`Download`]: a blob on its way, into memory or a sink. One whose connection is cut is asked for
//! from where it ended, instead of from its beginning. Nothing has to be believed for that: the whole
//! is proven by its digest.

use bytes::{Buf as _, Bytes};
use ratify_core::Digest;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_RANGE, HeaderValue, RANGE},
};

use crate::{
    Client, OrasError,
    answer::{Answer, too_much},
    blobs::is_long,
    client::Target,
    patience::jitter,
    retry::Outcome,
};

/// A blob that is being received.
pub(crate) struct Download<'a> {
    client: &'a Client,
    target: Target<'a>,
    digest: &'a Digest,
    /// What it may have at most.
    limit: u64,
    /// What it must have, or what was announced: without either it cannot be asked for again.
    whole: Option<u64>,
    answer: Answer,
    received: u64,
    /// How many bytes come that came before.
    known: u64,
    /// How often it was asked for again.
    tried: u32,
}

impl<'a> Download<'a> {
    /// What an answer brings, of this size or at most of this limit.
    ///
    /// # Errors
    /// When another size is announced.
    pub(crate) fn begin(
        client: &'a Client,
        target: Target<'a>,
        digest: &'a Digest,
        (size, limit): (Option<u64>, u64),
        answer: Answer,
    ) -> Result<Self, OrasError> {
        answer.check_length(target.reference.as_str(), size, limit)?;
        let whole = size.or(answer.length());
        let (received, known, tried) = (0, 0, 0);
        Ok(Self { client, target, digest, limit, whole, answer, received, known, tried })
    }

    /// The reference of the blob.
    pub(crate) fn what(&self) -> &str {
        self.target.reference.as_str()
    }

    /// How much there will be, as far as that is known.
    pub(crate) fn expected(&self) -> Option<u64> {
        self.whole
    }

    /// How much was received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The next piece. After a cut the rest is asked for, as often as any request is repeated.
    ///
    /// # Errors
    /// Among others when there is more or less than there should be. What came is proven by nobody
    /// yet.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, OrasError> {
        loop {
            let mut piece = match self.answer.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return self.end(),
                // All of it is here.
                Err(_) if self.whole == Some(self.received) => return Ok(None),
                Err(error) => {
                    self.go_on_after(error).await?;
                    continue;
                }
            };
            let before = usize::try_from(self.known).unwrap_or(usize::MAX).min(piece.len());
            piece.advance(before);
            self.known -= before as u64;
            self.received += piece.len() as u64;
            // What was announced binds the answers that go on, too.
            if self.received > self.whole.unwrap_or(self.limit) {
                return Err(too_much(self.what(), self.whole, self.limit));
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn end(&self) -> Result<Option<Bytes>, OrasError> {
        match self.whole {
            Some(whole) if whole != self.received => Err(OrasError::Size {
                what: self.what().to_owned(),
                expected: whole,
                actual: self.received.to_string(),
            }),
            _ => Ok(None),
        }
    }

    /// Asks for the rest after an error.
    ///
    /// # Errors
    /// The error itself, where it is no cut or there were too many; else why it cannot be had.
    async fn go_on_after(&mut self, error: OrasError) -> Result<(), OrasError> {
        let mut error = error;
        loop {
            let OrasError::Unreachable { .. } = error else { return Err(error) };
            let Some(whole) = self.whole else { return Err(error) };
            let policy = self.client.retry();
            let Some(wait) = policy.wait(self.tried, Outcome::TimedOut, jitter()) else {
                return Err(error);
            };
            self.tried += 1;
            let received = self.received;
            tracing::debug!("cut after {received} of {whole} bytes, asking on: {error}");
            tokio::time::sleep(wait).await;
            match self.ask(received, whole).await {
                Err(again) => error = again,
                Ok((answer, known)) => {
                    // The time that the blob may take is that of all its answers.
                    self.answer = answer.after(&self.answer);
                    self.known = known;
                    return Ok(());
                }
            }
        }
    }

    async fn ask(&self, from: u64, whole: u64) -> Result<(Answer, u64), OrasError> {
        let what = self.what();
        let path = format!("blobs/{}", self.digest);
        let mut call = self.client.call(Method::GET, &self.target, &path);
        call.is_long = is_long(Some(whole));
        // Nothing was received: nothing is left out.
        if from > 0 {
            // With its end: some registries know no range without one.
            let last = whole.saturating_sub(1);
            let range = HeaderValue::from_str(&format!("bytes={from}-{last}"));
            let range = range.map_err(|error| OrasError::invalid(what, error.to_string()))?;
            call = call.header(RANGE, range);
        }
        let answer = self.client.ask(&self.target, &call).await?;
        let status = answer.status();
        if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Err(answer.into_error(what).await);
        }
        answer.refuse_encoding()?;
        let skip = skip(status, answer.single(&CONTENT_RANGE)?, from, whole)
            .map_err(|why| OrasError::invalid(what, why))?;
        answer.check_length(what, Some(whole - from + skip), u64::MAX)?;
        Ok((answer, skip))
    }
}

/// How many bytes of an answer's beginning were received before.
///
/// # Errors
/// Says what is wrong where the answer is not the rest that was asked for.
fn skip(
    status: StatusCode,
    content_range: Option<&str>,
    from: u64,
    size: u64,
) -> Result<u64, &'static str> {
    match (status, content_range) {
        // It is sent whole again.
        (StatusCode::OK, _) => Ok(from),
        (StatusCode::PARTIAL_CONTENT, Some(range)) => {
            let rest = range.trim().strip_prefix("bytes ").unwrap_or_default();
            let last = size.saturating_sub(1);
            let is_rest = [format!("{from}-{last}/{size}"), format!("{from}-{last}/*")]
                .iter()
                .any(|expected| rest == expected);
            if is_rest { Ok(0) } else { Err("the registry sent another part than was asked for") }
        }
        _ => Err("the registry sent a part without saying which"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_rest_goes_on_and_the_whole_is_skipped_into() {
        let partial = |range| skip(StatusCode::PARTIAL_CONTENT, range, 5, 10);
        assert_eq!(partial(Some("bytes 5-9/10")), Ok(0));
        assert_eq!(partial(Some("bytes 5-9/*")), Ok(0));
        for range in [
            Some("bytes 4-9/10"),
            Some("bytes 5-8/10"),
            Some("bytes 5-9/11"),
            Some("bytes 5-10/10"),
            Some("items 5-9/10"),
            Some(""),
            None,
        ] {
            assert!(partial(range).is_err(), "{range:?}");
        }
        assert_eq!(skip(StatusCode::OK, None, 5, 10), Ok(5));
    }
}
