//! A way to a registry that is closed until a test opens it: who asks meanwhile waits.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// The way; it ends with the test.
pub(super) struct Gate {
    host: String,
    is_open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Gate {
    /// Not yet a way to anywhere, so that its name can be told before.
    pub(super) async fn reserve() -> (String, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap().to_string(), listener)
    }

    pub(super) fn new((host, listener): (String, TcpListener), to: SocketAddr) -> Self {
        let (is_open, opened) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                let mut opened = opened.clone();
                tokio::spawn(async move {
                    // The sender ends with the test.
                    let Ok(_) = opened.wait_for(|is_open| *is_open).await else { return };
                    let mut there = TcpStream::connect(to).await.unwrap();
                    // Either end may go away.
                    let _ = copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
        Self { host, is_open, task }
    }

    /// What the registry is called by this way.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn open(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}
