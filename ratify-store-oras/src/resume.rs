//! [`Resumption`]: a blob whose connection was cut is asked for from where it ended, instead of from
//! its beginning. Nothing has to be believed for that: the whole is proven by its digest.

use ratify_core::Digest;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_RANGE, HeaderValue, RANGE},
};

use crate::{
    Client, OrasError, client::Target, exchange::Answer, patience::jitter, retry::Outcome,
};

/// How a blob can be asked for again.
pub(crate) struct Resumption<'a> {
    pub(crate) client: &'a Client,
    pub(crate) target: Target<'a>,
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
    /// How often it was asked for again.
    pub(crate) tried: u32,
}

impl Resumption<'_> {
    /// What goes on after an error, and how many of its first bytes are known already. It is asked
    /// for as often as any request is repeated, all in all.
    ///
    /// # Errors
    /// The error itself, where it is no cut or there were too many; else why it cannot be had.
    pub(crate) async fn after(
        &mut self,
        error: OrasError,
        received: u64,
    ) -> Result<(Answer, u64), OrasError> {
        let mut error = error;
        loop {
            let OrasError::Unreachable { .. } = error else { return Err(error) };
            let policy = self.client.retry();
            let Some(wait) = policy.wait(self.tried, Outcome::TimedOut, jitter()) else {
                return Err(error);
            };
            self.tried += 1;
            tracing::debug!("cut after {received} of {} bytes, asking on: {error}", self.size);
            tokio::time::sleep(wait).await;
            match self.ask(received).await {
                Err(again) => error = again,
                answered => return answered,
            }
        }
    }

    async fn ask(&self, from: u64) -> Result<(Answer, u64), OrasError> {
        let what = self.target.reference.as_str();
        let mut call =
            self.client.call(Method::GET, &self.target, &format!("blobs/{}", self.digest));
        // Nothing was received: nothing is left out.
        if from > 0 {
            // With its end: some registries know no range without one.
            let last = self.size.saturating_sub(1);
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
        let skip = skip(status, answer.single(&CONTENT_RANGE)?, from, self.size)
            .map_err(|why| OrasError::invalid(what, why))?;
        answer.check_length(what, Some(self.size - from + skip), u64::MAX)?;
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
