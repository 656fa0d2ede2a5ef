//! Reads JSON and form bodies within limits, and explains mistakes in them.

use std::ops::Deref;
use std::time::Duration;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpMessage as _, HttpRequest, dev};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::{Path, Segment};

use super::budget::{Budget, Share};
use super::objects::Objects;
use super::progress::Requests;
use super::state::{Bodies, State};
use crate::domain::secret::masked;
use crate::domain::text::{nearest, quoted};
use crate::error::{Error, Field, Result, Violation};

/// The maximum size of a body, in bytes.
pub const BODY_LIMIT: usize = 1024 * 1024;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
/// The maximum size of a form, in bytes: 64 KiB of scopes fit, with three bytes for each character.
const FORM_LIMIT: usize = 256 * 1024;
/// The largest body that takes no share of the budget, in bytes. Most bodies are smaller.
const SMALL: usize = 4 * 1024;
/// The member that holds all properties, in bodies that make or replace something.
const WRAPPING: &str = "properties";
/// The maximum of reported mistakes, and of bytes read to find them: each one takes another reading of the body.
const TOLD: usize = 20;
const EXAMINED: usize = 256 * 1024;
/// The longest reason shown, in characters: reasons quote the body.
const REASON: usize = 300;

/// The bytes of a body, with their share of the budget.
#[derive(Debug)]
pub(super) struct Arrived {
    bytes: Bytes,
    _share: Share,
}

impl Deref for Arrived {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the JSON body of an authenticated caller. Accepts `application/json`, `application/*+json` or no content type,
/// and refuses others before it reads a byte.
pub(super) async fn json(request: &HttpRequest, payload: dev::Payload) -> Result<Arrived> {
    if may_have_body(request) {
        check_type(request)?;
    }
    let Bodies {
        timeout, memory, ..
    } = &State::of(request)?.bodies;
    arrive(request, payload, BODY_LIMIT, memory, *timeout).await
}

/// Reads the body of a form, and refuses other content types. The caller is not authenticated yet.
pub(super) async fn form(request: &HttpRequest, payload: dev::Payload) -> Result<Arrived> {
    check_encoding(request, FORM)?;
    let essence = request.content_type();
    if !essence.eq_ignore_ascii_case(FORM) {
        let sent = match request.headers().get(CONTENT_TYPE) {
            Some(_) => format!("the content type {}", quoted(essence)),
            None => "a body without content type".to_owned(),
        };
        return Err(Error::UnsupportedMediaType {
            sent,
            supported: FORM,
        });
    }
    let Bodies {
        timeout, unproven, ..
    } = &State::of(request)?.bodies;
    arrive(request, payload, FORM_LIMIT, unproven, *timeout).await
}

/// Reads a body as JSON of any content type, unless it is compressed, and an empty one as the empty object. The caller
/// is not authenticated yet.
pub(super) async fn json_of_any_type<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: dev::Payload,
) -> Result<T> {
    check_encoding(request, JSON)?;
    let Bodies {
        timeout, unproven, ..
    } = &State::of(request)?.bodies;
    let body = arrive(request, payload, BODY_LIMIT, unproven, *timeout).await?;
    // Only authenticated callers may have the body read again for each mistake.
    if body.trim_ascii().is_empty() {
        return parse_within(b"{}", 0);
    }
    parse_within(&body, 0)
}

/// Reads a body within the limits of time and size. The bytes that have arrived take a share of `memory`.
async fn arrive(
    request: &HttpRequest,
    payload: dev::Payload,
    limit: usize,
    memory: &Budget,
    timeout: Duration,
) -> Result<Arrived> {
    let declared = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared
        .is_some_and(|declared| usize::try_from(declared).map_or(true, |declared| declared > limit))
    {
        return Err(Error::TooLarge { limit });
    }
    let arrived = collect(request, payload, limit, memory);
    tokio::time::timeout(timeout, arrived)
        .await
        .map_err(|_| Error::RequestTimeout)?
}

async fn collect(
    request: &HttpRequest,
    mut payload: dev::Payload,
    limit: usize,
    memory: &Budget,
) -> Result<Arrived> {
    let requests = request.conn_data::<Requests>();
    let (mut whole, mut share) = (BytesMut::new(), Share::default());
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| {
            Error::invalid(Field::Body, format!("the body could not be read: {error}"))
        })?;
        let size = whole.len() + piece.len();
        if size > limit {
            return Err(Error::TooLarge { limit });
        }
        if size > SMALL {
            // The first piece beyond `SMALL` takes the share of those before it, too.
            let more = if whole.len() > SMALL {
                piece.len()
            } else {
                size
            };
            memory.add(&mut share, more)?;
        }
        whole.extend_from_slice(&piece);
        if let Some(requests) = requests {
            requests.take(piece.len());
        }
    }
    Ok(Arrived {
        bytes: whole.freeze(),
        _share: share,
    })
}

