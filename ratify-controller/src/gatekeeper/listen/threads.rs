//! [`Threads`]: where connections are answered. Each stays on one thread, which waits for the kernel
//! and for nobody else: on threads that share their work a question costs more for waking another
//! thread than for its answer. What takes long, the work behind the answers, is not done here.

use std::{io, num::NonZero, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// More cores than this answer no faster: what they answer is found out elsewhere.
const MOST: usize = 8;

/// Threads that end with this value, and with them what is left on them.
pub(super) struct Threads(Vec<Thread>);

struct Thread {
    handle: Handle,
    /// Held by each connection there, and here.
    connections: Arc<()>,
    _end: oneshot::Sender<()>,
}

/// A thread's attention, as long as it exists.
pub(super) struct Seat {
    pub(super) handle: Handle,
    _connection: Arc<()>,
}

impl Threads {
    /// Starts one a core.
    pub(super) fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        (0..cores.min(MOST)).map(|_| Thread::start()).collect::<Result<_, _>>().map(Self)
    }

    /// The one with the fewest connections; `None` where there are no threads.
    pub(super) fn seat(&self) -> Option<Seat> {
        let least = self.0.iter().min_by_key(|one| Arc::strong_count(&one.connections))?;
        let (handle, _connection) = (least.handle.clone(), Arc::clone(&least.connections));
        Some(Seat { handle, _connection })
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (_end, ended) = oneshot::channel();
        thread::Builder::new().name("ratify-answers".into()).spawn(move || {
            // It ends when nobody can end it any more.
            let _ = runtime.block_on(ended);
            // A name that is looked up meanwhile is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, connections: Arc::default(), _end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_gets_the_thread_with_the_fewest_and_stays_there() {
        let threads = Threads((0..2).map(|_| Thread::start().unwrap()).collect());
        let place = |seat: &Seat| seat.handle.spawn(async { thread::current().id() });
        let (first, second) = (threads.seat().unwrap(), threads.seat().unwrap());
        let (on_first, on_second) = (place(&first).await.unwrap(), place(&second).await.unwrap());
        assert_ne!(on_first, on_second);
        drop(first);
        let third = threads.seat().unwrap();
        assert_eq!(place(&third).await.unwrap(), on_first);
        assert_eq!(place(&third).await.unwrap(), on_first);
        let endless = third.handle.spawn(std::future::pending::<()>());
        drop(threads);
        assert!(endless.await.unwrap_err().is_cancelled(), "what is left ends with the threads");
    }
}
