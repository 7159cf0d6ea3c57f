//! Plugin directories that are absent, a link, a file, read-only, full, or on another device.

use std::os::unix::fs::symlink;

use super::*;

#[tokio::test]
async fn an_absent_directory_is_made_for_its_owner_alone() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    let directory = fixture.folder.path().join("not/yet/there");
    install_into(&directory, &fixture.by_tag("1")).await.unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(fs::read(directory.join("sample")).unwrap(), program("a"));
}

#[tokio::test]
async fn a_directory_that_is_a_link_is_followed_and_one_that_leads_nowhere_is_an_error() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    let (real, link) = (fixture.folder.path().join("real"), fixture.folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    install_into(&link, &fixture.by_tag("1")).await.unwrap();
    assert_eq!(fs::read(real.join("sample")).unwrap(), program("a"));
    fs::remove_dir_all(&real).unwrap();
    let error = install_into(&link, &fixture.by_tag("1")).await.unwrap_err().to_string();
    assert!(error.contains("link is not a directory: move it away"), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_a_file_is_an_error_before_any_request() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    let file = fixture.folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = install_into(&file, &fixture.by_tag("1")).await.unwrap_err().to_string();
    assert!(error.contains("file is not a directory: move it away"), "{error}");
    let below = install_into(&file.join("plugins"), &fixture.by_tag("1")).await.unwrap_err();
    assert!(below.to_string().contains("a part of that path is a file"), "{below}");
    assert_eq!(fixture.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_is_taken_by_something_foreign_is_left_alone() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    let name = fixture.directory().join("sample");
    fs::create_dir_all(&name).unwrap();
    let error = fixture.install(&fixture.by_tag("1")).await.unwrap_err().to_string();
    assert!(error.contains("is a directory, which is not replaced: move it away"), "{error}");
    fs::remove_dir(&name).unwrap();
    let victim = fixture.folder.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    symlink(&victim, &name).unwrap();
    let error = fixture.install(&fixture.by_tag("1")).await.unwrap_err().to_string();
    assert!(error.contains("is a link to elsewhere, which is not replaced"), "{error}");
    assert_eq!(fs::read(&victim).unwrap(), b"mine");
    assert_eq!(fixture.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_read_only_directory_runs_what_is_there_and_says_why_it_takes_nothing_new() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    fixture.push_as_v1("2", &program("b"));
    fixture.install(&fixture.by_tag("1")).await.unwrap();
    let _mount = match Mount::read_only(&fixture.directory()) {
        Ok(mount) => mount,
        Err(why) => return skipped("a read-only directory", &why),
    };
    let known = fixture.install(&fixture.by_tag("1")).await.unwrap();
    assert_eq!(fs::read(known.plugin.open_for_run().unwrap().path).unwrap(), program("a"));
    let error = fixture.install(&fixture.by_tag("2")).await.unwrap_err().to_string();
    assert!(error.contains("Read-only file system"), "{error}");
    assert!(
        error.contains("mount a writable volume there, or name another plugin directory"),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_directory_is_an_error_that_leaves_nothing_partial() {
    let fixture = Fixture::new().await;
    let large = program(&"x".repeat(2 << 20));
    fixture.push_as_v1("1", &program("a"));
    fixture.push_as_v1("2", &large);
    let directory = fixture.directory();
    let _mount = match Mount::small(&directory) {
        Ok(mount) => mount,
        Err(why) => return skipped("a full directory", &why),
    };
    fixture.install(&fixture.by_tag("1")).await.unwrap();
    let before = fixture.files();
    let error = fixture.install(&fixture.by_tag("2")).await.unwrap_err().to_string();
    let path = directory.join(format!(".store/sha256/{}", sha256(&large).hex()));
    assert!(error.contains(&format!("writing {}: No space left", path.display())), "{error}");
    assert!(error.contains("free some space"), "{error}");
    let after = fixture.files();
    assert!(!after.iter().any(|name| name.contains(".incoming")), "{after:?}");
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
    fixture.install(&fixture.by_tag("1")).await.unwrap().plugin.open_for_run().unwrap();
}

#[tokio::test]
async fn the_store_may_be_on_another_device_than_the_directory() {
    let fixture = Fixture::new().await;
    fixture.push_as_v1("1", &program("a"));
    let store = fixture.directory().join(".store");
    let _mount = match Mount::small(&store) {
        Ok(mount) => mount,
        Err(why) => return skipped("another device", &why),
    };
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    fixture.install(&fixture.by_tag("1")).await.unwrap();
    assert_eq!(fs::read(fixture.directory().join("sample")).unwrap(), program("a"));
}

fn skipped(what: &str, why: &str) {
    println!("skipped: {what} needs the right to mount a file system ({why})");
}

/// A file system that is mounted while this value lives.
struct Mount(PathBuf);

impl Mount {
    /// One mebibyte.
    fn small(at: &Path) -> std::result::Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        Self::with(at, &["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"])
    }

    /// The same directory, seen through a read-only mount.
    fn read_only(at: &Path) -> std::result::Result<Self, String> {
        let path = at.to_str().unwrap().to_owned();
        let mount = Self::with(at, &["--bind", &path])?;
        Self::run("mount", &["-o", "remount,ro,bind", &path])?;
        Ok(mount)
    }

    fn with(at: &Path, arguments: &[&str]) -> std::result::Result<Self, String> {
        let mut arguments = arguments.to_vec();
        arguments.push(at.to_str().unwrap());
        Self::run("mount", &arguments)?;
        Ok(Self(at.to_owned()))
    }

    fn run(program: &str, arguments: &[&str]) -> std::result::Result<(), String> {
        let output = std::process::Command::new(program).args(arguments).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
