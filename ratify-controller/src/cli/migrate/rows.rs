//! The rows of docs/COMPATIBILITY.md that findings refer to, by the words of their first cell. A
//! row that is gone, because something was built, takes its finding with it: the test fails.

macro_rules! rows {
    ($($name:ident = $words:literal;)+) => {
        $(pub(super) const $name: &str = $words;)+
        #[cfg(test)]
        const ALL: &[&str] = &[$($words),+];
    };
}

rows! {
    TENANT_VAULT = "a NamespacedKeyManagementProvider or a CertificateStore asks a key vault as Ratify";
    UNPROVEN_REGO = "a Rego policy may use all of Rego and every builtin of OPA";
    BROKEN_POLICY = "a broken policy of a namespace is left out, and the cluster's counts";
    IMAGE_PLUGINS = "sbom, licensechecker, schemavalidator, vulnerabilityreport";
    CACHE_TTL = "`--cache-ttl 0` keeps verdicts for ever";
    METRICS = "`--metrics-enabled`";
    HIGH_AVAILABILITY = "`RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY` allows the cache type `dapr`";
    CRL_CACHE = "`crl.cache.enabled` keeps lists in files below the user's cache directory";
    TRACE_ID = "`logger.requestHeaders.traceIDHeaderName` never has an effect";
    SPELLINGS = "a section given in two spellings is merged";
    SOURCE_OF_BUILT_IN = "`source` of the built-in `oras` or `cosign` is downloaded and never used";
    SOURCE_WITHOUT_TAG = "`source.artifact` without tag or digest: an error";
    PINNED = "a tag is resolved anew on each reconcile";
    TENANT_SOURCE = "`source` of a namespaced resource runs a program in Ratify's pod, also from `parameters.source`";
    TENANT_ADDRESS = "`address` of a namespaced resource may be anywhere";
    TENANT_SECRETS = "`k8Secrets` of a namespaced resource may name a secret of any namespace";
    SECRET_RIGHTS = "the role may create and delete every resource, and read every Secret of the cluster";
    TENANT_OWN_SECRETS = "a secret of a namespaced resource that has no `namespace` is in Ratify's own, and so is the service account";
    TENANT_CREDENTIALS = "a namespaced store without `authProvider` reads with Ratify's own docker configuration";
    TENANT_FILES = "a verifier `cosign` of a namespace may name files of Ratify's and any server";
    TUF_ROOT = "`TUF_ROOT`, or `~/.sigstore/root` as `cosign initialize` wrote it, says which Sigstore is trusted";
    LEGACY_POLICY = "a v1alpha1 policy named `configpolicy` or `regopolicy` is refused";
    IMAGE_DEFAULTS = "the chart's values name the images on ghcr.io";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_in_the_document() {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/COMPATIBILITY.md");
        let document = std::fs::read_to_string(document).unwrap();
        for row in ALL {
            assert!(
                document.contains(&format!("\n| {row} |")),
                "docs/COMPATIBILITY.md has no row that begins with: {row}"
            );
        }
    }
}
