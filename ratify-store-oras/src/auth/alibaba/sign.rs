//! [`authorization`]: the signature of a request to Alibaba Cloud, `ACS3-HMAC-SHA256`. It is what
//! v1's client sends: the hash of the request in a canonical form, signed with the secret key.

use aws_lc_rs::{digest, hmac};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// A request without a body, to the root of a host.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// Names and values that need no escape, in the order of their names.
    pub(super) query: &'a str,
    /// Names in lower case, in their order: `host` and those that begin with `x-acs-`.
    pub(super) headers: &'a [(&'static str, String)],
}

/// The value of `Authorization`.
pub(super) fn authorization(request: &Signed<'_>, key_id: &str, secret: &str) -> String {
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let signature = sign(&canonical(request, &names), secret);
    format!("{ALGORITHM} Credential={key_id},SignedHeaders={names},Signature={signature}")
}

/// The hash of no body at all, which the header `x-acs-content-sha256` says.
pub(super) fn hash_of_nothing() -> String {
    hex(digest::digest(&digest::SHA256, b"").as_ref())
}

fn canonical(request: &Signed<'_>, names: &str) -> String {
    let mut text = format!("{}\n/\n{}\n", request.method, request.query);
    for (name, value) in request.headers {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    format!("{text}\n{names}\n{}", hash_of_nothing())
}

fn sign(canonical: &str, secret: &str) -> String {
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex(hmac::sign(&key, format!("{ALGORITHM}\n{hash}").as_bytes()).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_v1s_client_makes() {
        let headers = [
            ("host", "cr.cn-hangzhou.aliyuncs.com"),
            ("x-acs-accesskey-id", "STS.key"),
            ("x-acs-action", "GetAuthorizationToken"),
            ("x-acs-content-sha256", &hash_of_nothing()),
            ("x-acs-date", "2026-01-31T12:00:00Z"),
            ("x-acs-security-token", "session+/="),
            ("x-acs-signature-nonce", "00112233445566778899aabbccddeeff"),
            ("x-acs-version", "2018-12-01"),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let request = Signed { method: "POST", query: "InstanceId=cri-abc123", headers: &headers };
        let names = "host;x-acs-accesskey-id;x-acs-action;x-acs-content-sha256;x-acs-date;\
                     x-acs-security-token;x-acs-signature-nonce;x-acs-version";
        // What openapi-util 0.1.0 for Go, which v1 links, answers for the same request.
        let signature = "f9b781b3bc9e6721179866c527681d5408dad8f344b628078a0ae75b251224c0";
        assert_eq!(
            authorization(&request, "STS.key", "secret"),
            format!(
                "ACS3-HMAC-SHA256 Credential=STS.key,SignedHeaders={names},Signature={signature}"
            )
        );
    }
}