/// Returns true if the head announces a body. Without one, its type is not checked.
fn may_have_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    match headers.get(CONTENT_LENGTH) {
        Some(length) => length != "0",
        None => headers.contains_key(TRANSFER_ENCODING),
    }
}

fn check_encoding(request: &HttpRequest, supported: &'static str) -> Result<()> {
    match request.headers().get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Error::UnsupportedMediaType {
                sent: format!(
                    "the content encoding {}",
                    quoted(encoding.to_str().unwrap_or("?"))
                ),
                supported,
            })
        }
        _ => Ok(()),
    }
}

fn check_type(request: &HttpRequest) -> Result<()> {
    check_encoding(request, JSON)?;
    let headers = request.headers();
    let Some(sent) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = request.content_type();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17
            && essence.to_ascii_lowercase().starts_with("application/")
            && essence.to_ascii_lowercase().ends_with("+json"));
    if json {
        Ok(())
    } else {
        Err(Error::UnsupportedMediaType {
            sent: format!("the content type {}", quoted(sent.to_str().unwrap_or("?"))),
            supported: JSON,
        })
    }
}

/// Parses JSON text. Errors name the place and the reason. Editors and shells of Windows put a byte order mark before
/// the text, which RFC 8259 lets a reader ignore.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    parse_within(text, EXAMINED)
}

/// The same, with at most `examined` bytes of reading for further mistakes.
fn parse_within<T: DeserializeOwned>(text: &[u8], examined: usize) -> Result<T> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(empty::<T>());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = match serde_path_to_error::deserialize(Objects::new(&mut deserializer)) {
        Ok(value) => value,
        Err(error) if error.inner().is_data() => {
            let first = Mistake::of(&error);
            return Err(Error::Invalid(mistakes::<T>(text, first, examined)));
        }
        Err(error) => return Err(malformed(error.inner())),
    };
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// The error of a missing body: that of an empty object, which names the required members.
fn empty<T: DeserializeOwned>() -> Error {
    let wanted = match read_value::<T>(&Value::Object(Map::new())) {
        Err(Mistake {
            kind: Kind::Missing(name),
            ..
        }) => format!("a JSON object with \"{name}\""),
        _ => "a JSON object".to_owned(),
    };
    Error::invalid(Field::Body, format!("the body is empty; send {wanted}"))
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::invalid(
        Field::Body,
        shortened(&format!("the body is not valid JSON: {error}")),
    )
}

/// A value that does not fit.
struct Mistake {
    /// The members and positions that lead to it, if they are known in full.
    path: Option<Vec<Step>>,
    kind: Kind,
    violation: Violation,
}

/// A step into a JSON value.
#[derive(Clone, PartialEq)]
enum Step {
    Member(String),
    Position(usize),
}

enum Kind {
    /// It has an unknown member.
    Unknown(Remedy),
    /// It lacks this member.
    Missing(String),
    /// It has a wrong type or value.
    Value,
}

/// The right place for the value of an unknown member.
enum Remedy {
    /// Another member name.
    Rename(String),
    /// Inside [`WRAPPING`].
    Wrap,
    Remove,
}

