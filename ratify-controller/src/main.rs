//! The binary `ratify`: its library's command line.

use std::process::ExitCode;

/// musl's own asks the kernel for every buffer of a connection anew, and gives it back: a third of
/// the time of a pull. And threads that answer wait for each other at its one lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ratify_controller::cli::main()
}
