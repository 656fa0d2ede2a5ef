//! Requests: their number, statuses and durations.
//!
//! A request is counted under its route, not under its path, which the client chooses. All counters are made at the
//! start, so counting formats no text and looks up no name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use matchit::Router;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::registry::Registry;

/// The route label of requests that match no route.
const UNMATCHED: &str = "unmatched";
/// The label of all other methods.
const OTHER: &str = "other";
/// The methods that are counted apart if a route takes any.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// The upper limit of statuses, exclusive.
const STATUSES: u16 = 600;

/// A route: a pattern of paths.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The surface of the route.
    pub surface: &'static str,
    /// Its pattern, such as `/registries/{registryId}`. The last segment can be `{rest:.*}`, for the rest of the path.
    pub pattern: &'a str,
    /// The methods that it takes, separated by commas; empty for any.
    pub methods: &'a str,
}

/// The requests of a server. Cheap to clone.
#[derive(Clone)]
pub struct Requests(Arc<Table>);

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.routes).finish()
    }
}

struct Table {
    /// Finds the place of a route in `routes`.
    router: Router<usize>,
    routes: Vec<Taken>,
    /// Requests that match no route, by surface.
    unmatched: Vec<Taken>,
    under_way: Gauge,
}

/// The counters of a route.
#[derive(Debug)]
struct Taken {
    pattern: String,
    surface: &'static str,
    operations: Vec<Operation>,
}

/// A route with a method.
#[derive(Debug)]
struct Operation {
    labels: [(&'static str, String); 3],
    duration: Histogram,
    /// Answers by status, only statuses that occurred.
    answers: RwLock<BTreeMap<u16, Counter>>,
}

/// A running request, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    requests: Requests,
    begun: Instant,
}

impl Requests {
    /// Makes all counters. `surfaces` are those that can answer requests without a route.
    #[must_use]
    pub fn new<'a>(surfaces: &[&'static str], routes: impl IntoIterator<Item = Route<'a>>) -> Self {
        let mut table = Table {
            router: Router::new(),
            routes: Vec::new(),
            unmatched: surfaces
                .iter()
                .map(|surface| Taken::new(surface, UNMATCHED, METHODS))
                .collect(),
            under_way: Gauge::default(),
        };
        for route in routes {
            let place = table.routes.len();
            let taken = Taken::new(route.surface, route.pattern, route.methods);
            for pattern in patterns(route.pattern) {
                let inserted = table.router.insert(pattern, place);
                debug_assert!(inserted.is_ok(), "{}: {inserted:?}", route.pattern);
            }
            table.routes.push(taken);
        }
        Self(Arc::new(table))
    }

    /// Counts a new request.
    #[must_use]
    pub fn begin(&self) -> Watch {
        self.0.under_way.inc();
        Watch {
            requests: self.clone(),
            begun: Instant::now(),
        }
    }

    /// The pattern of the route of a path. `surface` and `bare` are those of [`Watch::answered`].
    #[must_use]
    pub fn pattern(&self, surface: &str, path: &str, bare: Option<&str>) -> Option<&str> {
        let route = self.0.find(surface, path, bare)?;
        Some(&route.pattern)
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_http_requests_under_way",
            "Requests that are not answered yet",
            self.0.under_way.clone(),
        );
        registry.0.register_collector(Box::new(self.clone()));
    }
}

impl Watch {
    /// Counts the answer. `surface` owns the path if no route matches; `bare` is the path without the surface's
    /// optional prefix, if it has that.
    pub fn answered(
        &self,
        surface: &'static str,
        path: &str,
        bare: Option<&str>,
        method: &str,
        status: u16,
    ) {
        let table = &self.requests.0;
        let mut unmatched = table.unmatched.iter();
        let taken = table
            .find(surface, path, bare)
            .or_else(|| unmatched.find(|route| route.surface == surface));
        if let Some(operation) = taken.and_then(|taken| taken.operation(method)) {
            operation
                .duration
                .observe(self.begun.elapsed().as_secs_f64());
            operation.count(status);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.requests.0.under_way.dec();
    }
}

impl Table {
    fn find(&self, surface: &str, path: &str, bare: Option<&str>) -> Option<&Taken> {
        let at = |path| self.routes.get(*self.router.at(path).ok()?.value);
        at(path).or_else(|| at(bare?).filter(|route| route.surface == surface))
    }

