//! The two doors of the store, where they cannot be seen from outside: groups, re-runs and lost connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use actix_web::rt::spawn;
use actix_web::rt::task::{JoinHandle, yield_now};
use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use rstest::rstest;
use uuid::Uuid;
use wharfinger::Error;
use wharfinger::clock::{Clock, SystemClock};
use wharfinger::domain::Attribution;
use wharfinger::domain::account::{AccountName, NewAccount};
use wharfinger::domain::allow_list::AllowList;
use wharfinger::domain::audit::{By, Event, Kind, Outcome, SubjectKind};
use wharfinger::domain::caps::Caps;
use wharfinger::domain::id::{AccountId, RegistryId, RegistryKey, TokenId};
use wharfinger::domain::life::{Lives, LivesPatch};
use wharfinger::domain::membership::Membership;
use wharfinger::domain::page::Window;
use wharfinger::domain::patch::Patch;
use wharfinger::domain::registry::{Features, NewRegistry, RegistryName};
use wharfinger::domain::secret::{LOOKUP, Lookup};
use wharfinger::domain::status::Status;
use wharfinger::domain::tenant::TokenRules;
use wharfinger::domain::token::{NewToken, TokenName};
use wharfinger::error::{Outage, Result, What};
use wharfinger::store::{
    self, Committed, Ledger, Lock, Session, Settings, Store, Target, Transaction, accounts,
    credentials, members, registries, token_pages, tokens,
};

use crate::harness::{Backend, Database, Patience, within_patience};

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
        read_fence: None,
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

/// Holds the writer inside a job until released, so that the jobs queued meanwhile become one group.
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
        within_patience(inside, "the writer has not begun the job")
            .await
            .unwrap();
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
    job: impl FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    let calls = store.calls();
    let store_of_job = store.clone();
    let handle = spawn(async move { store_of_job.write(lock, job).await });
    // Asking and queueing are one step of that task, on this thread.
    let patience = Patience::new();
    while store.calls() == calls {
        patience.spend("the job is not queued");
        yield_now().await;
    }
    handle
}

/// Another job in the group, unless one is to be alone.
async fn sibling(store: &Store, alone: bool) -> Option<JoinHandle<Result<()>>> {
    if alone {
        return None;
    }
    Some(start(store, Lock::Nothing, |c| insert(c, "b")).await)
}

