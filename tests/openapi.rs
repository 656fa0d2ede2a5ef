//! The OpenAPI documents: generated, committed, complete, and true to the document that the registries API follows.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use rstest::rstest;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use wharfinger::http::{document_json, document_names};

use crate::harness::{Backend, Server};

/// The document of all surfaces.
pub fn document() -> Value {
    as_served(&wharfinger::http::document())
}

/// The document of one surface.
pub fn document_of(name: &str) -> Value {
    as_served(&wharfinger::http::document_of(name).unwrap())
}

fn as_served(document: &OpenApi) -> Value {
    serde_json::from_str(&document_json(document)).unwrap()
}

/// The printed documents by the program's argument, which is empty for the document of all surfaces.
fn generated() -> Vec<(&'static str, String)> {
    let surfaces =
        document_names().map(|name| (name, wharfinger::http::document_of(name).unwrap()));
    std::iter::once(("", wharfinger::http::document()))
        .chain(surfaces)
        .map(|(name, document)| (name, document_json(&document)))
        .collect()
}

/// The same in OpenAPI 3.0.
fn generated_30() -> Vec<(&'static str, String)> {
    let surfaces =
        document_names().map(|name| (name, wharfinger::http::document_of(name).unwrap()));
    surfaces
        .chain([("wharfinger", wharfinger::http::document())])
        .map(|(name, document)| (name, wharfinger::http::document_json_30(&document)))
        .collect()
}

/// Every operation as (method, path, its object in the document).
pub fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| {
                    (method.to_uppercase(), path.clone(), operation.clone())
                })
        })
        .collect()
}

#[test]
fn the_committed_documents_are_the_generated_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi");
    let mut files = BTreeSet::new();
    for (name, generated) in generated() {
        let file = format!("{}.json", if name.is_empty() { "wharfinger" } else { name });
        let committed = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
        assert!(
            committed == generated,
            "openapi/{file} is not what the code generates. If the change is meant, run: \
             cargo run openapi {name} > openapi/{file}"
        );
        files.insert(file);
    }
    let found: BTreeSet<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, files, "what generates the others?");
}

/// Every reference in a value.
pub fn references(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| match member {
                Value::String(reference) if name == "$ref" => [reference.clone()].into(),
                member => references(member),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}

#[test]
fn every_reference_resolves() {
    for (name, document) in generated() {
        let document: Value = serde_json::from_str(&document).unwrap();
        let found = references(&document);
        assert!(!found.is_empty(), "{name:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(
                document.pointer(pointer).is_some(),
                "{name:?}: {reference} leads nowhere"
            );
        }
    }
}

/// Calls `visit` with every object in a value and the path to it.
fn each_object(place: &str, value: &Value, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(place, members);
            for (name, member) in members {
                each_object(&format!("{place}/{name}"), member, visit);
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(place, item, visit);
            }
        }
        _ => {}
    }
}

/// openapi-generator makes of each schema a type and a function `New…`, in Go, where the words of all enums have one
/// name space with them.
#[test]
fn no_two_names_of_a_document_are_one_in_go() {
    for (name, document) in generated() {
        let document: Value = serde_json::from_str(&document).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut taken = BTreeSet::new();
        for (schema, said) in schemas {
            let words = said["x-enum-varnames"].as_array();
            let words = words.or(said["enum"].as_array()).into_iter().flatten();
            let words = words.map(|word| word.as_str().unwrap().to_uppercase());
            for taking in words.chain([schema.clone(), format!("New{schema}")]) {
                assert!(
                    taken.insert(taking.clone()),
                    "{name:?}: {schema} takes {taking}"
                );
            }
        }
    }
}

/// PHP and Go know no `\u` in a pattern, and Ruby reads `\x80` as a byte, which no text in UTF-8 has alone. A choice of
/// words is an `enum`, of which generators make a type.
#[test]
fn patterns_are_read_in_every_language_and_are_no_lists_of_words() {
    let words = |pattern: &str| {
        let inner = pattern
            .strip_prefix("^(")
            .and_then(|rest| rest.strip_suffix(")$"));
        inner.is_some_and(|inner| {
            inner
                .chars()
                .all(|c| c.is_alphanumeric() || "|_-".contains(c))
        })
    };
    let mut found = 0;
    each_object("", &document(), &mut |place, members| {
        if let Some(Value::String(pattern)) = members.get("pattern") {
            let mut bytes = pattern.split("\\x").skip(1);
            let high = bytes.any(|byte| u8::from_str_radix(&byte[..2], 16).unwrap() > 0x7F);
            assert!(
                !high && !pattern.contains("\\u") && !words(pattern),
                "{place}: {pattern}"
            );
            found += 1;
        }
    });
    assert!(found > 50, "{found}");
    let parameter = |path: &str, name: &str| {
        let operation = &document()["paths"][path]["get"];
        let parameters = operation["parameters"].as_array().unwrap();
        let found = parameters
            .iter()
            .find(|parameter| parameter["name"] == name);
        found.unwrap()["schema"]["enum"].clone()
    };
    let outcomes = json!(["success", "unauthenticated", "forbidden", "throttled"]);
    assert_eq!(parameter("/audit", "outcome"), outcomes);
    let kinds = parameter("/audit", "kind");
    assert_eq!(kinds.as_array().unwrap().last().unwrap(), "refuse");
    let products = json!(["distribution2", "distribution3", "zot"]);
    assert_eq!(
        parameter("/registries/{registryId}/auth-config", "for"),
        products
    );
}

/// Schemas and members that are always sent, and not promised: cells of the product's documents say that they are
/// optional, or requests have the same schema and may leave them out.
const UNPROMISED: [(&str, &str); 7] = [
    ("TokenResponse", "id"),
    ("TokenResponse", "type"),
    ("TokenResponse", "href"),
    ("TokensResponse", "id"),
    ("TokensResponse", "type"),
    ("TokensResponse", "href"),
    ("RegistryFeatures", "vulnerabilityScanning"),
];

/// The names of the schemas that a value refers to, and of those that these refer to.
fn schemas_below(document: &Value, value: &Value, found: &mut BTreeSet<String>) {
    for reference in references(value) {
        let below = document.pointer(&reference[1..]).unwrap();
        if let Some(name) = reference.strip_prefix("#/components/schemas/")
            && !found.insert(name.to_owned())
        {
            continue;
        }
        schemas_below(document, below, found);
    }
}

#[test]
fn members_that_are_always_sent_are_required() {
    let document = document();
    let mut sent = BTreeSet::new();
    for (.., operation) in operations(&document) {
        schemas_below(&document, &operation["responses"], &mut sent);
    }
    let mut unpromised = BTreeSet::new();
    for schema in sent {
        let said = &document["components"]["schemas"][&schema];
        let required = said["required"].as_array().cloned().unwrap_or_default();
        for (member, property) in said["properties"].as_object().into_iter().flatten() {
            let words = property["description"]
                .as_str()
                .unwrap_or_default()
                .to_lowercase();
            let rare = ["absent", "only in", "where it is set"]
                .iter()
                .any(|word| words.contains(word));
            if !required.contains(&json!(member)) && !rare {
                unpromised.insert((schema.clone(), member.clone()));
            }
        }
    }
    let expected = UNPROMISED.map(|(schema, member)| (schema.to_owned(), member.to_owned()));
    assert_eq!(unpromised, expected.into());
}

