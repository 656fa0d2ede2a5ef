//! Wakes tasks of a worker's thread from other threads without delay.
//!
//! Actix runs a worker's connections on tokio's `LocalSet`. While that has other work, it looks for wakes from other
//! threads before one poll in 31 (`REMOTE_FIRST_INTERVAL` in tokio/src/task/local.rs). Under overload there is always other
//! work, as refusals are answered early: an answer of the store that took a millisecond waited for a second. So each worker
//! has a socket, and a byte on it is served like input of a client.
//!
//! A byte makes the worker's thread run at once, often on the core of the sender. A thread that answers many requests
//! therefore sends one byte at the end of all of them ([`batch`]); else it would lose its core after each.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use tokio::io::Interest;

thread_local! {
    /// The threads to signal at the end of a batch of this thread. [`Wake`] takes no argument, so a thread-local passes
    /// them on.
    static POSTPONED: RefCell<Option<Vec<Arc<Shared>>>> = const { RefCell::new(None) };
}

/// Runs work that wakes many tasks. At its end each thread with such tasks gets one signal.
pub fn batch<T>(work: impl FnOnce() -> T) -> T {
    /// Signals at the end, also of a panic, and restores the batch around this one.
    struct SendAtEnd(Option<Vec<Arc<Shared>>>);
    impl Drop for SendAtEnd {
        fn drop(&mut self) {
            for shared in POSTPONED.replace(self.0.take()).unwrap_or_default() {
                shared.signal();
            }
        }
    }
    let _send_at_end = SendAtEnd(POSTPONED.replace(Some(Vec::new())));
    work()
}

/// Wakes tasks of the thread that made it.
#[derive(Debug)]
pub struct CrossThreadWaker(Arc<Shared>);

/// The part that other threads use.
#[derive(Debug)]
struct Shared {
    thread: ThreadId,
    woken: Mutex<Vec<Waker>>,
    /// A byte is a signal.
    end: UnixStream,
}

impl CrossThreadWaker {
    /// Makes one for this thread, which has to run a worker.
    ///
    /// # Errors
    ///
    /// If the process has no room for two more descriptors.
    pub fn new() -> io::Result<Self> {
        let (end, receiving) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        receiving.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            thread: thread::current().id(),
            woken: Mutex::default(),
            end,
        });
        let receiver = Receiver {
            end: tokio::net::UnixStream::from_std(receiving)?,
            shared: Arc::downgrade(&shared),
        };
        Arc::new(receiver).receive();
        Ok(Self(shared))
    }

    /// Runs a future. Wakes from other threads go through this waker.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut known: Option<(Waker, Waker)> = None;
        poll_fn(|context| {
            let (_, waker) = match &known {
                Some(known) if known.0.will_wake(context.waker()) => known,
                _ => {
                    let task = context.waker().clone();
                    let shared = Arc::clone(&self.0);
                    let waker = Arc::new(TaskWaker {
                        shared,
                        task: task.clone(),
                    });
                    known.insert((task, waker.into()))
                }
            };
            future.as_mut().poll(&mut Context::from_waker(waker))
        })
        .await
    }
}

/// Receives the signals. It is no task, which would wait for its own turn: tokio calls its waker where the thread has looked
/// for input.
struct Receiver {
    end: tokio::net::UnixStream,
    shared: Weak<Shared>,
}

impl Receiver {
    /// Wakes the tasks of each signal until there is none, and waits for the next. It ends with the waker or its thread.
    fn receive(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut context = Context::from_waker(&waker);
        while let Poll::Ready(Ok(())) = self.end.poll_read_ready(&mut context) {
            match self.end.try_io(Interest::READABLE, || self.take_signals()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The other end is gone. Looking again and again would keep the thread here for ever.
                Err(_) => return,
                Ok(()) => {}
            }
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            // After the signals were taken: a task that comes now is in the list or sends another one.
            for task in shared.take() {
                task.wake();
            }
        }
    }