/// A job that counts its runs.
fn counted(
    runs: &Arc<AtomicUsize>,
    mut job: impl FnMut(&mut Transaction<'_>, usize) -> Result<()> + Send + 'static,
) -> impl FnMut(&mut Transaction<'_>) -> Result<()> + Send + 'static {
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

#[derive(QueryableByName)]
struct Made {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The work of a job before it refuses.
#[derive(Debug, Clone, Copy)]
enum Done {
    Insert,
    /// As tokens are made: the first row that the statement returns is read, and no more.
    InsertReturning,
    Update,
    Delete,
}

impl Done {
    fn make(self, connection: &mut Session) -> Result<()> {
        match self {
            Self::Insert => insert(connection, "b"),
            Self::InsertReturning => {
                let statement = sql_query("INSERT INTO probe VALUES ('b') RETURNING name");
                let made: Made = statement.get_result(connection)?;
                assert_eq!(made.name, "b");
                Ok(())
            }
            Self::Update => run(connection, "UPDATE probe SET name = 'b'"),
            Self::Delete => run(connection, "DELETE FROM probe"),
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_job_that_fails_undoes_only_itself(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(Done::Insert, Done::InsertReturning, Done::Update, Done::Delete)] change: Done,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let first = start(&store, Lock::Nothing, counted(&runs, |c, _| insert(c, "a"))).await;
    let refusing = counted(&runs, move |c, _| {
        change.make(c)?;
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
    // The group began without savepoints, and ended at the second job; then all ran in savepoints.
    assert_eq!(count(&runs), 2 + 4, "it was not one group");
    store.close();
}

/// Most jobs refuse before they change anything, or by a statement that fails. PostgreSQL does not tell that nothing was
/// changed, and runs the group again in savepoints.
#[rstest]
#[actix_web::test]
async fn a_job_that_changed_nothing_is_run_once_on_sqlite(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 16);
    let held = Held::hold(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let refusing = |_: &mut Transaction<'_>, _| Err(Error::not_found(What::Token, "b"));
    let first = start(&store, Lock::Nothing, counted(&runs, refusing)).await;
    let second = start(&store, Lock::Nothing, counted(&runs, |c, _| insert(c, "a"))).await;
    let third = start(&store, Lock::Nothing, counted(&runs, refusing)).await;
    let taken = |_| Error::name_taken(What::Token, "a");
    let clashing = counted(&runs, move |c, _| insert(c, "a").map_err(taken));
    let fourth = start(&store, Lock::Nothing, clashing).await;
    let fifth = start(&store, Lock::Nothing, counted(&runs, |c, _| insert(c, "c"))).await;
    held.release().await;
    for refused in [first, third] {
        assert!(matches!(
            refused.await.unwrap(),
            Err(Error::NotFound { .. })
        ));
    }
    assert!(matches!(
        fourth.await.unwrap(),
        Err(Error::NameTaken { .. })
    ));
    for kept in [second, fifth] {
        kept.await.unwrap().unwrap();
    }
    assert_eq!(names(&database), "a,c");
    let ended_at = match backend {
        Backend::Sqlite => 0,
        Backend::Postgres => 1,
    };
    assert_eq!(count(&runs), ended_at + 5);
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
        let refusing = |_: &mut Transaction<'_>| Err(Error::not_found(What::Token, "x"));
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
    let sibling = sibling(&store, alone).await;
    held.release().await;
    job.await.unwrap().unwrap();
    if let Some(sibling) = sibling {
        sibling.await.unwrap().unwrap();
    }
    assert_eq!(names(&database), if alone { "a" } else { "a,b" });
    assert_eq!(count(&runs), 2);
    store.close();
}

/// A serialisation failure can come as late as the commit, when every job has succeeded.
#[rstest]
#[actix_web::test]
async fn nobody_is_told_yes_when_each_commit_met_another_transaction(
    #[values(Backend::Postgres)] backend: Backend,
    #[values(false, true)] alone: bool,
) {
    let (database, store) = open(backend, 16);
    database.execute(
        "CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '40001'; END $$; \
         CREATE CONSTRAINT TRIGGER meets AFTER INSERT ON probe DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (NEW.name = 'a') EXECUTE FUNCTION meet()",
    );
    let held = Held::hold(&store).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let job = counted(&runs, |c, _| insert(c, "a"));
    let job = start(&store, Lock::Nothing, job).await;
    let sibling = sibling(&store, alone).await;
    held.release().await;
    assert_eq!(outage(&job.await.unwrap()), Some(Outage::Conflict));
    if let Some(sibling) = sibling {
        sibling.await.unwrap().unwrap();
    }
    assert_eq!(names(&database), if alone { "" } else { "b" });
    assert_eq!(count(&runs), 4, "once in the group, and three times alone");
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
    let sibling = sibling(&store, alone).await;
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
    within_patience(inside, "the reader has not begun the job")
        .await
        .unwrap();
    let (reader, calls) = (store.clone(), store.calls());
    let waiting = spawn(async move { reader.read(|_| Ok(())).await });
    let patience = Patience::new();
    while store.calls() == calls {
        patience.spend("the read is not queued");
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
        let job = move |c: &mut Transaction<'_>| insert(c, &format!("{number:03}"));
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
    let writer = store.write(Lock::Nothing, |c| process(c)).await.unwrap();
    for pid in [reader, writer] {
        database.number(&format!(
            "SELECT CASE WHEN pg_terminate_backend({pid}, 5000) THEN 1 ELSE 0 END"
        ));
    }
    assert_ne!(store.read(process).await.unwrap(), reader);
    assert_ne!(
        store.write(Lock::Nothing, |c| process(c)).await.unwrap(),
        writer
    );

    // A connection that dies in the middle of a job, in a group.
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

/// Keeps the names of actors, all of a group in a row, or fails.
#[derive(Debug)]
enum Notes {
    Kept,
    Refusing,
    Panicking,
}

impl Notes {
    fn ledger(self) -> Arc<dyn Ledger> {
        Arc::new(self)
    }
}

impl Ledger for Notes {
    fn write(&self, connection: &mut Session, events: Vec<Event>) -> Result<Committed> {
        let names: Vec<_> = events
            .into_iter()
            .filter_map(|event| Some(event.actor_name?.to_string()))
            .collect();
        insert(connection, &format!("told {}", names.join(" ")))?;
        match self {
            Self::Kept => Ok(Box::new(|| ())),
            Self::Refusing => Err(Error::internal("on purpose")),
            Self::Panicking => panic!("on purpose"),
        }
    }

    fn is_behind(&self, _: &mut Session) -> Result<bool> {
        Ok(false)
    }
}

/// A job that inserts a name and tells of it.
fn telling(
    ledger: &Arc<dyn Ledger>,
    name: &'static str,
) -> impl FnMut(&mut Transaction<'_>) -> Result<()> + Send + 'static {
    let ledger = Arc::clone(ledger);
    move |c| {
        insert(c, name)?;
        let by = By {
            actor_name: Some(name.to_owned()),
            ..By::command()
        };
        let subject = (SubjectKind::Service, None);
        let event = Event::of(
            Kind::Create,
            Outcome::Success,
            subject,
            by,
            DateTime::UNIX_EPOCH,
        );
        c.tell(&ledger, [event]);
        Ok(())
    }
}

#[rstest]
#[actix_web::test]
async fn what_a_group_tells_is_written_once_and_only_of_what_is_kept(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 16);
    let ledger = Notes::Kept.ledger();
    let held = Held::hold(&store).await;
    let first = start(&store, Lock::Nothing, telling(&ledger, "a")).await;
    let mut tell = telling(&ledger, "b");
    let second = start::<()>(&store, Lock::Nothing, move |c| {
        tell(c)?;
        Err(Error::not_found(What::Token, "b"))
    })
    .await;
    let third = start(&store, Lock::Nothing, telling(&ledger, "a")).await;
    let last = start(&store, Lock::Nothing, telling(&ledger, "c")).await;
    held.release().await;
    first.await.unwrap().unwrap();
    assert!(matches!(second.await.unwrap(), Err(Error::NotFound { .. })));
    assert!(matches!(third.await.unwrap(), Err(Error::Internal(_))));
    last.await.unwrap().unwrap();
    assert_eq!(names(&database), "a,c,told a c");
    // A job whose changes are not kept reports nothing.
    let mut tell = telling(&ledger, "d");
    let alone = store.write(Lock::Nothing, move |c| {
        tell(c)?;
        Err::<(), _>(Error::not_found(What::Token, "d"))
    });
    assert!(matches!(alone.await, Err(Error::NotFound { .. })));
    assert_eq!(names(&database), "a,c,told a c");
    store.close();
}

#[rstest]
#[actix_web::test]
async fn nobody_is_told_yes_of_what_could_not_be_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(Notes::Refusing, Notes::Panicking)] notes: Notes,
) {
    let (database, store) = open(backend, 16);
    let ledger = notes.ledger();
    let held = Held::hold(&store).await;
    let silent = start(&store, Lock::Nothing, |c| insert(c, "a")).await;
    let told = start(&store, Lock::Nothing, telling(&ledger, "b")).await;
    held.release().await;
    // Each on its own: only the job that could not be reported fails.
    silent.await.unwrap().unwrap();
    assert!(matches!(told.await.unwrap(), Err(Error::Internal(_))));
    assert_eq!(names(&database), "a");
    store
        .write(Lock::Nothing, |c| insert(c, "c"))
        .await
        .unwrap();
    store.close();
}

fn stamp() -> Attribution {
    Attribution {
        at: DateTime::<Utc>::UNIX_EPOCH,
        by: AccountId(Uuid::nil()),
        by_name: "tester".to_owned(),
    }
}

/// Makes a registry.
fn enter(connection: &mut Session, number: u128) -> Result<RegistryKey> {
    let new = NewRegistry {
        name: RegistryName::parse(&format!("team-{number}"))?,
        location: "de/fra".to_owned(),
        schedule: None,
        features: Features::default(),
        api_subnet_allow_list: AllowList::default(),
        verifier: None,
        lives: LivesPatch::default(),
        maximum_secret_age: Patch::Keep,
        frozen: None,
        description: Patch::Keep,
        labels: None,
    };
    let id = RegistryId(Uuid::from_u128(number));
    Ok(registries::insert(connection, id, &new, &stamp())?.key)
}

fn home(key: RegistryKey) -> TokenRules {
    TokenRules {
        key,
        lives: Lives::default(),
        maximum_secret_age: None,
    }
}

/// Makes the token of a number in a registry that may have so many.
fn mint(
    transaction: &mut Transaction<'_>,
    registry: RegistryKey,
    number: u128,
    cap: i64,
) -> Result<()> {
    let new = NewToken::named(TokenName::parse(&format!("t{number}"))?);
    let secret = credentials::NewSecret {
        digest: credentials::SecretDigest {
            digest: vec![0; 32],
            key: 1,
        },
        lookup: Lookup([0; LOOKUP]),
    };
    let caps = Caps {
        registries: 0,
        tokens: cap,
        members: 0,
        trusts: 0,
        app_tokens: 0,
        api_tokens: 0,
    };
    let id = TokenId(Uuid::from_u128(number));
    let home = home(registry);
    tokens::insert(transaction, home, id, &new, (&secret, id.0), &stamp(), caps)?;
    Ok(())
}

/// The names of a registry's tokens in their order.
async fn listed(store: &Store, registry: RegistryKey) -> String {
    let window = Window {
        offset: 0,
        limit: 100,
    };
    let (page, total) = store
        .read(move |connection| token_pages::page(connection, home(registry), window))
        .await
        .unwrap();
    assert_eq!(i64::try_from(page.len()).unwrap(), total);
    let names: Vec<_> = page.into_iter().map(|token| token.name).collect();
    names.join(",")
}

#[rstest]
#[actix_web::test]
async fn what_a_group_counts_holds_inside_it_and_after_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(false, true)] with_a_panic: bool,
) {
    let (database, store) = open(backend, 32);
    let registry = store.write(Lock::Catalog, |c| enter(c, 1)).await.unwrap();
    let lock = Lock::Registry(RegistryId(Uuid::from_u128(1)));
    let held = Held::hold(&store).await;
    let mut jobs = Vec::new();
    // Two fit in.
    jobs.push(start(&store, lock, move |c| mint(c, registry, 1, 2)).await);
    let undone = move |c: &mut Transaction<'_>| {
        mint(c, registry, 2, 2)?;
        Err(Error::not_found(What::Token, "on purpose"))
    };
    jobs.push(start(&store, lock, undone).await);
    jobs.push(start(&store, lock, move |c| mint(c, registry, 3, 2)).await);
    jobs.push(start(&store, lock, move |c| mint(c, registry, 4, 2)).await);
    let remove = move |c: &mut Transaction<'_>| {
        assert!(tokens::delete(c, registry, TokenId(Uuid::from_u128(1)))?);
        Ok(())
    };
    jobs.push(start(&store, lock, remove).await);
    jobs.push(start(&store, lock, move |c| mint(c, registry, 5, 2)).await);
    // A registry that is made and filled in the same group, first by a job that is undone, then by a job that is kept.
    for kept in [false, true] {
        let job = move |c: &mut Transaction<'_>| {
            let fresh = enter(c, 2)?;
            mint(c, fresh, 6, 1)?;
            if kept {
                return Ok(());
            }
            Err(Error::not_found(What::Registry, "on purpose"))
        };
        jobs.push(start(&store, Lock::Catalog, job).await);
    }
    let mut expected = "ok,not-found,ok,cap,ok,ok,not-found,ok".to_owned();
    if with_a_panic {
        let panicking = move |c: &mut Transaction<'_>| {
            mint(c, registry, 7, 9)?;
            panic!("on purpose");
        };
        jobs.push(start(&store, lock, panicking).await);
        expected.push_str(",internal");
    }
    held.release().await;
    let mut seen = Vec::new();
    for job in jobs {
        seen.push(match job.await.unwrap() {
            Ok(()) => "ok",
            Err(Error::NotFound { .. }) => "not-found",
            Err(Error::Internal(_)) => "internal",
            Err(_) => "cap",
        });
    }
    assert_eq!(seen.join(","), expected);
    assert_eq!(listed(&store, registry).await, "t3,t5");
    let fresh = store
        .read(|c| registries::find_key(c, RegistryId(Uuid::from_u128(2))))
        .await;
    assert_eq!(listed(&store, fresh.unwrap().unwrap()).await, "t6");
    database.check_totals();

    // Purged in the group that took the last token out of it.
    let held = Held::hold(&store).await;
    let remove = move |c: &mut Transaction<'_>| {
        for number in [3, 5] {
            assert!(tokens::delete(
                c,
                registry,
                TokenId(Uuid::from_u128(number))
            )?);
        }
        Ok(())
    };
    let removed = start(&store, lock, remove).await;
    let mut purges = Vec::new();
    for kept in [false, true] {
        let purge = move |c: &mut Transaction<'_>| {
            registries::mark_deleted(c, registry, DateTime::UNIX_EPOCH)?;
            tokens::purge(c, registry, 10)?;
            if kept {
                Ok(())
            } else {
                Err(Error::not_found(What::Token, "on purpose"))
            }
        };
        purges.push(start(&store, Lock::Nothing, purge).await);
    }
    held.release().await;
    removed.await.unwrap().unwrap();
    assert!(purges.remove(0).await.unwrap().is_err());
    purges.remove(0).await.unwrap().unwrap();
    let left = format!(
        "SELECT COUNT(*) FROM token_counts WHERE registry_key = {}",
        registry.0
    );
    assert_eq!(database.number(&left), 0);
    store.close();
}