/// The effect of null on each member of a PATCH that takes it.
#[actix_web::test]
async fn null_in_a_patch_does_what_the_document_says() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let registry = admin.create_registry("held").await;
    let path = format!("/registries/{registry}");
    let full = json!({
        "garbageCollectionSchedule": {"days": ["Sunday"], "time": "04:00:00Z"},
        "apiSubnetAllowList": ["10.0.0.0/8"], "labels": {"a": "b"},
    });
    let token = json!({
        "name": "ci", "allowedCidrs": ["10.1.0.0/16"], "labels": {"a": "b"},
        "scopes": [{"actions": ["pull"], "name": "a/b", "type": "repository"}],
    });
    let token = admin.mint_with(&registry, token).await.path;
    let document = document_of("registries");
    let mut removed = BTreeSet::new();
    for (schema, path, given) in [
        ("PatchTokenInput", &token, json!({})),
        ("PatchRegistryInput", &path, full),
    ] {
        let given = admin.patch(path, given).await;
        assert_eq!(given.status, 200, "{given:?}");
        let members = &document["components"]["schemas"][schema]["properties"];
        for (name, property) in members.as_object().unwrap() {
            let nullable = property["type"][1] == "null" || property["oneOf"][1]["type"] == "null";
            if !nullable {
                continue;
            }
            if let example @ Value::String(_) = &property["example"] {
                let held = admin.get(path).await.json["properties"].clone();
                let set = admin.patch(path, json!({name: example})).await;
                assert_eq!(set.status, 200, "{name}: {set:?}");
                for (other, value) in held.as_object().unwrap() {
                    let changed = &set.json["properties"][other];
                    assert!(other == name || changed == value, "{name} changed {other}");
                }
            }
            let before = admin.get(path).await.json["properties"].clone();
            assert!(!before[name].is_null(), "{name}");
            let answer = admin.patch(path, json!({name: null})).await;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            let words = [property, &property["oneOf"][0]].map(|said| said["description"].as_str());
            let words = words.into_iter().flatten().next().unwrap_or_default();
            if answer.json["properties"][name].is_null() {
                assert!(
                    words.contains("null") && words.contains("absent leaves"),
                    "{name}: {words}"
                );
                removed.insert(name.clone());
            } else {
                assert_eq!(answer.json["properties"], before, "{name}");
                assert!(words.contains("null and absent leave"), "{name}: {words}");
            }
        }
    }
    for member in [
        "expiryDate",
        "garbageCollectionSchedule",
        "maximumTokenLife",
    ] {
        assert!(removed.contains(member), "{member} is not in {removed:?}");
    }
}

/// Counts the members of this name in a value, at any depth.
fn count_members(value: &Value, name: &str) -> usize {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(own, member)| usize::from(own == name) + count_members(member, name))
            .sum(),
        Value::Array(items) => items.iter().map(|item| count_members(item, name)).sum(),
        _ => 0,
    }
}

