//! `/secret-scanning/report`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev, post};
use secrecy::SecretString;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

use crate::error::{Error, Result};
use crate::http::call::{Body as _, Json, bearer, origin};
use crate::http::dialect::{self, Dialect, Failure};
use crate::http::native::{ApiErrorResponse, said};
use crate::http::native::{BodyErrors, Errors, Native};
use crate::http::responses::{Responses, described};
use crate::http::state::State;
use crate::service::leaks::{Report, Scanner, Sighting, Whereabouts};

/// The path for reports.
pub(super) const PATH: &str = "/secret-scanning/report";

/// The dialect of requests by the secret scanner: a 401 offers only its token.
#[derive(Debug)]
pub(in super::super) struct Scanning;

impl Dialect for Scanning {
    const CHALLENGES: &'static [&'static str] = &[r#"Bearer realm="wharfinger""#];

    fn status(error: &Error) -> StatusCode {
        Native::status(error)
    }

    fn body(error: &Error) -> Value {
        match error {
            Error::Unauthenticated => said(
                error,
                "the credentials are missing or wrong; send the token of --secret-scanning-token as Bearer"
                    .to_owned(),
            ),
            other => Native::body(other),
        }
    }
}

/// Strings that were found
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LeakReport, min_items = 1, max_items = 100)]
pub(super) struct ReportInput(#[serde(deserialize_with = "sightings")] Vec<SightingInput>);

/// A string that was found; further members are ignored
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Leak)]
struct SightingInput {
    /// The string: what it is a secret of, if of anything, is found out here
    #[serde(deserialize_with = "secret")]
    #[schema(
        value_type = String,
        max_length = 4096,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "whrt_exampleexampleexampleexampleexampleexam"
    )]
    token: SecretString,
    /// The kind of secret, in the scanner's words
    #[schema(
        max_length = 1024,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "wharfinger_registry_token"
    )]
    r#type: Option<String>,
    /// The address of the place where it was found
    #[schema(
        max_length = 1024,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "https://git.example.com/team/app/blob/main/ci.yml"
    )]
    url: Option<String>,
    /// The kind of place
    #[schema(
        max_length = 1024,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "content"
    )]
    source: Option<String>,
}

/// Reads the array. Errors do not quote misplaced text, which may be a secret.
fn sightings<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<SightingInput>, D::Error> {
    struct Whole;

    impl<'de> Visitor<'de> for Whole {
        type Value = Vec<SightingInput>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_str<E: de::Error>(self, _: &str) -> std::result::Result<Self::Value, E> {
            Err(E::custom("a text; an array is needed"))
        }

        fn visit_seq<A: SeqAccess<'de>>(
            self,
            mut items: A,
        ) -> std::result::Result<Self::Value, A::Error> {
            let mut sightings = Vec::new();
            while let Some(Item(sighting)) = items.next_element()? {
                sightings.push(sighting);
            }
            Ok(sightings)
        }
    }

    deserializer.deserialize_any(Whole)
}

struct Item(SightingInput);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> std::result::Result<Item, E> {
                Err(E::custom("a text; an object is needed"))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                members: A,
            ) -> std::result::Result<Item, A::Error> {
                SightingInput::deserialize(MapAccessDeserializer::new(members)).map(Item)
            }
        }

        deserializer.deserialize_any(Object)
    }
}

/// Reads a text that is hidden in logs. Errors do not quote other values.
fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<SecretString, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text.into()),
        _ => Err(serde::de::Error::custom("a token is a text")),
    }
}

impl From<SightingInput> for Sighting {
    fn from(input: SightingInput) -> Self {
        Self {
            token: input.token,
            place: Whereabouts {
                r#type: input.r#type,
                url: input.url,
                source: input.source,
            },
        }
    }
}

impl TryFrom<ReportInput> for Report {
    type Error = Error;

    fn try_from(input: ReportInput) -> Result<Self> {
        Self::new(input.0.into_iter().map(Sighting::from).collect())
    }
}

/// A report of the operator's scanner. The token is checked before other errors are reported.
#[derive(Debug)]
pub(super) struct Call {
    scanner: Scanner,
    report: Report,
}

impl FromRequest for Call {
    type Error = Failure<Scanning>;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let token = bearer(&request);
            let leaks = State::of(&request)?.service.leaks();
            let scanner = leaks.admit(token.as_ref(), origin(&request))?;
            let body = Json::<ReportInput, Report>::read(&request, payload).await?;
            Ok(Self {
                scanner,
                report: body.0,
            })
        })
    }
}

/// The answers of this operation alone.
struct SwitchedOff;

impl IntoResponses for SwitchedOff {
    fn responses() -> Responses {
        described::<ApiErrorResponse>(&[(404, "The server has no `--secret-scanning-token`")])
    }
}

/// Report leaked secrets
///
/// Takes strings that a scanner found where they do not belong, as GitHub's secret scanning sends them. Strings that
/// are credentials of this service open nothing from then on, unless the server is set to report only. The audit trail
/// has an event for each. The answer is the same for all strings.
/// The path exists only with the setting `--secret-scanning-token` (or `--secret-scanning-token-file`). It needs the
/// token of that setting; no account opens it.
#[utoipa::path(
    operation_id = "secretScanningReport", tag = "Secret scanning", security(("scannerAuth" = [])),
    request_body = ReportInput,
    responses((status = 202, description = "Accepted"), SwitchedOff, Errors, BodyErrors),
)]
#[post("/secret-scanning/report")]
pub(super) async fn report(state: Data<State>, call: Call) -> dialect::Answer<Scanning> {
    state
        .service
        .leaks()
        .report(&call.scanner, call.report)
        .await?;
    Ok(HttpResponse::Accepted().finish())
}
