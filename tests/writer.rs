//! The two doors of the store, where they cannot be seen from outside: groups, re-runs and lost connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use actix_web::rt::spawn;
use actix_web::rt::task::{JoinHandle, yield_now};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use rstest::rstest;
use wharfinger::Error;
use wharfinger::clock::{Clock, SystemClock};
use wharfinger::error::{Outage, Result, What};
use wharfinger::store::{self, Lock, Session, Settings, Store, Target};

use crate::harness::{Backend, Database};

/// A store on a fresh database with a table `probe` to write to.
fn open(backend: Backend, queue: usize) -> (Database, Store) {
    let database = Database::fresh(backend);
    let target = Target::parse(&database.url).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    store::migrate(&target, &clock, "test").unwrap();
    database.execute(
        "CREATE TABLE probe (name TEXT NOT NULL PRIMARY KEY); \
         CREATE TABLE child (name TEXT NOT NULL REFERENCES probe (name) DEFERRABLE INITIALLY DEFERRED)",
    );
    let settings = Settings {
        target,
        readers: 1,
        queue,
    };
    (database, Store::open(&settings).unwrap())
}

fn run(connection: &mut Session, sql: &str) -> Result<()> {
    sql_query(sql).execute(connection)?;
    Ok(())
}

fn insert(connection: &mut Session, name: &str) -> Result<()> {
    run(connection, &format!("INSERT INTO probe VALUES ('{name}')"))
}

fn names(database: &Database) -> String {
    let mut names = database.lines("SELECT name AS line FROM probe");
    names.sort();
    names.join(",")
}

/// Holds the writer inside a job until told to go on, so that what is queued meanwhile becomes one group.
struct Held {
    go_on: mpsc::Sender<()>,
    job: JoinHandle<Result<()>>,
}

impl Held {
    async fn hold(store: &Store) -> Self {
        let (entered, inside) = tokio::sync::oneshot::channel();
        let (go_on, wait) = mpsc::channel();
        let mut entered = Some(entered);
        let job = start(store, Lock::Nothing, move |_| {
            if let Some(entered) = entered.take() {
                entered.send(()).unwrap();
                wait.recv().unwrap();
            }
            Ok(())
        })
        .await;
        inside.await.unwrap();
        Self { go_on, job }
    }

    async fn release(self) {
        self.go_on.send(()).unwrap();
        self.job.await.unwrap().unwrap();
    }
}

/// Hands a job to the writer, and returns once it is in the queue.
async fn start<T: Send + 'static>(
    store: &Store,
    lock: Lock,
    job: impl FnMut(&mut Session) -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    let calls = store.calls();
    let store_of_job = store.clone();
    let handle = spawn(async move { store_of_job.write(lock, job).await });
    // Asking and queueing are one step of that task, on this thread.
    while store.calls() == calls {
        yield_now().await;
    }
    handle
}

/// A job that counts its runs.
fn counted(
    runs: &Arc<AtomicUsize>,
    mut job: impl FnMut(&mut Session, usize) -> Result<()> + Send + 'static,
) -> impl FnMut(&mut Session) -> Result<()> + Send + 'static {
    let runs = Arc::clone(runs);
    move |connection| job(connection, runs.fetch_add(1, Ordering::SeqCst) + 1)
}

fn count(runs: &AtomicUsize) -> usize {
    runs.load(Ordering::SeqCst)
}

fn outage(result: &Result<()>) -> Option<Outage> {
    match result {
        Err(Error::Unavailable { outage, .. }) => Some(*outage),
        _ => None,
    }
}

#[rstest]
#[actix_web::test]
async fn a_job_that_fails_undoes_only_itself(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let first = start(&store, Lock::Nothing, counted(&runs, |c, _| insert(c, "a"))).await;
    let refusing = counted(&runs, |c, _| {
        insert(c, "b")?;
        Err(Error::not_found(What::Token, "b"))
    });
    let second = start(&store, Lock::Nothing, refusing).await;
    let clashing = counted(&runs, |c, _| insert(c, "a"));
    let third = start(&store, Lock::Nothing, clashing).await;
    let last = start(&store, Lock::Catalog, counted(&runs, |c, _| insert(c, "c"))).await;
    held.release().await;
    first.await.unwrap().unwrap();
    assert!(matches!(second.await.unwrap(), Err(Error::NotFound { .. })));
    assert!(matches!(third.await.unwrap(), Err(Error::Internal(_))));
    last.await.unwrap().unwrap();
    assert_eq!(names(&database), "a,c");
    assert_eq!(count(&runs), 4, "it was not one group");
    store.close();
}

