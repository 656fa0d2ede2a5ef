//! The life of tokens against a model that is simple enough to be believed: after every step of random sequences both
//! agree on who can log in with which secret, on what lists show, on totals and on versions.

use std::fmt::Debug;

use actix_web::rt::System;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::clock::Clock as _;

use crate::harness::{Actor, Answer, Backend, Server};

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
const IDS: [&str; 2] = [
    "0000feed-0000-4000-8000-000000000001",
    "0000feed-0000-4000-8000-000000000002",
];
const SERVICE: &str = "team-a.localhost";

/// A step chooses a token by its place in the list, modulo the list's length. Hours are from now.
#[derive(Debug, Clone)]
enum Step {
    Create {
        name: usize,
        ends: Option<i64>,
    },
    Put {
        id: usize,
        name: usize,
        ends: Option<i64>,
    },
    PutAgain {
        token: usize,
    },
    SetStatus {
        token: usize,
        enabled: bool,
    },
    SetEnd {
        token: usize,
        ends: Option<i64>,
    },
    Rotate {
        token: usize,
        grace: i64,
    },
    EndGrace {
        token: usize,
    },
    Delete {
        token: usize,
    },
    Pass {
        hours: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (token, name) = (0..4_usize, 0..NAMES.len());
    let ends = || prop::option::weighted(0.4, 1..30_i64);
    prop_oneof![
        3 => (name.clone(), ends()).prop_map(|(name, ends)| Step::Create { name, ends }),
        3 => (0..IDS.len(), name, ends()).prop_map(|(id, name, ends)| Step::Put { id, name, ends }),
        1 => token.clone().prop_map(|token| Step::PutAgain { token }),
        2 => (token.clone(), any::<bool>()).prop_map(|(token, enabled)| Step::SetStatus { token, enabled }),
        2 => (token.clone(), ends()).prop_map(|(token, ends)| Step::SetEnd { token, ends }),
        5 => (token.clone(), 0..30_i64).prop_map(|(token, grace)| Step::Rotate { token, grace }),
        2 => token.clone().prop_map(|token| Step::EndGrace { token }),
        2 => token.prop_map(|token| Step::Delete { token }),
        4 => (1..20_i64).prop_map(|hours| Step::Pass { hours }),
    ]
}

/// A token as it should be.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    name: String,
    version: u64,
    enabled: bool,
    ends: Option<DateTime<Utc>>,
    secret: String,
    previous: Option<(String, DateTime<Utc>)>,
}

impl Known {
    fn new(answer: &Answer, name: &str, ends: Option<DateTime<Utc>>) -> Self {
        assert_eq!(answer.status, 201, "{answer:?}");
        Self {
            id: answer.json["id"].as_str().unwrap().to_owned(),
            name: name.to_owned(),
            version: 1,
            enabled: true,
            ends,
            secret: secret_of(answer),
            previous: None,
        }
    }

    fn state(&self, now: DateTime<Utc>) -> &'static str {
        match (self.enabled, self.ends) {
            (false, _) => "disabled",
            (true, Some(end)) if end <= now => "expired",
            _ => "enabled",
        }
    }

    fn opens(&self, secret: &str, now: DateTime<Utc>) -> bool {
        let previous = self
            .previous
            .iter()
            .any(|(old, until)| old == secret && now < *until);
        self.state(now) == "enabled" && (self.secret == secret || previous)
    }
}

fn secret_of(answer: &Answer) -> String {
    let password = &answer.json["properties"]["credentials"]["password"];
    password.as_str().unwrap().to_owned()
}

/// The model, and the service that is to agree with it.
struct Both {
    server: Server,
    admin: Actor,
    list: String,
    /// In creation order.
    tokens: Vec<Known>,
    /// Every secret there ever was, with its token's name.
    secrets: Vec<(String, String)>,
}