/// Clients by openapi-generator send credentials to the server of a path, even if their user configured another host.
#[test]
fn servers_are_named_at_the_top_of_a_document_alone() {
    for (name, document) in generated() {
        let document: Value = serde_json::from_str(&document).unwrap();
        let urls: Vec<_> = document["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|server| server["url"].as_str().unwrap())
            .collect();
        let expected = match name {
            "registries" => &["/", "/containerregistries"][..],
            _ => &["/"],
        };
        assert_eq!(urls, expected, "{name:?}");
        assert_eq!(count_members(&document, "servers"), 1, "{name:?}");
    }
}

#[actix_web::test]
async fn servers_are_below_the_public_url() {
    let flags = ["--public-url", "https://cr.example.com/wharf/"];
    let server = Server::start_with(Backend::Sqlite, &flags).await;
    let bare = "https://cr.example.com/wharf";
    let prefixed = format!("{bare}/containerregistries");
    for (path, expected) in [
        ("/openapi.json", &[bare][..]),
        ("/openapi/quay.json", &[bare]),
        ("/openapi/registries.json", &[bare, &prefixed]),
        ("/openapi/3.0/wharfinger.json", &[bare]),
        ("/openapi/3.0/registries.json", &[bare, &prefixed]),
    ] {
        let document = server.anonymous().get(path).await.json;
        let servers = document["servers"].as_array().unwrap().iter();
        let urls: Vec<_> = servers.map(|server| &server["url"]).collect();
        assert_eq!(urls, expected, "{path}");
        assert_eq!(count_members(&document, "servers"), 1, "{path}");
    }
}

/// The operations, and what they promise, are the same, but for 304; the validator of the stage `documents` reads the rest.
#[test]
fn documents_of_openapi_30_have_all_that_those_of_31_have() {
    let names = |schema: &Value| -> BTreeSet<String> {
        let members = schema["properties"].as_object().into_iter().flatten();
        members.map(|(name, _)| name.clone()).collect()
    };
    for (name, older) in generated_30() {
        let older: Value = serde_json::from_str(&older).unwrap();
        assert_eq!(older["openapi"], "3.0.3", "{name}");
        let newer = match name {
            "wharfinger" => document(),
            name => document_of(name),
        };
        let told = |document: &Value| -> Vec<_> {
            let operations = operations(document).into_iter();
            let told = |(method, path, operation): (_, _, Value)| {
                let statuses = operation["responses"].as_object().unwrap().keys();
                let statuses = statuses.filter(|status| *status != "304" && *status != "5XX");
                let statuses = statuses.map(|status| status.replace("default", "4XX"));
                (
                    method,
                    path,
                    operation["operationId"].clone(),
                    statuses.collect::<BTreeSet<_>>(),
                )
            };
            operations.map(told).collect()
        };
        assert_eq!(told(&older), told(&newer), "{name}");
        let schemas = |document: &Value| {
            document["components"]["schemas"]
                .as_object()
                .unwrap()
                .clone()
        };
        let (older, newer) = (schemas(&older), schemas(&newer));
        for (schema, said) in &newer {
            assert_eq!(names(&older[schema]), names(said), "{name}: {schema}");
            assert_eq!(
                older[schema]["required"], said["required"],
                "{name}: {schema}"
            );
        }
        each_object(name, &json!(older), &mut |place, members| {
            for keyword in ["const", "propertyNames"] {
                assert!(!members.contains_key(keyword), "{place}: {keyword}");
            }
            let kind = members.get("type").unwrap_or(&Value::Null);
            assert!(
                !kind.is_array() && kind != "null" || place.contains("/example"),
                "{place}: {kind}"
            );
        });
        let expiry = older
            .get("PatchTokenInput")
            .map(|schema| &schema["properties"]["expiryDate"]);
        assert!(
            expiry.is_none_or(|expiry| expiry["nullable"] == true),
            "{name}"
        );
    }
}

/// The names of the security schemes that requirements ask for.
fn schemes(requirements: &Value) -> impl Iterator<Item = String> {
    let requirements = requirements.as_array().into_iter().flatten();
    requirements.flat_map(|requirement| requirement.as_object().unwrap().keys().cloned())
}

#[test]
fn the_document_of_a_surface_stands_alone() {
    let whole = document();
    let mut paths = BTreeSet::new();
    let mut titles = BTreeSet::from([whole["info"]["title"].to_string()]);
    for name in document_names() {
        let document = document_of(name);
        assert!(
            titles.insert(document["info"]["title"].to_string()),
            "{name}"
        );
        for member in ["version", "license", "contact"] {
            assert_eq!(document["info"][member], whole["info"][member], "{name}");
        }

        let mut tags = BTreeSet::new();
        let mut demanded: BTreeSet<_> = schemes(&document["security"]).collect();
        let mut inherits = false;
        for (method, path, operation) in operations(&document) {
            let place = format!("{name}: {method} {path}");
            let there = &whole["paths"][&path];
            let mut there = there[method.to_lowercase()].clone();
            // Of the schemes, that document offers two.
            if path == "/secret-scanning/report" || name == "quay" {
                there["security"] = operation["security"].clone();
            }
            assert_eq!(there, operation, "{place}");
            let security = operation.get("security");
            demanded.extend(schemes(security.unwrap_or(&document["security"])));
            inherits |= security.is_none();
            tags.extend(
                operation["tags"]
                    .as_array()
                    .unwrap()
                    .clone()
                    .into_iter()
                    .map(|tag| tag.to_string()),
            );
            paths.insert(path);
        }
        assert_eq!(document.get("security").is_some(), inherits, "{name}");

        // Nothing is missing, and nothing is of another surface.
        let told = document["tags"].as_array().unwrap();
        let told: BTreeSet<_> = told.iter().map(|tag| tag["name"].to_string()).collect();
        assert_eq!(told, tags, "{name}");
        let components = document["components"].as_object().unwrap();
        let mut listed = BTreeSet::new();
        for (kind, members) in components {
            let names = members.as_object().unwrap().keys();
            if kind == "securitySchemes" {
                assert_eq!(names.cloned().collect::<BTreeSet<_>>(), demanded, "{name}");
            } else {
                listed.extend(names.map(|name| format!("#/components/{kind}/{name}")));
            }
        }
        assert_eq!(references(&document), listed, "{name}");
    }
    let all: BTreeSet<_> = whole["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(paths, all);
}

fn is_quays(path: &str) -> bool {
    let mut starts = ["/api/v1/", "/oauth2/federation/"].iter();
    starts.any(|start| path.starts_with(start)) || path == "/csrf_token"
}

/// The members that a schema of the registries API has.
pub fn members_of(schema: &str) -> BTreeSet<String> {
    let document = document_of("registries");
    let members = &document["components"]["schemas"][schema]["properties"];
    members.as_object().unwrap().keys().cloned().collect()
}

/// The target of a reference. Any other value is returned as is.
pub fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

/// As in StackRox's documents: one success, and one error for everything else.
fn check_answers_of_stackrox(place: &str, responses: &Map<String, Value>) {
    let told: Vec<_> = responses.keys().collect();
    assert_eq!(told, ["200", "default"], "{place}");
    assert_eq!(
        responses["default"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/GooglerpcStatus",
        "{place}"
    );
    for response in responses.values() {
        let example = &response["content"]["application/json"]["example"];
        assert!(example.is_object(), "{place}: {response}");
    }
}

/// The errors that an operation has to tell of.
fn expected_errors(method: &str, path: &str, operation: &Value) -> Vec<&'static str> {
    if is_quays(path) {
        // Held in documents.rs, against the product's document.
        return Vec::new();
    }
    let mut expected = vec!["400", "401", "429", "500", "503"];
    if !is_registry_access(operation) || path == "/v2/check" {
        expected.push("403");
    }
    if operation.get("requestBody").is_some() {
        expected.extend(["408", "413", "415"]);
    }
    if path.contains("{registryId}/tokens")
        || path.contains("{accountId}")
        || (path.contains("{registryId}") && method != "PUT")
    {
        expected.push("404");
    }
    expected
}

/// One surface has another shape of errors, and says 403 in one place only.
fn is_registry_access(operation: &Value) -> bool {
    operation["tags"] == json!(["Registry access"])
}

fn check_error(place: &str, status: &str, operation: &Value, response: &Value) {
    if !place.starts_with("HEAD ") {
        let content = &response["content"]["application/json"];
        let (schema, example) = (&content["schema"]["$ref"], &content["example"]);
        if is_registry_access(operation) {
            assert_eq!(schema, "#/components/schemas/OciErrors", "{place} {status}");
            assert!(example["errors"][0]["code"].is_string(), "{place} {status}");
        } else {
            let shape = "#/components/schemas/ApiErrorResponse";
            assert_eq!(schema, shape, "{place} {status}");
            assert_eq!(example["httpStatus"].to_string(), status, "{place}");
        }
    }
    let header = match status {
        "401" => "WWW-Authenticate",
        "429" | "503" => "Retry-After",
        _ => return,
    };
    let example = &response["headers"][header]["example"];
    assert!(!example.is_null(), "{place} {status} lacks {header}");
}

/// Checks that every body of success or of a request, and every parameter, is shown by an example.
fn check_examples(place: &str, operation: &Value) {
    let responses = operation["responses"].as_object().unwrap();
    let success = responses
        .iter()
        .filter(|(status, _)| status.starts_with('2'))
        .map(|(_, response)| response);
    for body in success.chain(operation.get("requestBody")) {
        for (kind, content) in body["content"].as_object().into_iter().flatten() {
            let example = &content["example"];
            assert!(
                example.is_object()
                    || example.is_array()
                    || (kind != "application/json" && example.is_string()),
                "{place} has a body of {kind} without an example"
            );
        }
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        assert!(parameter["description"].is_string(), "{place} {name}");
        // Pages that try operations would send the example of an optional parameter.
        let optional = parameter["in"] == "query" && parameter["required"] != true;
        let shown = !optional && !UNKNOWN_BEFORE.contains(&name);
        assert_eq!(!parameter["example"].is_null(), shown, "{place} {name}");
    }
}

#[test]
fn every_operation_is_complete() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{place}");
        for text in ["summary", "description"] {
            let told = operation[text].as_str();
            assert!(
                told.is_some_and(|text| !text.is_empty()),
                "{place} has no {text}"
            );
        }
        let responses = operation["responses"].as_object().unwrap();
        if path.starts_with("/v1/") {
            check_answers_of_stackrox(&place, responses);
            continue;
        }
        for status in expected_errors(&method, &path, &operation) {
            let response = responses.get(status);
            let response = response.unwrap_or_else(|| panic!("{place} lacks {status}"));
            check_error(&place, status, &operation, resolve(&document, response));
        }
        check_examples(&place, &operation);
    }
    assert_eq!(
        document["security"],
        json!([{"basicAuth": []}, {"bearerAuth": []}])
    );
    for scheme in ["basic", "bearer"] {
        assert_eq!(
            document["components"]["securitySchemes"][format!("{scheme}Auth")]["scheme"],
            scheme
        );
    }
}

