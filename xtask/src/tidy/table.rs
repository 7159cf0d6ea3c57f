//! The exceptions that tidy grants, each with its reason. An exception that is no longer needed
//! is itself a finding.

/// Crates that `ratify` links in several versions, and why that cannot be helped.
pub(crate) const DUPLICATES: [(&str, &str); 11] = [
    ("base64", "hyper-util and reqwest are on 0.23, oci-client on 0.22; ours follows oci-client"),
    ("cms", "see der"),
    ("const-oid", "x509-cert 0.2 is on 0.9, oci-client's sha2 on 0.10; names, no code"),
    (
        "der",
        "p12-keystore is on the next line of x509-cert's family; ours is the one of signatures",
    ),
    ("getrandom", "kube-runtime hashes with ahash 0.8, which is on 0.3"),
    ("num-bigint", "p12-keystore's x509-parser is on 0.4, regorus on 0.5"),
    ("pem-rfc7468", "see der"),
    ("spki", "see der"),
    ("tower-http", "kube-client is on 0.7, reqwest on 0.6"),
    ("untrusted", "rustls-webpki is on 0.9, aws-lc-rs on 0.7 with what sigstore-crypto asks of it"),
    ("x509-cert", "see der"),
];

/// Licences that every dependency must be had under (SPDX identifiers).
pub(crate) const LICENCES: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not be in the tree: there is one TLS stack, rustls with aws-lc-rs.
pub(crate) const REFUSED: [&str; 5] = ["boring", "native-tls", "openssl", "openssl-sys", "ring"];

/// What may lie in the root of the tree, beside names that begin with a dot.
pub(crate) const ROOT: [&str; 13] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "charts",
    "docs",
    "plugins",
    "ratify-controller",
    "ratify-core",
    "ratify-plugin-sdk",
    "ratify-store-oras",
    "rust-toolchain.toml",
    "xtask",
];

/// Home directories of nobody, for examples and tests.
pub(crate) const EXAMPLE_HOMES: [&str; 3] = ["/home/nonroot", "/home/u", "/home/user"];
