//! `cargo xtask COMMAND`: everything that is done to this tree. This file only dispatches;
//! each command is a module of the same name, and none of them links a crate of ours: what
//! needs our code runs the built `ratify`.

mod bench;
mod build_plugins;
mod check;
mod ci;
mod crds;
mod demo;
mod image;
mod process;
mod readme;
mod sha256;
mod soak;
mod steps;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What is done to this tree.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, clippy, tidy, documentation and unit tests: what to run before asking for review
    Check,
    /// Rules that only this tree has: directions, lengths, licences, the protocol's document
    Tidy(tidy::Options),
    /// Bring the real parts that tests run against into the user's cache
    Tools(tools::Options),
    /// Build every plugin static, hold it to its budget, and push it on request
    BuildPlugins(build_plugins::Options),
    /// Write the images `ratify` and `ratify-crds` as OCI layouts, and push them on request
    Image(image::Options),
    /// Write the definitions of the custom resources into the chart, or check them
    Crds(crds::Options),
    /// Bring the tools and run every test
    Test,
    /// Everything, each step once
    Ci,
    /// The long work: tens of thousands of plugin calls, and the fuzz targets
    Soak(soak::Options),
    /// The main job on an embedded registry, by a configuration file or in a cluster
    Demo(demo::Options),
    /// The figures of the README, beside Ratify v1's
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Check => check::run(),
        Command::Tidy(options) => tidy::run(&options),
        Command::Tools(options) => tools::run(&options),
        Command::BuildPlugins(options) => build_plugins::run(&options),
        Command::Image(options) => image::run(&options),
        Command::Crds(options) => crds::run(&options),
        Command::Test => test::run(),
        Command::Ci => ci::run(),
        Command::Soak(options) => soak::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
