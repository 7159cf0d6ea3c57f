//! What is said of each input that is a signature, or an answer about one: which are good, and why the
//! others are not. A verifier that refuses everything, or for another reason, is seen here.

use super::{inputs, targets};

// Long because: it holds what is said of every input.
#[test]
fn what_is_good_passes_and_each_other_is_refused_for_its_own_reason() {
    let (inputs, mut lines) = (inputs(), Vec::new());
    for (target, policy, verdict) in targets::JUDGES {
        for (_, name, bytes) in inputs.iter().filter(|(of, ..)| of == target) {
            let verdict = verdict(bytes);
            let is_good = name.starts_with("good") && policy.is_empty();
            assert!(verdict.is_success || !is_good, "{target}/{name}: {verdict:?}");
            let reason = targets::reason(&verdict);
            // The last is the nearest to the cause.
            let cause = reason.rsplit(" | ").next().unwrap_or_default();
            let said = if verdict.is_success { "good" } else { cause };
            let policy = if policy.is_empty() { String::new() } else { format!(", {policy}") };
            lines.push(format!("{target}/{name}{policy}: {said}"));
        }
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    notation_jws/attribute: good
    notation_jws/authority: no trusted certificates are found to verify authenticity
    notation_jws/empty: certificate chain is not present
    notation_jws/expired: digital signature has expired on "Sat, 01 Jun 2024 00:00:00 +0000"
    notation_jws/expires: good
    notation_jws/good: good
    notation_jws/other-image: content descriptor mismatch
    notation_jws/other-root: signature is not produced by a trusted signer
    notation_jws/plugin: error while locating the verification plugin "p", make sure the plugin is installed successfully before verifying the signature. error: no plugins of Notation are run here
    notation_jws/twice: unable to parse the digital signature, error : the key "header" is given twice at line 1 column 21
    notation_cose/attribute: good
    notation_cose/empty: unable to parse the digital signature, error : empty signature
    notation_cose/expired: digital signature has expired on "Mon, 06 May 2024 07:08:10 +0000"
    notation_cose/good: good
    notation_cose/late: invalid signingTime: invalid timeValue type
    notation_cose/no-scheme: invalid signingScheme
    notation_cose/untagged: unable to parse the digital signature, error : cbor: got array, expected tag
    timestamp/accuracy: good
    timestamp/alone: good
    timestamp/empty: failed to parse timestamp countersignature with error: cms: syntax error: invalid signed data: ASN.1 DER message is incomplete: expected 3, actual 2 at DER byte 2
    timestamp/good: good
    timestamp/of-another: failed to get timestamp from timestamp countersignature with error: invalid TSTInfo: mismatched message
    ocsp/good: good
    ocsp/good-with-certificates: good
    ocsp/of-another: Mend what keeps revocation from being known: OCSP at http://ocsp.example.com: error checking revocation status via OCSP: no response matching the supplied certificate
    ocsp/revoked: signing certificate with subject "CN=responder,O=Lab,ST=WA,C=US" is revoked
    ocsp/try-later: Mend what keeps revocation from being known: OCSP at http://ocsp.example.com: error checking revocation status via OCSP: OCSP TryLater
    ocsp/unknown: Mend what keeps revocation from being known: certificate has unknown status via OCSP
    revocation_list/empty: Mend what keeps revocation from being known: failed to download CRL from http://list.example.com/a.crl: failed to retrieve CRL: CERT_INVALID: x509: malformed crl: ASN.1 DER message is incomplete: expected 1, actual 0 at DER byte 0
    revocation_list/good: good
    revocation_list/of-nobody: Mend what keeps revocation from being known: the CRL from http://list.example.com/a.crl: CRL is not signed by CA CN=root,O=Lab,ST=WA,C=US: x509: ECDSA verification failure
    revocation_list/of-others: good
    revocation_list/over: Mend what keeps revocation from being known: the CRL from http://list.example.com/a.crl: expired CRL. Current time 2030-03-17T17:46:40Z is after CRL NextUpdate 2024-06-01T00:00:00Z
    revocation_list/revoked: signing certificate with subject "CN=list,O=Lab,ST=WA,C=US" is revoked
    cosign_signature/certified: invalid signature when validating ASN.1 encoded signature
    cosign_signature/empty-entry: Failed to parse Cosign signature with digest sha256:abababababababababababababababababababababababababababababababab: failed to unmarshal bundle from blob payload: missing field `SignedEntryTimestamp` at line 1 column 2
    cosign_signature/entry-of-another: good
    cosign_signature/good: good
    cosign_signature/logged: good
    cosign_signature/no-base64: illegal base64 data in the signature
    cosign_signature/other-image: invalid or missing digest in claim: sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
    cosign_signature/other-key: invalid signature when validating ASN.1 encoded signature
    cosign_signature/timestamp: good
    cosign_signature/unsigned: ecdsa: Invalid IEEE_P1363 encoded bytes
    cosign_signature/certified, logged: invalid signature when validating ASN.1 encoded signature
    cosign_signature/empty-entry, logged: Failed to parse Cosign signature with digest sha256:abababababababababababababababababababababababababababababababab: failed to unmarshal bundle from blob payload: missing field `SignedEntryTimestamp` at line 1 column 2
    cosign_signature/entry-of-another, logged: error verifying bundle: matching bundle to payload: the hashes differ
    cosign_signature/good, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    cosign_signature/logged, logged: good
    cosign_signature/no-base64, logged: illegal base64 data in the signature
    cosign_signature/other-image, logged: invalid or missing digest in claim: sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
    cosign_signature/other-key, logged: invalid signature when validating ASN.1 encoded signature
    cosign_signature/timestamp, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    cosign_signature/unsigned, logged: ecdsa: Invalid IEEE_P1363 encoded bytes
    sigstore_bundle/certified: the bundle is signed by a certificate, not by a key
    sigstore_bundle/empty: Failed to parse Cosign signature with digest sha256:abababababababababababababababababababababababababababababababab: the bundle is malformed: missing field `mediaType` at line 1 column 2
    sigstore_bundle/good: good
    sigstore_bundle/logged: good
    sigstore_bundle/message: invalid signature when validating ASN.1 encoded signature
    sigstore_bundle/other-image: invalid or missing digest in claim: the statement is about something else
    sigstore_bundle/other-key: invalid signature when validating ASN.1 encoded signature
    sigstore_bundle/other-statement: the bundle is no signature of an image but says https://example.com/scan
    sigstore_bundle/certified, logged: the bundle is signed by a certificate, not by a key
    sigstore_bundle/empty, logged: Failed to parse Cosign signature with digest sha256:abababababababababababababababababababababababababababababababab: the bundle is malformed: missing field `mediaType` at line 1 column 2
    sigstore_bundle/good, logged: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof
    sigstore_bundle/logged, logged: good
    sigstore_bundle/message, logged: invalid signature when validating ASN.1 encoded signature
    sigstore_bundle/other-image, logged: invalid or missing digest in claim: the statement is about something else
    sigstore_bundle/other-key, logged: invalid signature when validating ASN.1 encoded signature
    sigstore_bundle/other-statement, logged: the bundle is no signature of an image but says https://example.com/scan
    trusted_root/empty: missing field `mediaType` at line 1 column 2
    trusted_root/good: good
    trusted_root/log-of-another: error verifying bundle: verifying bundle: rekor log public key not found for payload
    trusted_root/no-key: Crypto error: Invalid key: Invalid SPKI: ASN.1 error: ASN.1 DER message is incomplete: expected 3, actual 2 at DER byte 2
    trusted_root/no-logs: error verifying bundle: verifying bundle: rekor log public key not found for payload
    trusted_root/other-id: Types error: Invalid encoding: SHA-256 hash must be 32 bytes, got 3
    trusted_root/over: error verifying bundle: verifying bundle: rekor log public key not found for payload
    trusted_root/timestamps: good
    trusted_root/two-logs: invalid trusted root: duplicate trusted log ID: 981d018ae16c8d74bd367e91c1d918973cad11a6a901b861f4a5f5c9cb51089c
    keyless/ended: expected a signed timestamp to verify an expired certificate
    keyless/entry-of-another: good
    keyless/for-servers: cert verification failed: RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required: KeyPurposeId(1.3.6.1.5.5.7.3.3), present: [KeyPurposeId(1.3.6.1.5.5.7.3.1)] })
    keyless/good: good
    keyless/good-stamped: good
    keyless/log-of-a-stranger: good
    keyless/logged: good
    keyless/logged-then: expected a signed timestamp to verify an expired certificate
    keyless/not-in-certificate-log: good
    keyless/of-a-stranger: cert verification failed: InvalidSignatureForPublicKey
    keyless/other-identity: none of the expected identities matched what was in the certificate, got subjects [ops@example.com] with issuer https://id.example.com
    keyless/other-image: invalid signature when validating ASN.1 encoded signature
    keyless/other-issuer: none of the expected identities matched what was in the certificate, got subjects [dev@example.com] with issuer https://id.example.org
    keyless/stamp-broken: invalid RFC 3161 timestamp: TSA timestamp verification failed: Failed to verify timestamp signature: Verification error: ECDSA_P256_SHA256 signature invalid
    keyless/stamp-of-a-stranger: invalid RFC 3161 timestamp: TSA timestamp verification failed: Failed to verify timestamp signature: CMS signer does not match any trusted TSA certificate
    keyless/stamp-of-another: invalid RFC 3161 timestamp: TSA timestamp verification failed: Timestamp message hash mismatch: expected acb1fc1d9ee7ff1ef037dec99af2d7477f72422330aaee653084207ebb82a382, got 3214119f88c937d74943de64290c83496febabc25eb7c011e8688fea7acdd82b
    keyless/stamped-too-late: certificate chain is invalid: certificate chain validation failed: CertExpired { time: UnixTime(1796097529), not_after: UnixTime(1640995200) }
    keyless/unsigned: ecdsa: Invalid IEEE_P1363 encoded bytes
    keyless/ended, certified: expected a signed timestamp to verify an expired certificate
    keyless/entry-of-another, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/for-servers, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/good, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/good-stamped, certified: good
    keyless/log-of-a-stranger, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/logged, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/logged-then, certified: expected a signed timestamp to verify an expired certificate
    keyless/not-in-certificate-log, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/of-a-stranger, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/other-identity, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/other-image, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/other-issuer, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/stamp-broken, certified: invalid RFC 3161 timestamp: TSA timestamp verification failed: Failed to verify timestamp signature: Verification error: ECDSA_P256_SHA256 signature invalid
    keyless/stamp-of-a-stranger, certified: invalid RFC 3161 timestamp: TSA timestamp verification failed: Failed to verify timestamp signature: CMS signer does not match any trusted TSA certificate
    keyless/stamp-of-another, certified: invalid RFC 3161 timestamp: TSA timestamp verification failed: Timestamp message hash mismatch: expected acb1fc1d9ee7ff1ef037dec99af2d7477f72422330aaee653084207ebb82a382, got 3214119f88c937d74943de64290c83496febabc25eb7c011e8688fea7acdd82b
    keyless/stamped-too-late, certified: certificate chain is invalid: certificate chain validation failed: CertExpired { time: UnixTime(1796097529), not_after: UnixTime(1640995200) }
    keyless/unsigned, certified: a certificate's log is only looked at where a transparency log or a timestamp says when the signature was made: set ctLogVerify to false, or tLogVerify to true
    keyless/ended, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    keyless/entry-of-another, logged: error verifying bundle: signature in bundle does not match signature being verified
    keyless/for-servers, logged: certificate chain is invalid: certificate chain validation failed: RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required: KeyPurposeId(1.3.6.1.5.5.7.3.3), present: [KeyPurposeId(1.3.6.1.5.5.7.3.1)] })
    keyless/good, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    keyless/good-stamped, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    keyless/log-of-a-stranger, logged: error verifying bundle: verifying bundle: rekor log public key not found for payload
    keyless/logged, logged: good
    keyless/logged-then, logged: good
    keyless/not-in-certificate-log, logged: invalid signed certificate timestamp: certificate is missing SCT extension (Signed Certificate Timestamp)
    keyless/of-a-stranger, logged: certificate chain is invalid: certificate chain validation failed: InvalidSignatureForPublicKey
    keyless/other-identity, logged: none of the expected identities matched what was in the certificate, got subjects [ops@example.com] with issuer https://id.example.com
    keyless/other-image, logged: error verifying bundle: matching bundle to payload: the hashes differ
    keyless/other-issuer, logged: none of the expected identities matched what was in the certificate, got subjects [dev@example.com] with issuer https://id.example.org
    keyless/stamp-broken, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    keyless/stamp-of-a-stranger, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    keyless/stamp-of-another, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    keyless/stamped-too-late, logged: searching log query: OPERATION_FORBIDDEN: nothing is fetched here
    keyless/unsigned, logged: ecdsa: Invalid IEEE_P1363 encoded bytes
    keyless_bundle/ended: Bundle error: bundle must have at least one tlog entry or timestamp verification data
    keyless_bundle/entry-of-another: log entry does not match the bundle: DSSE signature in bundle does not match any signature in Rekor entry (signature or verifier mismatch)
    keyless_bundle/good: good
    keyless_bundle/good-stamped: good
    keyless_bundle/log-of-a-stranger: invalid inclusion promise: No log key valid at integrated time 2026-12-01T03:58:44Z for log ID bwWkp0OWRDlt3bsAwdtdckRQKNAy6t/HHmrxpG7g21k=
    keyless_bundle/logged-then: good
    keyless_bundle/not-in-certificate-log: good
    keyless_bundle/nothing-beside: Bundle error: bundle must have at least one tlog entry or timestamp verification data
    keyless_bundle/of-a-stranger: certificate chain is invalid: certificate chain validation failed: InvalidSignatureForPublicKey
    keyless_bundle/other-identity: none of the expected identities matched what was in the certificate, got subjects [ops@example.com] with issuer https://id.example.com
    keyless_bundle/other-image: invalid or missing digest in claim: the statement is about something else
    keyless_bundle/other-issuer: none of the expected identities matched what was in the certificate, got subjects [dev@example.com] with issuer https://id.example.org
    keyless_bundle/stamp-of-a-stranger: invalid RFC 3161 timestamp: TSA timestamp verification failed: Failed to verify timestamp signature: CMS signer does not match any trusted TSA certificate
    keyless_bundle/stamp-of-another: invalid RFC 3161 timestamp: TSA timestamp verification failed: Timestamp message hash mismatch: expected 92b2614973781cab22b0a1dfc80317d8e6d316a5753753404957c1d197e0f9e5, got 0564fe8295623367e7816853930d8258e5a616c4f313d7cc8561b16a138d76ec
    keyless_bundle/stamped-too-late: certificate chain is invalid: certificate chain validation failed: CertExpired { time: UnixTime(1796097529), not_after: UnixTime(1640995200) }
    keyless_bundle/ended, logged: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof
    keyless_bundle/entry-of-another, logged: log entry does not match the bundle: DSSE signature in bundle does not match any signature in Rekor entry (signature or verifier mismatch)
    keyless_bundle/good, logged: good
    keyless_bundle/good-stamped, logged: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof
    keyless_bundle/log-of-a-stranger, logged: invalid inclusion promise: No log key valid at integrated time 2026-12-01T03:58:44Z for log ID bwWkp0OWRDlt3bsAwdtdckRQKNAy6t/HHmrxpG7g21k=
    keyless_bundle/logged-then, logged: good
    keyless_bundle/not-in-certificate-log, logged: invalid signed certificate timestamp: certificate is missing SCT extension (Signed Certificate Timestamp)
    keyless_bundle/nothing-beside, logged: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof
    keyless_bundle/of-a-stranger, logged: certificate chain is invalid: certificate chain validation failed: InvalidSignatureForPublicKey
    keyless_bundle/other-identity, logged: none of the expected identities matched what was in the certificate, got subjects [ops@example.com] with issuer https://id.example.com
    keyless_bundle/other-image, logged: invalid or missing digest in claim: the statement is about something else
    keyless_bundle/other-issuer, logged: none of the expected identities matched what was in the certificate, got subjects [dev@example.com] with issuer https://id.example.org
    keyless_bundle/stamp-of-a-stranger, logged: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof
    keyless_bundle/stamp-of-another, logged: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof
    keyless_bundle/stamped-too-late, logged: Bundle error: application/vnd.dev.sigstore.bundle.v0.3+json bundle must have an inclusion proof
    rekor_answer/earlier: unable to verify SET
    rekor_answer/good: good
    rekor_answer/good-second: good
    rekor_answer/log-of-a-stranger: verifying bundle: rekor log public key not found for payload
    rekor_answer/no-list: searching log query: DATA_DECODING_FAILURE: invalid type: map, expected a sequence at line 1 column 0
    rekor_answer/no-proof: inclusion proof not provided
    rekor_answer/no-text: searching log query: DATA_DECODING_FAILURE: invalid unicode code point at line 1 column 966
    rekor_answer/none: signature not found in transparency log
    rekor_answer/of-another: matching bundle to payload: the hashes differ
    rekor_answer/of-the-future: the entry is of the future: 2096-10-02T07:06:40Z
    rekor_answer/other-leaf: computed leaf hash did not match UUID
    rekor_answer/other-tree: verifying inclusion proof: expected 1 proof hashes, got 0
    tuf/good-next-root: good
    tuf/good-snapshot: good
    tuf/good-targets: good
    tuf/good-timestamp: good
    tuf/good-trusted-root: good
    tuf/no-next-root: good
    tuf/other-trusted-root: integrity check failed: trusted_root.json: length 2678 != pinned 1519
    tuf/root-of-a-stranger: signature threshold not met for role root: 0/1 valid signatures
    tuf/snapshot-of-next: integrity check failed: snapshot version 2 does not match timestamp pin 1
    tuf/targets-of-a-stranger: signature threshold not met for role targets: 0/1 valid signatures
    tuf/timestamp-of-a-stranger: signature threshold not met for role timestamp: 0/1 valid signatures
    tuf/timestamp-of-next: transport error: 2.snapshot.json not found
    tuf/timestamp-over: timestamp metadata expired at 2024-01-01T00:00:00Z
    notation_plugin_answer/empty: failed to unmarshal the response of get-plugin-metadata command for plugin p
    notation_plugin_answer/good: good
    notation_plugin_answer/good-of-both: good
    notation_plugin_answer/good-other-case: good
    notation_plugin_answer/no: trusted identify verification by plugin "p" failed with reason "the \x1b[2Jline\nis drawn"
    notation_plugin_answer/no-capability: metadata validation failed for plugin p: empty capabilities
    notation_plugin_answer/no-object: failed to verify with plugin p: failed to unmarshal the response of verify-signature command for plugin p
    notation_plugin_answer/no-to-one: revocation check by verification plugin "p" failed with reason "the \x1b[2Jline\nis drawn"
    notation_plugin_answer/of-another-kind: verification plugin "p" failed to verify "SIGNATURE_VERIFIER.TRUSTED_IDENTITY"
    notation_plugin_answer/only-signs: digital signature requires plugin "p" with signature verification capabilities ("SIGNATURE_VERIFIER.TRUSTED_IDENTITY" and/or "SIGNATURE_VERIFIER.REVOCATION_CHECK") installed
    notation_plugin_answer/other-contract: metadata validation failed for plugin p: contract version "1.0" is not in the list of the plugin supported versions [2.0]
    notation_plugin_answer/other-name: plugin executable file name must be "notation-q" instead of "notation-p"
    notation_plugin_answer/says-nothing-of-one: verification plugin "p" failed to verify "SIGNATURE_VERIFIER.REVOCATION_CHECK"
    notation_plugin_answer/twice: failed to verify with plugin p: failed to unmarshal the response of verify-signature command for plugin p
    "#);
}
