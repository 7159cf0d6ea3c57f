//! What a repository is called in `registryScopes`: in full, without a scheme or a tag.

use crate::go::quoted;

/// Whether a text is `registry/repository`.
///
/// # Errors
/// notation-go's text of why not.
pub(super) fn check(scope: &str) -> Result<(), String> {
    let ensure = "make sure it is a fully qualified repository without the scheme, protocol or tag. For example domain.com/my/repository or a local scope like local/myOCILayout";
    if scope.len() > 1 && scope.contains('*') {
        return Err(format!(
            "registry scope {} with wild card(s) is not valid, {ensure}",
            quoted(scope)
        ));
    }
    let is_valid = scope.split_once('/').is_some_and(|(domain, repository)| {
        is_domain(domain) && repository.split('/').all(is_component)
    });
    if is_valid {
        return Ok(());
    }
    Err(format!("registry scope {} is not valid, {ensure}", quoted(scope)))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Words of lower-case letters and digits, joined by a dot, one or two underscores, or hyphens.
fn is_component(component: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && bytes.split(is_word).all(|joint| {
            matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|byte| *byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_repository_in_full() {
        for scope in ["reg.io/a", "localhost:5000/a/b-c__d.e", "local/layout", "R-1.io/0"] {
            assert_eq!(check(scope), Ok(()), "{scope}");
        }
        for scope in [
            "",
            "*",
            "a",
            "reg.io",
            "reg.io/",
            "/a",
            "reg.io/A",
            "reg.io/a:v1",
            "reg.io/a@sha256:0",
            "https://reg.io/a",
            "reg.io:/a",
            "-reg.io/a",
            "reg..io/a",
            "reg.io/a//b",
            "reg.io/a..b",
            "reg.io/a___b",
            "[::1]/a",
            "reg.io/a\n",
        ] {
            assert!(check(scope).unwrap_err().contains("is not valid"), "{scope}");
        }
        assert!(check("reg.io/*").unwrap_err().contains("with wild card(s)"));
    }
}
