//! A server in this process, on a port of its own, with a clock that the test moves.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use wharfinger::app::App;
use wharfinger::clock::SystemRandom;
use wharfinger::config::Cli;
use wharfinger::domain::account::{AccountName, NewPassword};
use wharfinger::service::Service;

use super::{Backend, Database, PATIENCE, promise};

/// Has a server of these tests give no refresh tokens, as one does that is not told to.
pub const WITHOUT_REFRESH_TOKENS: &str = "without refresh tokens";
/// A server that does nothing but what a test asks of it: for tests that count what a request costs.
pub const WITHOUT_BACKGROUND: &str = "without work in the background";

/// The password of the first account.
pub const ADMIN_PASSWORD: &str = "correct: hörse";
/// The name and password of the account with the role Analyst.
const ANALYST: (&str, &str) = ("analyst@example.com", "analyst:pässword");

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct Clock {
    /// Microseconds since 1970.
    wall: AtomicI64,
    began: Instant,
    /// Microseconds since it began.
    passed: AtomicU64,
}

impl Clock {
    /// 2026-11-21T12:00:00Z.
    fn new() -> Self {
        Self {
            wall: AtomicI64::new(1_795_262_400_000_000),
            began: Instant::now(),
            passed: AtomicU64::new(0),
        }
    }

    /// Time passes.
    pub fn advance(&self, by: TimeDelta) {
        let passed = by.to_std().expect("time never goes back; see `set`");
        let passed = u64::try_from(passed.as_micros()).unwrap();
        self.passed.fetch_add(passed, Ordering::SeqCst);
        self.set(by);
    }

    /// Somebody sets the wall clock: no time passes.
    pub fn set(&self, by: TimeDelta) {
        let by = by.num_microseconds().unwrap();
        self.wall.fetch_add(by, Ordering::SeqCst);
    }
}

impl wharfinger::clock::Clock for Clock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.wall.load(Ordering::SeqCst)).unwrap()
    }

    fn instant(&self) -> Instant {
        self.began + Duration::from_micros(self.passed.load(Ordering::SeqCst))
    }
}

