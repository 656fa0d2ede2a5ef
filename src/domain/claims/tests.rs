use super::*;
use crate::domain::claim_name::{NAME, PARTS};
use serde_json::json;

fn rules(rules: Value) -> ClaimRules {
    let Value::Object(rules) = rules else {
        panic!("{rules}")
    };
    ClaimRules::parse(rules).unwrap()
}

fn refused(rules: Value) -> String {
    let Value::Object(rules) = rules else {
        panic!("{rules}")
    };
    ClaimRules::parse(rules).unwrap_err().to_string()
}

/// The claims of a job or a pod of each provider, and rules as its page in docs/WORKLOAD.md has them.
fn golden() -> Vec<(IssuerKind, Value, Value)> {
    let read = |text: &str| serde_json::from_str(text).unwrap();
    vec![
        (
            IssuerKind::Github,
            read(include_str!(
                "../../../examples/workload/claims/github.json"
            )),
            json!({"repository_id": "74", "repository_owner_id": "1001", "ref": "refs/heads/main", "environment": "production"}),
        ),
        (
            IssuerKind::Gitlab,
            read(include_str!(
                "../../../examples/workload/claims/gitlab.json"
            )),
            json!({"project_id": 20, "namespace_id": "72", "ref_protected": true, "ref_type": ["branch", "tag"], "runner_id": "1"}),
        ),
        (
            IssuerKind::Kubernetes,
            read(include_str!(
                "../../../examples/workload/claims/kubernetes.json"
            )),
            json!({
                "kubernetes.io.serviceaccount.uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798",
                "/kubernetes.io/namespace": "builds",
                "sub": "system:serviceaccount:builds:builder",
            }),
        ),
        (
            IssuerKind::Buildkite,
            read(include_str!(
                "../../../examples/workload/claims/buildkite.json"
            )),
            json!({
                "organization_id": "3d3c3bf0-7d58-4afe-8fe7-b3017d5504de",
                "pipeline_id": "0184990a-477b-4fa8-9968-496074483cee",
                "build_branch": "main",
            }),
        ),
        (
            IssuerKind::Circleci,
            read(include_str!(
                "../../../examples/workload/claims/circleci.json"
            )),
            json!({
                "oidc.circleci.com/project-id": "7a8b9c0d-1e2f-4a3b-8c5d-6e7f8a9b0c1d",
                "/oidc.circleci.com~1vcs-ref": "refs/heads/main",
                "oidc.circleci.com/context-ids": "11111111-2222-4333-8444-555555555555",
            }),
        ),
        (
            IssuerKind::Forgejo,
            read(include_str!(
                "../../../examples/workload/claims/forgejo.json"
            )),
            json!({"repository_id": "74", "repository_owner_id": "1001", "ref": "refs/heads/*"}),
        ),
        (
            IssuerKind::Spiffe,
            read(include_str!(
                "../../../examples/workload/claims/spiffe.json"
            )),
            json!({"sub": "spiffe://example.org/builds/app"}),
        ),
    ]
}

/// The claims with another value in place of a claim, or without it.
fn altered(claims: &Value, name: &str, value: Option<&Value>) -> Value {
    let mut pins = pins(IssuerKind::Kubernetes).iter();
    let pointer = match pins.find(|(dotted, _)| *dotted == name) {
        Some((_, pointer)) => (*pointer).to_owned(),
        None if name.starts_with('/') => name.to_owned(),
        None => format!("/{}", name.replace('/', "~1")),
    };
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let mut altered = claims.clone();
    let members = altered.pointer_mut(parent).unwrap();
    let members = members.as_object_mut().unwrap();
    let before = members.remove(&last.replace("~1", "/"));
    assert!(before.is_some(), "{name}");
    if let Some(value) = value {
        members.insert(last.replace("~1", "/"), value.clone());
    }
    altered
}

