//! The binary `ratify`: its library's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    ratify_controller::cli::main()
}
