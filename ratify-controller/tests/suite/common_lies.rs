//! The lies that every table of lies begins and ends with; each table adds its own.

use std::time::Duration;

use ratify_controller::dev::Lie;

/// About the bytes of an answer, its size, its type and its digest.
pub(crate) fn about_bytes() -> Vec<Lie> {
    vec![
        Lie::OtherBytesSameLength,
        Lie::OtherBytesOtherLength,
        Lie::Truncated,
        Lie::Endless,
        Lie::WrongDigestHeader,
        Lie::MissingDigestHeader,
        Lie::EchoPinnedDigestWithOtherBody,
        Lie::WrongSizeInDescriptor,
        Lie::WrongContentType,
        Lie::ContentTypeWithCharset,
        Lie::ManifestThatIsAlsoIndex,
        Lie::DuplicateJsonKeys,
        Lie::GzipEncoded,
    ]
}

/// A registry that is slow, or answers with an error.
pub(crate) fn of_a_sick_registry() -> Vec<Lie> {
    let errors = [
        (404, "MANIFEST_UNKNOWN"),
        (401, "UNAUTHORIZED"),
        (403, "DENIED"),
        (429, "TOOMANYREQUESTS"),
        (500, "UNKNOWN"),
    ];
    let status = |(status, code): (u16, &str)| Lie::Status {
        status,
        code: code.to_owned(),
        retry_after: None,
    };
    let slow = [Lie::Stall, Lie::SlowDrip(Duration::from_millis(300))];
    slow.into_iter().chain(errors.map(status)).collect()
}

/// What is no document at all.
pub(crate) fn of_no_document() -> Vec<Lie> {
    vec![Lie::NotAManifest, Lie::HugeManifest, Lie::DeepJson(200), Lie::DropConnection]
}
