//! A real Redis that ends with the test, and a false one that does what it is told.

use std::{
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use ratify_controller::cache::{Counts, SharedAddress, SharedOptions, VerdictCache};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::parity::machines::{Machines, Server, certificates};

/// The password of the user that may do what Ratify does.
pub(crate) const PASSWORD: &str = "hunter2";
/// That user.
pub(crate) const USER: &str = "ratify";

/// A Redis on a port of its own, and the files of its users.
pub(crate) struct Redis {
    pub(crate) server: Server,
    folder: PathBuf,
    is_tls: bool,
}

impl Redis {
    /// Starts one in an empty folder; over TLS it has `ca.pem` there.
    pub(crate) async fn start(machines: &Machines, folder: &Path, is_tls: bool) -> Self {
        certificates(folder);
        std::fs::write(folder.join("password"), format!("{PASSWORD}\n")).unwrap();
        std::fs::write(folder.join("key"), [7; 32]).unwrap();
        // The program goes by its name; under this one it serves.
        let program = folder.join("redis-server");
        symlink(machines.tool("redis"), &program).unwrap();
        let server = Server::listening(|address| Self::command(folder, address, is_tls)).await;
        Self { server, folder: folder.to_owned(), is_tls }
    }

    /// The same again at the same address.
    pub(crate) async fn again(&mut self) {
        let address = self.server.address.clone();
        let command = Self::command(&self.folder, &address, self.is_tls);
        self.server = Server::listening_at(&address, command).await;
    }

    fn command(folder: &Path, address: &str, is_tls: bool) -> Command {
        let port = address.rsplit_once(':').unwrap().1;
        let path = folder.display();
        let ports = if is_tls {
            format!(
                "port 0\ntls-port {port}\ntls-cert-file {path}/cert.pem\ntls-key-file {path}/key.pem\n\
                 tls-ca-cert-file {path}/ca.pem\ntls-auth-clients no\n"
            )
        } else {
            format!("port {port}\n")
        };
        let config = format!(
            "bind 127.0.0.1\n{ports}save \"\"\nappendonly no\ndir {path}\nmaxmemory-policy noeviction\n\
             user default off\n\
             user {USER} on >{PASSWORD} ~ratify:verdict:* -@all +get +set\n\
             user admin on >{PASSWORD} ~* &* +@all\n"
        );
        std::fs::write(folder.join("redis.conf"), config).unwrap();
        let mut command = Command::new(folder.join("redis-server"));
        command.arg(folder.join("redis.conf"));
        command
    }

    /// What a replica is told of it.
    pub(super) fn options(&self) -> SharedOptions {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let mut options = options(scheme, &self.server.address, &self.folder);
        options.username = Some(USER.to_owned());
        options.password_file = Some(self.folder.join("password"));
        options.ca_file = self.is_tls.then(|| self.folder.join("ca.pem"));
        options
    }

    /// Whoever may do anything there.
    pub(crate) async fn admin(&self) -> redis::aio::MultiplexedConnection {
        let url = format!("redis://admin:{PASSWORD}@{}", self.server.address);
        redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

/// What a replica is told of a Redis at an address, with the key in a folder.
pub(super) fn options(scheme: &str, address: &str, folder: &Path) -> SharedOptions {
    let address = SharedAddress::parse(&format!("{scheme}://{address}")).unwrap();
    SharedOptions::new(address, folder.join("key"))
}

/// Waits until something was counted.
pub(super) async fn counted(verdicts: &VerdictCache, is_so: impl Fn(&Counts) -> bool) {
    for _ in 0..2000 {
        if is_so(&verdicts.counts()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come to that: {:?}", verdicts.counts());
}

/// How a false Redis answers the question for an entry.
#[derive(Clone)]
pub(crate) enum Mischief {
    /// There is none.
    Nothing,
    /// With these bytes.
    Entry(Vec<u8>),
    /// With words as they are.
    Words(Vec<u8>),
    /// Never.
    Silence,
    /// By hanging up.
    HangUp,
    /// With bytes without end.
    Flood,
}

/// A name and an entry.
pub(crate) type Written = (Vec<u8>, Vec<u8>);

/// A false Redis; it lets anybody in.
#[derive(Clone)]
pub(crate) struct False {
    pub(crate) address: String,
    mischief: Arc<Mutex<Mischief>>,
    /// What was to be kept, by name.
    written: Arc<Mutex<Vec<Written>>>,
}

impl False {
    pub(crate) async fn start(mischief: Mischief) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mischief = Arc::new(Mutex::new(mischief));
        let this = Self { address, mischief, written: Arc::default() };
        let each = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = each.clone();
                tokio::spawn(async move { this.serve(stream).await });
            }
        });
        this
    }

    pub(crate) fn does(&self, mischief: Mischief) {
        *self.mischief.lock().unwrap() = mischief;
    }

    /// The entries that it was given, with their names.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.written.lock().unwrap().clone()
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let words = command(&mut stream).await?;
            let answer = match words[0].to_ascii_uppercase().as_slice() {
                b"SET" => {
                    let named = (words[1].clone(), words[2].clone());
                    self.written.lock().unwrap().push(named);
                    b"+OK\r\n".to_vec()
                }
                b"GET" => {
                    let mischief = self.mischief.lock().unwrap().clone();
                    match mischief {
                        Mischief::Nothing => b"$-1\r\n".to_vec(),
                        Mischief::Entry(bytes) => {
                            [format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat()
                        }
                        Mischief::Words(words) => words,
                        Mischief::Silence => continue,
                        Mischief::HangUp => return None,
                        Mischief::Flood => {
                            stream.write_all(b"$500000000\r\n").await.ok()?;
                            loop {
                                stream.write_all(&[b'x'; 1 << 16]).await.ok()?;
                            }
                        }
                    }
                }
                _ => b"+OK\r\n".to_vec(),
            };
            stream.write_all(&answer).await.ok()?;
        }
    }
}

/// A command: an array of strings (the Redis serialization protocol, version 2).
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let count = number(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number(stream).await?;
        let mut word = vec![0; length + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(length);
        words.push(word);
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    line.trim_end()[1..].parse().ok()
}

/// The names of all entries.
pub(crate) async fn names(admin: &mut redis::aio::MultiplexedConnection) -> Vec<String> {
    redis::cmd("KEYS").arg("*").query_async(admin).await.unwrap()
}

/// Whether a folder's files hold bytes.
pub(super) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == std::ffi::OsStr::new(text).as_bytes())
}