#[test]
fn the_claims_of_each_provider_fit_and_each_altered_one_does_not() {
    for (kind, claims, wanted) in golden() {
        let rules = rules(wanted.clone());
        rules.require_pin(kind).unwrap();
        assert!(rules.admit(kind, &claims), "{kind}");
        for name in wanted.as_object().unwrap().keys() {
            for value in [
                Some(json!("other")),
                Some(json!("")),
                Some(json!([])),
                Some(json!({"a": 1})),
                Some(Value::Null),
                None,
            ] {
                let claims = altered(&claims, name, value.as_ref());
                assert!(!rules.admit(kind, &claims), "{kind} {name} {value:?}");
                let verdicts = rules.verdicts(kind, &claims);
                let misfits: Vec<_> = verdicts.iter().filter(|verdict| !verdict.fits).collect();
                assert_eq!(misfits.len(), 1, "{kind} {name} {misfits:?}");
                assert_eq!(misfits[0].claim, *name);
            }
        }
    }
}

#[test]
fn a_trust_pins_a_claim_that_no_other_workload_gets() {
    for (kind, claims, _) in
        golden()
            .into_iter()
            .chain([(IssuerKind::Other, json!({"sub": "a"}), json!({}))])
    {
        for (dotted, pointer) in pins(kind) {
            for name in [dotted, pointer] {
                let exact = |value: Value| rules(json!({ *name: value })).require_pin(kind);
                exact(json!("74")).unwrap();
                exact(json!(["74", "75"])).unwrap();
                for open in ["*", "**", "7*", ""] {
                    for value in [json!(open), json!(["74", open])] {
                        let told = exact(value).unwrap_err().to_string();
                        assert!(told.contains("neither empty nor have a wildcard"), "{told}");
                    }
                }
            }
            assert_eq!(find(&claims, dotted), find(&claims, pointer), "{dotted}");
        }
        let told = rules(json!({"ref": "refs/heads/main"})).require_pin(kind);
        let told = told.unwrap_err().to_string();
        assert!(told.contains(&format!("add {}", pins(kind)[0].0)), "{told}");
        assert!(rules(json!({})).require_pin(kind).is_err());
    }
    // A name can be given to another repository later.
    let by_name =
        rules(json!({"repository": "octo-org/octo-app", "sub": "repo:octo-org/octo-app:*"}));
    assert!(by_name.require_pin(IssuerKind::Github).is_err());
}

#[test]
fn what_others_can_bring_about_is_refused_unless_it_is_named() {
    let claims = |kind: IssuerKind| {
        golden()
            .into_iter()
            .find(|(known, ..)| *known == kind)
            .unwrap()
            .1
    };
    for kind in [IssuerKind::Github, IssuerKind::Forgejo] {
        for event in ["pull_request_target", "workflow_run"] {
            let mut claims = claims(kind);
            claims["event_name"] = json!(event);
            let admits = |more: Value| {
                let mut wanted = json!({"repository_id": "74"});
                wanted
                    .as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
                rules(wanted).admit(kind, &claims)
            };
            assert!(!admits(json!({})), "{event}");
            assert!(!admits(json!({"event_name": "*"})), "{event}");
            assert!(!admits(json!({"event_name": ["push", "*"]})), "{event}");
            assert!(admits(json!({"event_name": event})), "{event}");
            assert!(admits(json!({"/event_name": ["push", event]})), "{event}");
            let verdicts = rules(json!({"repository_id": "74"})).verdicts(kind, &claims);
            let told = verdicts.last().unwrap();
            assert_eq!((told.claim.as_str(), told.fits), ("event_name", false));
        }
    }
    let mut claims = claims(IssuerKind::Circleci);
    claims["oidc.circleci.com/ssh-rerun"] = json!(true);
    let project = "7a8b9c0d-1e2f-4a3b-8c5d-6e7f8a9b0c1d";
    let plain = rules(json!({"oidc.circleci.com/project-id": project}));
    assert!(!plain.admit(IssuerKind::Circleci, &claims));
    let named = rules(
        json!({"oidc.circleci.com/project-id": project, "oidc.circleci.com/ssh-rerun": true}),
    );
    assert!(named.admit(IssuerKind::Circleci, &claims));
}

