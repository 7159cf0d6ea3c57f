//! The real openssl, and by it an authority that says what time it is (RFC 3161). It is the files
//! `signer.pem`, `key.pem` and `chain.pem` of a folder, the last one of certificates that stand in its answers.

#![allow(clippy::unwrap_used, reason = "a test ends where its tool fails")]

use std::{env, fs, path::Path, process::Command};

/// Whether openssl is there. Where the tests are those of a commit it must be.
///
/// # Panics
/// Where it has to be there and is not.
pub fn has_openssl() -> bool {
    let is_there = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join("openssl").is_file()));
    assert!(is_there || env::var_os("CI").is_none(), "openssl is missing, and this is CI");
    if !is_there {
        eprintln!("SKIPPED: openssl is missing");
    }
    is_there
}

/// Runs openssl in a folder, with arguments that have no blanks.
///
/// # Panics
/// Where it fails.
pub fn openssl(folder: &Path, arguments: &str) {
    let mut program = Command::new("openssl");
    let output = program.current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What the authority of a folder answers, with an accuracy (`secs:1`) where there is one. What comes up
/// meanwhile is in `scratch`.
///
/// # Panics
/// Where it answers nothing.
pub fn timestamp_reply(folder: &Path, scratch: &Path, accuracy: &str, query: &[u8]) -> Vec<u8> {
    let shown = scratch.display();
    let accuracy = match accuracy {
        "" => String::new(),
        accuracy => format!("accuracy = {accuracy}\n"),
    };
    let config = format!(
        "[t]\nserial = {shown}/serial\nsigner_cert = signer.pem\ncerts = chain.pem\n\
         signer_key = key.pem\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\n\
         digests = sha256, sha384, sha512\n{accuracy}ess_cert_id_alg = sha256\n"
    );
    fs::write(scratch.join("ts.cnf"), config).unwrap();
    fs::write(scratch.join("query"), query).unwrap();
    let reply = "ts -reply -section t -config";
    openssl(folder, &format!("{reply} {shown}/ts.cnf -queryfile {shown}/query -out {shown}/reply"));
    fs::read(scratch.join("reply")).unwrap()
}

/// What a token says, signed anew by the authority of a folder, about another time where one is given
/// (`20210601000000Z`).
///
/// # Panics
/// Where the token is none, or has a time of fractions.
pub fn signed_anew(folder: &Path, scratch: &Path, token: &[u8], time: Option<&str>) -> Vec<u8> {
    let shown = scratch.display();
    fs::write(scratch.join("token"), token).unwrap();
    let read = "cms -verify -noverify -nosigs -binary -certfile signer.pem -inform DER";
    openssl(folder, &format!("{read} -in {shown}/token -out {shown}/info"));
    let mut info = fs::read(scratch.join("info")).unwrap();
    if let Some(time) = time {
        let is_time = |part: &[u8]| part.starts_with(b"\x18\x0f20") && part[16] == b'Z';
        let at = info.windows(17).position(is_time).unwrap() + 2;
        info[at..at + 15].copy_from_slice(time.as_bytes());
    }
    fs::write(scratch.join("info"), info).unwrap();
    // id-ct-TSTInfo (RFC 3161, section 2.4.2).
    let sign =
        "cms -sign -binary -nodetach -cades -md sha256 -econtent_type 1.2.840.113549.1.9.16.1.4";
    let by = "-signer signer.pem -inkey key.pem -certfile chain.pem";
    openssl(folder, &format!("{sign} {by} -in {shown}/info -outform DER -out {shown}/signed"));
    fs::read(scratch.join("signed")).unwrap()
}