    fn all(&self) -> impl Iterator<Item = &Operation> {
        let routes = self.routes.iter().chain(&self.unmatched);
        routes.flat_map(|route| &route.operations)
    }
}

/// A pattern of actix as matchit has it. There, the rest of a path is never empty, so a second pattern has none.
fn patterns(pattern: &str) -> Vec<String> {
    match pattern
        .strip_suffix(":.*}")
        .and_then(|open| open.rsplit_once('{'))
    {
        Some((before, name)) => vec![before.to_owned(), format!("{before}{{*{name}}}")],
        None => vec![pattern.to_owned()],
    }
}

impl Taken {
    fn new(surface: &'static str, pattern: &str, methods: &str) -> Self {
        let methods = if methods.is_empty() { METHODS } else { methods };
        let shown = pattern.replace(":.*}", "}");
        let operations = methods.split(", ").chain([OTHER]).map(|method| Operation {
            labels: [
                ("surface", surface.to_owned()),
                ("route", shown.clone()),
                ("method", method.to_owned()),
            ],
            duration: crate::metrics::registry::seconds(),
            answers: RwLock::default(),
        });
        Self {
            pattern: pattern.to_owned(),
            surface,
            operations: operations.collect(),
        }
    }

    fn operation(&self, method: &str) -> Option<&Operation> {
        let named = |operation: &&Operation| operation.method() == method;
        self.operations
            .iter()
            .find(named)
            .or(self.operations.last())
    }
}

impl Operation {
    fn method(&self) -> &str {
        let [_, _, (_, method)] = &self.labels;
        method
    }

    fn count(&self, status: u16) {
        let known = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(&status) {
            counter.inc();
            return;
        }
        drop(known);
        if status < STATUSES {
            let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
            answers.entry(status).or_default().inc();
        }
    }

    fn answers(&self) -> Vec<(u16, Counter)> {
        let answers = self.answers.read();
        let answers = answers.unwrap_or_else(PoisonError::into_inner);
        answers
            .iter()
            .map(|(status, count)| (*status, count.clone()))
            .collect()
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counts = encoder.encode_descriptor(
            "wharfinger_http_requests",
            "Requests that were answered.",
            None,
            MetricType::Counter,
        )?;
        for operation in self.0.all() {
            let [surface, route, method] = operation
                .labels
                .each_ref()
                .map(|(name, value)| (*name, value.as_str()));
            for (status, count) in operation.answers() {
                let labels = [surface, route, method, ("status", &status.to_string())];
                count.encode(counts.encode_family(&labels)?)?;
            }
        }
        let mut durations = encoder.encode_descriptor(
            "wharfinger_http_request_duration",
            "From the head of a request to the head of its answer.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for operation in self
            .0
            .all()
            .filter(|operation| !operation.answers().is_empty())
        {
            let labels = operation
                .labels
                .each_ref()
                .map(|(name, value)| (*name, value.as_str()));
            operation
                .duration
                .encode(durations.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Requests {
        let route = |pattern, methods| Route {
            surface: "a",
            pattern,
            methods,
        };
        Requests::new(
            &["a", "b"],
            [
                route("/things/{id}", "GET, PUT"),
                route("/things/new", "POST"),
                route("/files/{name}.json", "GET"),
                route("/all/{first}/{rest:.*}", ""),
            ],
        )
    }

    fn series(surface: &'static str, path: &str, bare: Option<&str>, method: &str) -> String {
        let (requests, mut registry) = (requests(), Registry::default());
        requests.register(&mut registry);
        requests.begin().answered(surface, path, bare, method, 200);
        let text = registry.text();
        let line = text
            .lines()
            .find(|line| line.starts_with("wharfinger_http_requests_total"));
        line.unwrap().to_owned()
    }

    #[test]
    fn a_request_is_counted_under_its_route() {
        for (path, method, counted) in [
            ("/things/1", "GET", r#""/things/{id}",method="GET""#),
            ("/things/new", "POST", r#""/things/new",method="POST""#),
            ("/things/1", "BREW", r#""/things/{id}",method="other""#),
            ("/things/", "GET", r#""unmatched",method="GET""#),
            ("/things/1/", "GET", r#""unmatched",method="GET""#),
            ("/things/1/2", "GET", r#""unmatched",method="GET""#),
            (
                "/files/a.json",
                "GET",
                r#""/files/{name}.json",method="GET""#,
            ),
            ("/files/.json", "GET", r#""unmatched",method="GET""#),
            ("/all/1/2/3", "PUT", r#""/all/{first}/{rest}",method="PUT""#),
            ("/all/1/", "PUT", r#""/all/{first}/{rest}",method="PUT""#),
            ("/all/1", "PUT", r#""unmatched",method="PUT""#),
            ("", "BREW", r#""unmatched",method="other""#),
        ] {
            assert_eq!(
                series("a", path, None, method),
                format!(
                    r#"wharfinger_http_requests_total{{surface="a",route={counted},status="200"}} 1"#
                ),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn a_prefix_leads_to_its_own_surface_alone() {
        let counted = |surface| series(surface, "/prefix/things/1", Some("/things/1"), "GET");
        assert!(counted("a").contains(r#"route="/things/{id}""#));
        assert!(counted("b").contains(r#"surface="b",route="unmatched""#));
    }

    #[test]
    fn what_is_under_way_is_known() {
        let requests = requests();
        let watch = requests.begin();
        assert_eq!(requests.0.under_way.get(), 1);
        drop(watch);
        assert_eq!(requests.0.under_way.get(), 0);
    }
}
