//! What a mutation comes to: the digest that a tag stands for, in place of the tag.

use ratify_core::{
    ComponentType, Context, Digest, ErrorCode, Reference, Result, executor::Executor,
};

/// The one store that mutations are resolved in (v1).
const MUTATION_STORE: &str = "oras";

/// A reference by its digest. The namespace is dropped, and the tag unless it is to be kept, as in
/// v1.
pub(super) fn mutated(reference: &Reference, digest: &Digest, keeps_tag: bool) -> String {
    match reference.tag().filter(|_| keeps_tag) {
        Some(tag) => format!("{}:{tag}@{digest}", reference.path()),
        None => reference.sibling(digest).to_string(),
    }
}

/// What a tag stands for.
pub(super) async fn resolve(
    executor: &Executor,
    reference: &Reference,
    key: &str,
    work: &Context,
) -> Result<Digest> {
    let Some(store) = executor.stores.iter().find(|store| store.name() == MUTATION_STORE) else {
        return Err(ErrorCode::ReferrerStoreFailure
            .detail(format!(
                "failed to mutate image reference {key}: could not find matching store {MUTATION_STORE}"
            ))
            .from_component(ComponentType::ReferrerStore, ""));
    };
    match store.resolve(reference, work).await {
        Ok(descriptor) => Ok(descriptor.digest),
        Err(error) => Err(ErrorCode::GetSubjectDescriptorFailure
            .detail(format!("failed to get subject descriptor for image {key}"))
            .with_source(error)
            .from_component(ComponentType::ReferrerStore, store.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_keeps_the_tag_where_that_is_asked_for() {
        let digest: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let cases = [
            ("r.io:5000/a/b:v1", "r.io:5000/a/b", ":v1"),
            ("nginx", "docker.io/library/nginx", ":latest"),
        ];
        for (asked, path, tag) in cases {
            let reference = Reference::parse_subject(asked).unwrap();
            assert_eq!(mutated(&reference, &digest, false), format!("{path}@{digest}"));
            let kept = mutated(&reference, &digest, true);
            assert_eq!(kept, format!("{path}{tag}@{digest}"));
            // What is verified then is the digest.
            let again = Reference::parse_subject(&kept).unwrap();
            assert_eq!((again.digest(), again.tag()), (Some(&digest), None));
        }
    }
}