#[rstest]
#[actix_web::test]
async fn what_a_group_counts_of_one_registry_is_no_matter_of_another(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 32);
    let mut homes = Vec::new();
    for number in [1, 2] {
        let made = store.write(Lock::Catalog, move |c| enter(c, number)).await;
        homes.push(made.unwrap());
    }
    let (full, empty) = (homes[0], homes[1]);
    let lock = |number| Lock::Registry(RegistryId(Uuid::from_u128(number)));
    // One was there and went: from now on tokens are counted when another one comes.
    let passing = store.write(lock(2), move |c| {
        mint(c, empty, 5, 1)?;
        assert!(tokens::delete(c, empty, TokenId(Uuid::from_u128(5)))?);
        Ok(())
    });
    passing.await.unwrap();
    let held = Held::hold(&store).await;
    let mut jobs = Vec::new();
    for number in 1..=3 {
        let job = move |c: &mut Transaction<'_>| mint(c, full, number, 3);
        jobs.push(start(&store, lock(1), job).await);
    }
    // Three are in the other one by now, and here is room for one.
    jobs.push(start(&store, lock(2), move |c| mint(c, empty, 4, 1)).await);
    held.release().await;
    for job in jobs {
        job.await.unwrap().unwrap();
    }
    assert_eq!(listed(&store, empty).await, "t4");
    assert_eq!(listed(&store, full).await, "t1,t2,t3");
    database.check_totals();
    store.close();
}

