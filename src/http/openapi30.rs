//! Documents in OpenAPI 3.0, for tools that do not read 3.1.
//!
//! They differ in schemas: 3.1 uses JSON Schema, 3.0 a dialect of it. Documents in 3.0 have no 304. Unknown keywords
//! that 3.0 lacks stay, and the validator of the stage `documents` refuses them.

use serde_json::{Map, Value, json};

/// The version in converted documents.
const VERSION: &str = "3.0.3";

/// Turns a document of OpenAPI 3.1 into one of 3.0.
pub(super) fn convert(document: &mut Value) {
    document["openapi"] = json!(VERSION);
    if let Some(license) = document.pointer_mut("/info/license") {
        remove(license, "identifier");
    }
    if let Some(Value::Object(items)) = document.get_mut("paths") {
        items.values_mut().for_each(|item| each(item, answers));
    }
    walk(document);
}

/// Converts the answers of an operation. Tools for 3.0, such as progenitor, want one type for all successes and one for
/// all errors. So `default` errors become those of 4xx and 5xx, and the 304, which has no body, is removed with the
/// header that asks for it.
fn answers(operation: &mut Value) {
    let Some(Value::Object(told)) = operation.get_mut("responses") else {
        return;
    };
    if let Some(error) = told.remove("default") {
        told.insert("4XX".to_owned(), error.clone());
        told.insert("5XX".to_owned(), error);
    }
    if told.remove("304").is_some()
        && let Some(Value::Array(parameters)) = operation.get_mut("parameters")
    {
        parameters.retain(|parameter| parameter["name"] != "If-None-Match");
    }
}

fn remove(value: &mut Value, member: &str) {
    if let Value::Object(members) = value {
        members.remove(member);
    }
}

/// Converts the schemas inside a value that is no schema.
fn walk(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "schema" => schema(member),
                    "schemas" => each(member, schema),
                    "example" | "examples" => {}
                    _ => walk(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        _ => {}
    }
}

/// Calls `convert` with every member or item of a value.
fn each(value: &mut Value, convert: fn(&mut Value)) {
    match value {
        Value::Object(members) => members.values_mut().for_each(convert),
        Value::Array(items) => items.iter_mut().for_each(convert),
        _ => {}
    }
}

fn schema(value: &mut Value) {
    match value {
        Value::Bool(true) => *value = json!({}),
        Value::Bool(false) => *value = json!({"not": {}}),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match name.as_str() {
                    "properties" | "allOf" | "anyOf" | "oneOf" => each(member, schema),
                    "items" | "not" => schema(member),
                    "additionalProperties" if member.is_object() => schema(member),
                    _ => {}
                }
            }
            // Member names are always text.
            members.remove("propertyNames");
            if let Some(only) = members.remove("const") {
                members.insert("enum".to_owned(), json!([only]));
            }
            if let Some(Value::Array(examples)) = members.remove("examples")
                && let Some(first) = examples.into_iter().next()
            {
                members.entry("example").or_insert(first);
            }
            for (bound, exclusive) in [
                ("minimum", "exclusiveMinimum"),
                ("maximum", "exclusiveMaximum"),
            ] {
                if members.get(exclusive).is_some_and(Value::is_number)
                    && let Some(limit) = members.insert(exclusive.to_owned(), json!(true))
                {
                    members.insert(bound.to_owned(), limit);
                }
            }
            types(members);
            alternatives(members);
            words_beside_a_reference(members);
        }
        _ => {}
    }
}

/// Converts a list of types to one type or a choice, and null to `nullable`.
fn types(members: &mut Map<String, Value>) {
    let Some(Value::Array(mut types)) = members.get("type").cloned() else {
        return;
    };
    let all = types.len();
    types.retain(|kind| kind != "null");
    if types.len() < all {
        members.insert("nullable".to_owned(), json!(true));
    }
    if let [kind] = types.as_slice() {
        members.insert("type".to_owned(), kind.clone());
    } else {
        members.remove("type");
        let choice = types.into_iter().map(|kind| json!({"type": kind}));
        members.insert("anyOf".to_owned(), choice.collect());
    }
}

