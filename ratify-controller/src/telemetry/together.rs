//! [`together`]: lines of the log that are written at once. A line costs a call of the kernel, so that
//! ten verdicts of one request would cost ten.

use std::{cell::RefCell, future::poll_fn, io::Write as _, marker::PhantomData};

/// More than this is not held back.
const MAX_HELD: usize = 64 << 10;

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held { depth: 0, lines: Vec::new() }) };
}

/// Lines that are not written yet.
struct Held {
    depth: usize,
    lines: Vec<u8>,
}

/// As long as it exists, what this thread logs is held back. It stays on its thread.
pub(crate) struct Together(PhantomData<*const ()>);

/// Holds back what this thread logs until the value is dropped: a moment without waiting.
pub(crate) fn together() -> Together {
    HELD.with_borrow_mut(|held| held.depth += 1);
    Together(PhantomData)
}

/// The same for work, as long as it goes on without waiting.
pub(crate) fn together_until_it_waits<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let mut work = Box::pin(work);
    poll_fn(move |context| {
        let _lines = together();
        work.as_mut().poll(context)
    })
}

/// Writes a line, now or with others.
pub(super) fn write(line: &[u8]) {
    HELD.with_borrow_mut(|held| {
        if held.depth == 0 {
            return put(line);
        }
        if held.lines.len() + line.len() > MAX_HELD {
            put(&held.lines);
            held.lines.clear();
        }
        held.lines.extend_from_slice(line);
    });
}

impl Drop for Together {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            held.depth -= 1;
            if held.depth == 0 {
                put(&held.lines);
                held.lines.clear();
                held.lines.shrink_to(MAX_HELD);
            }
        });
    }
}

/// A log that cannot be written has no other place to say so.
fn put(lines: &[u8]) {
    if !lines.is_empty() {
        let _ = std::io::stderr().lock().write_all(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Vec<u8> {
        HELD.with_borrow(|held| held.lines.clone())
    }

    #[tokio::test]
    async fn lines_of_work_are_held_until_it_waits_and_no_longer() {
        let seen = || (HELD.with_borrow(|held| held.depth), held());
        let mut work = Box::pin(together_until_it_waits(async {
            write(b"a\n");
            write(b"b\n");
            assert_eq!(seen(), (1, b"a\nb\n".to_vec()));
            tokio::task::yield_now().await;
            write(b"c\n");
            assert_eq!(seen(), (1, b"c\n".to_vec()));
            7
        }));
        assert!(futures_util::poll!(&mut work).is_pending());
        assert_eq!(seen(), (0, Vec::new()));
        assert_eq!(work.await, 7);
        assert_eq!(seen(), (0, Vec::new()));
    }

    #[test]
    fn lines_are_held_until_the_last_who_holds_them_and_never_too_many() {
        let outer = together();
        write(b"a\n");
        drop(together());
        write(b"b\n");
        assert_eq!(held(), b"a\nb\n");
        write(&[b' '; MAX_HELD]);
        assert_eq!(held().len(), MAX_HELD, "what was held before is written");
        drop(outer);
        assert!(held().is_empty());
        write(b"");
        assert!(held().is_empty());
    }
}
