//! [`judge_by`]: a verifier of the engine's own kind ([`ratify_core::Verifier`]) as a plugin, so that one
//! source is built into a host and runs as a process. It waits on this thread and has no runtime.

use std::sync::Arc;

use ratify_core::{
    Binding, Certainty, Context, ErrorCode, Host, Reference, Referrer, Request, Verifier,
    VerifierReport,
};

use crate::{Result, Store, Subject, store::block_on};

/// Lets a verifier judge what a plugin is asked about: the whole of
/// [`VerifierPlugin::verify`](crate::VerifierPlugin::verify).
///
/// What it reads comes through the store, the subject's descriptor too. What a process does not have
/// (keys of key management providers, anything from outside of registries) its host refuses, with a
/// reason. An error is a failed report, as in the executor; only what may be gone a moment later stays
/// an error, for which the wire's answer has no word.
///
/// # Errors
/// When the store cannot be opened or does not give the subject; when the artifact is another
/// image's; when what failed may be gone a moment later.
pub fn judge_by(
    verifier: &dyn Verifier,
    subject: &Subject,
    store: &Store,
) -> Result<VerifierReport> {
    let found = store.subject()?;
    let reference = subject.reference.with_digest(found.digest.clone());
    let host = store.host()?;
    check_attached(&reference, subject, host.as_ref())?;
    // Where its manifest names no image, it is attached to this one on the store's word.
    let referrer = Arc::new(Referrer::new(subject.referrer.clone(), Binding::Store));
    let context = Context::until(subject.give_up_at);
    let (config, host) = (store.config(), Arc::clone(host));
    let request = Request::new(reference, Arc::new(found), referrer, context, config, host);
    let report = block_on(verifier.verify(&request)).unwrap_or_else(|error| {
        VerifierReport::from_error(&ErrorCode::VerifyReferenceFailure.error().with_source(error))
    });
    if report.standing.certainty == Certainty::Passing {
        return Err(format!("{}: {}", report.message, report.error_reason).into());
    }
    Ok(report)
}