/// Neither a probe nor the workers that refuse excess requests may wait for lists.
#[cfg(target_os = "linux")]
#[rstest]
#[actix_web::test]
async fn who_reads_lets_workers_go_first_and_who_probes_does_not(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    use rustix::process::getpriority_process;

    let (_database, store) = open(backend, 16);
    let thread = |_: &mut Session| {
        let name = std::thread::current().name().map(str::to_owned);
        Ok((name, getpriority_process(None).map_err(Error::internal)?))
    };
    let worker = getpriority_process(None).unwrap();
    let named = |name: &str| Some(name.to_owned());
    let reader = store.read(thread).await.unwrap();
    assert_eq!(reader, (named("store-read-0"), (worker + 5).min(19)));
    let prober = store.probe(thread).await.unwrap();
    assert_eq!(prober, (named("store-probe-0"), worker));
}

#[actix_web::test]
async fn readers_share_their_page_cache() {
    #[derive(QueryableByName)]
    struct Cache {
        #[diesel(sql_type = BigInt)]
        cache_size: i64,
    }
    let cache = |connection: &mut Session| {
        let row: Cache = sql_query("PRAGMA cache_size").get_result(connection)?;
        Ok(row.cache_size)
    };
    // In KiB, as they are negative.
    for (readers, each) in [(1, -32_768), (2, -16_384), (8, -4_096)] {
        let (database, _) = open(Backend::Sqlite, 16);
        let store = Store::open(&Settings {
            target: Target::parse(&database.url).unwrap(),
            readers,
            queue: 16,
            read_fence: None,
        })
        .unwrap();
        assert_eq!(store.read(cache).await.unwrap(), each);
        assert_eq!(store.probe(cache).await.unwrap(), -256);
    }
}

