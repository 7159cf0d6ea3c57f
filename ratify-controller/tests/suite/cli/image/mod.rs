//! The image that `cargo xtask image` wrote, read and run by programs that are not ours.
//! `RATIFY_IMAGE` names its layout; that of `ratify-crds` is beside it.
//!
//! - `content`: what skopeo reads and umoci unpacks;
//! - `container`: it runs as it does in a cluster: as 65532, in a root that cannot be written to;
//! - `cluster`: the same on a real API server: the hook, and plugins of the image;
//! - `pushed`: it goes to registries that are not ours, and to ours.

mod cluster;
mod container;
mod content;
mod pushed;

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::process::Command;

use super::{Home, skipped};
use crate::{host, parity::machines::Machines};

/// The user of the image.
const NONROOT: u32 = 65532;

/// Becomes a container as far as a program can see: a root that cannot be written to, `/proc`,
/// `/dev`, `/tmp`, and a volume over all of `/.ratify`, for user 65532.
const ENTER: &str = r#"
set -e
root=$1 volume=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$volume" "$root/.ratify"
exec chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
"#;

/// The image, and the tools that read it.
struct Image {
    machines: Machines,
    layout: PathBuf,
}

impl Image {
    /// `None`, said loudly, where the image or the tools are missing.
    fn find() -> Option<Self> {
        let machines = Machines::find()?;
        let Some(layout) = std::env::var_os("RATIFY_IMAGE") else {
            skipped("the image", "RATIFY_IMAGE is not set; run `cargo xtask test`");
            return None;
        };
        let layout = PathBuf::from(layout);
        assert!(layout.join("index.json").is_file(), "{} holds no image", layout.display());
        Some(Self { machines, layout })
    }

    /// The image of the hook.
    fn crds(&self) -> PathBuf {
        self.layout.with_file_name("image-crds")
    }

    /// Runs a tool that has to succeed; its stdout is returned.
    async fn tool(&self, name: &str, arguments: &[&str]) -> String {
        let output = Command::new(self.machines.tool(name)).args(arguments).output().await;
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What skopeo says of the image for this platform's configuration.
    async fn config(&self, layout: &Path) -> Value {
        let name = format!("oci:{}", layout.display());
        let arguments = ["--override-arch", "amd64", "inspect", "--config", &name];
        serde_json::from_str(&self.tool("skopeo", &arguments).await).unwrap()
    }

    /// The digest of what an engine pulls: the index of all platforms.
    fn digest(layout: &Path) -> String {
        let index = fs::read(layout.join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        index["manifests"][0]["digest"].as_str().unwrap().to_owned()
    }

    /// The files of the image, unpacked into a folder by umoci, with their owners. umoci knows
    /// nothing of platforms, so skopeo takes this one's out of the index first.
    async fn unpack(&self, layout: &Path, folder: &Path) -> PathBuf {
        let bundle = folder.join("bundle");
        let (from, to) = (layout.display(), folder.join("one-platform:this"));
        let names = [format!("oci:{from}"), format!("oci:{}", to.display())];
        let copy = ["--insecure-policy", "--override-arch", "amd64", "copy"];
        let copy = [&copy[..], &names.each_ref().map(String::as_str)].concat();
        self.tool("skopeo", &copy).await;
        let unpack = ["unpack", "--image", to.to_str().unwrap(), bundle.to_str().unwrap()];
        self.tool("umoci", &unpack).await;
        bundle.join("rootfs")
    }

    /// A home whose commands run in a container of the image. Its `.ratify` is the volume over the
    /// image's. `None`, said loudly, where nobody may make one.
    async fn container(&self) -> Option<Home> {
        if !host::is_root() {
            skipped("the image in a container", "this is not root");
            return None;
        }
        let mut home = Home::new();
        let root = self.unpack(&self.layout, home.path()).await;
        // What a container runtime makes where it is missing.
        for folder in ["proc", "dev"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        let volume = home.path().join(".ratify");
        for folder in [volume.clone(), home.plugins()] {
            chown(&folder, Some(NONROOT), Some(NONROOT)).unwrap();
        }
        let paths = [root, volume].map(|path| path.to_str().unwrap().to_owned());
        let words = ["unshare", "-m", "sh", "-c", ENTER, "sh"].map(str::to_owned);
        home.prefix = [&words[..], &paths[..]].concat();
        let config = self.config(&self.layout).await;
        home.program = config["config"]["Entrypoint"][0].as_str().unwrap().into();
        let variables = config["config"]["Env"].as_array().unwrap();
        for (name, value) in variables.iter().filter_map(|text| text.as_str()?.split_once('=')) {
            home.set(name, value);
        }
        // As in a cluster, nobody sets it: it is in the password file.
        home.set("HOME", "");
        Some(home)
    }
}