impl Mistake {
    fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let reason = error.inner().to_string();
        // serde_json appends line and column; the path is more useful.
        let reason = reason
            .rsplit_once(" at line ")
            .map_or(reason.as_str(), |(reason, _)| reason);
        let path = error.path();
        let steps = path.iter().map(|segment| match segment {
            Segment::Map { key } => Some(Step::Member(key.clone())),
            Segment::Seq { index } => Some(Step::Position(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let (kind, violation) = match path.iter().next_back() {
            Some(Segment::Map { key }) if let Some(known) = known_members(reason, key) => {
                let message = unknown_member_message(&path.to_string(), key, &known);
                let remedy = match nearest(&known, key) {
                    Some(name) => Remedy::Rename(name.to_owned()),
                    None if known.contains(&WRAPPING) => Remedy::Wrap,
                    None => Remedy::Remove,
                };
                (Kind::Unknown(remedy), Violation::new(Field::Body, message))
            }
            _ => {
                let missing = missing_member(reason);
                let reason = wrong_type(reason).unwrap_or_else(|| reason.to_owned());
                let violation = Violation::new(field(path, missing), described(path, &reason));
                let kind = missing.map_or(Kind::Value, |name| Kind::Missing(name.to_owned()));
                (kind, violation)
            }
        };
        Self {
            path: steps.collect(),
            kind,
            violation,
        }
    }

    fn is_missing(&self) -> bool {
        matches!(self.kind, Kind::Missing(_))
    }

    /// The place of the value that has to change.
    fn place(&self) -> Option<Vec<Step>> {
        let mut place = self.path.clone()?;
        if let Kind::Missing(name) = &self.kind {
            place.push(Step::Member(name.clone()));
        }
        Some(place)
    }
}

/// All mistakes in a body, in the order of reading. `first` is the first of them.
///
/// Reading ends at a mistake. So each one is corrected in a copy with some readable value, and the copy is read again.
/// The copy is then discarded.
fn mistakes<T: DeserializeOwned>(text: &[u8], first: Mistake, examined: usize) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut next = Some(first);
    // Only make a copy if the body can be read at least a few times.
    let mut readings = examined / text.len().max(1);
    let mut copy = match readings {
        0 => Value::Null,
        _ => serde_json::from_slice(text).unwrap_or_default(),
    };
    while let Some(mistake) = next {
        next = if found.len() + 1 < TOLD {
            set_right::<T>(&mut copy, &mistake, &mut readings)
        } else {
            None
        };
        found.push(mistake.violation);
    }
    found
}

/// Corrects a mistake in `copy`, and returns the next one if `readings` suffice to find it.
fn set_right<T: DeserializeOwned>(
    copy: &mut Value,
    mistake: &Mistake,
    readings: &mut usize,
) -> Option<Mistake> {
    let place = mistake.place()?;
    let (last, parents) = place.split_last()?;
    if let (Kind::Unknown(remedy), Step::Member(name)) = (&mistake.kind, last) {
        let members = at(copy, parents)?.as_object_mut()?;
        let value = members.remove(name)?;
        // Move the value to its right place, so that it is read there and is not missing.
        let moved_to = match remedy {
            Remedy::Rename(meant) => {
                members.entry(meant).or_insert(value);
                Some(meant)
            }
            Remedy::Wrap => {
                let wrapped = members.entry(WRAPPING).or_insert_with(|| json!({}));
                if let Some(wrapped) = wrapped.as_object_mut() {
                    wrapped.entry(name.clone()).or_insert(value);
                }
                None
            }
            Remedy::Remove => None,
        };
        let next = read_again::<T>(copy, readings)?;
        // The guess may be wrong, so do not report a mistake in the moved value: it may be a password.
        let guessed = |meant: &String| {
            next.place() == Some([parents, &[Step::Member(meant.clone())]].concat())
        };
        return if moved_to.is_some_and(guessed) {
            set_right::<T>(copy, &next, readings)
        } else {
            Some(next)
        };
    }
    // A value of each type: one of them can be read, unless a text needs a special form.
    let stand_ins = [
        json!(null),
        json!(""),
        json!([]),
        json!({}),
        json!(false),
        json!(0),
    ];
    for stand_in in stand_ins {
        match (at(copy, parents)?, last) {
            (Value::Object(members), Step::Member(name)) => {
                members.insert(name.clone(), stand_in);
            }
            (Value::Array(items), Step::Position(index)) => *items.get_mut(*index)? = stand_in,
            _ => return None,
        }
        let within = |one: &Mistake| one.place().is_some_and(|there| there.starts_with(&place));
        let mut next = read_again::<T>(copy, readings);
        // Members missing in a stand-in object are no mistakes of the caller.
        while let Some(missing) = next.take_if(|next| within(next) && next.is_missing()) {
            next = set_right::<T>(copy, &missing, readings);
        }
        if !next.as_ref().is_some_and(within) {
            return next;
        }
    }
    None
}

/// The next mistake in `copy`, unless no readings are left.
fn read_again<T: DeserializeOwned>(copy: &Value, readings: &mut usize) -> Option<Mistake> {
    *readings = readings.checked_sub(1)?;
    read_value::<T>(copy).err()
}

/// The value at a place.
fn at<'a>(value: &'a mut Value, place: &[Step]) -> Option<&'a mut Value> {
    place.iter().try_fold(value, |value, step| match step {
        Step::Member(name) => value.get_mut(name),
        Step::Position(index) => value.get_mut(index),
    })
}

