//! Compares our documents with other products' documents, for the operations that this service took over.
//!
//! Each table has a block for the tag, for every operation and for every schema that those need. Lines that begin with
//! `+` are ours: the product's document leaves the place blank, or we differ for a reason that `docs/` gives. `…`
//! stands for any words of ours.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::openapi::{document_of, operations, references, resolve};

/// StackRox's `APITokenService`. "Object" is its document's word for an answer without members, 0 the code of a response
/// that is none of the others.
const STACKROX: &str = "
tag APITokenService
+ …

GenerateToken
  POST /v1/apitokens/generate
  tag APITokenService
  GenerateToken generates API token for a given user and role.
  body required
    V1GenerateTokenRequest (application/json)
  200 A successful response.
    V1GenerateTokenResponse (application/json)
  default An unexpected error response.
    GooglerpcStatus (application/json)
+ security basicAuth
+ security bearerAuth

GetAPIToken
  GET /v1/apitokens/{id}
  tag APITokenService
  GetAPIToken returns API token metadata for a given id.
  path id required
+   string; …
  200 A successful response.
    StorageTokenMetadata (application/json)
  default An unexpected error response.
    GooglerpcStatus (application/json)
+ security basicAuth
+ security bearerAuth

GetAPITokens
  GET /v1/apitokens
  tag APITokenService
  GetAPITokens returns all the API tokens.
  query revoked optional
+   boolean; …
  200 A successful response.
    V1GetAPITokensResponse (application/json)
  default An unexpected error response.
    GooglerpcStatus (application/json)
+ security basicAuth
+ security bearerAuth

ListAllowedTokenRoles
  GET /v1/apitokens/generate/allowed-roles
  tag APITokenService
  GetAllowedTokenRoles return roles that user is allowed to request for API token.
  200 A successful response.
    V1ListAllowedTokenRolesResponse (application/json)
  default An unexpected error response.
    GooglerpcStatus (application/json)
+ security basicAuth
+ security bearerAuth

RevokeToken
  PATCH /v1/apitokens/revoke/{id}
  tag APITokenService
  RevokeToken removes the API token for a given id.
  path id required
+   string; …
  200 A successful response.
    object (application/json)
  default An unexpected error response.
    GooglerpcStatus (application/json)
+ security basicAuth
+ security bearerAuth

schema GooglerpcStatus
+ …
  code: integer int32; …
  details: list of ProtobufAny; …
+ error: string; …
  message: string; …
+ required code, message, details, error

schema ProtobufAny
+ …
  @type: string; …
+ required @type

schema StorageTokenMetadata
  Next available tag: 8
+ expiration: string date-time; …
+ id: string; …
+ issuedAt: string date-time; …
+ name: string; …
+ revoked: boolean; …
+ role: string; …
+   deprecated true
+ roles: list of string; …
+ required id, name, roles, issuedAt, expiration, revoked, role

schema V1GenerateTokenRequest
+ …
  expiration: string date-time; …
+   or null
  name: string; …
+   or null
  role: string; …
+   deprecated true
+   or null
  roles: list of string; …
+   or null

schema V1GenerateTokenResponse
+ …
  metadata: StorageTokenMetadata; …
  token: string; …
+ required token, metadata

schema V1GetAPITokensResponse
+ …
  tokens: list of StorageTokenMetadata; …
+ required tokens

schema V1ListAllowedTokenRolesResponse
+ …
  roleNames: list of string; …
+ required roleNames
";

/// Quay's `appspecifictokens`. Its document gives answers with a success no schema, and no schema its members.
const QUAY: &str = "
tag appspecifictokens
  Manages app specific tokens for the current user.

createAppToken
  POST /api/v1/user/apptoken
  tag appspecifictokens
  Create a new app specific token for user.
  body required
    Description of a new token.
+   PostAppTokenInput (application/json)
+ 200 …
+   AppTokenWithCode (application/json)
  201 Successful creation
+   AppTokenWithCode (application/json)
  400 Bad Request
    ApiError (application/json)
  401 Session required
    ApiError (application/json)
  403 Unauthorized access
    ApiError (application/json)
  404 Not found
    ApiError (application/json)
+ 408 …
+   ApiError (application/json)
+ 409 …
+   ApiError (application/json)
+ 413 …
+   ApiError (application/json)
+ 415 …
+   ApiError (application/json)
+ 429 …
+   ApiError (application/json)
+ 500 …
+   ApiError (application/json)
+ 503 …
+   ApiError (application/json)
  security oauth2_implicit (user:admin)
+ security basicAuth
+ security bearerAuth

