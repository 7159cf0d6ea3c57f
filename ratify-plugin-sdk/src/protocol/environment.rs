//! The protocol's environment variables: their names, their commands, and what a host sets.

use std::fmt;

use ratify_core::Reference;

/// `VERIFY`, the only command of a verifier.
pub const VERIFIER_COMMAND: &str = "RATIFY_VERIFIER_COMMAND";
/// The subject's normalised reference.
pub const VERIFIER_SUBJECT: &str = "RATIFY_VERIFIER_SUBJECT";
/// The digest that the host found for the subject. v1's host does not say it.
pub const VERIFIER_SUBJECT_DIGEST: &str = "RATIFY_VERIFIER_SUBJECT_DIGEST";
/// The version of the wire the host speaks.
pub const VERIFIER_VERSION: &str = "RATIFY_VERIFIER_VERSION";
/// What a store is to do: one of [`StoreCommand`].
pub const STORE_COMMAND: &str = "RATIFY_STORE_COMMAND";
/// The subject's normalised reference.
pub const STORE_SUBJECT: &str = "RATIFY_STORE_SUBJECT";
/// The version of the wire the host speaks.
pub const STORE_VERSION: &str = "RATIFY_STORE_VERSION";
/// The command's arguments, see [`StoreArgs`](super::StoreArgs).
pub const STORE_ARGS: &str = "RATIFY_STORE_ARGS";

/// Every variable of the protocol.
pub const ALL: [&str; 8] = [
    VERIFIER_COMMAND,
    VERIFIER_SUBJECT,
    VERIFIER_SUBJECT_DIGEST,
    VERIFIER_VERSION,
    STORE_COMMAND,
    STORE_SUBJECT,
    STORE_VERSION,
    STORE_ARGS,
];

/// What a verifier can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifierCommand {
    /// Judge one artifact.
    Verify,
}

/// What a store can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreCommand {
    /// List what is attached to the subject.
    ListReferrers,
    /// Give the bytes of a blob.
    GetBlob,
    /// Give the manifest of an artifact.
    GetReferenceManifest,
    /// Say what the subject's tag stands for.
    GetSubjectDescriptor,
}

impl VerifierCommand {
    /// The text of the variable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "VERIFY",
        }
    }

    /// Reads the variable; `None` for a command nobody knows.
    pub fn parse(text: &str) -> Option<Self> {
        (text == Self::Verify.as_str()).then_some(Self::Verify)
    }
}

impl StoreCommand {
    const ALL: [Self; 4] = [
        Self::ListReferrers,
        Self::GetBlob,
        Self::GetReferenceManifest,
        Self::GetSubjectDescriptor,
    ];

    /// The text of the variable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListReferrers => "LISTREFERRERS",
            Self::GetBlob => "GETBLOB",
            Self::GetReferenceManifest => "GETREFMANIFEST",
            Self::GetSubjectDescriptor => "GETSUBJECTDESCRIPTOR",
        }
    }

    /// Reads the variable; `None` for a command nobody knows.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.as_str() == text)
    }
}

impl fmt::Display for VerifierCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for StoreCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The variables of a verifier's call, the last of them where the subject is resolved.
pub fn of_verifier(subject: &Reference, version: &str) -> Vec<(&'static str, String)> {
    let digest = subject.digest().map(|digest| (VERIFIER_SUBJECT_DIGEST, digest.to_string()));
    let v1s = [
        (VERIFIER_COMMAND, VerifierCommand::Verify.as_str().to_owned()),
        (VERIFIER_SUBJECT, subject.to_string()),
        (VERIFIER_VERSION, version.to_owned()),
    ];
    v1s.into_iter().chain(digest).collect()
}

/// The variables of a store's call. `args` is what [`StoreArgs::to_text`](super::StoreArgs) gives.
pub fn of_store(
    command: StoreCommand,
    subject: &str,
    version: &str,
    args: &str,
) -> [(&'static str, String); 4] {
    [
        (STORE_COMMAND, command.as_str().to_owned()),
        (STORE_SUBJECT, subject.to_owned()),
        (STORE_VERSION, version.to_owned()),
        (STORE_ARGS, args.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_its_exact_text() {
        for command in StoreCommand::ALL {
            assert_eq!(StoreCommand::parse(command.as_str()), Some(command));
        }
        assert_eq!(VerifierCommand::parse("VERIFY"), Some(VerifierCommand::Verify));
        assert_eq!(VerifierCommand::parse("verify"), None);
        assert_eq!(StoreCommand::parse("GETBLOBS"), None);
    }

    #[test]
    fn a_call_sets_v1s_variables_and_the_digest_where_it_is_known() {
        let subject = Reference::parse("reg.io/a:v1").unwrap();
        let digest: ratify_core::Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let resolved = of_verifier(&subject.with_digest(digest.clone()), "1.0.0");
        assert_eq!(resolved.last(), Some(&(VERIFIER_SUBJECT_DIGEST, digest.to_string())));
        insta::assert_debug_snapshot!(of_verifier(&subject, "1.0.0"), @r#"
        [
            (
                "RATIFY_VERIFIER_COMMAND",
                "VERIFY",
            ),
            (
                "RATIFY_VERIFIER_SUBJECT",
                "reg.io/a:v1",
            ),
            (
                "RATIFY_VERIFIER_VERSION",
                "1.0.0",
            ),
        ]
        "#);
        let store = of_store(StoreCommand::GetBlob, "reg.io/a:v1", "1.0.0", "digest=x");
        assert_eq!(
            store.map(|(name, value)| format!("{name}={value}")).join(" "),
            "RATIFY_STORE_COMMAND=GETBLOB RATIFY_STORE_SUBJECT=reg.io/a:v1 RATIFY_STORE_VERSION=1.0.0 RATIFY_STORE_ARGS=digest=x"
        );
    }
}
