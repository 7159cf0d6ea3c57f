//! `ratify verify`: one subject, one verdict, on stdout.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use ratify_core::{Reference, executor::VerifyParameters};

use super::{
    Context,
    explain::{Explanation, Form},
    flag, output,
};
use crate::assemble;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    question: flag::Question,
    /// artifact type to filter
    #[arg(short = 't', long = "artifactType")]
    artifact_type: Vec<String>,
    /// Silent output
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = flag::go_bool)]
    silent: bool,
    /// Say in the result how many requests were sent to which registry (plugins that open a store
    /// themselves are not seen)
    #[arg(long)]
    count_requests: bool,
    /// Print how the verdict came about in place of the result
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    explain: Option<Form>,
    #[command(flatten)]
    pub(super) debug: flag::Debug,
}

impl Verify {
    /// Whether it is to be explained.
    pub(super) fn explains(&self) -> bool {
        self.explain.is_some()
    }

    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let subject = assemble::parse_subject(&self.question.subject)?;
        let config = context.load_config(&self.question.config)?;
        warn_of_tag(&subject);
        let executor = assemble::executor(&config, &context.runtime).await?;
        let parameters = VerifyParameters::new(&*self.question.subject)
            .with_reference_types(self.artifact_type)
            .with_context(self.question.work());
        let began = Instant::now();
        let verified = executor.verify(&parameters, &assemble::log_notice).await;
        if let (Some(form), Some(spans), false) =
            (self.explain, &context.readers.explains, self.silent)
        {
            let by_host = parameters.context.requests.by_host();
            let (subject, result) = (self.question.subject.as_str(), verified.as_ref());
            let collected = spans.collected();
            let explanation =
                Explanation::new(subject, result, by_host, began.elapsed(), &collected);
            let printed = explanation.printed(form, context.environment.no_color)?;
            output::print_bytes(printed.as_bytes())?;
            return Ok(verified.map(|_| ExitCode::SUCCESS)?);
        }
        let mut result = verified?;
        if self.count_requests {
            result.registry_requests = Some(parameters.context.requests.by_host());
        }
        if !self.silent {
            output::print_json(&result)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// v1 warns of a tag, since it may mean another image tomorrow.
pub(super) fn warn_of_tag(subject: &Reference) {
    if subject.digest().is_none() {
        tracing::warn!(component_type = "commandLine", "{}", output::TAG_WARNING);
    }
}