listAppTokens
  GET /api/v1/user/apptoken
  tag appspecifictokens
  Lists the app specific tokens for the user.
  query expiring optional
    boolean; If true, only returns those tokens expiring soon
  200 Successful invocation
+   AppTokens (application/json)
  400 Bad Request
    ApiError (application/json)
  401 Session required
    ApiError (application/json)
  403 Unauthorized access
    ApiError (application/json)
  404 Not found
    ApiError (application/json)
+ 429 …
+   ApiError (application/json)
+ 500 …
+   ApiError (application/json)
+ 503 …
+   ApiError (application/json)
  security oauth2_implicit (user:admin)
+ security basicAuth
+ security bearerAuth

getAppToken
  GET /api/v1/user/apptoken/{token_uuid}
  tag appspecifictokens
  Returns a specific app token for the user.
  path token_uuid required
    string; The uuid of the app specific token
  200 Successful invocation
+   AppTokenWithCode (application/json)
  400 Bad Request
    ApiError (application/json)
  401 Session required
    ApiError (application/json)
  403 Unauthorized access
    ApiError (application/json)
  404 Not found
    ApiError (application/json)
+ 429 …
+   ApiError (application/json)
+ 500 …
+   ApiError (application/json)
+ 503 …
+   ApiError (application/json)
  security oauth2_implicit (user:admin)
+ security basicAuth
+ security bearerAuth

revokeAppToken
  DELETE /api/v1/user/apptoken/{token_uuid}
  tag appspecifictokens
  Revokes a specific app token for the user.
  path token_uuid required
    string; The uuid of the app specific token
  204 Deleted
  400 Bad Request
    ApiError (application/json)
  401 Session required
    ApiError (application/json)
  403 Unauthorized access
    ApiError (application/json)
  404 Not found
    ApiError (application/json)
+ 429 …
+   ApiError (application/json)
+ 500 …
+   ApiError (application/json)
+ 503 …
+   ApiError (application/json)
  security oauth2_implicit (user:admin)
+ security basicAuth
+ security bearerAuth

schema ApiError
+ …
+ detail: string; …
+ error: string; …
+ error_message: string; …
+ error_type: string; …
+ invalidCredentials: boolean; …
+ message: string; …
+ needsEmailVerification: boolean; …
+ status: integer int32; …
+   minimum 0
+ title: string; …
+ type: string; …

schema AppToken
+ …
+ created: string; …
+ expiration: string; …
+   or null
+ last_accessed: string; …
+   or null
+ title: string; …
+ token_code: string; …
+   or null
+ uuid: string; …
+ required uuid, title, last_accessed, created, expiration

schema AppTokenWithCode
+ …
+ token: AppToken; …
+ required token

schema AppTokens
+ …
+ only_expiring: boolean; …
+   or null
+ tokens: list of AppToken; …
+ required tokens, only_expiring

schema PostAppTokenInput
  Description of a new token.
  title: string; Friendly name to help identify the token
+   maxLength 255
+   pattern …
  required title
";

#[test]
fn the_api_token_operations_are_those_of_stackrox() {
    hold(STACKROX, "stackrox", "APITokenService");
}

#[test]
fn the_app_token_operations_are_those_of_quay() {
    hold(QUAY, "quay", "appspecifictokens");
}