/// Headers without an example: only values from an answer, or made anew each time, are of use.
const UNKNOWN_BEFORE: [&str; 3] = ["If-Match", "If-None-Match", "Idempotency-Key"];

#[actix_web::test]
async fn every_document_is_served() {
    let server = Server::start(Backend::Sqlite).await;
    let anonymous = server.anonymous();
    let older = generated_30().into_iter();
    for (path, document) in generated()
        .into_iter()
        .map(|(name, document)| {
            let path = match name {
                "" => "/openapi.json".to_owned(),
                name => format!("/openapi/{name}.json"),
            };
            (path, document)
        })
        .chain(older.map(|(name, document)| (format!("/openapi/3.0/{name}.json"), document)))
    {
        for method in [Method::GET, Method::HEAD] {
            let is_head = method == Method::HEAD;
            let served = anonymous.send(anonymous.request(method, &path)).await;
            assert_eq!(
                (served.status, served.header("content-type")),
                (200, "application/json"),
                "{path}"
            );
            let text = if is_head { "" } else { &document };
            assert!(served.text == text, "{path}: {}", served.text);
        }
        let refused = anonymous.send(anonymous.request(Method::POST, &path)).await;
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, "GET, HEAD")
        );
    }
    for path in [
        "/openapi/nope.json",
        "/openapi/",
        "/openapi/stackrox",
        "/openapi/wharfinger.json",
        "/openapi/3.0/nope.json",
        "/openapi/3.1/quay.json",
    ] {
        let refused = anonymous.get(path).await;
        assert_eq!(refused.status, 404, "{path}");
        assert_eq!(
            refused.json["messages"][0]["errorCode"], "path-not-found",
            "{path}"
        );
    }
}

#[actix_web::test]
async fn the_page_has_every_document_to_choose_from() {
    let server = Server::start(Backend::Sqlite).await;
    let anonymous = server.anonymous();
    let settings = anonymous.get("/docs/swagger-initializer.js").await.text;
    let urls: Vec<_> = settings
        .split("\"url\": \"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let mut expected = vec!["../openapi.json".to_owned()];
    expected.extend(document_names().map(|name| format!("../openapi/{name}.json")));
    assert_eq!(urls, expected, "{settings}");
    for setting in [
        "\"layout\": \"StandaloneLayout\"",
        "\"queryConfigEnabled\": false",
        "\"persistAuthorization\": false",
        "\"validatorUrl\": \"none\"",
    ] {
        assert!(settings.contains(setting), "{setting}: {settings}");
    }
}

#[rstest]
#[actix_web::test]
async fn every_operation_is_served_with_and_without_the_prefix(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let scanner = [
        "--secret-scanning-token",
        "a-secret-scanner-that-never-comes",
    ];
    let server = Server::start_with(backend, &scanner).await;
    let anonymous = server.anonymous();
    for (method, path, operation) in operations(&document()) {
        let path = path.replace("{registryId}", "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11");
        let path = path
            .replace("{tokenId}", "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10")
            .replace("{accountId}", "7ee77dcf-093f-48e6-9a14-161c73568589")
            .replace("{name}", "team-a");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for prefix in ["", "/containerregistries"] {
            let answer = anonymous
                .send(anonymous.request(method.clone(), &format!("{prefix}{path}")))
                .await;
            // Paths outside the registries API have no prefix. Each refuses an empty request in its own way.
            let expected: &[u16] = match (operation["tags"][0].as_str(), prefix) {
                (Some("Registry access"), "") => &[400, 401, 415],
                (Some("Registry access"), _) => &[404],
                (Some("PingService"), "") => &[200],
                (Some("user"), "") => &[200, 403],
                _ if is_quays(&path) && !prefix.is_empty() => &[404],
                (Some("error"), _) => &[404],
                (Some("APITokenService" | "AuthService" | "PingService"), _)
                    if !prefix.is_empty() =>
                {
                    &[404]
                }
                _ => &[401],
            };
            assert!(
                expected.contains(&answer.status),
                "{method} {prefix}{path}: {answer:?}"
            );
        }
    }
}

/// A token operation in the product's public document: method, path, operation id (of the product's SDKs), summary,
/// description, parameters as (name, place, required, schema), request schema, success statuses.
struct Seed {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Empty where the product's document has none: ours is then our own.
    description: &'static str,
    /// The token's id has the format `uuid`.
    token_format: bool,
    success: &'static [&'static str],
}

const TOKENS: &str = "/registries/{registryId}/tokens";
const TOKEN: &str = "/registries/{registryId}/tokens/{tokenId}";

const SEEDS: [Seed; 6] = [
    Seed {
        method: "GET",
        path: TOKENS,
        id: "registriesTokensGet",
        summary: "List all tokens for the container registry",
        description: "",
        token_format: true,
        success: &["200"],
    },
    Seed {
        method: "POST",
        path: TOKENS,
        id: "registriesTokensPost",
        summary: "Create token",
        description: "Create a token\n\n* password is only available once in the POST response",
        token_format: true,
        success: &["201"],
    },
    Seed {
        method: "GET",
        path: TOKEN,
        id: "registriesTokensFindById",
        summary: "Get token information",
        description: "Gets all information for a specific token used to access a container registry",
        token_format: true,
        success: &["200"],
    },
    Seed {
        method: "PUT",
        path: TOKEN,
        id: "registriesTokensPut",
        summary: "Create or replace token",
        description: "Create/replace a token\n\n* password is only available once in the create response\n\n* \"name\" cannot be changed",
        token_format: false,
        success: &["200", "201"],
    },
    Seed {
        method: "DELETE",
        path: TOKEN,
        id: "registriesTokensDelete",
        summary: "Delete token",
        description: "",
        token_format: true,
        success: &["204"],
    },
    Seed {
        method: "PATCH",
        path: TOKEN,
        id: "registriesTokensPatch",
        summary: "Update token",
        description: "Update token properties, for example:\n\n* change status to 'enabled' or 'disabled'\n\n* change expiry date",
        token_format: true,
        success: &["200"],
    },
];

const ID_PATTERN: &str = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$";

/// Parameters that the product's operations do not have.
const OWN_PARAMETERS: [&str; 15] = [
    "canOpen",
    "carries",
    "createdAfter",
    "createdBefore",
    "createdBy",
    "description",
    "expiredSince",
    "expiringWithin",
    "label",
    "name",
    "neverUsed",
    "orderBy",
    "pagination.token",
    "state",
    "unusedSince",
];

fn parameter(name: &str, place: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": place, "description": description, "required": place == "path", "schema": schema})
}

