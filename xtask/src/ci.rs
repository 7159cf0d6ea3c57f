//! `cargo xtask ci`: everything that must hold before a change lands, each step once, and the
//! time of each at the end.

use anyhow::Result;

use crate::build_plugins;
use crate::check;
use crate::demo;
use crate::image;
use crate::process;
use crate::steps::Steps;
use crate::test;
use crate::workspace::{self, Platform};

/// Runs the command. Unit tests run once, with the suites.
///
/// # Errors
/// When a step fails; the ones after it are not run.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    check::lints(&mut steps)?;
    test::every_step(&mut steps)?;
    steps.run("plugins for linux/arm64", || {
        build_plugins::run(&build_plugins::Options {
            push: None,
            only: Vec::new(),
            platform: vec![Platform::Arm64],
            plain_http: false,
        })
    })?;
    steps.run("controller for linux/arm64", || {
        let target = Platform::Arm64.rust_target();
        let check = ["check", "--locked", "--package", "ratify-controller", "--target", target];
        process::run(workspace::cargo()?.args(check))
    })?;
    steps.run("static ratify", || image::within_budget(Platform::Amd64))?;
    steps.run("the image is the same twice", || image::check_same(&[Platform::Amd64]))?;
    steps.run("demo", || demo::run(&demo::Options::default()))?;
    let without_plugin = demo::Options { without_plugin: true, ..Default::default() };
    steps.run("demo without its plugin fails", || demo::run(&without_plugin))?;
    let in_a_cluster = demo::Options { cluster: true, ..Default::default() };
    steps.run("demo in a cluster", || demo::run(&in_a_cluster))?;
    println!("{}", steps.table());
    Ok(())
}