/// Converts null among alternatives to `nullable`, and replaces a single alternative by itself.
fn alternatives(members: &mut Map<String, Value>) {
    for keyword in ["oneOf", "anyOf"] {
        let Some(Value::Array(items)) = members.get_mut(keyword) else {
            continue;
        };
        let all = items.len();
        items.retain(|item| item["type"] != "null");
        let only = match items.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        if items.len() == all {
            continue;
        }
        members.insert("nullable".to_owned(), json!(true));
        if let Some(only) = only {
            members.remove(keyword);
            match only {
                Value::Object(own) if !own.contains_key("$ref") => members.extend(own),
                only => drop(members.insert("allOf".to_owned(), json!([only]))),
            }
        }
    }
}

/// Wraps a reference in `allOf` if keywords are beside it, since 3.0 would ignore them.
fn words_beside_a_reference(members: &mut Map<String, Value>) {
    if members.len() > 1
        && let Some(reference) = members.remove("$ref")
    {
        members.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_say_the_same_in_the_older_words() {
        for (newer, older) in [
            (
                json!({"type": ["string", "null"]}),
                json!({"type": "string", "nullable": true}),
            ),
            (
                json!({"type": ["string", "integer", "null"]}),
                json!({"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": true}),
            ),
            (json!({"const": "a"}), json!({"enum": ["a"]})),
            (json!({"examples": ["a", "b"]}), json!({"example": "a"})),
            (
                json!({"examples": ["a"], "example": "b"}),
                json!({"example": "b"}),
            ),
            (
                json!({"exclusiveMinimum": 3}),
                json!({"minimum": 3, "exclusiveMinimum": true}),
            ),
            (
                json!({"exclusiveMaximum": 3}),
                json!({"maximum": 3, "exclusiveMaximum": true}),
            ),
            (json!({"$ref": "#/a"}), json!({"$ref": "#/a"})),
            (
                json!({"$ref": "#/a", "description": "b"}),
                json!({"allOf": [{"$ref": "#/a"}], "description": "b"}),
            ),
            (
                json!({"oneOf": [{"$ref": "#/a", "description": "b"}, {"type": "null"}]}),
                json!({"allOf": [{"$ref": "#/a"}], "description": "b", "nullable": true}),
            ),
            (
                json!({"oneOf": [{"$ref": "#/a"}, {"type": "null"}], "description": "b"}),
                json!({"allOf": [{"$ref": "#/a"}], "description": "b", "nullable": true}),
            ),
            (
                json!({"anyOf": [{"$ref": "#/a"}, {"$ref": "#/b"}, {"type": "null"}]}),
                json!({"anyOf": [{"$ref": "#/a"}, {"$ref": "#/b"}], "nullable": true}),
            ),
            (
                json!({"additionalProperties": {"type": ["string", "null"]}, "propertyNames": {"type": "string"}}),
                json!({"additionalProperties": {"type": "string", "nullable": true}}),
            ),
            (
                json!({"additionalProperties": false}),
                json!({"additionalProperties": false}),
            ),
            (json!({"items": true}), json!({"items": {}})),
            (json!({"items": false}), json!({"items": {"not": {}}})),
            // A member named like a keyword is no keyword.
            (
                json!({"properties": {"const": {"const": 1}, "type": {"type": "string"}}}),
                json!({"properties": {"const": {"enum": [1]}, "type": {"type": "string"}}}),
            ),
            // An example is no schema.
            (
                json!({"example": {"const": 1}}),
                json!({"example": {"const": 1}}),
            ),
        ] {
            let mut converted = newer.clone();
            schema(&mut converted);
            assert_eq!(converted, older, "{newer}");
        }
    }

    #[test]
    fn documents_lose_nothing_else() {
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {"license": {"name": "MIT", "identifier": "MIT"}},
            "paths": {"/a": {"get": {"parameters": [{"name": "b", "example": {"type": ["x", "null"]},
                "schema": {"type": ["string", "null"]}}, {"name": "If-None-Match"}],
                "responses": {"200": {}, "304": {}, "default": {"description": "c"}}}}},
            "components": {"schemas": {"schema": {"const": 1}}},
        });
        convert(&mut document);
        let expected = json!({
            "openapi": "3.0.3",
            "info": {"license": {"name": "MIT"}},
            "paths": {"/a": {"get": {"parameters": [{"name": "b", "example": {"type": ["x", "null"]},
                "schema": {"type": "string", "nullable": true}}], "responses": {"200": {}, "4XX": {"description": "c"}, "5XX": {"description": "c"}}}}},
            "components": {"schemas": {"schema": {"enum": [1]}}},
        });
        assert_eq!(document, expected);
    }
}
