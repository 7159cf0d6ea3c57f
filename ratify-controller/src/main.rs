//! The binary `ratify`: its library's command line.

use std::process::ExitCode;

/// musl's own asks the kernel for every buffer of a connection anew, and gives it back: a third of
/// the time of a pull.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    ratify_controller::cli::main()
}
