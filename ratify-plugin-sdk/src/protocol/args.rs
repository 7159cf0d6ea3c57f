//! [`StoreArgs`]: the text of `RATIFY_STORE_ARGS`, `key=value` pairs joined by `;`.
//!
//! The text knows no escapes. A value with `=` in it (a base64 page token) is written as it is:
//! this SDK splits at the first `=`, v1's Go SDK refuses it. A value with `;` cannot be written.

use ratify_core::Digest;

use super::{PluginError, StoreCommand};

/// The arguments of a store's command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreArgs {
    /// Of `LISTREFERRERS`.
    List {
        /// Where to go on; empty for the first page.
        next_token: String,
        /// The wanted types; empty for all.
        artifact_types: Vec<String>,
    },
    /// Of `GETBLOB` and `GETREFMANIFEST`.
    Digest(Digest),
    /// Of `GETSUBJECTDESCRIPTOR`.
    None,
}

/// A value that the text of the arguments cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} holds {character:?}, which the arguments of a store plugin cannot carry")]
pub struct ArgsError {
    key: &'static str,
    character: char,
}

impl StoreArgs {
    /// Writes the text as v1's host does.
    ///
    /// # Errors
    /// When a value holds a character that would change the meaning of the text.
    pub fn to_text(&self) -> Result<String, ArgsError> {
        match self {
            Self::List { next_token, artifact_types } => {
                check("nextToken", next_token, &[';', '\0'])?;
                for artifact_type in artifact_types {
                    check("artifactTypes", artifact_type, &[';', ',', '\0'])?;
                }
                let types = artifact_types.join(",");
                Ok(format!("nextToken={next_token};artifactTypes={types}"))
            }
            Self::Digest(digest) => Ok(format!("digest={digest}")),
            Self::None => Ok(String::new()),
        }
    }

    /// Reads the text of a command's arguments.
    ///
    /// # Errors
    /// v1's, code 7.
    pub fn parse(command: StoreCommand, text: &str) -> Result<Self, PluginError> {
        match command {
            StoreCommand::ListReferrers => Self::parse_list(text),
            StoreCommand::GetBlob | StoreCommand::GetReferenceManifest => Self::parse_digest(text),
            StoreCommand::GetSubjectDescriptor => Ok(Self::None),
        }
    }

    fn parse_list(text: &str) -> Result<Self, PluginError> {
        let (mut next_token, mut artifact_types) = (String::new(), Vec::new());
        for (key, value) in pairs(text)? {
            match key {
                "nextToken" => value.clone_into(&mut next_token),
                // Without a wish the value is empty, and there is nothing between commas.
                "artifactTypes" => {
                    artifact_types =
                        value.split(',').filter(|t| !t.is_empty()).map(Into::into).collect();
                }
                other => return Err(PluginError::unknown_argument(other)),
            }
        }
        Ok(Self::List { next_token, artifact_types })
    }

    fn parse_digest(text: &str) -> Result<Self, PluginError> {
        let mut digest = "";
        for (key, value) in pairs(text)? {
            match key {
                "digest" => digest = value,
                other => return Err(PluginError::unknown_argument(other)),
            }
        }
        digest
            .parse()
            .map(Self::Digest)
            .map_err(|error| PluginError::digest_argument(digest, &error))
    }
}

fn check(key: &'static str, value: &str, forbidden: &[char]) -> Result<(), ArgsError> {
    match value.find(forbidden).and_then(|at| value[at..].chars().next()) {
        Some(character) => Err(ArgsError { key, character }),
        None => Ok(()),
    }
}

fn pairs(text: &str) -> Result<Vec<(&str, &str)>, PluginError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // v1's web pages write `key:value`, v1 itself `key=value`.
    text.split(';')
        .map(|pair| {
            pair.split_once('=')
                .or_else(|| pair.split_once(':'))
                .ok_or_else(|| PluginError::arguments(pair))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn list(next_token: &str, types: &[&str]) -> StoreArgs {
        StoreArgs::List {
            next_token: next_token.into(),
            artifact_types: types.iter().map(|t| (*t).to_owned()).collect(),
        }
    }

    #[test]
    fn writes_v1s_text() {
        let cases = [
            (list("", &[]), "nextToken=;artifactTypes="),
            (list("t", &["a/b", "c/d"]), "nextToken=t;artifactTypes=a/b,c/d"),
            (list("abc==", &[]), "nextToken=abc==;artifactTypes="),
            (StoreArgs::Digest(DIGEST.parse().unwrap()), &format!("digest={DIGEST}")),
            (StoreArgs::None, ""),
        ];
        for (args, text) in cases {
            assert_eq!(args.to_text().unwrap(), text);
        }
    }

    #[test]
    fn refuses_to_write_what_would_be_read_as_something_else() {
        let error = list("a;artifactTypes=b", &[]).to_text().unwrap_err();
        insta::assert_snapshot!(error, @"nextToken holds ';', which the arguments of a store plugin cannot carry");
        assert!(list("", &["a,b"]).to_text().is_err());
        assert!(list("\0", &[]).to_text().is_err());
    }

    #[test]
    fn reads_back_what_it_writes_and_the_form_of_the_web_pages() {
        let first = StoreCommand::ListReferrers;
        for args in [list("", &[]), list("abc==", &["a/b", "c=d"])] {
            assert_eq!(StoreArgs::parse(first, &args.to_text().unwrap()).unwrap(), args);
        }
        let pages = format!("digest:{DIGEST}");
        assert_eq!(
            StoreArgs::parse(StoreCommand::GetBlob, &pages).unwrap(),
            StoreArgs::Digest(DIGEST.parse().unwrap())
        );
    }

    #[test]
    fn refuses_with_v1s_texts() {
        let error = |command, text| StoreArgs::parse(command, text).unwrap_err();
        let e = error(StoreCommand::GetBlob, "digest=x");
        assert_eq!(e.to_string(), "cannot parse digest arg x; invalid checksum digest format");
        let e = error(StoreCommand::GetBlob, "foo=x");
        assert_eq!((e.code, e.to_string().as_str()), (7, "unknown args foo"));
        let e = error(StoreCommand::ListReferrers, "nextToken=;x");
        assert_eq!(e.to_string(), "error parsing args; PLUGIN ARGS: invalid kv pair \"x\"");
        let e = error(StoreCommand::GetBlob, "digest=");
        assert_eq!(e.to_string(), "cannot parse digest arg ; invalid checksum digest format");
    }
}
