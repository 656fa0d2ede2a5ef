//! Operation: health, logs without secrets, time limits, and a stop that finishes the requests under way.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Database, PATIENCE, Program, Server};

/// No test waits longer than this for anything.
const BOUND: Duration = PATIENCE;

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream
}

/// All that comes until the other side hangs up.
fn read_to_end(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The head of a request that makes a registry, with a body of this length to follow.
fn head(length: usize) -> String {
    let credentials = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    format!(
        "POST /registries HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
}

#[rstest]
#[actix_web::test]
async fn health_is_told_by_two_paths_and_two_methods(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let somebody = server.anonymous();
    for (path, body) in [
        ("/healthz", json!({"status": "ok"})),
        (
            "/readyz",
            json!({"status": "ready", "checks": {"database": "ok", "migrations": "ok"}}),
        ),
    ] {
        let answer = somebody.get(path).await;
        assert_eq!((answer.status, &answer.json), (200, &body), "{path}");
        let answer = somebody.send(somebody.request(Method::HEAD, path)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""), "{path}");
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let request = somebody.request(method.parse().unwrap(), path);
            let answer = somebody.send(request).await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
            assert_eq!(answer.codes(), ["method-not-allowed"]);
        }
    }
    server
        .database
        .execute("DELETE FROM __diesel_schema_migrations WHERE version = '20261121000400'");
    let answer = somebody.get("/readyz").await;
    assert_eq!(
        (answer.status, &answer.json["checks"]["migrations"]),
        (503, &json!("pending"))
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(somebody.get("/healthz").await.status, 200);
}

#[actix_web::test]
async fn a_request_id_is_taken_over_only_if_it_is_harmless() {
    let server = Server::start(Backend::Sqlite).await;
    let somebody = server.anonymous();
    let ask = async |id: &[u8]| {
        let id = reqwest::header::HeaderValue::from_bytes(id).unwrap();
        let request = somebody
            .request(Method::GET, "/healthz")
            .header("X-Request-Id", id);
        somebody
            .send(request)
            .await
            .header("x-request-id")
            .to_owned()
    };
    let longest = "x".repeat(64);
    for harmless in ["a", "A-1_b.c", longest.as_str()] {
        assert_eq!(ask(harmless.as_bytes()).await, harmless);
    }
    let longer = "x".repeat(65);
    for harmful in [
        "",
        " ",
        "a b",
        "a\tb",
        "a\"b",
        "<script>",
        "ä",
        "a;b",
        "a=b",
        longer.as_str(),
    ] {
        let id = ask(harmful.as_bytes()).await;
        assert!(
            uuid::Uuid::parse_str(&id).is_ok(),
            "{harmful:?} became {id:?}"
        );
    }
    let (one, other) = (
        somebody.get("/healthz").await,
        somebody.get("/healthz").await,
    );
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
    for path in ["/nowhere", "/registries", "/registries/x"] {
        assert!(
            !somebody.get(path).await.header("x-request-id").is_empty(),
            "{path}"
        );
    }
}

/// Everything a program wrote: its log, its standard output, the database and the files beside the database.
fn written(database: &Database, log: &str, greeting: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("the log".to_owned(), log.as_bytes().to_vec()),
        ("the output".to_owned(), greeting.as_bytes().to_vec()),
    ];
    for entry in std::fs::read_dir(database.folder()).unwrap() {
        let path = entry.unwrap().path();
        all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    all
}

#[rstest]
#[actix_web::test]
async fn no_secret_is_ever_written(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("text", "json")] format: &str,
) {
    let database = Arc::new(Database::fresh(backend));
    let mut command = Program::command(&database);
    command.args(["--log", "trace", "--log-format", format]);
    // Bytes that occur nowhere else.
    let raw_key = *b"\xc3\x28 the key of this only test \xa0\xa1\xfe";
    let key = STANDARD.encode(raw_key);
    command.env("WHARFINGER_SERVER_KEY", &key);
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let made = admin
        .post(&tokens, json!({"properties": {"name": "ci"}}))
        .await;
    let secret = made.json["properties"]["credentials"]["password"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    for body in [json!({"status": "disabled"}), json!({"secret": secret})] {
        admin.patch(&token, body).await;
    }
    let grace = json!({"gracePeriod": "PT1H"});
    let rotated = admin.post(&format!("{token}/rotate"), grace).await;
    let new_secret = rotated.json["properties"]["credentials"]["password"]
        .as_str()
        .unwrap()
        .to_owned();
    admin.delete(&format!("{token}/previous-secret")).await;
    let intruder = Actor::of(&program.base, "admin", "guessed-password");
    assert_eq!(intruder.get(&tokens).await.status, 401);
    assert_eq!(
        Actor::of(&program.base, "ci", &secret)
            .get(&tokens)
            .await
            .status,
        401
    );
    // Control characters that a terminal would obey, in a path and in a header.
    for path in ["/%1b%5b31mred", "/a%0ab", "/%00", "/%c2%9b31m"] {
        let request = admin
            .request(Method::GET, path)
            .header("X-Request-Id", "a\tb");
        assert_eq!(admin.send(request).await.status, 404, "{path}");
    }
    let request = admin
        .request(Method::GET, "/registries")
        .header("X-Request-Id", "known-id");
    assert_eq!(admin.send(request).await.header("x-request-id"), "known-id");
    // A defect, as far as the service can tell: one line with its cause, and nothing of it for the caller.
    database.execute("ALTER TABLE tokens RENAME TO tokens_away");
    let request = admin
        .request(Method::GET, &tokens)
        .header("X-Request-Id", "broken-id");
    let broken = admin.send(request).await;
    assert!(broken.status >= 500, "{broken:?}");
    assert!(!broken.text.contains("tokens"), "{}", broken.text);
    database.execute("ALTER TABLE tokens_away RENAME TO tokens");

    let before = written(&database, "", "");
    program.signal("TERM");
    let greeting = program.greeting.clone();
    let (status, log) = program.wait();
    assert!(status.success());
    let credentials = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    let secrets: [(&str, &[u8]); 8] = [
        ("a token's secret", secret.as_bytes()),
        ("a token's second secret", new_secret.as_bytes()),
        ("a password", ADMIN_PASSWORD.as_bytes()),
        ("the credentials in base64", credentials.as_bytes()),
        ("a guessed password", b"guessed-password"),
        ("the server key in base64", key.as_bytes()),
        ("the server key", &raw_key),
        ("the password in Rust's quotes", br"correct: h\u{f6}rse"),
    ];
    for (place, bytes) in written(&database, &log, &greeting).iter().chain(&before) {
        for (what, secret) in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{place} has {what}");
        }
    }
    assert!(
        log.lines().any(|line| line.contains("known-id")),
        "no line has the request's id"
    );
    let failed: Vec<_> = log
        .lines()
        .filter(|line| {
            line.contains("broken-id") && (line.contains("ERROR") || line.contains("WARN"))
        })
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed[0].contains("tokens"),
        "the cause is missing: {}",
        failed[0]
    );
    assert!(log.contains("31mred"), "the odd path was not logged at all");
    for character in log.chars() {
        assert!(
            character == '\n' || !character.is_control(),
            "{character:?} in the log"
        );
    }
    if format == "json" {
        for line in log.lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        }
    }
}