/// A running server.
pub struct Server {
    pub database: Arc<Database>,
    pub clock: Arc<Clock>,
    pub service: Service,
    pub address: SocketAddr,
    /// All of them, that of metrics included.
    pub addresses: Vec<SocketAddr>,
    client: Client,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a database without rows.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, &[]).await
    }

    /// Starts a server on a database without rows, with further settings.
    pub async fn start_with(backend: Backend, flags: &[&str]) -> Self {
        Self::on(
            Arc::new(Database::migrated(backend)),
            Arc::new(Clock::new()),
            flags,
        )
        .await
    }

    /// Starts another server on the same database, with the same clock.
    pub async fn replica(&self) -> Self {
        self.replica_with(&[]).await
    }

    /// Starts another server on the same database, with the same clock and further settings.
    pub async fn replica_with(&self, flags: &[&str]) -> Self {
        Self::on(Arc::clone(&self.database), Arc::clone(&self.clock), flags).await
    }

    /// Starts a server on a database of a test's making.
    pub async fn start_on(database: &Arc<Database>) -> Self {
        Self::on(Arc::clone(database), Arc::new(Clock::new()), &[]).await
    }

    /// Starts a server on a database of a test's making, with further settings.
    pub async fn start_on_with(database: &Arc<Database>, flags: &[&str]) -> Self {
        Self::on(Arc::clone(database), Arc::new(Clock::new()), flags).await
    }

    async fn on(database: Arc<Database>, clock: Arc<Clock>, flags: &[&str]) -> Self {
        let folder = database.folder().to_str().unwrap().to_owned();
        let mut arguments = vec!["wharfinger".to_owned()];
        for usual in [["--bcrypt-cost", "4"], ["--readers", "2"]] {
            if !flags.contains(&usual[0]) {
                arguments.extend(usual.map(str::to_owned));
            }
        }
        arguments.extend(
            [
                "--listen",
                "127.0.0.1:0",
                "--workers",
                "1",
                "--data-dir",
                &folder,
            ]
            .map(str::to_owned),
        );
        arguments.extend(
            [
                "--admin-password",
                ADMIN_PASSWORD,
                "--database-url",
                &database.url,
            ]
            .map(str::to_owned),
        );
        // Tests come from one address, and fail on purpose.
        for limit in ["--failures-per-source", "--failures-per-identity"] {
            if !flags.contains(&limit) {
                arguments.extend([limit, "1000000"].map(str::to_owned));
            }
        }
        // One key for all tests on PostgreSQL, where it must be given.
        if !flags.contains(&"--server-key") {
            arguments.extend(["--server-key".to_owned(), "A".repeat(43) + "="]);
        }
        // Most have to lose something by them.
        if !flags.contains(&WITHOUT_REFRESH_TOKENS) {
            arguments.push("--refresh-tokens".to_owned());
        }
        let quiet = flags.contains(&WITHOUT_BACKGROUND);
        let flags = flags
            .iter()
            .filter(|flag| ![WITHOUT_REFRESH_TOKENS, WITHOUT_BACKGROUND].contains(*flag));
        arguments.extend(flags.map(|flag| (*flag).to_owned()));
        let settings = Cli::try_parse_from(arguments).unwrap().settings;

        let (started, start) = mpsc::channel();
        let server_clock = Arc::clone(&clock);
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = App::start(&settings, server_clock, Arc::new(SystemRandom))
                    .await
                    .unwrap();
                let (service, handle) = (app.service.clone(), app.server.handle());
                let ready = (app.addresses.clone(), service, handle);
                if quiet {
                    app.tasks.stop().await;
                    started.send(ready).unwrap();
                    app.server.await.unwrap();
                    app.service.close();
                } else {
                    started.send(ready).unwrap();
                    app.run().await.unwrap();
                }
            });
        });
        let (addresses, service, handle) = start
            .recv()
            .expect("the server did not start; its thread says why");
        let client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let server = Self {
            database,
            clock,
            service,
            address: addresses[0],
            addresses,
            client,
            handle,
            thread: Some(thread),
        };
        server.ensure_analyst().await;
        server
    }

    async fn ensure_analyst(&self) {
        let password = NewPassword::parse(SecretString::from(ANALYST.1.to_owned())).unwrap();
        // A replica finds it there already.
        let _ = self
            .service
            .account_commands()
            .create(
                AccountName::parse(ANALYST.0).unwrap(),
                &password,
                vec!["Analyst".to_owned()],
            )
            .await;
    }

    /// Adds an account.
    pub async fn add_account(&self, name: &str, password: &str, role: &str) {
        let password = NewPassword::parse(SecretString::from(password.to_owned())).unwrap();
        self.service
            .account_commands()
            .create(
                AccountName::parse(name).unwrap(),
                &password,
                vec![role.to_owned()],
            )
            .await
            .unwrap();
    }

    /// Makes the janitors believe the clock wherever it was moved, as if they had looked all the while.
    pub fn believe_clock(&self) {
        let now = self.service.now().timestamp_micros();
        self.database.execute(&format!(
            "INSERT INTO janitor_clock (key, believed_at) VALUES (1, {now}) ON CONFLICT (key) DO UPDATE \
             SET believed_at = excluded.believed_at, doubted_since = NULL, doubted_at = NULL"
        ));
    }

    /// The account that may do everything.
    pub fn admin(&self) -> Actor {
        self.actor("admin", ADMIN_PASSWORD)
    }

    /// The account that may read everything.
    pub fn analyst(&self) -> Actor {
        self.actor(ANALYST.0, ANALYST.1)
    }

    /// Somebody with this name and password.
    pub fn actor(&self, name: &str, password: &str) -> Actor {
        Actor {
            credentials: Credentials::Password(name.to_owned(), password.to_owned()),
            ..self.anonymous()
        }
    }

    /// Somebody with this API token.
    pub fn bearer(&self, token: &str) -> Actor {
        Actor {
            credentials: Credentials::Token(token.to_owned()),
            ..self.anonymous()
        }
    }

    /// Somebody with this session.
    pub fn session(&self, ticket: &Ticket) -> Actor {
        Actor {
            credentials: Credentials::Session(ticket.clone()),
            ..self.anonymous()
        }
    }

    /// Begins a session without an account.
    pub async fn visit(&self) -> Ticket {
        let answer = self.anonymous().get("/csrf_token").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Ticket::of(&answer, answer.json["csrf_token"].as_str().unwrap())
    }

    /// Begins a session of an account.
    pub async fn sign_in(&self, name: &str, password: &str) -> Ticket {
        let visitor = self.session(&self.visit().await);
        let body = json!({"username": name, "password": password});
        let answer = visitor.post("/api/v1/signin", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Ticket::of(&answer, answer.header("x-next-csrf-token"))
    }

    /// Somebody without credentials.
    pub fn anonymous(&self) -> Actor {
        Actor {
            base: format!("http://{}", self.address),
            client: self.client.clone(),
            credentials: Credentials::None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Sends the message at once; the future only waits for the end, as the thread does.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server panicked");
        }
    }
}

