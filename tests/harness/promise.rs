//! Holds every answer that a test gets against the promises of the document.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::Value;

use crate::openapi::{document, document_of, resolve};

/// The answer to a head that is too large, for any route.
const BEFORE_ALL: [u16; 1] = [431];

/// Fails the test if the document does not permit this answer for the operation. Undocumented paths are ignored.
pub fn check(method: &Method, path: &str, status: u16, body: &Value) {
    static WHOLE: OnceLock<Value> = OnceLock::new();
    static PREFIXED: OnceLock<Value> = OnceLock::new();
    let (document, bare) = match path.strip_prefix("/containerregistries") {
        Some(bare) => (PREFIXED.get_or_init(|| document_of("registries")), bare),
        None => (WHOLE.get_or_init(document), path),
    };
    let Some((template, item)) = find(document, bare) else {
        return;
    };
    // Methods are upper case.
    if method
        .as_str()
        .contains(|letter: char| letter.is_lowercase())
    {
        return;
    }
    let Some(operation) = item.get(method.as_str().to_lowercase()) else {
        return;
    };
    // An address of metrics alone has none of the paths.
    let nowhere = status == 404 && body.to_string().contains(r#"path \""#);
    if BEFORE_ALL.contains(&status) || nowhere {
        return;
    }
    let responses = &operation["responses"];
    let place = format!("{method} {template} {status}");
    let told = responses.get(status.to_string());
    let told = told.or(responses.get("default").filter(|_| status >= 400));
    let told = told.unwrap_or_else(|| panic!("the document does not promise {place}: {body}"));
    let content = &resolve(document, told)["content"]["application/json"];
    if let Some(schema) = content.get("schema")
        && !(body.is_null() && method == Method::HEAD)
        && let Err(fault) = fits(document, schema, body, "")
    {
        panic!("the document promises another shape of {place}: {fault}: {body}");
    }
}

/// The template and the operations of a path; one without parameters is found before those with some.
fn find<'a>(document: &'a Value, path: &str) -> Option<(&'a String, &'a Value)> {
    let parts: Vec<_> = path.split('/').collect();
    let items = document["paths"].as_object().unwrap().iter();
    let matching = items.filter(|(template, _)| {
        let known: Vec<_> = template.split('/').collect();
        let same = |(known, part): (&&str, &&str)| known.starts_with('{') || known == part;
        known.len() == parts.len() && known.iter().zip(&parts).all(same)
    });
    matching.min_by_key(|(template, _)| template.matches('{').count())
}

/// Says where a value differs from a schema in types, required and unknown words. It knows as much of JSON Schema as the
/// documents use for answers.
fn fits(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let fit = choices
            .iter()
            .any(|choice| fits(document, choice, value, place).is_ok());
        return if fit {
            Ok(())
        } else {
            Err(format!("{place} is none of oneOf"))
        };
    }
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let permitted = match &schema["type"] {
        Value::String(kind) => kind == actual,
        Value::Array(kinds) => kinds.iter().any(|kind| kind == actual),
        _ => true,
    };
    if !permitted {
        return Err(format!("{place} is {actual}"));
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|words| !words.contains(value))
    {
        return Err(format!("{place} is none of the words"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(
            document,
            &schema["items"],
            item,
            &format!("{place}[{index}]"),
        )?;
    }
    if let Value::Object(members) = value {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !members.contains_key(name.as_str().unwrap()) {
                return Err(format!("{place} lacks {name}"));
            }
        }
        let Some(known) = schema["properties"].as_object() else {
            return Ok(());
        };
        for (name, member) in members {
            let place = format!("{place}.{name}");
            let schema = known
                .get(name)
                .ok_or_else(|| format!("{place} is not in it"))?;
            fits(document, schema, member, &place)?;
        }
    }
    Ok(())
}
