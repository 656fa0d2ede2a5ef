//! The bodies of requests and answers.

use crate::http::shown::Shown;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::app_token::{AppToken, Title};
use crate::error::{Error, Field, Result};
use crate::http::pieces::Items;
use crate::service::app_tokens::Revealed;

/// Description of a new token.
#[derive(ToSchema)]
#[schema(as = PostAppTokenInput)]
pub(super) struct NewToken {
    /// Friendly name to help identify the token
    #[schema(
        max_length = 255,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "MyAppToken"
    )]
    title: String,
}

impl TryFrom<Value> for NewToken {
    type Error = Error;

    fn try_from(body: Value) -> Result<Self> {
        let mut members = members(body, printed)?;
        let title = text(&mut members, "title", printed)?;
        Ok(Self { title })
    }
}

impl TryFrom<Value> for Title {
    type Error = Error;

    fn try_from(body: Value) -> Result<Self> {
        let NewToken { title } = body.try_into()?;
        Self::parse(title)
    }
}

/// The credentials to sign in with.
#[derive(ToSchema)]
#[schema(as = SigninUser)]
pub(super) struct Credentials {
    /// The name of the account
    #[schema(example = "admin")]
    pub username: String,
    /// The password of the account
    #[schema(value_type = String, format = Password, example = "correct horse battery staple")]
    pub password: SecretString,
}

impl TryFrom<Value> for Credentials {
    type Error = Error;

    fn try_from(body: Value) -> Result<Self> {
        // Do not quote a misplaced value: it may be the password.
        let unshown = |_: &Value| "what was sent".to_owned();
        let mut members = members(body, unshown)?;
        require(&members, &["username", "password"])?;
        Ok(Self {
            username: text(&mut members, "username", unshown)?,
            password: text(&mut members, "password", unshown)?.into(),
        })
    }
}

/// A password for a workload.
#[derive(Serialize, ToSchema)]
pub(super) struct RobotToken {
    /// The password, in the form of a JWT
    #[schema(value_type = String, example = "eyJ0eXAiOiJKV1Qi.eyJpc3MiOiJ3.c2lnbmF0dXJl")]
    pub token: Shown,
}

// Mistakes in bodies, in the words of Quay's JSON Schema library. Each is attributed to a field, since the body could
// be read.

/// The members of an object, including unknown ones.
fn members(body: Value, shown: impl Fn(&Value) -> String) -> Result<Map<String, Value>> {
    match body {
        Value::Object(members) => Ok(members),
        Value::Null => Err(Error::invalid(
            Field::Other("document"),
            "Missing JSON body",
        )),
        other => Err(mistyped("document", &shown(&other), "object")),
    }
}

fn require(members: &Map<String, Value>, names: &[&'static str]) -> Result<()> {
    let missing = names.iter().find(|name| !members.contains_key(**name));
    missing.map_or(Ok(()), |name| {
        Err(Error::invalid(
            Field::Other(name),
            format!("'{name}' is a required property"),
        ))
    })
}

/// Takes a text out of an object.
fn text(
    members: &mut Map<String, Value>,
    name: &'static str,
    shown: impl Fn(&Value) -> String,
) -> Result<String> {
    require(members, &[name])?;
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        other => Err(mistyped(name, &shown(&other.unwrap_or_default()), "string")),
    }
}

fn mistyped(field: &'static str, shown: &str, wanted: &str) -> Error {
    Error::invalid(
        Field::Other(field),
        format!("{shown} is not of type '{wanted}'"),
    )
}

/// A short value as Python prints it.
fn printed(value: &Value) -> String {
    const LENGTH: usize = 100;
    let text = match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => format!("'{}'", text.escape_debug()),
        other => other.to_string(),
    };
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text,
    }
}

/// An app specific token
#[derive(Serialize, ToSchema)]
#[schema(as = AppToken)]
pub(super) struct TokenView {
    /// Its id
    #[schema(example = "5a0c3b57-7a0f-4c2e-9a1c-8f1a60b7e2d4")]
    uuid: String,
    /// Its title, as it was sent; others may have the same
    #[schema(example = "MyAppToken")]
    title: String,
    /// When it last opened a registry; null until it does
    #[schema(required, example = "Sat, 21 Nov 2026 21:40:02 -0000")]
    last_accessed: Option<String>,
    /// When it was made
    #[schema(example = "Sat, 21 Nov 2026 21:40:02 -0000")]
    created: String,
    /// When it ends; null if it never does
    #[schema(required, example = "Sun, 21 Nov 2027 21:40:02 -0000")]
    expiration: Option<String>,
    /// The code that opens registries, as the password of the user `$app`: only in answers on one token. Null there if
    /// this server shows codes but once
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = Option<String>,
        example = "WHAEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMP"
    )]
    #[expect(
        clippy::option_option,
        reason = "absent, null and a code are three things in an answer"
    )]
    token_code: Option<Option<Shown>>,
}

