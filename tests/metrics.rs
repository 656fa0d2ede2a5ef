//! The metrics count exactly, only the monitor may read them, and the dashboard, the alerts and the documentation name
//! only metrics that are really served.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server};

const TOKEN: &str = "a-monitor-of-integration-tests-0001";
const FLAGS: [&str; 2] = ["--metrics-token", TOKEN];

/// The served metrics, line by line.
struct Scrape {
    text: String,
    /// The value of each series.
    series: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(server: &Server) -> Self {
        let answer = server.bearer(TOKEN).get("/metrics").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self::read(answer)
    }

    fn read(answer: Answer) -> Self {
        assert_eq!(
            answer.header("content-type"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert!(answer.text.ends_with("\n# EOF\n"));
        let lines = answer.text.lines().filter(|line| !line.starts_with('#'));
        let mut series = BTreeMap::new();
        for line in lines {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(
                series.insert(name.to_owned(), value).is_none(),
                "{name} is served twice"
            );
        }
        Self {
            text: answer.text,
            series,
        }
    }

    fn get(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// Names, as they stand in an expression, and their labels.
    fn names(&self) -> BTreeMap<String, BTreeSet<String>> {
        let label = Regex::new(r#"(\w+)=""#).unwrap();
        let mut names = BTreeMap::<_, BTreeSet<_>>::new();
        for series in self.series.keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = label.captures_iter(labels).map(|found| found[1].to_owned());
            names.entry(name.to_owned()).or_default().extend(labels);
        }
        names
    }

    /// Names, as they are declared.
    fn declared(&self) -> BTreeSet<String> {
        let types = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        types
            .map(|line| match line.split_once(' ').unwrap() {
                (name, "counter") => format!("{name}_total"),
                (name, "info") => format!("{name}_info"),
                (name, _) => name.to_owned(),
            })
            .collect()
    }
}

fn requests(surface: &str, route: &str, method: &str, status: u16) -> String {
    format!(
        "wharfinger_http_requests_total{{surface=\"{surface}\",route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"
    )
}

/// Some of everything, on all surfaces.
async fn traffic(server: &Server) -> String {
    let (admin, nobody) = (server.admin(), server.anonymous());
    let registry = admin.create_registry("metered").await;
    let path = format!("/registries/{registry}/tokens");
    for name in ["one", "two", "three"] {
        admin.create_token(&registry, name).await;
    }
    let secret = admin
        .post(&path, json!({"properties": {"name": "four"}}))
        .await;
    let password = secret.json["properties"]["credentials"]["password"].as_str();
    let puller = server.actor("four", password.unwrap());
    let token = "/token?service=metered.localhost&scope=repository:a:pull";
    assert_eq!(puller.get(token).await.status, 200);
    assert_eq!(puller.get(token).await.status, 200);
    assert_eq!(admin.get(&path).await.status, 200);
    assert_eq!(
        admin
            .get(&format!("/containerregistries{path}"))
            .await
            .status,
        200
    );
    assert_eq!(nobody.get(&path).await.status, 401);
    assert_eq!(nobody.get("/v1/ping").await.status, 200);
    let generate = json!({"name": "ci", "roles": ["Admin"]});
    assert_eq!(
        admin.post("/v1/apitokens/generate", generate).await.status,
        200
    );
    let create = json!({"title": "laptop"});
    assert_eq!(
        admin.post("/api/v1/user/apptoken", create).await.status,
        201
    );
    assert_eq!(nobody.get("/openapi.json").await.status, 200);
    assert_eq!(nobody.get("/healthz").await.status, 200);
    assert_eq!(
        server
            .actor("admin", "wrong-password")
            .get("/registries")
            .await
            .status,
        401
    );
    registry
}

#[rstest]
#[actix_web::test]
async fn what_is_done_is_counted(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start_with(backend, &FLAGS).await;
    let before = Scrape::of(&server).await;
    let registry = traffic(&server).await;
    server.service.metrics().refresh().await.unwrap();
    let after = Scrape::of(&server).await;
    let rose = |series: &str| after.get(series) - before.get(series);
    let tokens = "/registries/{registryId}/tokens";
    for (series, by) in [
        (requests("registries", tokens, "POST", 201), 4.0),
        (requests("registries", tokens, "GET", 200), 2.0),
        (requests("registries", tokens, "GET", 401), 1.0),
        (requests("registries", "/registries", "POST", 201), 1.0),
        (requests("registries", "/registries", "GET", 401), 1.0),
        (requests("registry-access", "/token", "GET", 200), 2.0),
        (requests("stackrox", "/v1/ping", "GET", 200), 1.0),
        (
            requests("stackrox", "/v1/apitokens/generate", "POST", 200),
            1.0,
        ),
        (requests("quay", "/api/v1/user/apptoken", "POST", 201), 1.0),
        (requests("documents", "/openapi.json", "GET", 200), 1.0),
        (requests("operations", "/healthz", "GET", 200), 1.0),
        (requests("operations", "/metrics", "GET", 200), 1.0),
        (
            r#"wharfinger_password_checks_total{result="wrong"}"#.to_owned(),
            1.0,
        ),
        (
            r#"wharfinger_password_checks_total{result="right"}"#.to_owned(),
            1.0,
        ),
        (
            r#"wharfinger_cache_lookups_total{cache="passwords",result="miss"}"#.to_owned(),
            2.0,
        ),
        (
            r#"wharfinger_cache_lookups_total{cache="signers",result="miss"}"#.to_owned(),
            1.0,
        ),
        (
            r#"wharfinger_cache_lookups_total{cache="signers",result="hit"}"#.to_owned(),
            1.0,
        ),
        (
            r#"wharfinger_tokens{kind="registry",state="active"}"#.to_owned(),
            4.0,
        ),
        (
            r#"wharfinger_tokens{kind="app",state="active"}"#.to_owned(),
            1.0,
        ),
        (
            r#"wharfinger_tokens{kind="api",state="active"}"#.to_owned(),
            1.0,
        ),
    ] {
        let rise = rose(&series);
        assert!((rise - by).abs() < 0.5, "{series} rose by {rise}, not {by}");
    }
    let count = r#"wharfinger_http_request_duration_seconds_count{surface="registries",route="/registries/{registryId}/tokens",method="POST"}"#;
    assert!((after.get(count) - 4.0).abs() < 0.5);
    for name in ["store_wait", "store_run"] {
        for door in ["read", "write"] {
            let series = format!("wharfinger_{name}_seconds_count{{door=\"{door}\"}}");
            assert!(rose(&series) > 0.0, "{series}");
        }
    }
    let committed = r#"wharfinger_store_transaction_seconds_count{end="committed"}"#;
    assert!(rose(committed) >= 7.0, "{}", rose(committed));
    assert!(rose("wharfinger_store_group_jobs_sum") >= 7.0);
    for secret in [
        registry.as_str(),
        TOKEN,
        ADMIN_PASSWORD,
        "metered",
        "laptop",
        "four",
    ] {
        assert!(!after.text.contains(secret), "{secret} is told");
    }
    assert!(
        after.get(r#"wharfinger_signing_certificates_end_timestamp_seconds{role="leaf"}"#) > 1.79e9
    );
}

#[rstest]
#[actix_web::test]
async fn tokens_are_counted_by_state_and_end(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let admin = server.admin();
    let registry = admin.create_registry("metered").await;
    let path = format!("/registries/{registry}/tokens");
    let ends = [
        None,
        Some(-1),
        Some(12),
        Some(24 * 3),
        Some(24 * 20),
        Some(24 * 90),
    ];
    for (number, hours) in ends.into_iter().enumerate() {
        for status in ["enabled", "disabled"] {
            let mut properties = json!({"name": format!("t{number}-{status}"), "status": status});
            if let Some(hours) = hours {
                // In the past it cannot be made, so the clock is moved over it.
                let now = wharfinger::clock::Clock::now(&*server.clock);
                let at = now + chrono::TimeDelta::hours(hours + 2);
                properties["expiryDate"] = json!(at.to_rfc3339());
            }
            let answer = admin.post(&path, json!({"properties": properties})).await;
            assert_eq!(answer.status, 201, "{answer:?}");
        }
    }
    server.clock.advance(chrono::TimeDelta::hours(2));
    server.service.metrics().refresh().await.unwrap();
    let scrape = Scrape::of(&server).await;
    for (series, count) in [
        (r#"wharfinger_tokens{kind="registry",state="active"}"#, 5.0),
        (
            r#"wharfinger_tokens{kind="registry",state="disabled"}"#,
            5.0,
        ),
        (r#"wharfinger_tokens{kind="registry",state="expired"}"#, 2.0),
        (
            r#"wharfinger_tokens_ending{kind="registry",within="1d"}"#,
            1.0,
        ),
        (
            r#"wharfinger_tokens_ending{kind="registry",within="7d"}"#,
            2.0,
        ),
        (
            r#"wharfinger_tokens_ending{kind="registry",within="30d"}"#,
            3.0,
        ),
    ] {
        let found = scrape.get(series);
        assert!(
            (found - count).abs() < 0.5,
            "{series} is {found}, not {count}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn nobody_but_the_monitor_reads_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let nowhere = server.bearer(TOKEN).get("/metrics").await;
    let elsewhere = server.bearer(TOKEN).get("/metricz").await;
    assert_eq!((nowhere.status, nowhere.codes()), (404, elsewhere.codes()));
    assert_eq!(
        nowhere.message(),
        elsewhere.message().replace("/metricz", "/metrics")
    );
    let server = Server::start_with(backend, &FLAGS).await;
    let other = TOKEN.replace('1', "2");
    for somebody in [
        server.anonymous(),
        server.admin(),
        server.bearer(&other),
        server.bearer(""),
        server.actor("", TOKEN),
    ] {
        let answer = somebody.get("/metrics").await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(
            answer.header("www-authenticate"),
            r#"Bearer realm="wharfinger""#
        );
        assert!(answer.message().contains("--metrics-token"), "{answer:?}");
    }
    let monitor = server.bearer(TOKEN);
    let answer = monitor
        .send(monitor.request(Method::HEAD, "/metrics"))
        .await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = monitor.request(method.parse().unwrap(), "/metrics");
        let answer = monitor.send(request).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
    }
}

#[actix_web::test]
async fn an_address_of_its_own_serves_nothing_else() {
    let server = Server::start_with(Backend::Sqlite, &["--metrics-listen", "127.0.0.1:0"]).await;
    assert_eq!(server.anonymous().get("/metrics").await.status, 404);
    let monitor = Actor::anonymous_of(&format!("http://{}", server.addresses[1]));
    let scrape = Scrape::read(monitor.get("/metrics").await);
    assert!(scrape.series.contains_key("process_cpu_seconds_total"));
    for path in ["/healthz", "/registries", "/token", "/docs/", "/v1/ping"] {
        assert_eq!(monitor.get(path).await.status, 404, "{path}");
    }
    let answer = monitor
        .send(monitor.request(Method::DELETE, "/metrics"))
        .await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
}

#[actix_web::test]
async fn made_up_paths_and_methods_make_no_series() {
    let server = Server::start_with(Backend::Sqlite, &FLAGS).await;
    let nobody = server.anonymous();
    let send = async |method: &str, path: &str| {
        let request = nobody.request(method.parse().unwrap(), path);
        nobody.send(request).await
    };
    send("BREW", "/registries").await;
    send("GET", "/made-up").await;
    // The counts of the database come when they come.
    server.service.metrics().refresh().await.unwrap();
    // Being read is counted after it was.
    Scrape::of(&server).await;
    let before = Scrape::of(&server).await.series.len();
    for number in 0..20 {
        send("GET", &format!("/made-up-{number}")).await;
        send(&format!("BREW{number}"), "/registries").await;
    }
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.series.len(), before);
    assert!(!scrape.text.contains("made-up") && !scrape.text.contains("BREW"));
    let unmatched = requests("registries", "unmatched", "GET", 404);
    assert!((scrape.get(&unmatched) - 21.0).abs() < 0.5);
}

fn example(name: &str) -> String {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// All texts under a name, wherever.
fn texts(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                match value.as_str() {
                    Some(text) if member == name => found.push(text.to_owned()),
                    _ => texts(value, name, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, name, found)),
        _ => {}
    }
}

/// The expressions of the dashboard and the alerts, variables of Grafana replaced.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&example("grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    texts(&dashboard, "expr", &mut found);
    assert!(found.len() > 20, "{found:?}");
    let alerts = example("alerts.yml");
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let before = found.len();
    found.extend(alerts.map(str::to_owned));
    assert!(found.len() > before + 5, "{found:?}");
    found
        .iter()
        .map(|text| {
            text.replace("$__rate_interval", "5m")
                .replace("$instance", ".*")
        })
        .collect()
}

#[actix_web::test]
async fn dashboard_alerts_and_documentation_speak_of_what_is_served() {
    let server = Server::start_with(Backend::Sqlite, &FLAGS).await;
    traffic(&server).await;
    server.service.metrics().refresh().await.unwrap();
    let scrape = Scrape::of(&server).await;
    let served = scrape.names();
    // The scraper sets these, not the server.
    let foreign = ["instance", "job", "le"];
    let name = Regex::new(r"\b(?:wharfinger|process)_\w+").unwrap();
    let matched = Regex::new(r"(\b(?:wharfinger|process)_\w+)\{([^}]*)\}").unwrap();
    let label = Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let grouping = Regex::new(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)").unwrap();
    let mut faults = Vec::new();
    for expression in expressions() {
        let used: Vec<_> = name
            .find_iter(&expression)
            .map(|found| found.as_str())
            .collect();
        // `up` is Prometheus' own.
        assert!(
            !used.is_empty() || expression.contains("up{"),
            "{expression}"
        );
        for name in &used {
            if !served.contains_key(*name) {
                faults.push(format!("{name} is not served: {expression}"));
            }
        }
        let has = |names: &[&str], label: &str| {
            foreign.contains(&label)
                || names
                    .iter()
                    .filter_map(|name| served.get(*name))
                    .any(|labels| labels.contains(label))
        };
        for found in matched.captures_iter(&expression) {
            for label in label.captures_iter(&found[2]) {
                if !has(&[found.get(1).unwrap().as_str()], &label[1]) {
                    faults.push(format!("{} has no label {}", &found[1], &label[1]));
                }
            }
        }
        for found in grouping.captures_iter(&expression) {
            for label in found[1]
                .split(',')
                .map(str::trim)
                .filter(|label| !label.is_empty())
            {
                if !has(&used, label) {
                    faults.push(format!("nothing has the label {label}: {expression}"));
                }
            }
        }
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md"));
    let page = page.unwrap();
    let told: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    // Served by a server with TLS alone.
    let mut declared = scrape.declared();
    declared.insert("wharfinger_tls_reloads_total".to_owned());
    assert_eq!(told, declared, "docs/METRICS.md lists what is served");
    assert!(faults.is_empty(), "{faults:#?}");
}