#[test]
fn values_are_compared_by_their_text() {
    let fit = |wanted: Value, found: Value| {
        rules(json!({"a": wanted})).admit(IssuerKind::Other, &json!({"a": found}))
    };
    for (wanted, found) in [
        (json!("x"), json!("x")),
        (json!("1"), json!(1)),
        (json!(1), json!("1")),
        (json!(true), json!("true")),
        (json!("false"), json!(false)),
        (
            json!(18_446_744_073_709_551_615_u64),
            json!(18_446_744_073_709_551_615_u64),
        ),
        (json!(["x", "y"]), json!("y")),
        (json!("x"), json!(["w", "x"])),
        (json!("refs/heads/*"), json!("refs/heads/main")),
        (json!("refs/heads/**"), json!("refs/heads/a/b")),
        (json!("*"), json!("")),
        (json!("*"), json!("x".repeat(1000))),
        (json!(""), json!("")),
    ] {
        assert!(fit(wanted.clone(), found.clone()), "{wanted} {found}");
    }
    for (wanted, found) in [
        (json!("x"), json!("X")),
        (json!("1"), json!(1.0)),
        (json!("1.5"), json!(1.5)),
        (
            json!("18446744073709551616"),
            json!(18_446_744_073_709_551_616.0),
        ),
        (json!("null"), Value::Null),
        (json!("*"), Value::Null),
        (json!("*"), json!([])),
        (json!("*"), json!({})),
        (json!("*"), json!([["x"]])),
        (json!("[]"), json!([])),
        (json!("refs/heads/*"), json!("refs/heads/a/b")),
        (json!("x"), json!("x ")),
    ] {
        assert!(!fit(wanted.clone(), found.clone()), "{wanted} {found}");
    }
}

#[test]
fn rules_beyond_the_limits_say_which() {
    let long = "x".repeat(NAME + 1);
    let deep = "a.".repeat(PARTS);
    let many: Map<_, _> = (0..=CLAIMS)
        .map(|at| (format!("c{at}"), json!("x")))
        .collect();
    let large: Map<_, _> = (0..20)
        .map(|at| (format!("c{at}"), json!("x".repeat(VALUE))))
        .collect();
    for (wrong, why) in [
        (json!({"": "x"}), "1 to 256 bytes"),
        (json!({"a\nb": "x"}), "1 to 256 bytes"),
        (json!({long: "x"}), "1 to 256 bytes"),
        (json!({deep: "x"}), "17 parts"),
        (json!({"/a~2": "x"}), "no JSON pointer"),
        (json!({"aud": "x"}), "\"audience\""),
        (json!({"/iss": "x"}), "\"issuer\""),
        (json!({"exp": 1}), "always checked"),
        (json!({"a": []}), "0 values"),
        (json!({"a": vec!["x"; VALUES + 1]}), "51 values"),
        (json!({"a": 1.5}), "no text, whole number or boolean"),
        (json!({"a": null}), "no text, whole number or boolean"),
        (json!({"a": {"b": "x"}}), "no text, whole number or boolean"),
        (json!({"a": [["x"]]}), "no text, whole number or boolean"),
        (json!({"a": "x\u{0}"}), "without control characters"),
        (json!({"a": "x".repeat(VALUE + 1)}), "at most 512 bytes"),
        (json!({"a": "*x*x*x*x*"}), "5 wildcards"),
        (
            json!({"a": format!("{}*", "x".repeat(NAME_LENGTH))}),
            "1 wildcards in 257 bytes",
        ),
        (Value::Object(many), "33 members"),
        (Value::Object(large), "bytes of text"),
    ] {
        let told = refused(wrong.clone());
        assert!(told.contains(why), "{:.80}: {told}", wrong.to_string());
    }
    let told = refused(json!({"a": [], "b": 1.5}));
    assert!(told.contains("\"a\"") && told.contains("\"b\""), "{told}");
}