impl From<AppToken> for TokenView {
    fn from(token: AppToken) -> Self {
        let AppToken {
            id,
            title,
            created_at,
            expires_at,
            used_at,
        } = token;
        Self {
            uuid: id.to_string(),
            title,
            last_accessed: used_at.map(date),
            created: date(created_at),
            expiration: expires_at.map(date),
            token_code: None,
        }
    }
}

/// Formats a time as Python's `email.utils` does without a known time zone.
fn date(instant: DateTime<Utc>) -> String {
    instant.format("%a, %d %b %Y %H:%M:%S -0000").to_string()
}

/// Tokens
#[derive(Serialize, ToSchema)]
#[schema(as = AppTokens)]
pub(super) struct TokenList<'a> {
    /// All of them, in the order in which they were made
    #[schema(value_type = Vec<TokenView>)]
    pub tokens: Items<'a, TokenView>,
    /// The value of the query; null if it had none
    #[schema(required, example = json!(null))]
    pub only_expiring: Option<bool>,
}

/// A token
#[derive(Serialize, ToSchema)]
#[schema(as = AppTokenWithCode)]
pub(super) struct OneToken {
    /// The token, with its code
    token: TokenView,
}

impl From<Revealed> for OneToken {
    fn from(revealed: Revealed) -> Self {
        let code = revealed.code.map(Shown::from);
        Self {
            token: TokenView {
                token_code: Some(code),
                ..revealed.token.into()
            },
        }
    }
}

/// The token that a session needs for requests that change something
#[derive(Serialize, ToSchema)]
#[schema(as = CsrfToken)]
pub(super) struct CsrfToken {
    /// To be sent as `X-CSRF-Token`, beside the cookie
    #[schema(example = "ZXhhbXBsZWV4YW1wbGVleGFt")]
    pub csrf_token: String,
}

/// An answer that says only that the request succeeded
#[derive(Serialize, ToSchema)]
pub(super) struct Success {
    /// Always `true`
    #[schema(example = true)]
    pub success: bool,
}

/// Description of an error
#[derive(Serialize, ToSchema)]
#[schema(as = ApiErrorDescription)]
pub(super) struct ErrorDescription {
    /// The address of this page
    #[schema(example = "https://wharfinger.example.com/api/v1/error/not_found")]
    pub r#type: String,
    /// The kind of error
    #[schema(example = "not_found")]
    pub title: &'static str,
    /// The meaning of the error
    #[schema(example = "It does not exist, or you may not see it.")]
    pub description: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_are_in_the_words_of_the_library() {
        let told = |body: Value| Title::try_from(body).unwrap_err().to_string();
        for (body, message) in [
            (json!(null), "Missing JSON body"),
            (json!({}), "'title' is a required property"),
            (json!({"Title": "x"}), "'title' is a required property"),
            (json!({"title": 1}), "1 is not of type 'string'"),
            (json!({"title": null}), "None is not of type 'string'"),
            (json!({"title": true}), "True is not of type 'string'"),
            (json!([]), "[] is not of type 'object'"),
            (json!("it's"), "'it\\'s' is not of type 'object'"),
        ] {
            assert_eq!(told(body.clone()), message, "{body}");
        }
        assert!(told(vec![0; 10_000].into()).chars().count() < 150);
    }

    #[test]
    fn faults_of_a_sign_in_repeat_nothing() {
        for body in [
            json!("secret-word"),
            json!(["secret-word"]),
            json!({"username": "a", "password": ["secret-word"]}),
            json!({"username": ["secret-word"], "password": "a"}),
        ] {
            let told = Credentials::try_from(body.clone()).err().unwrap();
            assert!(!told.to_string().contains("secret-word"), "{body}: {told}");
        }
        let told = Credentials::try_from(json!({"username": 1})).err().unwrap();
        assert_eq!(told.to_string(), "'password' is a required property");
    }

    #[test]
    fn dates_have_two_digits_and_no_zone() {
        let instant = DateTime::from_timestamp_micros(1_643_716_374_999_999).unwrap();
        assert_eq!(date(instant), "Tue, 01 Feb 2022 11:52:54 -0000");
    }
}