#[rstest]
#[actix_web::test]
async fn a_panicking_job_does_not_hurt_its_siblings(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    let panics = Arc::new(AtomicUsize::new(0));
    let first = start(&store, Lock::Nothing, |c| insert(c, "a")).await;
    let panicking = counted(&panics, |c, _| {
        insert(c, "b")?;
        panic!("on purpose");
    });
    let second = start(&store, Lock::Nothing, panicking).await;
    let last = start(&store, Lock::Nothing, |c| insert(c, "c")).await;
    held.release().await;
    first.await.unwrap().unwrap();
    assert!(matches!(second.await.unwrap(), Err(Error::Internal(_))));
    last.await.unwrap().unwrap();
    assert_eq!(names(&database), "a,c");
    assert_eq!(
        count(&panics),
        2,
        "once in the group, once alone, and no more: it is a defect"
    );
    // And the writer lives.
    store
        .write(Lock::Nothing, |c| insert(c, "d"))
        .await
        .unwrap();
    store.close();
}

#[rstest]
#[actix_web::test]
async fn nobody_is_told_yes_before_the_commit(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(false, true)] alone: bool,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    // A reference that is checked at the commit: every job succeeds, as on a disk that is full, and the commit fails.
    let orphan = start(&store, Lock::Nothing, |c| {
        run(c, "INSERT INTO child VALUES ('nobody')")
    })
    .await;
    let siblings = if alone { vec![] } else { vec!["a", "b"] };
    let mut others = Vec::new();
    for name in siblings {
        others.push(start(&store, Lock::Nothing, move |c| insert(c, name)).await);
    }
    if !alone {
        let refusing = |_: &mut Session| Err(Error::not_found(What::Token, "x"));
        others.push(start::<()>(&store, Lock::Nothing, refusing).await);
    }
    held.release().await;
    assert_eq!(outage(&orphan.await.unwrap()), Some(Outage::Refusing));
    for other in others {
        assert_eq!(outage(&other.await.unwrap()), Some(Outage::Refusing));
    }
    assert_eq!(names(&database), "");
    assert_eq!(database.number("SELECT COUNT(*) FROM child"), 0);
    store
        .write(Lock::Nothing, |c| insert(c, "a"))
        .await
        .unwrap();
    store.close();
}

#[rstest]
#[case::serialisation_failure("40001")]
#[case::deadlock("40P01")]
#[actix_web::test]
async fn what_met_another_transaction_is_run_again(
    #[values(Backend::Postgres)] backend: Backend,
    #[case] state: &'static str,
    #[values(false, true)] alone: bool,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let job = counted(&runs, move |c, run_number| {
        insert(c, "a")?;
        if run_number == 1 {
            return run(
                c,
                &format!("DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '{state}'; END $$"),
            );
        }
        Ok(())
    });
    let job = start(&store, Lock::Nothing, job).await;
    let sibling = if alone {
        None
    } else {
        Some(start(&store, Lock::Nothing, |c| insert(c, "b")).await)
    };
    held.release().await;
    job.await.unwrap().unwrap();
    if let Some(sibling) = sibling {
        sibling.await.unwrap().unwrap();
    }
    assert_eq!(names(&database), if alone { "a" } else { "a,b" });
    assert_eq!(count(&runs), 2);
    store.close();
}

/// PostgreSQL rolls a failed transaction back at its COMMIT without an error.
#[rstest]
#[actix_web::test]
async fn a_job_that_hides_a_failed_statement_is_not_told_yes(
    #[values(Backend::Postgres)] backend: Backend,
    #[values(false, true)] alone: bool,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    let hiding = start(&store, Lock::Nothing, |c| {
        insert(c, "a")?;
        let _ = insert(c, "a");
        Ok(())
    })
    .await;
    let sibling = if alone {
        None
    } else {
        Some(start(&store, Lock::Nothing, |c| insert(c, "b")).await)
    };
    held.release().await;
    assert_eq!(outage(&hiding.await.unwrap()), Some(Outage::Refusing));
    if let Some(sibling) = sibling {
        let told = sibling.await.unwrap().is_ok();
        assert_eq!(names(&database), if told { "b" } else { "" });
    }
    store.close();
}

#[rstest]
#[actix_web::test]
async fn a_full_queue_turns_away_and_loses_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 2);
    let held = Held::hold(&store).await;
    let first = start(&store, Lock::Nothing, |c| insert(c, "a")).await;
    let second = start(&store, Lock::Nothing, |c| insert(c, "b")).await;
    let third = store.write(Lock::Nothing, |c| insert(c, "c")).await;
    assert_eq!(outage(&third), Some(Outage::Busy));
    held.release().await;
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(names(&database), "a,b");
    store.close();
}