#[test]
fn the_token_operations_are_those_of_the_product() {
    let document = document();
    let tag = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tag| tag["name"] == "Tokens")
        .unwrap();
    assert_eq!(
        tag["description"],
        "Define access permissions to registry resources\n\nThis tag groups all operations for tokens."
    );
    // The product's text mentions base64, which readers of Swagger UI do not need.
    let basic = &document["components"]["securitySchemes"]["basicAuth"];
    assert_eq!(basic["scheme"], "basic");
    let tagged = operations(&document)
        .into_iter()
        .filter(|(.., operation)| operation["tags"][0] == "Tokens")
        .count();
    assert_eq!(tagged, SEEDS.len() + OWN_OPERATIONS.len());
    for seed in &SEEDS {
        let operation = &document["paths"][seed.path][seed.method.to_lowercase()];
        let place = format!("{} {}", seed.method, seed.path);
        assert_eq!(operation["operationId"], seed.id, "{place}");
        assert_eq!(operation["summary"], seed.summary, "{place}");
        if !seed.description.is_empty() {
            assert_eq!(operation["description"], seed.description, "{place}");
        }
        let mut parameters = vec![parameter(
            "registryId",
            "path",
            "The unique ID of the registry",
            json!({"type": "string", "format": "uuid", "pattern": ID_PATTERN}),
        )];
        if seed.path == TOKEN {
            let mut schema = json!({"type": "string", "pattern": ID_PATTERN});
            if seed.token_format {
                schema["format"] = json!("uuid");
            }
            parameters.push(parameter(
                "tokenId",
                "path",
                "The unique ID of the token",
                schema,
            ));
        }
        if seed.method == "GET" && seed.path == TOKENS {
            // The patterns are ours: the product's schema does not say which strings are numbers.
            let offset = "The first element (from the complete list of the elements) to include in the response (used together with limit for pagination)";
            let limit = "The maximum number of elements to return (used together with offset for pagination)";
            parameters.push(parameter(
                "offset",
                "query",
                offset,
                json!({"type": "string", "default": "0", "pattern": "^0*[0-9]{1,18}$"}),
            ));
            parameters.push(parameter(
                "limit",
                "query",
                limit,
                json!({"type": "string", "default": "100", "pattern": "^0*([0-9]{1,3}|1000)$"}),
            ));
        }
        let mut served = operation["parameters"].clone();
        let served = served.as_array_mut().unwrap();
        // The product knows no states: whatever is asked for by header is ours.
        served.retain(|parameter| {
            parameter["in"] != "header"
                && !OWN_PARAMETERS.contains(&parameter["name"].as_str().unwrap())
        });
        for parameter in &mut *served {
            parameter.as_object_mut().unwrap().remove("example");
        }
        assert_eq!(*served, parameters, "{place}");
        let success: Vec<_> = operation["responses"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|status| status.starts_with('2'))
            .collect();
        assert_eq!(success, seed.success, "{place}");
        assert_eq!(
            operation.get("requestBody").is_some(),
            matches!(seed.method, "POST" | "PUT" | "PATCH"),
            "{place}"
        );
    }
}

/// Swagger UI shows a form for each scheme of the first document, and a person has use for two.
#[test]
fn the_document_of_all_surfaces_offers_basic_and_bearer_alone() {
    let document = document();
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    assert_eq!(
        schemes.keys().collect::<Vec<_>>(),
        ["basicAuth", "bearerAuth"]
    );
    let report = &document["paths"]["/secret-scanning/report"]["post"];
    assert_eq!(report["security"], json!([{"bearerAuth": []}]));
    for (method, path, operation) in operations(&document) {
        for demand in operation["security"].as_array().into_iter().flatten() {
            for scheme in demand.as_object().unwrap().keys() {
                assert!(schemes.contains_key(scheme), "{method} {path}: {scheme}");
            }
        }
    }
}

#[test]
fn quays_errors_have_examples_and_no_headers() {
    let document = document_of("quay");
    let mut found = 0;
    for (_, path, operation) in operations(&document) {
        if operation["tags"] != json!(["appspecifictokens"]) {
            continue;
        }
        for status in ["400", "401", "403", "404"] {
            let response = resolve(&document, &operation["responses"][status]);
            let example = &response["content"]["application/json"]["example"];
            assert_eq!(example["status"].to_string(), status, "{path}");
            assert_eq!(response.get("headers"), None, "{path} {status}");
            found += 1;
        }
    }
    assert_eq!(found, 4 * 4);
    let scheme = &document["components"]["securitySchemes"]["oauth2_implicit"];
    assert_eq!(scheme["type"], "oauth2");
    assert!(scheme["flows"]["implicit"]["scopes"]["user:admin"].is_string());
}

/// The operations that Quay's page on app tokens does not have, with all of their statuses.
const QUAY_OPERATIONS: [(&str, &str, &str, &[&str]); 5] = [
    (
        "get",
        "/api/v1/superuser/apptokens",
        "listAllAppTokens",
        &["200", "400", "401", "403", "404", "429", "500", "503"],
    ),
    ("get", "/csrf_token", "getCsrfToken", &["200", "500", "503"]),
    (
        "post",
        "/api/v1/signin",
        "signinUser",
        &[
            "200", "400", "403", "408", "413", "415", "429", "500", "503",
        ],
    ),
    (
        "post",
        "/api/v1/signout",
        "logout",
        &["200", "403", "500", "503"],
    ),
    (
        "get",
        "/api/v1/error/{error_type}",
        "getErrorDescription",
        &["200", "404", "500", "503"],
    ),
];

#[test]
fn what_else_quay_serves_is_in_the_document() {
    let document = document();
    for (method, path, id, statuses) in QUAY_OPERATIONS {
        let operation = &document["paths"][path][method];
        assert_eq!(operation["operationId"], id);
        let told: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
        assert_eq!(told, statuses, "{id}");
    }
    for (method, path, operation) in operations(&document) {
        if !is_quays(&path) {
            continue;
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            let place = format!("{method} {path} {status}");
            let example = &response["content"]["application/json"]["example"];
            assert_eq!(example.is_object(), status != "204", "{place}");
            let retry = matches!(status.as_str(), "429" | "503");
            assert_eq!(
                response["headers"]["Retry-After"].is_object(),
                retry,
                "{place}"
            );
        }
    }
}

/// The members that the product's document shows, as (schema, member, type, format, required).
const MEMBERS: [(&str, &str, &str, Option<&str>, bool); 12] = [
    ("TokensResponse", "count", "integer", None, true),
    ("TokensResponse", "limit", "integer", None, true),
    ("TokensResponse", "offset", "integer", None, true),
    ("TokensResponse", "total", "integer", None, true),
    ("TokensResponse", "href", "string", None, false),
    ("TokensResponse", "id", "string", None, false),
    ("TokensResponse", "type", "string", None, false),
    ("TokenResponse", "href", "string", None, false),
    ("TokenResponse", "id", "string", Some("uuid"), false),
    ("TokenResponse", "type", "string", None, false),
    (
        "PatchTokenInput",
        "expiryDate",
        "string or null",
        Some("date-time"),
        false,
    ),
    ("PatchTokenInput", "status", "string", None, false),
];

