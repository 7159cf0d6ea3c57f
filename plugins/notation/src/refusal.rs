//! [`Refusal`]: why a check fails, and how long that is true.

use std::{error::Error as StdError, fmt};

use ratify_core::Error;

/// What a check comes to.
pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Why a signature is not accepted.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// It is boxed as an error, since v1 shows the code of one that has a code.
    cause: Box<dyn StdError + Send + Sync>,
    lasts: Lasting,
    /// What to do about it, beside v1's words; empty where they are enough.
    remediation: String,
}

/// How long a refusal is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    /// It is a finding about the signature.
    Found,
    /// Something could not be found out.
    Unknown,
    /// What stood in the way may be gone a moment later.
    Passing,
}

impl Refusal {
    /// The same, of something that could not be found out.
    pub(crate) fn unknown(mut self) -> Self {
        self.lasts = self.lasts.max(Lasting::Unknown);
        self
    }

    /// The same, where it may be over a moment later.
    pub(crate) fn passing(mut self, is_passing: bool) -> Self {
        if is_passing {
            self.lasts = Lasting::Passing;
        }
        self
    }

    /// The same with what to do about it.
    pub(crate) fn with_remediation(mut self, remediation: String) -> Self {
        self.remediation = remediation;
        self
    }

    /// What to do about it, where more is known than the cause says.
    pub(crate) fn remediation(&self) -> &str {
        &self.remediation
    }

    /// How long it is true.
    pub(crate) fn lasts(&self) -> Lasting {
        self.lasts
    }

    /// The same with words in front.
    pub(crate) fn within(self, words: &str) -> Self {
        Self { cause: Box::new(Within { words: words.to_owned(), cause: self.cause }), ..self }
    }

    /// The cause alone, to stand behind an error with a code.
    pub(crate) fn into_cause(self) -> Box<dyn StdError + Send + Sync> {
        self.cause
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(formatter)
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { cause: text.into(), lasts: Lasting::Found, remediation: String::new() }
    }
}

impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let lasts = if error.is_transient() { Lasting::Passing } else { Lasting::Unknown };
        Self { cause: Box::new(error), lasts, remediation: String::new() }
    }
}

/// An error within a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{words}{cause}")]
struct Within {
    words: String,
    #[source]
    cause: Box<dyn StdError + Send + Sync>,
}

#[cfg(test)]
mod tests {
    use ratify_core::ErrorCode;

    use super::*;

    #[test]
    fn words_in_front_keep_the_code_what_to_do_and_how_long_it_lasts() {
        let inner = ErrorCode::CertInvalid.detail("d").passing(true);
        let refusal = Refusal::from(inner).with_remediation("do".to_owned()).within("failed: ");
        assert_eq!(refusal.remediation(), "do");
        assert_eq!(refusal.to_string(), "failed: CERT_INVALID: d");
        assert_eq!(refusal.lasts(), Lasting::Passing);
        let outer = ErrorCode::VerifyReferenceFailure.error().with_source(refusal.into_cause());
        assert_eq!(outer.root().code(), ErrorCode::CertInvalid);
        assert!(outer.is_transient());
        assert_eq!(Refusal::from("x").lasts(), Lasting::Found);
        assert_eq!(Refusal::from("x").unknown().lasts(), Lasting::Unknown);
    }
}