fn read_value<T: DeserializeOwned>(value: &Value) -> std::result::Result<T, Mistake> {
    serde_path_to_error::deserialize(Objects::new(value)).map_err(|error| Mistake::of(&error))
}

/// The field that a path leads to.
fn field(path: &Path, missing: Option<&str>) -> Field {
    path.iter()
        .find_map(|segment| match segment {
            Segment::Map { key } if key != WRAPPING => Some(Field::of_member(key)),
            _ => None,
        })
        // If the wrapping itself is missing, the body as a whole is at fault.
        .or_else(|| {
            missing
                .filter(|name| *name != WRAPPING)
                .map(Field::of_member)
        })
        .unwrap_or(Field::Body)
}

fn described(path: &Path, reason: &str) -> String {
    let path = path.to_string();
    let place = if path == "." { "the body" } else { &path };
    shortened(&masked(&format!("{place}: {reason}")))
}

/// Serde's message on a value of a wrong type or beyond the bounds of its type, in plain words.
fn wrong_type(reason: &str) -> Option<String> {
    let rest = reason.strip_prefix("invalid type: ");
    let rest = rest.or_else(|| reason.strip_prefix("invalid value: "))?;
    // The value may contain serde's words, and the type does not.
    let (sent, expected) = rest.rsplit_once(", expected ")?;
    let needed = match expected {
        "a string" | "str" | "a borrowed string" => "a text",
        "a boolean" | "bool" => "true or false",
        "a sequence" | "an array" => "a list",
        "a map" => "an object",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number from 0",
        "f32" | "f64" => "a number",
        other => other,
    };
    let bare = |kind: &str| Some(sent.strip_prefix(kind)?.strip_suffix('`')?.to_owned());
    let sent = match sent {
        "sequence" => "a list".to_owned(),
        "map" => "an object".to_owned(),
        _ => ["boolean `", "integer `", "floating point `"]
            .into_iter()
            .find_map(bare)
            .or_else(|| Some(format!("the text {}", sent.strip_prefix("string ")?)))
            .unwrap_or_else(|| sent.to_owned()),
    };
    Some(format!("{needed} is needed, not {sent}"))
}

/// Parses serde's message on a missing field.
fn missing_member(reason: &str) -> Option<&str> {
    reason.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Parses serde's message on an unknown field and returns the known ones. The unknown name may itself contain serde's
/// words, so it is removed first.
fn known_members<'a>(reason: &'a str, unknown: &str) -> Option<Vec<&'a str>> {
    let rest = reason
        .strip_prefix("unknown field `")?
        .strip_prefix(unknown)?
        .strip_prefix("`, ")?;
    // Only the names are between back quotes.
    Some(rest.split('`').skip(1).step_by(2).collect())
}

fn unknown_member_message(path: &str, unknown: &str, known: &[&str]) -> String {
    let shown = quoted(unknown);
    let parent = path
        .strip_suffix(unknown)
        .unwrap_or(path)
        .trim_end_matches('.');
    let place = if parent.is_empty() {
        String::new()
    } else {
        format!(" in {parent}")
    };
    let hint = match nearest(known, unknown) {
        Some(name) => format!("did you mean \"{name}\"?"),
        _ if known.contains(&WRAPPING) => "put it inside \"properties\"".to_owned(),
        // Of the bodies without wrapping, only a PATCH may be an answer that is sent back.
        _ if parent.is_empty() && unknown == WRAPPING && echoes(known) => {
            "a PATCH has no \"properties\"; send only the members that change, at the top level"
                .to_owned()
        }
        _ => format!("known are {}", useful(known).join(", ")),
    };
    shortened(&format!("unknown member {shown}{place}; {hint}"))
}

/// The known members without those that are read and ignored, which should not be suggested.
fn useful<'a>(known: &[&'a str]) -> Vec<&'a str> {
    // These names also occur in other bodies: a scope has a type, and a new token a name.
    let echoed = |name: &&str| match *name {
        "id" | "type" | "href" | "metadata" => echoes(known),
        "name" | "location" => echoes(known) && !known.contains(&WRAPPING),
        name => [
            "credentials",
            "hostname",
            "maintenanceWindow",
            "storageUsage",
        ]
        .contains(&name),
    };
    known.iter().copied().filter(|name| !echoed(name)).collect()
}

/// Returns true if the object may be an answer that is sent back whole.
fn echoes(known: &[&str]) -> bool {
    known.contains(&"href")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text.to_owned(),
    }
}