#[test]
fn the_token_schemas_are_those_of_the_product() {
    let schemas = &document()["components"]["schemas"];
    for (schema, member, kind, format, required) in MEMBERS {
        let place = format!("{schema}.{member}");
        let mut property = &schemas[schema]["properties"][member];
        if let Some(reference) = property["$ref"].as_str() {
            property = &schemas[reference.rsplit('/').next().unwrap()];
        }
        let expected = if kind == "string or null" {
            json!(["string", "null"])
        } else {
            json!(kind)
        };
        assert_eq!(property["type"], expected, "{place}");
        if let Some(format) = format {
            assert_eq!(property["format"], format, "{place}");
        }
        let held = schemas[schema]["required"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|name| name == member);
        assert_eq!(held, required, "{place}");
    }
    assert_eq!(
        schemas["TokenStatus"]["enum"],
        json!(["enabled", "disabled"])
    );
}

/// Operations that the product does not have: method, path and operation id.
const OWN_OPERATIONS: [(&str, &str, &str); 9] = [
    ("get", "/tokens", "tokensGet"),
    ("post", "/tokens/lookup", "tokensLookup"),
    (
        "post",
        "/registries/{registryId}/tokens/{tokenId}/evaluate",
        "registriesTokensEvaluate",
    ),
    (
        "post",
        "/registries/{registryId}/tokens/{tokenId}/rotate",
        "registriesTokensRotate",
    ),
    (
        "delete",
        "/registries/{registryId}/tokens/{tokenId}/previous-secret",
        "registriesTokensPreviousSecretDelete",
    ),
    ("post", "/tokens/bulk", "tokensBulkPost"),
    ("get", "/bulk", "bulkGet"),
    ("get", "/bulk/{bulkId}", "bulkFindById"),
    ("post", "/bulk/{bulkId}/cancel", "bulkCancelPost"),
];

#[test]
fn reports_of_leaked_secrets_are_in_the_document() {
    let document = document_of("registries");
    let operation = &document["paths"]["/secret-scanning/report"]["post"];
    assert_eq!(operation["operationId"], "secretScanningReport");
    assert_eq!(operation["security"], json!([{"scannerAuth": []}]));
    let words = operation["description"].as_str().unwrap();
    assert!(
        words.contains("with the setting `--secret-scanning-token`"),
        "{words}"
    );
    assert_eq!(operation["responses"]["202"].get("content"), None);
    let refused = &operation["responses"]["401"]["headers"]["WWW-Authenticate"];
    assert_eq!(refused["example"], r#"Bearer realm="wharfinger""#);
    let scheme = &document["components"]["securitySchemes"]["scannerAuth"];
    assert_eq!(scheme["scheme"], "bearer");
    let schemas = &document["components"]["schemas"];
    let report = &schemas["LeakReport"];
    assert_eq!(
        (&report["minItems"], &report["maxItems"]),
        (&json!(1), &json!(100))
    );
    assert_eq!(schemas["Leak"]["required"], json!(["token"]));
    // Scanners add members.
    assert_eq!(schemas["Leak"].get("additionalProperties"), None);
}

/// The operations of accounts and members, which are our own.
const ACCESS_OPERATIONS: [(&str, &str, &str, &[&str]); 8] = [
    ("GET", "/accounts", "accountsGet", &["200"]),
    ("POST", "/accounts", "accountsPost", &["201"]),
    ("GET", ACCOUNT, "accountsFindById", &["200"]),
    ("PATCH", ACCOUNT, "accountsPatch", &["200"]),
    ("DELETE", ACCOUNT, "accountsDelete", &["204"]),
    ("GET", IN_REGISTRY, "registriesMembersGet", &["200"]),
    (
        "PUT",
        IN_REGISTRY_ONE,
        "registriesMembersPut",
        &["200", "201"],
    ),
    (
        "DELETE",
        IN_REGISTRY_ONE,
        "registriesMembersDelete",
        &["204"],
    ),
];

const ACCOUNT: &str = "/accounts/{accountId}";
const ISSUER: &str = "/issuers/{issuerId}";
const TRUST: &str = "/registries/{registryId}/trusts/{trustId}";
const IN_REGISTRY: &str = "/registries/{registryId}/members";
const IN_REGISTRY_ONE: &str = "/registries/{registryId}/members/{accountId}";

#[test]
fn accounts_and_members_are_in_the_document() {
    let document = document();
    for (method, path, id, success) in ACCESS_OPERATIONS {
        let operation = &document["paths"][path][method.to_lowercase()];
        assert_eq!(operation["operationId"], id);
        let found: Vec<_> = operation["responses"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|status| status.starts_with('2'))
            .collect();
        assert_eq!(found, success, "{id}");
    }
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["MemberLevel"]["enum"],
        json!(["owner", "maintainer", "reader"])
    );
    for (schema, required) in [
        ("PostAccountProperties", json!(["name"])),
        ("PutMemberInput", json!(["level"])),
    ] {
        assert_eq!(schemas[schema]["required"], required, "{schema}");
    }
    // A password is sent and never shown.
    for schema in ["AccountResponse", "AccountProperties", "MemberProperties"] {
        let members = schemas[schema]["properties"].as_object().unwrap();
        assert!(!members.contains_key("password"), "{schema}");
    }
}

/// Members that the product does not have, as (schema, member, required).
const OWN_MEMBERS: [(&str, &str, bool); 3] = [
    ("RegistryProperties", "tokenVerifier", true),
    ("PostRegistryProperties", "tokenVerifier", false),
    ("PatchRegistryInput", "tokenVerifier", false),
];

/// The headers for conditions on a resource's state: method, path and names.
const CONDITIONS: [(&str, &str, &[&str]); 26] = [
    (
        "get",
        "/registries/{registryId}",
        &["If-Match", "If-None-Match"],
    ),
    (
        "put",
        "/registries/{registryId}",
        &["If-Match", "If-None-Match"],
    ),
    ("patch", "/registries/{registryId}", &["If-Match"]),
    ("delete", "/registries/{registryId}", &["If-Match"]),
    ("get", TOKEN, &["If-Match", "If-None-Match"]),
    ("put", TOKEN, &["If-Match", "If-None-Match"]),
    ("patch", TOKEN, &["If-Match"]),
    ("delete", TOKEN, &["If-Match"]),
    (
        "post",
        "/registries/{registryId}/tokens/{tokenId}/rotate",
        &["If-Match"],
    ),
    (
        "delete",
        "/registries/{registryId}/tokens/{tokenId}/previous-secret",
        &["If-Match"],
    ),
    ("get", ISSUER, &["If-Match", "If-None-Match"]),
    ("put", ISSUER, &["If-Match", "If-None-Match"]),
    ("patch", ISSUER, &["If-Match"]),
    ("delete", ISSUER, &["If-Match"]),
    ("get", TRUST, &["If-Match", "If-None-Match"]),
    ("put", TRUST, &["If-Match", "If-None-Match"]),
    ("patch", TRUST, &["If-Match"]),
    ("delete", TRUST, &["If-Match"]),
    ("get", ACCOUNT, &["If-Match", "If-None-Match"]),
    ("patch", ACCOUNT, &["If-Match"]),
    ("delete", ACCOUNT, &["If-Match"]),
    ("put", IN_REGISTRY_ONE, &["If-Match", "If-None-Match"]),
    ("delete", IN_REGISTRY_ONE, &["If-Match"]),
    ("get", API_TOKEN, &["If-Match", "If-None-Match"]),
    ("delete", API_TOKEN, &["If-Match"]),
    ("put", "/me/password", &["If-Match"]),
];
const API_TOKEN: &str = "/registries/{registryId}/api-tokens/{apiTokenId}";