#[test]
fn one_audience_fits_and_no_other_beside_it() {
    let fits = |aud: Value| audience_verdict("us", &json!({"aud": aud})).fits;
    assert!(fits(json!("us")) && fits(json!(["us"])));
    for wrong in [
        json!("them"),
        json!(["us", "them"]),
        json!([]),
        json!([["us"]]),
        json!({"us": 1}),
        Value::Null,
        json!("US"),
    ] {
        assert!(!fits(wrong.clone()), "{wrong}");
    }
    assert!(!audience_verdict("us", &json!({})).fits);
    assert!(issuer_verdict("https://a", &json!({"iss": "https://a"})).fits);
    assert!(!issuer_verdict("https://a", &json!({"iss": "https://a/"})).fits);
}

#[test]
fn a_verdict_shows_the_beginning_of_a_claim_and_no_secret() {
    let claims = json!({"a": format!("{}\n", "x".repeat(1000)), "b": "whrt_0123456789abcdefghijklmnopqrstuvwxyzABC"});
    let verdicts = rules(json!({"a": "y", "b": "y"})).verdicts(IssuerKind::Other, &claims);
    let found: Vec<_> = verdicts
        .iter()
        .map(|verdict| verdict.found.clone().unwrap())
        .collect();
    assert_eq!(
        found,
        [
            format!("{}…", "x".repeat(SHOWN)),
            "whrt_[masked]".to_owned()
        ]
    );
}

#[test]
fn a_workload_is_named_by_the_claims_that_pin_it() {
    let named = |kind, claims: Value| identity(kind, &claims);
    let github = named(
        IssuerKind::Github,
        json!({"repository_id": "74", "repository_owner_id": 9, "sub": "x"}),
    );
    assert_eq!(
        github,
        [
            ("repository_id", "74".to_owned()),
            ("repository_owner_id", "9".to_owned())
        ]
    );
    assert_eq!(
        named(IssuerKind::Github, json!({"sub": "x"})),
        [("sub", "x".to_owned())]
    );
    assert_eq!(named(IssuerKind::Gitlab, json!({})), []);
}

#[test]
fn rules_at_the_limits_are_taken() {
    let most: Map<_, _> = (0..CLAIMS)
        .map(|at| (format!("c{at}"), json!("x")))
        .collect();
    // 16 names of one byte, each with a value that is as long as one may be but for its name.
    let largest: Map<_, _> = ('a'..='p')
        .map(|name| (name.to_string(), json!("x".repeat(VALUE - 1))))
        .collect();
    let wildcards = |count: usize| {
        let value = |at| json!(format!("x{at}*"));
        Map::from_iter([
            ("a".to_owned(), (0..VALUES).map(value).collect()),
            (
                "b".to_owned(),
                (VALUES..count).map(value).collect::<Value>(),
            ),
        ])
    };
    for right in [
        json!({"a": vec!["x"; VALUES]}),
        json!({"a": "x".repeat(VALUE)}),
        json!({"a": "*x*x*x*"}),
        json!({"a": format!("{}*", "x".repeat(NAME_LENGTH - 1))}),
        Value::Object(most),
        Value::Object(largest.clone()),
        Value::Object(wildcards(WILDCARD_VALUES)),
    ] {
        rules(right);
    }
    let mut larger = largest;
    larger["a"] = json!("x".repeat(VALUE));
    let told = refused(Value::Object(larger));
    assert!(told.contains("8193 bytes of text"), "{told}");
    let mut more = wildcards(WILDCARD_VALUES);
    more.insert("c".to_owned(), json!("*x"));
    let told = refused(Value::Object(more));
    assert!(told.contains("101 values with wildcards"), "{told}");
}
