//! The table of parts: what, which version, from where, and how long it takes cold. Nothing
//! but data lives here.

/// A program built by Go.
pub(crate) struct GoPart {
    /// The name tests ask for, and the first half of its folder's name.
    pub(crate) name: &'static str,
    /// The version, and the second half of its folder's name.
    pub(crate) version: &'static str,
    /// Where its source is.
    pub(crate) source: GoSource,
    /// The name of the program that comes out.
    pub(crate) binary: &'static str,
    /// Variables that a release of this program has set at link time, as `-X` takes them.
    pub(crate) stamps: &'static [&'static str],
    /// Build tags: what is left out of a program, or put in.
    pub(crate) tags: &'static [&'static str],
    /// How long a build takes with an empty build cache on 2 cores, for a person who waits.
    pub(crate) cold: &'static str,
}

/// Where the source of a Go program is.
pub(crate) enum GoSource {
    /// A main package of a published module, at this version of the module.
    Published {
        /// The package's import path.
        package: &'static str,
        /// The module's version, as Go writes it.
        version: &'static str,
    },
    /// A main package of a published module that `go install` refuses, for its `replace` lines: built
    /// in a copy of the module.
    Copied {
        /// The module's path.
        module: &'static str,
        /// Its version, as Go writes it.
        version: &'static str,
        /// The package's folder in the module.
        package: &'static str,
    },
    /// A main package of ours under `xtask/go`.
    Ours {
        /// The module's folder.
        module: &'static str,
        /// The package's folder in the module.
        package: &'static str,
    },
}

/// The source of a module in Go's own cache, for the files that tests read there.
pub(crate) struct GoModule {
    /// The name tests ask for; it stands for the module's folder.
    pub(crate) name: &'static str,
    /// The module's path.
    pub(crate) module: &'static str,
    /// Its version, as Go writes it.
    pub(crate) version: &'static str,
}

/// The source of a crate of our own dependencies, for the files that tests read there. Cargo.lock says
/// which version, and cargo proves it.
pub(crate) struct CratePart {
    /// The name tests ask for; it stands for the crate's folder.
    pub(crate) name: &'static str,
    /// The crate's name.
    pub(crate) package: &'static str,
}

/// A Debian package, and what shows that it (or another's equal) is there.
pub(crate) struct DebianPart {
    /// The name tests ask for.
    pub(crate) name: &'static str,
    /// The package's name.
    pub(crate) package: &'static str,
    /// A program looked up on PATH, or an absolute path.
    pub(crate) proof: &'static str,
}

/// The static targets of plugins and of `ratify`.
pub(crate) const RUST_TARGETS: [&str; 2] =
    ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// What Debian has.
pub(crate) const DEBIAN: [DebianPart; 13] = [
    debian("skopeo", "skopeo", "skopeo"),
    debian("umoci", "umoci", "umoci"),
    debian("etcd", "etcd-server", "etcd"),
    debian("htpasswd", "apache2-utils", "htpasswd"),
    debian("openssl", "openssl", "openssl"),
    debian("tzdata", "tzdata", "/usr/share/zoneinfo/tzdata.zi"),
    debian("ip", "iproute2", "ip"),
    debian("curl", "curl", "curl"),
    // The program alone: its package starts a service.
    debian("tinyproxy", "tinyproxy-bin", "tinyproxy"),
    // So is this: the server goes by its name, and that of another package starts a service.
    debian("redis", "redis-tools", "redis-check-rdb"),
    debian("musl-gcc", "musl-tools", "musl-gcc"),
    debian("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    debian(
        "aarch64-linux-gnu-libc",
        "libc6-dev-arm64-cross",
        "/usr/aarch64-linux-gnu/include/stdio.h",
    ),
];