/// The names of an operation's parameters that are headers.
fn header_names(operation: &Value) -> BTreeSet<&str> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let headers = parameters.filter(|parameter| parameter["in"] == "header");
    headers
        .map(|parameter| {
            assert_eq!(parameter["required"], false, "{parameter}");
            assert_eq!(parameter["schema"]["type"], "string", "{parameter}");
            parameter["name"].as_str().unwrap()
        })
        .collect()
}

#[test]
fn states_are_in_the_document_of_everything_that_has_them() {
    let document = document_of("registries");
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        let known = CONDITIONS.iter().find(|(known_method, known_path, _)| {
            (known_method.to_uppercase(), *known_path) == (method.clone(), path.as_str())
        });
        let mut names = header_names(&operation);
        names.retain(|name| name.starts_with("If-"));
        let expected = known.map(|(.., names)| names.iter().copied().collect());
        assert_eq!(names, expected.unwrap_or_default(), "{place}");
        let responses = &operation["responses"];
        assert_eq!(responses.get("412").is_some(), known.is_some(), "{place}");
        let shows = known.is_some() && method == "GET";
        assert_eq!(responses.get("304").is_some(), shows, "{place}");
        for (status, response) in responses.as_object().unwrap() {
            let schema = &response["content"]["application/json"]["schema"]["$ref"];
            let of_a_thing = [
                "Token",
                "Registry",
                "Account",
                "Member",
                "IssuedToken",
                "Issuer",
                "Trust",
            ]
            .iter()
            .any(|thing| *schema == format!("#/components/schemas/{thing}Response"));
            let told = response["headers"]["ETag"]["example"].is_string();
            assert_eq!(told, of_a_thing || status == "304", "{place} {status}");
        }
    }
}

/// The operations that make something, or a secret, and can be asked again.
const REPEATABLE: [&str; 12] = [
    "accountsPost",
    "issuersPost",
    "issuersPut",
    "registriesApiTokensPost",
    "registriesTrustsPost",
    "registriesTrustsPut",
    "registriesMembersPut",
    "registriesPost",
    "registriesPut",
    "registriesTokensPost",
    "registriesTokensPut",
    "registriesTokensRotate",
];

#[test]
fn what_makes_something_takes_a_key_in_the_document() {
    for (method, path, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().unwrap();
        let expected = REPEATABLE.contains(&id);
        let place = format!("{method} {path}");
        let mut ours = ["/registries", "/accounts", "/issuers"].iter();
        let takes = ours.any(|start| path.starts_with(start))
            && header_names(&operation).contains("Idempotency-Key");
        assert_eq!(takes, expected, "{place}");
        let responses = &operation["responses"];
        assert_eq!(responses.get("422").is_some(), expected, "{place}");
        let made = if id == "registriesTokensRotate" {
            "200"
        } else {
            "201"
        };
        let replayed = &responses[made]["headers"]["Idempotency-Replayed"];
        assert_eq!(replayed["example"].is_string(), expected, "{place}");
    }
}

#[test]
fn what_is_our_own_is_documented_and_asked_of_nobody() {
    let document = document();
    for (method, path, id) in OWN_OPERATIONS {
        assert_eq!(document["paths"][path][method]["operationId"], id);
    }
    let schemas = &document["components"]["schemas"];
    for (schema, member, required) in OWN_MEMBERS {
        let property = &schemas[schema]["properties"][member];
        assert_eq!(
            property["$ref"], "#/components/schemas/TokenVerifier",
            "{schema}"
        );
        let held = schemas[schema]["required"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|name| name == member);
        assert_eq!(held, required, "{schema}");
        // A generated client sends a default in every PUT and PATCH.
        assert_eq!(property.get("default"), None, "{schema}");
    }
    assert_eq!(schemas["TokenVerifier"]["enum"], json!(["x5c", "pinned"]));
    assert_eq!(schemas["TokenVerifier"].get("default"), None);
    for schema in ["TokenProperties", "PostTokenProperties", "PatchTokenInput"] {
        let property = &schemas[schema]["properties"]["allowedCidrs"];
        assert_eq!(property["items"]["type"], "string", "{schema}");
        assert_eq!(property.get("default"), None, "{schema}");
        let required = schemas[schema]["required"].as_array();
        let held = required.is_some_and(|names| names.contains(&json!("allowedCidrs")));
        assert!(!held, "{schema}");
    }
    for schema in [
        "RegistryProperties",
        "PostRegistryProperties",
        "PatchRegistryInput",
    ] {
        let property = &schemas[schema]["properties"]["maximumSecretAge"];
        assert_eq!(property["example"], "P90D", "{schema}");
        assert_eq!(property.get("default"), None, "{schema}");
        let required = schemas[schema]["required"].as_array();
        let held = required.is_some_and(|names| names.contains(&json!("maximumSecretAge")));
        assert!(!held, "{schema}");
    }
    assert_eq!(
        schemas["RotateTokenInput"]["required"],
        json!(["gracePeriod"])
    );
    let required = &schemas["ApiResourceMetadata"]["required"];
    for member in [
        "secretCreatedDate",
        "secretExpiryDate",
        "previousSecretExpiryDate",
    ] {
        let property = &schemas["ApiResourceMetadata"]["properties"][member];
        assert_eq!(property["format"], "date-time", "{member}");
        assert!(!required.as_array().unwrap().contains(&json!(member)));
    }
}

/// The operations whose answers link to the operations on a new resource.
const MAKERS: [&str; 14] = [
    "issuersPost",
    "issuersPut",
    "registriesApiTokensPost",
    "registriesTrustsPost",
    "registriesTrustsPut",
    "registriesPost",
    "registriesPut",
    "registriesTokensPost",
    "registriesTokensPut",
    "registriesTokensRotate",
    "registriesMembersPut",
    "accountsPost",
    "GenerateToken",
    "createAppToken",
];

#[test]
fn answers_that_make_something_are_linked_to_what_can_be_done_with_it() {
    let document = document();
    let operations = operations(&document);
    let mut makers = BTreeSet::new();
    for (method, path, operation) in &operations {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let links = response["links"].as_object();
            let place = format!("{method} {path} {status}");
            assert!(links.is_some() || status != "201", "{place}");
            for (name, link) in links.into_iter().flatten() {
                assert_eq!(link["operationId"], name.as_str(), "{place}");
                let (.., target, _) = operations
                    .iter()
                    .find(|(.., operation)| operation["operationId"] == name.as_str())
                    .unwrap();
                let needed = target.split('{').skip(1);
                let needed: BTreeSet<_> =
                    needed.map(|rest| rest.split('}').next().unwrap()).collect();
                let given = link["parameters"].as_object().unwrap();
                let given: BTreeSet<_> = given.keys().map(String::as_str).collect();
                assert_eq!(given, needed, "{place}: {name}");
                makers.insert(operation["operationId"].as_str().unwrap());
            }
        }
    }
    assert_eq!(makers, MAKERS.into());
}