/// Not every host looks at what an artifact is attached to, and the tag may have moved since it looked.
fn check_attached(found: &Reference, subject: &Subject, host: &dyn Host) -> Result<()> {
    let manifest = block_on(host.manifest(found, &subject.referrer))?;
    match (manifest.subject, found.digest()) {
        (Some(named), Some(digest)) if *digest != named.digest => Err(format!(
            "the artifact {} is attached to {}, and {found} is {digest}",
            subject.referrer.digest, named.digest
        )
        .into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ratify_core::{
        BoxFuture, Descriptor, Error, FetchRequest, Manifest, UrlSource, media_type,
    };
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::testing::{MemoryHost, SUBJECT};

    /// Answers with an error of its own, or else with what its host says of the world.
    struct Curious(Option<fn() -> Error>);

    impl Verifier for Curious {
        fn name(&self) -> &str {
            "curious"
        }

        fn type_(&self) -> &str {
            "curious"
        }

        fn can_verify(&self, _: &str) -> bool {
            true
        }

        fn verifies_nested(&self) -> bool {
            false
        }

        fn verify<'a>(
            &'a self,
            request: &'a Request,
        ) -> BoxFuture<'a, ratify_core::Result<VerifierReport>> {
            Box::pin(async move {
                if let Some(error) = self.0 {
                    return Err(error());
                }
                let host = &request.host;
                assert_eq!(request.subject.digest(), Some(&request.resolved.digest));
                assert_eq!(request.resolved.size, 7);
                let url = "http://list.example.com";
                let list = FetchRequest::new(url, UrlSource::Document, 1, Duration::from_secs(1));
                let refused = [
                    host.keys("provider").unwrap_err(),
                    host.certificates("provider").unwrap_err(),
                    host.certificate_store("store").unwrap_err(),
                    host.fetch(&list).await.unwrap_err(),
                ];
                let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
                Ok(VerifierReport::success(refused.join("\n")))
            })
        }
    }

    fn image(byte: u8) -> Descriptor {
        let digest = format!("sha256:{}", format!("{byte:02x}").repeat(32)).parse().unwrap();
        Descriptor::new(media_type::OCI_MANIFEST, digest, 7)
    }

    /// A store in which the tag moves to the second image when it has been asked for once.
    struct Moving {
        store: MemoryHost,
        has_moved: AtomicBool,
    }

    impl Host for Moving {
        fn manifest<'a>(
            &'a self,
            subject: &'a Reference,
            descriptor: &'a Descriptor,
        ) -> BoxFuture<'a, ratify_core::Result<Manifest>> {
            self.store.manifest(subject, descriptor)
        }

        fn subject<'a>(
            &'a self,
            subject: &'a Reference,
        ) -> BoxFuture<'a, ratify_core::Result<Descriptor>> {
            match self.has_moved.swap(true, Ordering::Relaxed) {
                true => Box::pin(std::future::ready(Ok(image(2)))),
                false => self.store.subject(subject),
            }
        }

        fn blob<'a>(
            &'a self,
            subject: &'a Reference,
            descriptor: &'a Descriptor,
        ) -> BoxFuture<'a, ratify_core::Result<Bytes>> {
            self.store.blob(subject, descriptor)
        }
    }

    /// An artifact that is attached to the first image, in a store in which the tag stands for `now`.
    fn attached(now: u8) -> (MemoryHost, Descriptor) {
        let mut host = MemoryHost::new();
        host.set_subject(image(now));
        let mut manifest = Manifest::new(media_type::OCI_MANIFEST, "a/b");
        manifest.subject = Some(image(1));
        let artifact = host.add_manifest(manifest);
        (host, artifact)
    }

    /// What comes of an artifact of a store whose host said that the tag is `said`.
    fn judged_in(
        host: Arc<dyn Host>,
        artifact: Descriptor,
        verifier: &Curious,
        said: Option<u8>,
    ) -> Result<VerifierReport, String> {
        let mut reference = Reference::parse(SUBJECT).unwrap();
        if let Some(said) = said {
            reference = reference.with_digest(image(said).digest);
        }
        let store = Store::new(reference.clone(), host);
        judge_by(verifier, &Subject::new(reference, artifact), &store)
            .map_err(|error| error.to_string())
    }

    fn judged(verifier: &Curious, now: u8, said: Option<u8>) -> Result<VerifierReport, String> {
        let (host, artifact) = attached(now);
        judged_in(Arc::new(host), artifact, verifier, said)
    }

    #[test]
    fn what_a_process_does_not_have_is_refused_with_a_reason() {
        let report = judged(&Curious(None), 1, Some(1)).unwrap();
        assert!(report.is_success);
        insta::assert_snapshot!(report.message, @"
        RESOURCE_NOT_FOUND: The key management provider [provider] does not exist: Make sure the key management provider: provider is created in the namespace: [] or as a cluster-wide resource.
        RESOURCE_NOT_FOUND: The key management provider [provider] does not exist: Make sure the key management provider: provider is created in the namespace: [] or as a cluster-wide resource.
        RESOURCE_NOT_FOUND: The given store name store is not namespaced
        OPERATION_FORBIDDEN: this host fetches nothing for its verifiers, and was asked for http://list.example.com
        ");
    }

    #[test]
    fn a_tag_that_has_moved_is_no_way_to_another_images_signature() {
        let one = image(1).digest;
        for said in [None, Some(1)] {
            assert!(judged(&Curious(None), 1, said).is_ok());
            let refused = judged(&Curious(None), 2, said).unwrap_err();
            assert!(refused.contains(one.as_str()), "{refused}");
        }
    }

    #[test]
    fn a_tag_that_moves_while_it_is_judged_is_what_it_was() {
        for said in [None, Some(1)] {
            let (store, artifact) = attached(1);
            let host = Moving { store, has_moved: AtomicBool::new(false) };
            // The verifier holds what it is told against the request's digest.
            let report = judged_in(Arc::new(host), artifact, &Curious(None), said).unwrap();
            assert!(report.is_success);
        }
    }

    #[test]
    fn an_artifact_of_another_image_is_refused_whatever_the_host_says() {
        let refused = judged(&Curious(None), 2, Some(2)).unwrap_err();
        insta::assert_snapshot!(refused, @"the artifact sha256:276b787cf64118f5faa03ed952750042d219eb388ba866e468497feb40036d76 is attached to sha256:0101010101010101010101010101010101010101010101010101010101010101, and registry.example.com/app:v1 is sha256:0202020202020202020202020202020202020202020202020202020202020202");
    }

    #[test]
    fn an_error_is_a_failed_report_and_what_passes_is_an_error() {
        let error = || ErrorCode::CertInvalid.detail("bad").with_remediation("do");
        let report = judged(&Curious(Some(error)), 1, Some(1)).unwrap();
        assert!(!report.is_success);
        let words = (report.error_reason.as_str(), report.remediation.as_str());
        assert_eq!(words, ("bad", "do"));
        let passing =
            judged(&Curious(Some(|| ErrorCode::CertInvalid.detail("bad").passing(true))), 1, None);
        let passing = passing.unwrap_err();
        assert!(passing.ends_with(": bad"), "{passing}");
    }
}