/// Jobs that change tokens alone read a membership once for all of them. Any other job of the group may have changed it.
#[rstest]
#[actix_web::test]
async fn a_membership_that_the_group_changed_is_read_anew(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(false, true)] kept: bool,
) {
    let (_database, store) = open(backend, 32);
    let id = RegistryId(Uuid::from_u128(1));
    let member = NewAccount {
        id: AccountId(Uuid::from_u128(9)),
        name: AccountName::parse("member").unwrap(),
        password_hash: String::new(),
        refresh_id: Uuid::nil(),
        roles: Vec::new(),
        status: Status::Enabled,
        description: None,
        at: DateTime::UNIX_EPOCH,
    };
    let join = move |c: &mut Transaction<'_>| {
        let (registry, account) = (enter(c, 1)?, accounts::insert(c, &member)?);
        members::set(c, registry, account, Membership::Reader)?;
        Ok((registry, account))
    };
    let (registry, account) = store.write(Lock::Catalog, join).await.unwrap();
    let look = move |c: &mut Transaction<'_>| Ok(c.home(id, account)?.unwrap().1);
    let leave = move |c: &mut Transaction<'_>| {
        assert!(members::remove(c, registry, account)?);
        if kept {
            return Ok(());
        }
        Err(Error::not_found(What::Member, "on purpose"))
    };
    let held = Held::hold(&store).await;
    let before = start(&store, Lock::Tokens(id), look).await;
    let left = start(&store, Lock::CatalogAndRegistry(id), leave).await;
    let after = start(&store, Lock::Tokens(id), look).await;
    held.release().await;
    assert_eq!(before.await.unwrap().unwrap(), Some(Membership::Reader));
    assert_eq!(left.await.unwrap().is_ok(), kept);
    let expected = (!kept).then_some(Membership::Reader);
    assert_eq!(after.await.unwrap().unwrap(), expected);
}