/// Somebody who sends requests.
#[derive(Debug, Clone)]
pub struct Actor {
    base: String,
    client: Client,
    credentials: Credentials,
}

/// An actor's credentials.
#[derive(Debug, Clone)]
enum Credentials {
    None,
    Password(String, String),
    Token(String),
    Session(Ticket),
}

/// A session's cookie and CSRF token, as a browser keeps them.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The value of the header `Cookie`.
    pub cookie: String,
    pub csrf_token: String,
}

impl Ticket {
    /// Reads the answer that begins a session.
    fn of(answer: &Answer, csrf_token: &str) -> Self {
        let (cookie, _) = answer.header("set-cookie").split_once(';').unwrap();
        Self {
            cookie: cookie.to_owned(),
            csrf_token: csrf_token.to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    /// The body as JSON; null if it is none.
    pub json: Value,
}

impl Answer {
    /// The text of a header, empty without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The error codes of the body, in order.
    pub fn codes(&self) -> Vec<&str> {
        self.json["messages"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|message| message["errorCode"].as_str())
            .collect()
    }

    /// The error messages of the body, joined.
    pub fn message(&self) -> String {
        let messages = self.json["messages"].as_array().into_iter().flatten();
        messages
            .filter_map(|message| message["message"].as_str())
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl Actor {
    /// Sends requests of another process's server.
    pub fn of(base: &str, name: &str, password: &str) -> Self {
        let client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self {
            base: base.to_owned(),
            client,
            credentials: Credentials::Password(name.to_owned(), password.to_owned()),
        }
    }

    /// Sends requests of another process's server, without credentials.
    pub fn anonymous_of(base: &str) -> Self {
        Self {
            credentials: Credentials::None,
            ..Self::of(base, "", "")
        }
    }

    /// The scheme, the host and the port of the server.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same at another address of this machine.
    pub fn at(&self, address: [u8; 4]) -> Self {
        let client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .local_address(std::net::IpAddr::from(address));
        Self {
            client: client.build().unwrap(),
            ..self.clone()
        }
    }

    /// The same, shown what leads elsewhere.
    pub fn without_redirects(&self) -> Self {
        let client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none());
        Self {
            client: client.build().unwrap(),
            ..self.clone()
        }
    }

    /// A request to be completed and given to [`Actor::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.credentials {
            Credentials::None => request,
            Credentials::Password(name, password) => request.basic_auth(name, Some(password)),
            Credentials::Token(token) => request.bearer_auth(token),
            Credentials::Session(ticket) => request
                .header("cookie", &ticket.cookie)
                .header("x-csrf-token", &ticket.csrf_token),
        }
    }

    /// Sends a request; fails the test if no answer comes.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// Sends a request that may be cut off.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let (client, request) = request.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        promise::check(&method, &path, status, &json);
        Ok(Answer {
            status,
            headers,
            text,
            json,
        })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body))
            .await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body))
            .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Makes a registry and returns its id.
    pub async fn create_registry(&self, name: &str) -> String {
        let answer = self
            .post(
                "/registries",
                json!({"properties": {"name": name, "location": "de/fra"}}),
            )
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// Makes a token and returns its id.
    pub async fn create_token(&self, registry: &str, name: &str) -> String {
        let answer = self
            .post(
                &format!("/registries/{registry}/tokens"),
                json!({"properties": {"name": name}}),
            )
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// Makes an account with the password `right-password` and returns its id.
    pub async fn create_account(&self, name: &str, roles: &[&str]) -> String {
        let properties = json!({"name": name, "password": "right-password", "roles": roles});
        let answer = self
            .post("/accounts", json!({"properties": properties}))
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// Makes an account a member of a registry.
    pub async fn set_member(&self, registry: &str, account: &str, level: &str) {
        let path = format!("/registries/{registry}/members/{account}");
        let answer = self.put(&path, json!({"level": level})).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }
}
