//! The number of statements that the frequent requests cost on PostgreSQL, where each is a way there and back.

use std::sync::Arc;

use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::harness::{Actor, Answer, Backend, Cluster, Database, Server, WITHOUT_BACKGROUND};

/// Statements as the server logs them.
struct Log(Cluster);

impl Log {
    /// The statements since the last call with this mark, but for those of heartbeats.
    fn since(&self, mark: &str) -> Vec<String> {
        let log = self.0.log();
        let (_, since) = log.rsplit_once(&format!("'{mark}'")).unwrap();
        let executed = since.lines().filter_map(|line| {
            let (_, said) = line.split_once("LOG:  ")?;
            let (how, statement) = said.split_once(": ")?;
            (how == "statement" || how.starts_with("execute ")).then(|| statement.to_owned())
        });
        executed
            .filter(|statement| !statement.contains("heartbeats"))
            .collect()
    }

    async fn of(&self, request: impl Future<Output = Answer>, status: u16) -> Vec<String> {
        self.0.execute("SELECT 'the request begins'");
        let answer = request.await;
        assert_eq!(answer.status, status, "{answer:?}");
        self.since("the request begins")
    }
}

#[rstest]
#[actix_web::test]
async fn frequent_requests_take_few_statements(#[values(Backend::Postgres)] backend: Backend) {
    let log = Log(Cluster::start("statements", &[]));
    log.0.execute("ALTER SYSTEM SET log_statement = 'all'");
    log.0.execute("SELECT pg_reload_conf()");
    let database = Arc::new(Database::at(backend, log.0.url.clone()));
    // A connection says more when it begins.
    let flags = ["--readers", "1", "--read-fence", "off", WITHOUT_BACKGROUND];
    let server = Server::start_on_with(&database, &flags).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &["repository:app:pull"]).await;
    let tokens = format!("/registries/{registry}/tokens");
    let client = server.client(&token);
    let asked = [
        ("service", "team-a.localhost"),
        ("scope", "repository:app:pull"),
    ];
    let check = async |actor: &Actor| {
        let request = actor
            .request(Method::GET, "/v2/check?service=team-a.localhost")
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/app/tags/list");
        actor.send(request).await
    };
    let login = client.ask("/token", &asked).await;
    let bearer = server.bearer(login.json["token"].as_str().unwrap());
    let mut told = Vec::new();
    // Once before, as each of them learns something.
    for round in 0..2 {
        let named = json!({"properties": {"name": format!("made-{round}")}});
        let changed = json!({"description": format!("change {round}")});
        told = vec![
            ("get", log.of(admin.get(&token.path), 200).await),
            ("list", log.of(admin.get(&tokens), 200).await),
            ("jwt", log.of(client.ask("/token", &asked), 200).await),
            ("check", log.of(check(&client), 200).await),
            ("check by JWT", log.of(check(&bearer), 200).await),
            (
                "patch",
                log.of(admin.patch(&token.path, changed), 200).await,
            ),
            ("create", log.of(admin.post(&tokens, named), 201).await),
        ];
    }
    let counts: Vec<_> = told
        .iter()
        .map(|(what, statements)| (*what, statements.len()))
        .collect();
    let expected = [
        ("get", 1),
        ("list", 2),
        ("jwt", 1),
        ("check", 1),
        ("check by JWT", 1),
        ("patch", 10),
        ("create", 12),
    ];
    assert_eq!(counts, expected, "{told:#?}");
}