/// On PostgreSQL the statement that failed ends the transaction: the others run again, in savepoints.
#[rstest]
#[actix_web::test]
async fn a_name_that_is_taken_costs_its_siblings_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (database, store) = open(backend, 32);
    let registry = store.write(Lock::Catalog, |c| enter(c, 1)).await.unwrap();
    let lock = Lock::Tokens(RegistryId(Uuid::from_u128(1)));
    // On PostgreSQL the first group ends at its second job, and the next one has savepoints from the start.
    let ended_at = match backend {
        Backend::Sqlite => 0,
        Backend::Postgres => 2,
    };
    for (group, listed_then, expected) in [
        ([1, 1, 2], "t1,t2", ended_at + 3),
        ([2, 3, 4], "t1,t2,t3,t4", 3),
    ] {
        let held = Held::hold(&store).await;
        let (mut jobs, runs) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
        for number in group {
            let job = counted(&runs, move |c, _| mint(c, registry, number, 9));
            jobs.push(start(&store, lock, job).await);
        }
        held.release().await;
        let mut taken = 0;
        for job in jobs {
            match job.await.unwrap() {
                Ok(()) => {}
                Err(Error::NameTaken { .. }) => taken += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(taken, 1);
        assert_eq!(count(&runs), expected);
        assert_eq!(listed(&store, registry).await, listed_then);
        database.check_totals();
    }
}
