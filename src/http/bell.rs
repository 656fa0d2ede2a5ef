//! A bell for each worker, which other threads ring when a request can go on.
//!
//! Tokio's `LocalSet`, on which actix runs a worker's connections, looks for wakes from other threads before one in 31
//! polls only, as long as there is other work (`REMOTE_FIRST_INTERVAL` in tokio/src/task/local.rs). Under overload,
//! which is answered early and so never ends, the answers of the store's threads waited behind thousands of refusals: a
//! second for what took a millisecond. A ring is input from a socket, and served like that of clients.
//!
//! Owns how wakes travel between threads. Refuses to know what is waited for.

use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

/// A worker's bell. It rings on the thread that hung it.
pub(super) struct Bell(Arc<Rope>);

/// What other threads pull.
struct Rope {
    home: ThreadId,
    woken: Mutex<Vec<Waker>>,
    /// A byte is a ring.
    end: UnixStream,
}

impl Bell {
    /// Hangs a bell for this thread, which has to run an actix worker.
    pub(super) fn hang() -> io::Result<Self> {
        let (end, heard) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let rope = Arc::new(Rope {
            home: thread::current().id(),
            woken: Mutex::default(),
            end,
        });
        let clapper = Clapper {
            end: tokio::net::UnixStream::from_std(heard)?,
            rope: Arc::downgrade(&rope),
        };
        Arc::new(clapper).listen();
        Ok(Self(rope))
    }

    /// Runs a future that other threads wake by this bell.
    pub(super) async fn within<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut call: Option<(Waker, Waker)> = None;
        poll_fn(|context| {
            let (_, ringing) = match &call {
                Some(call) if call.0.will_wake(context.waker()) => call,
                _ => {
                    let task = context.waker().clone();
                    let rope = Arc::clone(&self.0);
                    let ringing = Arc::new(Call {
                        rope,
                        task: task.clone(),
                    });
                    call.insert((task, ringing.into()))
                }
            };
            future.as_mut().poll(&mut Context::from_waker(ringing))
        })
        .await
    }
}

/// What hears the rings. It is no task, which would wait for its own turn before it could wake others: the thread calls it
/// where it has looked for input.
struct Clapper {
    end: tokio::net::UnixStream,
    rope: Weak<Rope>,
}

impl Clapper {
    /// Wakes who was called, until nobody is, and waits for the next ring. It ends with the bell, or with its thread.
    fn listen(self: &Arc<Self>) {
        let ear = Waker::from(Arc::clone(self));
        let mut context = Context::from_waker(&ear);
        let mut rings = [0; 64];
        while let Poll::Ready(Ok(())) = self.end.poll_read_ready(&mut context) {
            match self.end.try_read(&mut rings) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The other end is gone. Looking again and again would keep the thread here for ever.
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let Some(rope) = self.rope.upgrade() else {
                return;
            };
            // After the ring was taken: who comes now either is in the list or rings again.
            for task in rope.take() {
                task.wake();
            }
        }
    }
}

impl Wake for Clapper {
    fn wake(self: Arc<Self>) {
        self.listen();
    }
}

impl Rope {
    fn take(&self) -> Vec<Waker> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pull(&self, task: Waker) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push(task);
        let first = woken.len() == 1;
        drop(woken);
        // Who finds others there knows that it rings already. Rings that nobody takes any more are of no use to anyone.
        if first {
            let _ = (&self.end).write(&[1]);
        }
    }
}

/// A task of a bell's thread.
struct Call {
    rope: Arc<Rope>,
    task: Waker,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if thread::current().id() == self.rope.home {
            self.task.wake_by_ref();
        } else {
            self.rope.pull(self.task.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use actix_web::rt::{self, System};
    use tokio::sync::oneshot;

    use super::*;

    /// Lets all others that can go on do so once. Tokio's own would have its thread look for input first.
    async fn give_way() {
        let mut given = false;
        poll_fn(|context| {
            if given {
                return Poll::Ready(());
            }
            given = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// How often everybody on a busy worker goes on before the last of many answers from another thread arrives.
    async fn turns(bell: Option<Rc<Bell>>) -> usize {
        const MANY: usize = 200;
        let (turns, done) = (Rc::new(Cell::new(0_usize)), Rc::new(Cell::new(false)));
        let mut tasks = Vec::new();
        for _ in 0..MANY {
            let (turns, done) = (Rc::clone(&turns), Rc::clone(&done));
            tasks.push(rt::spawn(async move {
                while !done.get() {
                    turns.set(turns.get() + 1);
                    give_way().await;
                }
            }));
        }
        let (answers, waits): (Vec<_>, Vec<_>) = (0..MANY).map(|_| oneshot::channel()).unzip();
        let left = Rc::new(Cell::new(MANY));
        for wait in waits {
            let (bell, left, done) = (bell.clone(), Rc::clone(&left), Rc::clone(&done));
            tasks.push(rt::spawn(async move {
                match bell {
                    Some(bell) => bell.within(wait).await.unwrap(),
                    None => wait.await.unwrap(),
                }
                left.set(left.get() - 1);
                done.set(left.get() == 0);
            }));
        }
        while turns.get() < 2 * MANY {
            tokio::task::yield_now().await;
        }
        let began = turns.get();
        thread::spawn(move || {
            for answer in answers {
                answer.send(()).unwrap();
            }
        })
        .join()
        .unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        (turns.get() - began) / MANY
    }

    #[test]
    fn an_answer_from_another_thread_waits_for_few_turns_of_a_busy_worker() {
        System::new().block_on(async {
            let bell = Bell::hang().unwrap();
            let with = turns(Some(Rc::new(bell))).await;
            assert!(with <= 3, "{with} turns");
            let without = turns(None).await;
            assert!(without > 10, "tokio needs no bell: {without} turns");
        });
    }

    #[test]
    fn every_call_arrives() {
        System::new().block_on(async {
            let bell = Bell::hang().unwrap();
            for _ in 0..200 {
                let (answers, waits): (Vec<_>, Vec<_>) =
                    (0..17).map(|_| oneshot::channel()).unzip();
                let threads = answers
                    .into_iter()
                    .enumerate()
                    .map(|(number, answer)| thread::spawn(move || answer.send(number).unwrap()));
                let threads: Vec<_> = threads.collect();
                for (number, wait) in waits.into_iter().enumerate() {
                    assert_eq!(bell.within(wait).await, Ok(number));
                }
                for thread in threads {
                    thread.join().unwrap();
                }
            }
        });
    }
}