#[rstest]
#[actix_web::test]
async fn a_full_queue_of_readers_turns_away(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (_database, store) = open(backend, 1);
    let (go_on, wait) = mpsc::channel::<()>();
    let (entered, inside) = tokio::sync::oneshot::channel();
    let mut entered = Some(entered);
    let reader = store.clone();
    let held = spawn(async move {
        reader
            .read(move |_| {
                entered.take().unwrap().send(()).unwrap();
                wait.recv().unwrap();
                Ok(())
            })
            .await
    });
    inside.await.unwrap();
    let (reader, calls) = (store.clone(), store.calls());
    let waiting = spawn(async move { reader.read(|_| Ok(())).await });
    while store.calls() == calls {
        yield_now().await;
    }
    assert_eq!(
        outage(&store.read(|_| Ok(())).await),
        Some(Outage::Busy),
        "the queue holds one"
    );
    assert!(store.is_full());
    assert!(
        store.probe(|_| Ok(())).await.is_ok(),
        "a probe waits for nobody"
    );
    go_on.send(()).unwrap();
    held.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    assert!(!store.is_full());
    store.close();
}

#[rstest]
#[actix_web::test]
async fn closing_answers_what_is_queued_and_turns_later_jobs_away(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 300);
    let held = Held::hold(&store).await;
    let mut queued = Vec::new();
    // More than a group.
    for number in 0..200 {
        let job = move |c: &mut Session| insert(c, &format!("{number:03}"));
        queued.push(start(&store, Lock::Nothing, job).await);
    }
    let closing = store.clone();
    let closed = std::thread::spawn(move || closing.close());
    held.release().await;
    for job in queued {
        job.await.unwrap().unwrap();
    }
    closed.join().unwrap();
    assert_eq!(database.number("SELECT COUNT(*) FROM probe"), 200);
    let late = store.write(Lock::Nothing, |c| insert(c, "late")).await;
    assert_eq!(outage(&late), Some(Outage::Busy));
    assert_eq!(outage(&store.read(|_| Ok(())).await), Some(Outage::Busy));
    // Twice is once.
    store.close();
}

#[rstest]
#[actix_web::test]
async fn what_nobody_waits_for_any_more_is_not_begun(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    let abandoned = start(&store, Lock::Nothing, |c| insert(c, "a")).await;
    let wanted = start(&store, Lock::Nothing, |c| insert(c, "b")).await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    held.release().await;
    wanted.await.unwrap().unwrap();
    assert_eq!(names(&database), "b");
    store.close();
}

#[derive(QueryableByName)]
struct Process {
    #[diesel(sql_type = BigInt)]
    pid: i64,
}

fn process(connection: &mut Session) -> Result<i64> {
    let row: Process =
        sql_query("SELECT CAST(pg_backend_pid() AS BIGINT) AS pid").get_result(connection)?;
    Ok(row.pid)
}

#[rstest]
#[actix_web::test]
async fn work_on_a_dead_connection_is_done_on_a_fresh_one(
    #[values(Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 16);
    let reader = store.read(process).await.unwrap();
    let writer = store.write(Lock::Nothing, process).await.unwrap();
    for pid in [reader, writer] {
        database.number(&format!(
            "SELECT CASE WHEN pg_terminate_backend({pid}, 5000) THEN 1 ELSE 0 END"
        ));
    }
    assert_ne!(store.read(process).await.unwrap(), reader);
    assert_ne!(store.write(Lock::Nothing, process).await.unwrap(), writer);

    // One that dies in the middle of a job, in a group.
    let held = Held::hold(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let dying = counted(&runs, |c, run_number| {
        insert(c, "a")?;
        if run_number == 1 {
            run(c, "SELECT pg_terminate_backend(pg_backend_pid())")?;
        }
        Ok(())
    });
    let dying = start(&store, Lock::Nothing, dying).await;
    let sibling = start(&store, Lock::Nothing, |c| insert(c, "b")).await;
    held.release().await;
    dying.await.unwrap().unwrap();
    sibling.await.unwrap().unwrap();
    assert_eq!(names(&database), "a,b");
    store.close();
}

#[rstest]
#[actix_web::test]
async fn readers_cannot_write(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let (database, store) = open(backend, 16);
    store.read(|c| insert(c, "a")).await.unwrap_err();
    assert_eq!(names(&database), "");
    store.close();
}
