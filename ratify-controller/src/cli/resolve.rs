//! `ratify resolve`: the digest a tag stands for, on stdout.

use std::process::ExitCode;

use clap::Args;

use super::{Context, flag, output};
use crate::assemble;

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    question: flag::Question,
    #[command(flatten)]
    pub(super) debug: flag::Debug,
}

impl Resolve {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let subject = assemble::parse_subject(&self.question.subject)?;
        let config = context.load_config(&self.question.config)?;
        let stores = assemble::stores(&config, &context.runtime).await?;
        let descriptor = assemble::resolve(&stores, &subject, &self.question.work()).await?;
        output::print_line(descriptor.digest.as_str())?;
        Ok(ExitCode::SUCCESS)
    }
}