/// Asserts that the operations of a tag are those of a table, with the schemas that they need and no others.
fn hold(table: &str, name: &str, tag: &str) {
    let document = document_of(name);
    let told = told(&document, tag);
    let said: BTreeMap<_, _> = table
        .trim()
        .split("\n\n")
        .map(|block| block.split_once('\n').unwrap())
        .map(|(title, lines)| (title.to_owned(), lines.lines().collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        told.keys().collect::<Vec<_>>(),
        said.keys().collect::<Vec<_>>()
    );
    for (title, told) in told {
        let said = &said[&title];
        let same =
            told.len() == said.len() && told.iter().zip(said).all(|(told, said)| says(said, told));
        assert!(
            same,
            "{title}: the document says\n  {}\nand should say\n{}",
            told.join("\n  "),
            said.join("\n")
        );
    }
}

fn says(said: &str, told: &str) -> bool {
    // Skips the mark that begins each line of a table.
    let said = &said[2..];
    match said.strip_suffix('…') {
        Some(beginning) => told.len() > beginning.len() && told.starts_with(beginning),
        None => told == said,
    }
}

/// The operations of a tag in a document, in the form of the tables.
fn told(document: &Value, tag: &str) -> BTreeMap<String, Vec<String>> {
    let description = list(&document["tags"])
        .find(|described| described["name"] == tag)
        .map(|tag| text(&tag["description"]));
    let mut blocks = BTreeMap::from([(format!("tag {tag}"), Vec::from_iter(description))]);
    let mut needed = BTreeSet::new();
    for (method, path, operation) in operations(document) {
        if operation["tags"][0] != tag {
            continue;
        }
        let lines = operation_lines(document, &method, &path, &operation);
        blocks.insert(text(&operation["operationId"]), lines);
        need(document, &operation, &mut needed);
    }
    for reference in needed {
        if let Some(name) = reference.strip_prefix("#/components/schemas/") {
            let schema = document.pointer(&reference[1..]).unwrap();
            blocks.insert(format!("schema {name}"), schema_lines(schema));
        }
    }
    blocks
}

/// Adds all schemas that a value refers to, directly or through other schemas.
fn need(document: &Value, value: &Value, needed: &mut BTreeSet<String>) {
    for reference in references(value) {
        if needed.insert(reference.clone()) {
            need(document, document.pointer(&reference[1..]).unwrap(), needed);
        }
    }
}

fn operation_lines(document: &Value, method: &str, path: &str, operation: &Value) -> Vec<String> {
    let tags: Vec<_> = list(&operation["tags"]).map(text).collect();
    let mut lines = vec![
        format!("{method} {path}"),
        format!("tag {}", tags.join(", ")),
        text(&operation["summary"]),
    ];
    for parameter in list(&operation["parameters"]) {
        let (place, name) = (text(&parameter["in"]), text(&parameter["name"]));
        let (kind, words) = (kind(&parameter["schema"]), text(&parameter["description"]));
        lines.push(format!("{place} {name} {}", duty(parameter)));
        lines.push(format!("  {kind}; {words}"));
        lines.extend(conditions(&parameter["schema"]));
    }
    if let Some(body) = operation.get("requestBody") {
        let words = body["description"].as_str();
        lines.push(format!("body {}", duty(body)));
        lines.extend(words.map(|words| format!("  {words}")));
        lines.extend(contents(body));
    }
    for (status, response) in members(&operation["responses"]) {
        let response = resolve(document, response);
        lines.push(format!("{status} {}", text(&response["description"])));
        lines.extend(contents(response));
    }
    let security = operation.get("security").unwrap_or(&document["security"]);
    lines.extend(list(security).map(|way| format!("security {}", demand(way))));
    lines
}

fn duty(value: &Value) -> &'static str {
    if value["required"] == true {
        "required"
    } else {
        "optional"
    }
}

/// The schemas that a body may have, by content type.
fn contents(body: &Value) -> impl Iterator<Item = String> {
    members(&body["content"])
        .map(|(name, content)| format!("  {} ({name})", kind(&content["schema"])))
}

/// One way to authenticate.
fn demand(requirement: &Value) -> String {
    let schemes: Vec<_> = members(requirement)
        .map(|(scheme, scopes)| {
            let scopes: Vec<_> = list(scopes).map(text).collect();
            if scopes.is_empty() {
                scheme.clone()
            } else {
                format!("{scheme} ({})", scopes.join(", "))
            }
        })
        .collect();
    schemes.join(" and ")
}

fn schema_lines(schema: &Value) -> Vec<String> {
    let mut lines = vec![text(&schema["description"])];
    for (name, member) in members(&schema["properties"]) {
        let (kind, words) = (kind(member), text(&member["description"]));
        lines.push(format!("{name}: {kind}; {words}"));
        lines.extend(conditions(member));
    }
    let required: Vec<_> = list(&schema["required"]).map(text).collect();
    if !required.is_empty() {
        lines.push(format!("required {}", required.join(", ")));
    }
    lines
}

/// The type of a value.
fn kind(schema: &Value) -> String {
    let kind = match (&schema["$ref"], &schema["type"]) {
        (Value::String(reference), _) => reference.rsplit('/').next().unwrap().to_owned(),
        (_, Value::Array(kinds)) => text(&kinds[0]),
        (_, kind) => text(kind),
    };
    match (kind.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("list of {}", self::kind(&schema["items"])),
        (kind, Some(format)) => format!("{kind} {format}"),
        _ => kind,
    }
}

/// A schema's other keywords, beside words and examples.
fn conditions(schema: &Value) -> Vec<String> {
    let told = ["$ref", "description", "example", "format", "items", "type"];
    let others = members(schema).filter(|(name, _)| !told.contains(&name.as_str()));
    let mut lines: Vec<_> = others
        .map(|(name, value)| format!("  {name} {value}"))
        .collect();
    if schema["type"][1] == "null" {
        lines.push("  or null".to_owned());
    }
    lines
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