    /// Drains the socket. A short read means that it is empty: report `WouldBlock` and save a second read.
    fn take_signals(&self) -> io::Result<()> {
        let mut buffer = [0; 64];
        match rustix::io::read(&self.end, &mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            all if all == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Wake for Receiver {
    fn wake(self: Arc<Self>) {
        self.receive();
    }
}

impl Shared {
    fn take(&self) -> Vec<Waker> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(self: &Arc<Self>, task: Waker) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push(task);
        let first = woken.len() == 1;
        drop(woken);
        // With other tasks in the list, a signal is on its way.
        if first && !self.postpone() {
            self.signal();
        }
    }

    /// Leaves the signal to the end of the batch of this thread, if there is one.
    fn postpone(self: &Arc<Self>) -> bool {
        let postponed_it = POSTPONED.try_with(|postponed| match &mut *postponed.borrow_mut() {
            Some(postponed) => {
                postponed.push(Arc::clone(self));
                true
            }
            None => false,
        });
        // A thread that ends has no batch.
        postponed_it.unwrap_or(false)
    }

    fn signal(&self) {
        // If nobody reads any more, the worker has ended.
        let _ = (&self.end).write(&[1]);
    }
}

/// Wakes a task of a waker's thread.
struct TaskWaker {
    shared: Arc<Shared>,
    task: Waker,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if thread::current().id() == self.shared.thread {
            self.task.wake_by_ref();
        } else {
            self.shared.add(self.task.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::runtime::Builder;
    use tokio::sync::oneshot;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// Runs as actix's workers do.
    fn worker(work: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, work);
    }

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
    async fn turns(waker: Option<Rc<CrossThreadWaker>>) -> usize {
        const MANY: usize = 200;
        let (turns, done) = (Rc::new(Cell::new(0_usize)), Rc::new(Cell::new(false)));
        let mut tasks = Vec::new();
        for _ in 0..MANY {
            let (turns, done) = (Rc::clone(&turns), Rc::clone(&done));
            tasks.push(spawn_local(async move {
                while !done.get() {
                    turns.set(turns.get() + 1);
                    give_way().await;
                }
            }));
        }
        let (answers, waits): (Vec<_>, Vec<_>) = (0..MANY).map(|_| oneshot::channel()).unzip();
        let left = Rc::new(Cell::new(MANY));
        for wait in waits {
            let (waker, left, done) = (waker.clone(), Rc::clone(&left), Rc::clone(&done));
            tasks.push(spawn_local(async move {
                match waker {
                    Some(waker) => waker.run(wait).await.unwrap(),
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
        worker(async {
            let waker = CrossThreadWaker::new().unwrap();
            let with = turns(Some(Rc::new(waker))).await;
            assert!(with <= 3, "{with} turns");
            let without = turns(None).await;
            assert!(without > 10, "tokio needs no such waker: {without} turns");
        });
    }

    #[test]
    fn a_batch_sends_one_signal_to_each_thread() {
        let pair = || {
            let (end, receiving) = UnixStream::pair().unwrap();
            receiving.set_nonblocking(true).unwrap();
            let shared = Shared {
                thread: thread::current().id(),
                woken: Mutex::default(),
                end,
            };
            (Arc::new(shared), receiving)
        };
        let add = |shared: &Arc<Shared>| shared.add(Waker::noop().clone());
        let signals =
            |receiving: &UnixStream| rustix::io::read(receiving, &mut [0; 64]).unwrap_or(0);
        let ((near, at_near), (far, at_far)) = (pair(), pair());
        batch(|| {
            for _ in 0..5 {
                add(&near);
                add(&far);
            }
            assert_eq!((signals(&at_near), signals(&at_far)), (0, 0));
            assert_eq!(near.take().len(), 5);
            // A batch inside sends its own.
            batch(|| add(&near));
            assert_eq!(signals(&at_near), 1);
        });
        assert_eq!((signals(&at_near), signals(&at_far)), (1, 1));
        near.take();
        add(&near);
        assert_eq!(
            signals(&at_near),
            1,
            "outside of a batch a signal is sent at once"
        );
    }

    #[test]
    fn every_answer_arrives() {
        worker(async {
            let waker = CrossThreadWaker::new().unwrap();
            for _ in 0..200 {
                let (answers, waits): (Vec<_>, Vec<_>) =
                    (0..17).map(|_| oneshot::channel()).unzip();
                let threads = answers
                    .into_iter()
                    .enumerate()
                    .map(|(number, answer)| thread::spawn(move || answer.send(number).unwrap()));
                let threads: Vec<_> = threads.collect();
                for (number, wait) in waits.into_iter().enumerate() {
                    assert_eq!(waker.run(wait).await, Ok(number));
                }
                for thread in threads {
                    thread.join().unwrap();
                }
            }
        });
    }
}