fn hexadecimal(text: &str) -> String {
    let digits: Vec<_> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Every row of a database of PostgreSQL, as text.
fn rows(database: &Database) -> String {
    let tables = database.lines(
        "SELECT table_name AS line FROM information_schema.tables WHERE table_schema = current_schema()",
    );
    assert!(tables.len() > 10, "{tables:?}");
    let rows = tables
        .iter()
        .flat_map(|table| database.lines(&format!("SELECT t::text AS line FROM {table} AS t")));
    rows.collect::<Vec<_>>().join("\n")
}

const SCANNER: &str = "scanner-of-this-test-0123456789abcdef";
/// A client's login that also asks for a refresh token.
const LOGIN: [(&str, &str); 3] = [
    ("service", "team-a.localhost"),
    ("scope", "repository:a:pull"),
    ("offline_token", "true"),
];

/// Secrets, each with its kind.
type Secrets = Vec<(&'static str, String)>;

/// Makes credentials for a registry, and signs in there.
async fn registry_secrets(program: &Program) -> Secrets {
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let minted = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let app = admin
        .post("/api/v1/user/apptoken", json!({"title": "laptop"}))
        .await;
    let code = app.json["token"]["token_code"].as_str().unwrap();
    let mut secrets = Secrets::new();
    for (name, secret) in [
        (minted.name.as_str(), minted.secret.as_str()),
        ("$app", code),
        ("admin", ADMIN_PASSWORD),
    ] {
        let client = Actor::of(&program.base, name, secret);
        let login = client.ask("/token", &LOGIN).await;
        assert_eq!(login.status, 200, "{name}: {login:?}");
        for member in ["token", "refresh_token"] {
            let text = login.json[member].as_str().unwrap();
            secrets.push(("what a login gave", text.to_owned()));
        }
    }
    secrets.extend([
        ("a registry token's secret", minted.secret.clone()),
        ("an app token's code", code.to_owned()),
    ]);
    secrets
}

/// Makes credentials for this service, and uses them.
async fn service_secrets(program: &Program) -> Secrets {
    let admin = program.admin();
    let wish = json!({"name": "n", "role": "Admin"});
    let made = admin.post("/v1/apitokens/generate", wish).await;
    let api_token = made.json["token"].as_str().unwrap();
    let nobody = Actor::anonymous_of(&program.base);
    let request = nobody.request(Method::GET, "/registries");
    let answer = nobody.send(request.bearer_auth(api_token)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let visit = nobody.get("/csrf_token").await;
    let cookie = |answer: &Answer| {
        let (cookie, _) = answer.header("set-cookie").split_once(';').unwrap();
        cookie.to_owned()
    };
    let request = nobody
        .request(Method::POST, "/api/v1/signin")
        .header("cookie", cookie(&visit))
        .header("x-csrf-token", visit.json["csrf_token"].as_str().unwrap())
        .json(&json!({"username": "admin", "password": ADMIN_PASSWORD}));
    let session = nobody.send(request).await;
    assert_eq!(session.status, 200, "{session:?}");
    let session_cookie = cookie(&session);
    let (_, session_value) = session_cookie.split_once('=').unwrap();
    let csrf_token = session.header("x-next-csrf-token");
    vec![
        ("an API token", api_token.to_owned()),
        ("a session", session_value.to_owned()),
        ("a CSRF token", csrf_token.to_owned()),
    ]
}

/// Sends a secret where people paste them: as a name, as an id, in a query, in a body that is refused, and to the
/// scanner.
async fn paste(program: &Program, what: &str, secret: &str) {
    let (admin, nobody) = (program.admin(), Actor::anonymous_of(&program.base));
    // As a name only secrets that their form tells from a name, see docs/AUDIT.md.
    let marked = ["whrt_", "whrr_", "WHA", "eyJ"];
    let is_marked = marked.iter().any(|mark| secret.starts_with(mark));
    if is_marked {
        let pasted = Actor::of(&program.base, secret, secret);
        pasted.get("/registries").await;
        pasted.ask("/token", &LOGIN).await;
    }
    // In a path, as it is or with its first digit encoded, and as the request's id.
    if is_marked || what == "a session" {
        let encoded = format!("%{}{}", hexadecimal(&secret[..1]), &secret[1..]);
        for path in [
            format!("/{secret}"),
            format!("/registries/{secret}/tokens"),
            format!("/v2/check/{secret}/v2/"),
            format!("/{encoded}?token={secret}"),
        ] {
            let request = admin.request(Method::GET, &path);
            admin.send(request.header("x-request-id", secret)).await;
        }
    }
    let report = json!([{"token": secret, "url": "https://example.com/leak"}]);
    let request = nobody.request(Method::POST, "/secret-scanning/report");
    let request = request.bearer_auth(SCANNER).json(&report);
    let reported = nobody.send(request).await;
    assert!(matches!(reported.status, 202 | 400), "{what}: {reported:?}");
}

/// Checks that a place has none of these secrets.
fn check_clean(place: &str, bytes: &[u8], secrets: &Secrets) {
    for (what, secret) in secrets {
        // As it is, in the base64 of a header, and in PostgreSQL's hexadecimal.
        let forms = [secret.clone(), STANDARD.encode(secret), hexadecimal(secret)];
        for form in forms {
            let form = form.as_bytes();
            let found = bytes.windows(form.len()).any(|window| window == form);
            assert!(!found, "{place} has {what}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn no_secret_of_any_kind_is_in_the_database_the_log_or_the_audit_trail(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let mut command = Program::command(&database);
    command.args(["--log", "trace", "--refresh-tokens"]);
    command.env("WHARFINGER_SECRET_SCANNING_TOKEN", SCANNER);
    let program = Program::spawn(&database, command);
    let mut secrets: Secrets = vec![
        ("a password", ADMIN_PASSWORD.to_owned()),
        ("the scanner's token", SCANNER.to_owned()),
    ];
    secrets.extend(registry_secrets(&program).await);
    secrets.extend(service_secrets(&program).await);
    for (what, secret) in &secrets {
        paste(&program, what, secret).await;
    }
    let password = "only-ann-knows-this";
    let properties = json!({"name": "ann", "password": password, "roles": ["Analyst"]});
    let body = json!({"properties": properties});
    let created = program.admin().post("/accounts", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    secrets.push(("a password just set", password.to_owned()));

    // With the write-ahead log, which a stop folds in. The stop also writes the logins and refusals that wait.
    let mut places = written(&database, "", "");
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success());
    places.extend(written(&database, "", ""));
    if backend == Backend::Postgres {
        places.push(("the database".to_owned(), rows(&database).into_bytes()));
    }
    let again = Program::start(&database);
    let export = again.admin().get("/audit/export").await;
    assert_eq!(export.status, 200);
    let export = export.text;
    for kind in ["login", "refuse", "leak", "create"] {
        let told = export.contains(&format!("\"kind\":\"{kind}\""));
        assert!(told, "no {kind} in {export}");
    }
    again.signal("TERM");
    assert!(again.wait().0.success());
    for prefix in ["whrt_", "whrr_", "WHA", "eyJ", "AAAAAAAAA"] {
        let told = log.contains(&format!("/{prefix}[masked]"));
        assert!(told, "no path with {prefix} was logged");
    }
    places.extend([
        ("the log".to_owned(), log.into_bytes()),
        ("the audit trail".to_owned(), export.into_bytes()),
    ]);
    for (place, bytes) in &places {
        check_clean(place, bytes, &secrets);
    }
}

#[actix_web::test]
async fn half_a_head_is_dropped_and_a_slow_body_is_told() {
    let server = Server::start_with(
        Backend::Sqlite,
        &["--head-timeout", "2s", "--body-timeout", "2s"],
    )
    .await;
    let address = server.address.to_string();

    let mut half = connect(&address);
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc")
        .unwrap();
    let silent = connect(&address);
    let mut slow = connect(&address);
    slow.write_all(head(100).as_bytes()).unwrap();
    slow.write_all(b"{\"properties\"").unwrap();
    // Meanwhile others are served.
    assert_eq!(server.admin().get("/registries").await.status, 200);
    let ended = actix_web::rt::task::spawn_blocking(move || [half, silent, slow].map(read_to_end));
    let [half, silent, slow] = ended.await.unwrap();
    for said in [half, silent] {
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408"),
            "{said}"
        );
    }
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    assert!(slow.contains(r#""errorCode":"request-timeout""#), "{slow}");
    assert!(
        slow.to_ascii_lowercase().contains("x-request-id: "),
        "{slow}"
    );
    assert_eq!(
        server.admin().get("/registries").await.json["items"],
        json!([])
    );
}

#[rstest]
fn a_signal_to_stop_lets_a_request_whose_body_is_arriving_finish(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let address = program.base.trim_start_matches("http://").to_owned();
    let body = br#"{"properties": {"name": "team-a", "location": "de/fra"}}"#;
    // An idle connection does not delay the end.
    let mut idle = connect(&address);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert!(idle.read(&mut [0; 1024]).unwrap() > 0);

    let mut stream = connect(&address);
    // With this the server says that it has read the head and waits for the body.
    let expecting = head(body.len()).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(expecting.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body[..20]).unwrap();
    program.signal("TERM");
    // It has heard the signal when it takes no more connections.
    let until = std::time::Instant::now() + BOUND;
    while TcpStream::connect(&address).is_ok() {
        assert!(std::time::Instant::now() < until, "it goes on listening");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    stream.write_all(&body[20..]).unwrap();
    let answer = read_to_end(stream);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let asked = std::time::Instant::now();
    let (status, log) = program.wait();
    assert!(status.success(), "{status}: {log}");
    assert!(
        asked.elapsed() < BOUND,
        "an idle connection held up the end"
    );
    assert_eq!(database.number("SELECT COUNT(*) FROM registries"), 1);
}
