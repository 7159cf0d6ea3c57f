//! A network of a test's own, in which clouds have their true names, addresses and ports, so that
//! nothing in the product must know of tests.

use std::{io::Write, process::Command};

/// Set where the test runs in its own network.
const INSIDE: &str = "RATIFY_TEST_NETWORK";
/// The address of all names. It is a private one, so that nothing is allowed for its sake.
pub(crate) const ADDRESS: &str = "10.99.0.1";
/// Where a machine of a cloud asks about itself.
#[allow(dead_code, reason = "of tests that not every feature brings")]
pub(crate) const METADATA: &str = "169.254.169.254";
/// Where the agent of EKS Pod Identity answers.
#[allow(dead_code, reason = "of tests that not every feature brings")]
pub(crate) const AGENT: &str = "169.254.170.23";

const SCRIPT: &str = r#"set -e
ip link set lo up
ip address add "$1/32" dev lo
ip address add "$2/32" dev lo
ip address add "$3/32" dev lo
mount --bind "$4" /etc/hosts
exec "$5" --exact "$6" --nocapture"#;

/// Whether this is the run of a test in a network of its own. Where it is not, that run is made
/// here, and must pass; where the machine lets nobody make one, that is said.
pub(crate) fn is_own(test: &str, names: &[&str]) -> bool {
    is_own_with(test, names, &[])
}

/// The same with some variables of its own.
pub(crate) fn is_own_with(test: &str, names: &[&str], variables: &[(&str, &str)]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let kind = if rustix::process::geteuid().is_root() { "-nm" } else { "-rnm" };
    if !Command::new("unshare")
        .args([kind, "ip", "link"])
        .output()
        .is_ok_and(|o| o.status.success())
    {
        assert!(std::env::var_os("CI").is_none(), "no network of its own, and this is CI");
        eprintln!("SKIPPED: this machine gives a test no network of its own (unshare {kind})");
        return false;
    }
    let mut hosts = tempfile::NamedTempFile::new().unwrap();
    writeln!(hosts, "127.0.0.1 localhost\n{ADDRESS} {}", names.join(" ")).unwrap();
    let ran = Command::new("unshare")
        .args([kind, "sh", "-c", SCRIPT, "sh", ADDRESS, METADATA, AGENT])
        .arg(hosts.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    false
}
