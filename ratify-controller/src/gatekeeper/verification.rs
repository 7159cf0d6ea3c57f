//! [`Verification`]: what a verification comes to: a verdict, or what stands in the way of one.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use ratify_core::{
    Context, Digest, ErrorCode, Result, VerifyResult,
    executor::{Notice, VerifyParameters},
    go_json,
};
use tokio::time::Instant;
use tracing::{Level, Span};

use super::{
    asked::{Asked, Failure, Outcome},
    verdict::Verdict,
    wire::VerificationResponse,
};
use crate::{
    cache::Place,
    state::{Snapshot, View},
    telemetry::spans,
};

/// The verification of one subject, as a flight runs it.
pub(super) struct Verification {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) asked: Asked,
    pub(super) subject: String,
    pub(super) give_up_at: Instant,
    /// What registries are told of the request.
    pub(super) headers: Vec<(String, String)>,
    /// Where its verdict is kept.
    pub(super) place: Place,
}

impl Verification {
    pub(super) async fn run(mut self) -> Outcome {
        if let Some(verdict) = self.place.of_others().await {
            self.asked.log_debug(format_args!("cache hit for subject {}", self.subject));
            return Outcome::Shared(verdict);
        }
        let view = self.snapshot.view(self.asked.namespace());
        let version = view.executor.policy.as_ref().map_or("", |policy| policy.response_version());
        let context = work_for(&self.asked, self.give_up_at)
            .with_trace_headers(std::mem::take(&mut self.headers));
        let parameters = VerifyParameters::new(self.subject.as_str()).with_context(context);
        let began = Instant::now();
        let digest = OnceLock::new();
        let log = |notice: Notice| {
            self.asked.log_notice(&notice);
            if let Notice::Resolved { digest: of_image } = notice {
                // The image is resolved before what is attached to it.
                let _ = digest.set(of_image);
            }
        };
        let verified = view.verify(&parameters, &log).await;
        let what = format_args!("verification: execution time for image {}", self.subject);
        self.asked.log_time(what, began);
        spans::failed(&Span::current(), &verified);
        Outcome::Verified(self.verdict(view, version, digest.get(), verified))
    }

    /// What is answered, and kept where it may be.
    fn verdict(
        &self,
        view: &View,
        version: &'static str,
        digest: Option<&Digest>,
        verified: Result<VerifyResult>,
    ) -> Result<Arc<Verdict>, Failure> {
        let failed = |error| Failure::of(&ErrorCode::ExecutorFailure.error().with_source(error));
        let result = verified.map_err(failed)?;
        self.log_response(version, &result);
        if result.is_transient() {
            return Err(Failure::of_moment(&result));
        }
        let verdict = Verdict::new(version, &result)
            .map_err(|error| failed(ErrorCode::DataEncodingFailure.error().with_source(error)))?;
        let verdict = Arc::new(verdict.of_digest(digest.map_or("", Digest::as_str)));
        Span::current().record("ratify.success", verdict.is_success);
        self.place.keep(view, &verdict, result.standing());
        Ok(verdict)
    }

    /// v1's line, for who debugs: its verdicts are logged when they are answered.
    fn log_response(&self, version: &'static str, result: &VerifyResult) {
        if !tracing::enabled!(Level::DEBUG) {
            return;
        }
        let trace_id = self.asked.trace_id.to_string();
        let response =
            VerificationResponse::new(version, result.clone(), trace_id, Timestamp::now());
        if let Ok(text) = go_json::to_string_pretty(&response) {
            let subject = &self.subject;
            self.asked
                .log_debug(format_args!("verification response for subject {subject}: \n{text}"));
        }
    }
}

/// The work for a key: it ends then, and is the namespace's that the key names.
pub(super) fn work_for(asked: &Asked, give_up_at: Instant) -> Context {
    Context::until(Some(give_up_at.into_std())).with_tenant(asked.namespace())
}