/// Parses a JSON body and converts it to a command, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn command<W, C>(text: &[u8]) -> Result<C>
where
    W: DeserializeOwned,
    C: TryFrom<W, Error = Error>,
{
    C::try_from(parse(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        properties: Inner,
        other: Option<u8>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        expiry_date: Option<String>,
        scopes: Option<Vec<u8>>,
    }

    fn complaint(text: &str) -> (Field, String) {
        match parse::<Outer>(text.as_bytes()) {
            Err(Error::Invalid(violations)) => (violations[0].field, violations[0].message.clone()),
            other => panic!("{text} gave {other:?}"),
        }
    }

    #[test]
    fn reasons_name_the_place_and_the_remedy() {
        let cases = [
            (
                r#"{"properties": {"expirydate": "x"}}"#,
                Field::Body,
                r#"unknown member "expirydate" in properties; did you mean "expiryDate"?"#,
            ),
            (
                r#"{"properties": {"name": "x"}}"#,
                Field::Body,
                r#"unknown member "name" in properties; known are expiryDate, scopes"#,
            ),
            (
                r#"{"properties": {}, "zzz": 1}"#,
                Field::Body,
                r#"unknown member "zzz"; put it inside "properties""#,
            ),
            (
                r#"{"properties": {"expiryDate": 5}}"#,
                Field::ExpiryDate,
                "properties.expiryDate: a text is needed, not 5",
            ),
            (
                r#"{"properties": {"scopes": [1, "x"]}}"#,
                Field::Scopes,
                "properties.scopes[1]: a whole number from 0 to 255 is needed, not the text \"x\"",
            ),
            (
                r#"{"other": 1}"#,
                Field::Body,
                "the body: missing field `properties`",
            ),
            (
                "[]",
                Field::Body,
                "the body: an object is needed, not a list",
            ),
        ];
        for (text, field, message) in cases {
            assert_eq!(complaint(text), (field, message.to_owned()), "{text}");
        }
        for text in [
            "",
            "{",
            "{}x",
            "nonsense",
            "{\"properties\": {}} {}",
            "\u{feff}{}",
            "\u{feff}\u{feff}{\"properties\": {}}",
            "{\"properties\": {}}\u{feff}",
        ] {
            assert_eq!(complaint(text).0, Field::Body, "{text:?}");
        }
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Kinds {
        text: Option<String>,
        truth: Option<bool>,
        number: Option<f64>,
        whole: Option<i64>,
        count: Option<u32>,
        list: Option<Vec<String>>,
        object: Option<std::collections::BTreeMap<String, String>>,
        thing: Option<Inner>,
    }

    #[test]
    fn wrong_types_are_told_in_plain_words() {
        for (text, told) in [
            (r#"{"text": 1.5}"#, "text: a text is needed, not 1.5"),
            (r#"{"text": {}}"#, "text: a text is needed, not an object"),
            (
                r#"{"truth": "true"}"#,
                r#"truth: true or false is needed, not the text "true""#,
            ),
            (
                r#"{"number": []}"#,
                "number: a number is needed, not a list",
            ),
            (
                r#"{"whole": "5, expected x"}"#,
                r#"whole: a whole number is needed, not the text "5, expected x""#,
            ),
            (
                r#"{"whole": 1.5}"#,
                "whole: a whole number is needed, not 1.5",
            ),
            (
                r#"{"count": -1}"#,
                "count: a whole number from 0 is needed, not -1",
            ),
            (
                r#"{"list": "a"}"#,
                r#"list: a list is needed, not the text "a""#,
            ),
            (r#"{"list": [null]}"#, "list[0]: a text is needed, not null"),
            (
                r#"{"object": true}"#,
                "object: an object is needed, not true",
            ),
            (r#"{"thing": []}"#, "thing: an object is needed, not a list"),
        ] {
            match parse::<Kinds>(text.as_bytes()) {
                Err(Error::Invalid(violations)) => assert_eq!(violations[0].message, told),
                other => panic!("{text} gave {other:?}"),
            }
        }
    }

    #[test]
    fn hostile_names_stay_short_and_escaped() {
        let name = format!("`, expected one of `{}\\n", "x".repeat(500));
        let (_, message) = complaint(&format!(r#"{{"properties": {{}}, "{name}": 1}}"#));
        assert!(message.chars().count() <= REASON + 1, "{message}");
        assert!(!message.contains('\n'));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!(r#"{{"properties": {}}}"#, "[".repeat(100_000));
        assert!(parse::<Outer>(deep.as_bytes()).is_err());
    }
}
