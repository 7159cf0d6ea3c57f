//! `ratify-launch`: puts limits on itself and then becomes the plugin.
//!
//! `ratify-launch <data> <files> <file size> <argv0> <program> [argument…]`. Limits set after a spawn can be
//! outrun by a grandchild; a process that limits itself before it runs the plugin cannot. Whatever
//! fails here ends with status 125 and one line on stderr, `ratify-launch: <step>: <errno>`, which
//! the host of plugins tells from a plugin's own failure.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// The status of a launcher that could not do its work.
const FAILED: u8 = 125;

struct Order {
    data_bytes: u64,
    open_files: u64,
    file_bytes: u64,
    argv0: OsString,
    program: OsString,
    arguments: Vec<OsString>,
}

struct Failure {
    step: &'static str,
    errno: i32,
}

fn main() -> ExitCode {
    let failure = match Order::read(env::args_os().skip(1)) {
        Some(order) => order.follow(),
        None => Failure { step: "arguments", errno: 0 },
    };
    // Nothing can be done where even stderr is closed; the status still tells.
    let _ = writeln!(io::stderr(), "ratify-launch: {}: {}", failure.step, failure.errno);
    ExitCode::from(FAILED)
}

impl Order {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut number = || arguments.next()?.to_str()?.parse().ok();
        let (data_bytes, open_files, file_bytes) = (number()?, number()?, number()?);
        Some(Self {
            data_bytes,
            open_files,
            file_bytes,
            argv0: arguments.next()?,
            program: arguments.next()?,
            arguments: arguments.collect(),
        })
    }

    /// Returns only where something failed.
    fn follow(self) -> Failure {
        match self.limit() {
            Err(failure) => failure,
            Ok(()) => {
                let error = match no_program(&self.program) {
                    true => Errno::NOEXEC.into(),
                    false => {
                        let mut command = Command::new(&self.program);
                        command.arg0(&self.argv0).args(&self.arguments).exec()
                    }
                };
                Failure { step: "exec", errno: error.raw_os_error().unwrap_or(0) }
            }
        }
    }

    fn limit(&self) -> Result<(), Failure> {
        set(Resource::Core, 0, "limit of core files")?;
        set(Resource::Data, self.data_bytes, "limit of data")?;
        set(Resource::Nofile, self.open_files, "limit of open files")?;
        set(Resource::Fsize, self.file_bytes, "limit of file sizes")?;
        // Where memory runs out all the same, the kernel ends a plugin and not the host. A kernel
        // that does not let us say so has its own choice.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| Failure { step: "no new privileges", errno: error.raw_os_error() })
    }
}

/// Whether the kernel would not know what to do with the file. glibc's exec gives such a file to
/// the shell, which would run any text; musl's, with which `ratify` ships, does not.
fn no_program(program: &OsStr) -> bool {
    if cfg!(not(target_env = "gnu")) {
        return false;
    }
    let (Some(own), Some(header)) = (header(OsStr::new("/proc/self/exe")), header(program)) else {
        return false;
    };
    // Magic number, class and byte order, then the machine (elf(5)).
    header[..2] != *b"#!" && (header[..6] != own[..6] || header[18..20] != own[18..20])
}

fn header(path: &OsStr) -> Option<[u8; 20]> {
    let mut header = [0; 20];
    // A short file leaves zeros, which are no program either.
    let _ = File::open(path).ok()?.read(&mut header).ok()?;
    Some(header)
}

/// Lowers both values of a limit; one that is lower already stays.
fn set(resource: Resource, most: u64, step: &'static str) -> Result<(), Failure> {
    let maximum = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
    setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })
        .map_err(|error| Failure { step, errno: error.raw_os_error() })
}
