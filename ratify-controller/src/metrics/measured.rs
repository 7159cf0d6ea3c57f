//! A verifier whose work is measured. It is the verifier in all else.

use std::{sync::Arc, time::Instant};

use ratify_core::{Basis, BoxFuture, Request, Result, Verifier, VerifierReport};

use super::measures::{Measures, VerifierRun};

struct Measured {
    verifier: Arc<dyn Verifier>,
    measures: Arc<Measures>,
}

/// The same verifier, measured.
pub(crate) fn measured(verifier: Arc<dyn Verifier>, measures: &Arc<Measures>) -> Arc<dyn Verifier> {
    Arc::new(Measured { verifier, measures: Arc::clone(measures) })
}

impl Verifier for Measured {
    fn name(&self) -> &str {
        self.verifier.name()
    }

    fn type_(&self) -> &str {
        self.verifier.type_()
    }

    fn can_verify(&self, artifact_type: &str) -> bool {
        self.verifier.can_verify(artifact_type)
    }

    fn artifact_types(&self) -> Option<&[String]> {
        self.verifier.artifact_types()
    }

    fn verifies_nested(&self) -> bool {
        self.verifier.verifies_nested()
    }

    fn named_keys(&self) -> Option<Vec<String>> {
        self.verifier.named_keys()
    }

    fn add_basis(&self, basis: &mut Basis) {
        self.verifier.add_basis(basis);
    }

    fn verify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<VerifierReport>> {
        Box::pin(async move {
            let began = Instant::now();
            let answer = self.verifier.verify(request).await;
            let run = VerifierRun {
                verifier: self.verifier.name(),
                tenant: &request.context.tenant,
                is_success: answer.as_ref().is_ok_and(|report| report.is_success),
                is_error: answer.is_err(),
            };
            self.measures.verifier_ran(run, began.elapsed());
            answer
        })
    }
}