/// Whose files are read: v1's charts, samples and constraint templates, Gatekeeper's chart, the cases
/// of OPA's conformance (of the version that v1 has built in), and what the Notary Project and Sigstore
/// try their own programs with.
pub(crate) const MODULES: [GoModule; 8] = [
    GoModule {
        name: "ratify-v1-module",
        module: "github.com/ratify-project/ratify",
        version: "v1.4.0",
    },
    GoModule {
        name: "gatekeeper-module",
        module: "github.com/open-policy-agent/gatekeeper/v3",
        version: "v3.23.1",
    },
    GoModule { name: "opa-module", module: "github.com/open-policy-agent/opa", version: "v0.68.0" },
    GoModule {
        name: "tspclient-module",
        module: "github.com/notaryproject/tspclient-go",
        version: "v1.0.0",
    },
    GoModule {
        name: "notation-core-module",
        module: "github.com/notaryproject/notation-core-go",
        version: "v1.3.0",
    },
    GoModule {
        name: "notation-go-module",
        module: "github.com/notaryproject/notation-go",
        version: "v1.3.2",
    },
    GoModule {
        name: "sigstore-go-module",
        module: "github.com/sigstore/sigstore-go",
        version: "v1.2.2",
    },
    GoModule { name: "cosign-module", module: "github.com/sigstore/cosign/v3", version: "v3.1.3" },
];

/// Whose files are read: bundles of Sigstore's, good and bad, with what was trusted when they were made.
pub(crate) const CRATES: [CratePart; 5] = [
    CratePart { name: "sigstore-verify-crate", package: "sigstore-verify" },
    CratePart { name: "sigstore-bundle-crate", package: "sigstore-bundle" },
    CratePart { name: "sigstore-tsa-crate", package: "sigstore-tsa" },
    CratePart { name: "sigstore-types-crate", package: "sigstore-types" },
    CratePart { name: "sigstore-trust-root-crate", package: "sigstore-trust-root" },
];