impl Both {
    async fn new(backend: Backend) -> Self {
        let generous = [
            "--failures-per-source",
            "1000000",
            "--failures-per-identity",
            "1000000",
        ];
        let server = Server::start_with(backend, &generous).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        Self {
            list: format!("/registries/{registry}/tokens"),
            server,
            admin,
            tokens: Vec::new(),
            secrets: Vec::new(),
        }
    }

    fn in_hours(&self, hours: Option<i64>) -> Option<DateTime<Utc>> {
        hours.map(|hours| self.server.clock.now() + TimeDelta::hours(hours))
    }

    fn path(&self, token: usize) -> String {
        format!("{}/{}", self.list, self.tokens[token].id)
    }

    fn add(&mut self, token: Known) {
        self.secrets
            .push((token.name.clone(), token.secret.clone()));
        self.tokens.push(token);
    }

    fn is_named(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| token.name == name)
    }

    /// Applies a step to both. Steps on a missing token use an id that never existed.
    async fn take(&mut self, step: Step) {
        let count = self.tokens.len();
        let chosen = |token: usize| (count > 0).then(|| token % count);
        match step {
            Step::Pass { hours } => self.server.clock.advance(TimeDelta::hours(hours)),
            Step::Create { name, ends } => {
                let (name, ends) = (NAMES[name], self.in_hours(ends));
                let body = json!({"properties": {"name": name, "expiryDate": ends}});
                let answer = self.admin.post(&self.list, body).await;
                if self.is_named(name) {
                    assert_eq!(answer.status, 409, "{answer:?}");
                } else {
                    self.add(Known::new(&answer, name, ends));
                }
            }
            Step::Put { id, name, ends } => {
                let (id, name, ends) = (IDS[id], NAMES[name], self.in_hours(ends));
                self.put(id, name, ends).await;
            }
            Step::PutAgain { token } => {
                if let Some(token) = chosen(token) {
                    let Known { id, name, ends, .. } = self.tokens[token].clone();
                    self.put(&id, &name, ends).await;
                }
            }
            Step::SetStatus { token, enabled } => {
                let status = if enabled { "enabled" } else { "disabled" };
                let body = json!({"status": status});
                self.patch(chosen(token), body, |token| token.enabled = enabled)
                    .await;
            }
            Step::SetEnd { token, ends } => {
                let ends = self.in_hours(ends);
                let body = json!({"expiryDate": ends});
                self.patch(chosen(token), body, |token| token.ends = ends)
                    .await;
            }
            Step::Rotate { token, grace } => {
                let until = self.in_hours(Some(grace)).unwrap();
                let body = json!({"gracePeriod": format!("PT{grace}H")});
                let Some(place) = chosen(token) else {
                    let nobody = format!("{}/{}/rotate", self.list, IDS[0]);
                    assert_eq!(self.admin.post(&nobody, body).await.status, 404);
                    return;
                };
                let path = format!("{}/rotate", self.path(place));
                let answer = self.admin.post(&path, body).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let token = &mut self.tokens[place];
                let old = std::mem::replace(&mut token.secret, secret_of(&answer));
                token.previous = (grace > 0).then_some((old, until));
                token.version += 1;
                let made = (token.name.clone(), token.secret.clone());
                self.secrets.push(made);
            }
            Step::EndGrace { token } => {
                if let Some(place) = chosen(token) {
                    let path = format!("{}/previous-secret", self.path(place));
                    let now = self.server.clock.now();
                    assert_eq!(self.admin.delete(&path).await.status, 204);
                    let token = &mut self.tokens[place];
                    if token.previous.take().is_some_and(|(_, until)| now < until) {
                        token.version += 1;
                    }
                }
            }
            Step::Delete { token } => {
                if let Some(place) = chosen(token) {
                    let path = self.path(place);
                    assert_eq!(self.admin.delete(&path).await.status, 204);
                    assert_eq!(self.admin.delete(&path).await.status, 404);
                    self.tokens.remove(place);
                }
            }
        }
    }

    async fn put(&mut self, id: &str, name: &str, ends: Option<DateTime<Utc>>) {
        let body = json!({"properties": {"name": name, "expiryDate": ends}});
        let answer = self.admin.put(&format!("{}/{id}", self.list), body).await;
        let named = self.is_named(name);
        match self.tokens.iter_mut().find(|token| token.id == id) {
            None if named => assert_eq!(answer.status, 409, "{answer:?}"),
            None => self.add(Known::new(&answer, name, ends)),
            Some(token) if token.name != name => assert_eq!(answer.status, 400, "{answer:?}"),
            Some(token) => {
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(secret_of(&answer), "");
                token.version += u64::from((token.enabled, token.ends) != (true, ends));
                (token.enabled, token.ends) = (true, ends);
            }
        }
    }

    async fn patch(&mut self, place: Option<usize>, body: Value, change: impl Fn(&mut Known)) {
        let Some(place) = place else { return };
        let answer = self.admin.patch(&self.path(place), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = &mut self.tokens[place];
        let before = (token.enabled, token.ends);
        change(token);
        token.version += u64::from((token.enabled, token.ends) != before);
    }

    /// Fails where the service shows or does anything else than the model.
    async fn compare(&self) {
        let now = self.server.clock.now();
        let list = self.admin.get(&self.list).await;
        assert_eq!(list.json["total"], self.tokens.len());
        let shown: Vec<_> = list.json["items"].as_array().unwrap().iter().collect();
        assert_eq!(shown.len(), self.tokens.len());
        for (token, shown) in self.tokens.iter().zip(shown) {
            let metadata = &shown["metadata"];
            let until = token.previous.as_ref().map(|(_, until)| *until);
            let told = (
                shown["id"].as_str(),
                shown["properties"]["name"].as_str(),
                metadata["state"].as_str(),
                instant(&shown["properties"]["expiryDate"]),
                instant(&metadata["previousSecretExpiryDate"]),
            );
            let known = (
                Some(token.id.as_str()),
                Some(token.name.as_str()),
                Some(token.state(now)),
                token.ends,
                until.filter(|until| now < *until),
            );
            assert_eq!(told, known);
            let one = self.admin.get(&format!("{}/{}", self.list, token.id)).await;
            // A use may be written in between.
            let unused = |token: &Value| {
                let mut token = token.clone();
                let metadata = token["metadata"].as_object_mut().unwrap();
                metadata.retain(|name, _| !name.starts_with("lastUsed"));
                token
            };
            assert_eq!(unused(&one.json), unused(shown));
            let tag = one.header("etag").trim_matches('"').to_owned();
            let version = tag.split('-').nth(1).unwrap();
            assert_eq!(u64::from_str_radix(version, 16), Ok(token.version), "{tag}");
        }
        for (name, secret) in &self.secrets {
            let right = self
                .tokens
                .iter()
                .any(|token| token.name == *name && token.opens(secret, now));
            let client = self.server.actor(name, secret);
            let login = client.ask("/token", &[("service", SERVICE)]).await;
            let check = client
                .request(Method::GET, &format!("/v2/check?service={SERVICE}"))
                .header("x-original-method", "GET")
                .header("x-original-uri", "/v2/");
            let expected = if right { (200, 200) } else { (401, 401) };
            assert_eq!(
                (login.status, client.send(check).await.status),
                expected,
                "{name}"
            );
        }
    }
}

fn instant(shown: &Value) -> Option<DateTime<Utc>> {
    shown.as_str().map(|text| text.parse().unwrap())
}

/// Runs both through a sequence. A failure reports the sequence, made as short as possible.
fn agree(backend: Backend, steps: Vec<Step>) {
    System::new().block_on(async move {
        let mut both = Both::new(backend).await;
        for step in steps {
            both.take(step).await;
            both.compare().await;
        }
    });
}

#[rstest]
fn the_service_does_what_a_simple_model_does(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let config = Config {
        cases: 6,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let sequences = prop::collection::vec(step(), 25..40);
    TestRunner::new(config)
        .run(&sequences, |steps| {
            agree(backend, steps);
            Ok(())
        })
        .unwrap();
}
