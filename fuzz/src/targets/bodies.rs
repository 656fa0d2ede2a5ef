//! JSON bodies, each given to every reader. Accepted bodies keep the documented bounds, errors stay short, and no error
//! repeats a password.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::marks::{MARK, in_json};
use secrecy::ExposeSecret as _;
use wharfinger::domain::allow_list::AllowList;
use wharfinger::domain::labels::Labels;
use wharfinger::domain::patch::Patch;
use wharfinger::domain::registry::{Features, Schedule};
use wharfinger::domain::token_scope::Scope;
use wharfinger::error::{Error, Result};
use wharfinger::http::fuzzing::{quay, registries, stackrox};

/// The longest error, in bytes: 25 entries of a list, each shown in part and escaped.
const ERROR: usize = 32 * 1024;

/// Checks one input.
pub fn run(input: &[u8]) {
    send(input);
    if let Ok(text) = std::str::from_utf8(input) {
        let marked = in_json(text);
        if marked != text {
            for problem in send(marked.as_bytes()) {
                assert!(!problem.contains(MARK), "{problem} tells a password");
            }
        }
    }
}

/// Gives a body to all readers, and returns the texts from those that take a password.
fn send(body: &[u8]) -> Vec<String> {
    if let Some(new) = taken(registries::new_registry(body)) {
        let name = new.name.as_str();
        assert!((3..=63).contains(&name.len()), "{name}");
        check_schedule(new.schedule.as_ref());
        check_features(&new.features);
        check_list(&new.api_subnet_allow_list);
        check_description(new.description);
        new.labels.iter().for_each(check_labels);
    }
    if let Some(patch) = taken(registries::registry_patch(body)) {
        check_schedule(patch.schedule.value().as_ref());
        patch.features.iter().for_each(check_features);
        patch.api_subnet_allow_list.iter().for_each(check_list);
        check_description(patch.description);
        patch.labels.iter().for_each(check_labels);
    }
    if let Some(new) = taken(registries::new_token(body)) {
        let name = new.name.as_str();
        assert!((2..=63).contains(&name.len()), "{name}");
        check_description(new.description);
        new.labels.iter().for_each(check_labels);
        check_scopes(&new.scopes);
        new.allowed_cidrs.iter().for_each(check_list);
    }
    if let Some(patch) = taken(registries::token_patch(body)) {
        check_description(patch.description);
        patch.labels.iter().for_each(check_labels);
        patch.scopes.iter().for_each(|scopes| check_scopes(scopes));
        patch.allowed_cidrs.iter().for_each(check_list);
    }
    if let Some(question) = taken(registries::question(body)) {
        assert!(question.wanted.len() <= 100);
        assert!(
            question
                .wanted
                .iter()
                .all(|access| access.actions.len() <= 20)
        );
    }
    taken(registries::membership(body));
    if let Some(Some(filter)) = taken(registries::bulk_filter(body)) {
        assert!(filter.labels.len() <= 16 && filter.registries.len() <= 50);
        // It is stored with its run, and read again for each batch.
        let stored = serde_json::to_string(&filter).unwrap();
        assert_eq!(filter, serde_json::from_str(&stored).unwrap());
    }
    if let Some(new) = taken(registries::new_issuer(body)) {
        assert!(new.url.as_str().len() <= 512 && !new.algorithms.is_empty());
    }
    taken(registries::issuer_patch(body));
    if let Some(new) = taken(registries::new_trust(body)) {
        check_scopes(&new.scopes);
        check_list(&new.allowed_cidrs);
        new.audience.iter().for_each(|text| check_text(text, 256));
    }
    if let Some(patch) = taken(registries::trust_patch(body)) {
        patch.scopes.iter().for_each(|scopes| check_scopes(scopes));
        patch.allowed_cidrs.iter().for_each(check_list);
    }
    taken(registries::trust_question(body));
    if let Some(title) = taken(quay::title(body)) {
        check_text(title.as_str(), 255);
    }
    if let Some(wish) = taken(stackrox::wish(body))
        && let Ok(roles) = wish.roles()
    {
        check_text(&wish.name, 1024);
        assert!(roles.len() <= 100);
    }

    let mut problems = Vec::new();
    let account = registries::new_account(body);
    problems.extend(problem(&account));
    if let Some(new) = taken(account) {
        check_text(new.name.as_str(), 255);
        check_description(new.description.into());
        if let Some(password) = new.password {
            check_password(password.secret().expose_secret());
        }
    }
    let patch = registries::account_patch(body);
    problems.extend(problem(&patch));
    if let Some(password) = taken(patch).and_then(|patch| patch.password) {
        check_password(password.secret().expose_secret());
    }
    let credentials = quay::credentials(body);
    problems.extend(problem(&credentials));
    taken(credentials);
    problems
}

/// The error, or the debug output of the body that was read, as a log would show either.
fn problem<T: Debug>(read: &Result<T>) -> Option<String> {
    Some(match read {
        Ok(command) => format!("{command:?}"),
        Err(error) => format!("{error} {error:?}"),
    })
}

/// The command, if there is one. A body is at fault in no other way than that it is invalid.
fn taken<T>(read: Result<T>) -> Option<T> {
    match read {
        Ok(command) => Some(command),
        Err(error) => {
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            let length = error.to_string().len();
            assert!(length <= ERROR, "an error of {length} bytes");
            None
        }
    }
}

fn check_description(description: Patch<String>) {
    let text = description.value().unwrap_or_default();
    assert!(
        text.chars().count() <= 200 && !text.chars().any(char::is_control),
        "{text:?}"
    );
}

fn check_labels(labels: &Labels) {
    let text = serde_json::to_string(labels).unwrap();
    let sent: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    assert!(sent.len() <= 16, "{text}");
    let short = |(name, value): (&String, &String)| name.len() <= 317 && value.len() <= 63;
    assert!(sent.iter().all(short), "{text}");
}

fn check_schedule(schedule: Option<&Schedule>) {
    if let Some(schedule) = schedule {
        assert!(schedule.days.len() <= 7, "{schedule:?}");
        assert!(schedule.time.len() <= 32, "{schedule:?}");
    }
}

fn check_features(features: &Features) {
    let properties = &features.vulnerability_scanning.properties;
    let length = properties.as_ref().map_or(0, |properties| {
        serde_json::to_string(properties).expect("it is JSON").len()
    });
    assert!(length <= 4096);
}

fn check_list(list: &AllowList) {
    assert!(list.entries().len() <= 25);
}

fn check_scopes(scopes: &[Scope]) {
    assert!(scopes.len() <= 100);
    let mut length = 0;
    for scope in scopes {
        assert!(scope.actions.len() <= 20);
        for text in scope.actions.iter().chain([&scope.name, &scope.r#type]) {
            check_text(text, 256);
            length += text.len();
        }
    }
    assert!(length <= 16 * 1024);
}

fn check_password(password: &str) {
    assert!(password.chars().count() >= 8 && password.len() <= 71);
    check_text(password, 71);
}

fn check_text(text: &str, most: usize) {
    assert!(text.chars().count() <= most && !text.chars().any(char::is_control));
}