/// What Go builds, in the order in which most is shared: Ratify v1 first.
pub(crate) const GO: [GoPart; 25] = [
    v1("ratify-v1", "github.com/ratify-project/ratify/cmd/ratify", "ratify", "3 minutes"),
    v1("v1-sbom", "github.com/ratify-project/ratify/plugins/verifier/sbom", "sbom", "10 seconds"),
    v1(
        "v1-licensechecker",
        "github.com/ratify-project/ratify/plugins/verifier/licensechecker",
        "licensechecker",
        "10 seconds",
    ),
    v1(
        "v1-schemavalidator",
        "github.com/ratify-project/ratify/plugins/verifier/schemavalidator",
        "schemavalidator",
        "10 seconds",
    ),
    v1(
        "v1-vulnerabilityreport",
        "github.com/ratify-project/ratify/plugins/verifier/vulnerabilityreport",
        "vulnerabilityreport",
        "10 seconds",
    ),
    v1(
        "v1-sample",
        "github.com/ratify-project/ratify/plugins/verifier/sample",
        "sample",
        "5 seconds",
    ),
    v1(
        "v1-sample-store",
        "github.com/ratify-project/ratify/plugins/referrerstore/sample",
        "sample",
        "5 seconds",
    ),
    ours("v1-sample-oras", "1.4.0", ("v1-sample-oras", "."), "sample", "5 seconds"),
    ours(
        "registry-referrers",
        "0.22.1",
        ("registry-referrers", "."),
        "registry-referrers",
        "10 seconds",
    ),
    GoPart {
        name: "oras",
        version: "1.3.6",
        source: GoSource::Published { package: "oras.land/oras/cmd/oras", version: "v1.3.6" },
        binary: "oras",
        stamps: &[],
        tags: &[],
        cold: "15 seconds",
    },
    // Of both, since what they make differs: signatures under tags, and bundles as referrers.
    GoPart {
        name: "cosign",
        version: "2.6.5",
        source: GoSource::Published {
            package: "github.com/sigstore/cosign/v2/cmd/cosign",
            version: "v2.6.5",
        },
        binary: "cosign",
        stamps: &[],
        tags: &[],
        cold: "4 minutes",
    },
    GoPart {
        name: "cosign3",
        version: "3.1.3",
        source: GoSource::Published {
            package: "github.com/sigstore/cosign/v3/cmd/cosign",
            version: "v3.1.3",
        },
        binary: "cosign",
        stamps: &[],
        tags: &[],
        cold: "4 minutes",
    },
    GoPart {
        name: "notation",
        version: "1.3.2",
        source: GoSource::Copied {
            module: "github.com/notaryproject/notation",
            version: "v1.3.2",
            package: "cmd/notation",
        },
        binary: "notation",
        stamps: &[],
        tags: &[],
        cold: "15 seconds",
    },
    ours("notation-plugin", "1.0.0", ("notation-plugin", "."), "notation-plugin", "10 seconds"),
    GoPart {
        name: "registry",
        version: "3.1.2",
        source: GoSource::Published {
            package: "github.com/distribution/distribution/v3/cmd/registry",
            version: "v3.1.2",
        },
        binary: "registry",
        stamps: &[],
        tags: &[],
        cold: "2 minutes",
    },
    GoPart {
        name: "conformance",
        version: "20260831-97274622c111",
        source: GoSource::Published {
            package: "github.com/opencontainers/distribution-spec/conformance",
            version: "v0.0.0-20260831232431-97274622c111",
        },
        binary: "conformance",
        stamps: &[],
        tags: &[],
        cold: "15 seconds",
    },
    kubernetes("kube-apiserver", "cmd/kube-apiserver", "6 minutes"),
    kubernetes("kubectl", "cmd/kubectl", "20 seconds"),
    kubernetes("kubelet-keyring", "cmd/kubelet-keyring", "5 seconds"),
    ours(
        "docker-credential-file",
        "0.9.13",
        ("credential-helper", "."),
        "docker-credential-file",
        "5 seconds",
    ),
    GoPart {
        name: "ecr-credential-provider",
        version: "1.34.4",
        source: GoSource::Copied {
            module: "k8s.io/cloud-provider-aws",
            version: "v1.34.4",
            package: "cmd/ecr-credential-provider",
        },
        binary: "ecr-credential-provider",
        stamps: &[],
        tags: &[],
        cold: "75 seconds",
    },
    GoPart {
        name: "gatekeeper",
        version: "3.23.1",
        source: GoSource::Published {
            package: "github.com/open-policy-agent/gatekeeper/v3",
            version: "v3.23.1",
        },
        binary: "gatekeeper",
        stamps: &[],
        tags: &[],
        cold: "2 minutes",
    },
    GoPart {
        name: "helm",
        version: "3.22.0",
        source: GoSource::Published { package: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0" },
        binary: "helm",
        // The cluster that `helm template` and `helm lint` take for granted.
        stamps: &[
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37",
            "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
            "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37",
        ],
        tags: &[],
        cold: "90 seconds",
    },
    GoPart {
        name: "promtool",
        version: "3.16.0",
        source: GoSource::Published {
            package: "github.com/prometheus/prometheus/cmd/promtool",
            version: "v0.316.0",
        },
        binary: "promtool",
        stamps: &[],
        // Without what finds machines in clouds, which is most of it.
        tags: &["remove_all_sd"],
        cold: "150 seconds",
    },
    ours("otlp-collector", "0.165.0", ("otlp-collector", "."), "otlp-collector", "40 seconds"),
];

const fn debian(name: &'static str, package: &'static str, proof: &'static str) -> DebianPart {
    DebianPart { name, package, proof }
}

const fn v1(
    name: &'static str,
    package: &'static str,
    binary: &'static str,
    cold: &'static str,
) -> GoPart {
    let source = GoSource::Published { package, version: "v1.4.0" };
    GoPart { name, version: "1.4.0", source, binary, stamps: &[], tags: &[], cold }
}

const fn ours(
    name: &'static str,
    version: &'static str,
    (module, package): (&'static str, &'static str),
    binary: &'static str,
    cold: &'static str,
) -> GoPart {
    let source = GoSource::Ours { module, package };
    GoPart { name, version, source, binary, stamps: &[], tags: &[], cold }
}

/// A program of Kubernetes, which says the version of its release: charts ask for it.
const fn kubernetes(name: &'static str, package: &'static str, cold: &'static str) -> GoPart {
    let stamps = &[
        "k8s.io/component-base/version.gitVersion=v1.34.4",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=34",
    ];
    GoPart { stamps, ..ours(name, "1.34.4", ("kubernetes", package), name, cold) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_parts_share_a_name() {
        let programs = GO.iter().map(|part| part.name).chain(DEBIAN.iter().map(|part| part.name));
        let files = MODULES.iter().map(|part| part.name);
        let files = files.chain(CRATES.iter().map(|part| part.name));
        let names: Vec<&str> = programs.chain(files).collect();
        let unique: BTreeSet<&&str> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }
}