/// Every link to a GET is followed.
#[actix_web::test]
async fn links_lead_to_what_was_made() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let registry = admin.create_registry("linked").await;
    let issuer = json!({"properties": {"url": "https://ci.example.com", "kind": "other"}});
    let issuer = admin.post("/issuers", issuer).await.json["id"].clone();
    let document = document();
    let operations = operations(&document);
    let mut followed = 0;
    for (path, body) in [
        (
            "/registries",
            json!({"properties": {"name": "made", "location": "de/fra"}}),
        ),
        (
            "/registries/{registryId}/tokens",
            json!({"properties": {"name": "made"}}),
        ),
        ("/accounts", json!({"properties": {"name": "made"}})),
        (
            "/issuers",
            json!({"properties": {"url": "https://made.example.com", "kind": "other"}}),
        ),
        (
            "/registries/{registryId}/trusts",
            json!({"properties": {"name": "trusted", "issuer": issuer, "claims": {"sub": "a"}}}),
        ),
        (
            "/v1/apitokens/generate",
            json!({"name": "made", "roles": ["Analyst"]}),
        ),
        ("/api/v1/user/apptoken", json!({"title": "made"})),
    ] {
        let answer = admin
            .post(&path.replace("{registryId}", &registry), body)
            .await;
        let told = &document["paths"][path]["post"]["responses"][answer.status.to_string()];
        for (name, link) in told["links"].as_object().unwrap() {
            let (method, target, _) = operations
                .iter()
                .find(|(.., operation)| operation["operationId"] == name.as_str())
                .unwrap();
            let mut target = target.clone();
            for (name, place) in link["parameters"].as_object().unwrap() {
                let value = match place.as_str().unwrap().strip_prefix("$response.body#") {
                    Some(pointer) => answer.json.pointer(pointer).unwrap().as_str().unwrap(),
                    None => &registry,
                };
                target = target.replace(&format!("{{{name}}}"), value);
            }
            if method == "GET" && !target.ends_with("auth-config") {
                let found = admin.get(&target).await;
                assert_eq!(found.status, 200, "{target}: {found:?}");
                followed += 1;
            }
        }
    }
    assert_eq!(followed, 13);
}

#[test]
fn registries_come_before_their_tokens() {
    for document in [document(), document_of("registries")] {
        let tags = document["tags"].as_array().unwrap();
        assert_eq!(
            (&tags[0]["name"], &tags[1]["name"]),
            (&json!("Registries"), &json!("Tokens"))
        );
    }
}

#[actix_web::test]
async fn bodies_that_forms_are_filled_with_widen_nothing() {
    /// An id that nothing has.
    const FREE: &str = "3f0c7a52-5b7e-4b0e-9a35-0d4a3c9be111";
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let registry = admin.create_registry("held").await;
    let tokens = format!("/registries/{registry}/tokens");
    let narrow = json!({"properties": {
        "name": "narrow", "status": "disabled", "allowedCidrs": ["10.0.0.0/8"], "expiryDate": "2026-12-01T00:00:00Z",
        "scopes": [{"actions": ["pull"], "name": "a/b", "type": "repository"}],
    }});
    let made = admin.post(&tokens, narrow).await;
    let token = made.json["id"].as_str().unwrap().to_owned();
    let account = admin.create_account("bob", &[]).await;
    // The issuer that the examples name.
    let issuer = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13";
    let issuer_path = format!("/issuers/{issuer}");
    let github = json!({"properties": {
        "url": "https://ghes.example.com", "kind": "github", "status": "disabled", "algorithms": ["EdDSA"],
    }});
    assert_eq!(admin.put(&issuer_path, github).await.status, 201);
    let trusts = format!("/registries/{registry}/trusts");
    let narrow = json!({"properties": {
        "name": "narrow-ci", "status": "disabled", "allowedCidrs": ["10.0.0.0/8"], "issuer": issuer,
        "claims": {"repository_id": "1"}, "expiryDate": "2026-12-01T00:00:00Z",
    }});
    let made = admin.post(&trusts, narrow).await;
    let trust = made.json["id"].as_str().unwrap().to_owned();
    let paths = [
        format!("{tokens}/{token}"),
        format!("/accounts/{account}"),
        issuer_path,
        format!("{trusts}/{trust}"),
    ];
    let disabled = admin.patch(&paths[1], json!({"status": "disabled"})).await;
    assert_eq!(disabled.status, 200);
    let looked_at = async || {
        let mut found = Vec::new();
        for path in &paths {
            found.push(admin.get(path).await.json["properties"].clone());
        }
        found
    };
    let before = looked_at().await;
    let mut sent = 0;
    for (method, path, operation) in operations(&document_of("registries")) {
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        // The secret in the example of a lookup is of nothing, and has no right checksum.
        if example.is_null() || path.starts_with("/secret-scanning") || path == "/tokens/lookup" {
            continue;
        }
        // PUT makes something.
        let (of_registry, of_token) = match method.as_str() {
            "PUT" if path.ends_with("{tokenId}") => (registry.clone(), FREE.to_owned()),
            "PUT" if path.ends_with("{registryId}") => (FREE.to_owned(), token.clone()),
            _ => (registry.clone(), token.clone()),
        };
        let path = path
            .replace("{registryId}", &of_registry)
            .replace("{tokenId}", &of_token)
            .replace("{issuerId}", if method == "PUT" { FREE } else { issuer })
            .replace("{trustId}", if method == "PUT" { FREE } else { &trust })
            .replace("{accountId}", &account);
        let request = admin.request(Method::from_bytes(method.as_bytes()).unwrap(), &path);
        let answer = admin.send(request.json(example)).await;
        if path == "/me/password" {
            // An example that works would tell its readers a password.
            assert_eq!(answer.codes(), ["invalid-present-password"], "{answer:?}");
            continue;
        }
        assert!(
            matches!(answer.status, 200 | 201),
            "{method} {path}: {answer:?}"
        );
        assert_eq!(looked_at().await, before, "{method} {path}");
        assert!(!example.to_string().contains("assword"), "{method} {path}");
        sent += 1;
    }
    assert!(sent > 8, "{sent}");
}

#[test]
fn who_tries_an_example_makes_no_rules() {
    let document = document_of("registries");
    let (mut bodies, mut rules) = (0, 0);
    for (method, path, operation) in operations(&document) {
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        bodies += usize::from(example.is_object());
        for rule in ["defaultTokenLife", "maximumTokenLife", "maximumSecretAge"] {
            let sent = [&example[rule], &example["properties"][rule]];
            assert_eq!(sent, [&Value::Null; 2], "{method} {path}: {rule}");
            let schema = &document["components"]["schemas"]["PatchRegistryInput"];
            rules += usize::from(schema["properties"][rule].is_object());
        }
    }
    assert!(bodies > 5 && rules > 0, "nothing was looked at");
}
