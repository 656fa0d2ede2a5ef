//! A bell for each worker, which other threads ring when a request can go on.
//!
//! Tokio's `LocalSet`, on which actix runs a worker's connections, looks for wakes from other threads before one in 31
//! polls only, as long as there is other work (`REMOTE_FIRST_INTERVAL` in tokio/src/task/local.rs). Under overload,
//! which is answered early and so never ends, the answers of the store's threads waited behind thousands of refusals: a
//! second for what took a millisecond. A ring is input from a socket, and served like that of clients.
//!
//! A ring makes a thread run at once, often on the core of who rang. Who answers many rings once for all of them
//! ([`together`]), or it would lose its core after each.
//!
//! Owns how wakes travel between threads. Refuses to know what is waited for.

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
    /// Whom this thread has yet to ring, while it answers many. What wakes a task is told nothing by who wakes it, so
    /// there is no other way to it.
    static UNRUNG: RefCell<Option<Vec<Arc<Rope>>>> = const { RefCell::new(None) };
}

/// Does something that wakes many tasks, and rings for all of them at its end: once for each thread that they are on.
pub fn together<T>(work: impl FnOnce() -> T) -> T {
    /// Rings at the end, however that comes, and leaves things as they were found.
    struct Ringer(Option<Vec<Arc<Rope>>>);
    impl Drop for Ringer {
        fn drop(&mut self) {
            for rope in UNRUNG.replace(self.0.take()).unwrap_or_default() {
                rope.ring();
            }
        }
    }
    let _ringer = Ringer(UNRUNG.replace(Some(Vec::new())));
    work()
}

/// A worker's bell. It rings on the thread that hung it.
#[derive(Debug)]
pub struct Bell(Arc<Rope>);

/// What other threads pull.
#[derive(Debug)]
struct Rope {
    home: ThreadId,
    woken: Mutex<Vec<Waker>>,
    /// A byte is a ring.
    end: UnixStream,
}

impl Bell {
    /// Hangs a bell for this thread, which has to run a worker.
    ///
    /// # Errors
    ///
    /// If the process has no room for two more descriptors.
    pub fn hang() -> io::Result<Self> {
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
    pub async fn within<F: Future>(&self, future: F) -> F::Output {
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
        while let Poll::Ready(Ok(())) = self.end.poll_read_ready(&mut context) {
            match self.end.try_io(Interest::READABLE, || self.take_rings()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The other end is gone. Looking again and again would keep the thread here for ever.
                Err(_) => return,
                Ok(()) => {}
            }
            let Some(rope) = self.rope.upgrade() else {
                return;
            };
            // After the rings were taken: who comes now either is in the list or rings again.
            for task in rope.take() {
                task.wake();
            }
        }
    }

    /// Takes the rings that there are. That there are no more, which the next look would find, is said as it would say it.
    fn take_rings(&self) -> io::Result<()> {
        let mut rings = [0; 64];
        match rustix::io::read(&self.end, &mut rings)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            all if all == rings.len() => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
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

    fn pull(self: &Arc<Self>, task: Waker) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push(task);
        let first = woken.len() == 1;
        drop(woken);
        // Who finds others there knows that it rings already, or is about to.
        if first && !self.is_put_off() {
            self.ring();
        }
    }

    /// Leaves the ring to the end of what this thread does, if it answers many.
    fn is_put_off(self: &Arc<Self>) -> bool {
        let put_off = UNRUNG.try_with(|unrung| match &mut *unrung.borrow_mut() {
            Some(unrung) => {
                unrung.push(Arc::clone(self));
                true
            }
            None => false,
        });
        // A thread that ends rings at once.
        put_off.unwrap_or(false)
    }

    fn ring(&self) {
        // Rings that nobody takes any more are of no use to anyone.
        let _ = (&self.end).write(&[1]);
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
    async fn turns(bell: Option<Rc<Bell>>) -> usize {
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
            let (bell, left, done) = (bell.clone(), Rc::clone(&left), Rc::clone(&done));
            tasks.push(spawn_local(async move {
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
        worker(async {
            let bell = Bell::hang().unwrap();
            let with = turns(Some(Rc::new(bell))).await;
            assert!(with <= 3, "{with} turns");
            let without = turns(None).await;
            assert!(without > 10, "tokio needs no bell: {without} turns");
        });
    }

    #[test]
    fn who_answers_many_rings_once() {
        let hang = || {
            let (end, heard) = UnixStream::pair().unwrap();
            heard.set_nonblocking(true).unwrap();
            let rope = Rope {
                home: thread::current().id(),
                woken: Mutex::default(),
                end,
            };
            (Arc::new(rope), heard)
        };
        let pull = |rope: &Arc<Rope>| rope.pull(Waker::noop().clone());
        let rings = |heard: &UnixStream| rustix::io::read(heard, &mut [0; 64]).unwrap_or(0);
        let ((near, at_near), (far, at_far)) = (hang(), hang());
        together(|| {
            for _ in 0..5 {
                pull(&near);
                pull(&far);
            }
            assert_eq!((rings(&at_near), rings(&at_far)), (0, 0));
            assert_eq!(near.take().len(), 5);
            // Within it another one rings for its own.
            together(|| pull(&near));
            assert_eq!(rings(&at_near), 1);
        });
        assert_eq!((rings(&at_near), rings(&at_far)), (1, 1));
        near.take();
        pull(&near);
        assert_eq!(rings(&at_near), 1, "alone it rings at once");
    }

    #[test]
    fn every_call_arrives() {
        worker(async {
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
