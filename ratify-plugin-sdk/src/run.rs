//! The plugin's `main`: a process around [`call`].

use std::{
    env,
    io::{self, Write},
    panic::{self, PanicHookInfo},
    process::{self, ExitCode},
};

use crate::{
    OpenStore, Result, StorePlugin, VerifierPlugin,
    call::{self, Call},
    protocol::PluginError,
};

/// Runs a verifier that judges by what it is told, and reads nothing. This is the whole `main` of a
/// plugin.
pub fn run<P: VerifierPlugin>() -> ExitCode {
    main(|call| call::answer_verifier::<P>(call, None))
}

/// Runs a verifier that reads manifests and blobs. `open_store` is called at the first read, if
/// there is one: [`external::open`](crate::external::open) for stores that are programs, the
/// `oras` store's own for registries, or a function that tells them apart by the store's name.
pub fn run_with<P: VerifierPlugin>(open_store: OpenStore) -> ExitCode {
    main(|call| call::answer_verifier::<P>(call, Some(open_store)))
}

/// Runs a store.
pub fn run_store<S: StorePlugin>() -> ExitCode {
    main(call::answer_store::<S>)
}

/// Writes an answer, or else the error in v1's form; returns the exit code.
pub(crate) fn conclude(answer: Result<Vec<u8>, PluginError>, stdout: &mut dyn Write) -> u8 {
    let written = answer.and_then(|bytes| {
        let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        written.map_err(|error| PluginError::writing_output(&error))
    });
    match written {
        Ok(()) => 0,
        Err(error) => {
            // Where this cannot be written either, the exit code says the rest.
            let _ = stdout.write_all(error.to_json().as_bytes()).and_then(|()| stdout.flush());
            1
        }
    }
}

/// What a panic says.
pub(crate) fn panic_text(payload: &dyn std::any::Any) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

fn main(answer: impl FnOnce(&mut Call<'_>) -> Result<Vec<u8>, PluginError>) -> ExitCode {
    panic::set_hook(Box::new(report_panic));
    let variable = |name: &str| {
        env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut call = Call { variable: &variable, stdin: &mut io::stdin() };
    let answer = answer(&mut call);
    conclude(answer, &mut io::stdout()).into()
}

/// A hook, and not a caught unwinding: small plugins are built with `panic = "abort"`.
fn report_panic(info: &PanicHookInfo<'_>) {
    let mut details = panic_text(info.payload());
    if let Some(location) = info.location() {
        details = format!("{details}, at {location}");
    }
    let code = conclude(Err(PluginError::panic(details)), &mut io::stdout());
    process::exit(code.into());
}
