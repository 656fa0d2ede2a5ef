//! The token endpoint: by GET with HTTP Basic, by POST with a form (Distribution's token and OAuth 2 specifications,
//! and RFC 8693 for workloads).

use std::future::Future;
use std::pin::Pin;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev, get, post};
use chrono::SecondsFormat;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::error::{CodeLogin, Errors, FormErrors, TokenEndpoint};
use crate::domain::app_token;
use crate::domain::scope::{self, Access};
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result, Violation};
use crate::http::body;
use crate::http::call::{basic, origin};
use crate::http::dialect::{self, Failure};
use crate::http::schema::described_word;
use crate::http::shown::Shown;
use crate::http::source::source;
use crate::http::state::State;
use crate::service::access::Presented;
use crate::service::exchanges::{Exchange, Exchanged, PasswordForm};
use crate::service::grants::{Ask, Granted, Login};

type Answer = dialect::Answer<TokenEndpoint>;

/// The parameters of a request.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Question {
    /// The registry's service name, which is its hostname
    #[param(min_length = 1, example = "team-a.localhost")]
    service: String,
    /// The scope: `type:name:action[,action]`, several separated by spaces; the parameter can be repeated. Without a scope the request is a login alone
    #[param(value_type = Option<String>)]
    scope: Vec<Access>,
    /// `true` asks for a refresh token too; one is given with `--refresh-tokens`
    offline_token: Option<String>,
    /// The kind of client; means nothing here
    client_id: Option<String>,
    /// The user name once more; means nothing here
    account: Option<String>,
}

impl Question {
    fn read(parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            service: parameters.required("service")?,
            scope: parameters.wanted()?,
            offline_token: parameters.one("offline_token")?,
            client_id: parameters.first("client_id"),
            account: parameters.first("account"),
        })
    }
}

/// The grant types.
const PASSWORD: &str = "password";
const REFRESH_TOKEN: &str = "refresh_token";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The types of tokens (RFC 8693 §3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How a client proves its identity.
struct GrantType;

impl PartialSchema for GrantType {
    fn schema() -> RefOr<Schema> {
        let description = "The kind of credentials that a client sends";
        described_word(
            description,
            [PASSWORD, REFRESH_TOKEN, TOKEN_EXCHANGE].into_iter(),
            "password",
        )
        .into()
    }
}

impl ToSchema for GrantType {}

/// A form of the OAuth 2 token endpoint
#[derive(ToSchema)]
#[schema(as = TokenForm)]
struct TokenForm {
    /// `password`, `refresh_token`, or that of RFC 8693 for a workload
    #[schema(value_type = GrantType)]
    grant_type: String,
    /// The registry's service name, which is its hostname
    #[schema(min_length = 1, example = "team-a.localhost")]
    service: String,
    /// For an exchange the name of the trust, unless HTTP Basic has it. Otherwise the kind of client, which means nothing here
    #[schema(example = "docker")]
    client_id: Option<String>,
    /// The scopes, separated by spaces. Without a scope the request is a login alone
    #[schema(value_type = Option<String>, example = "repository:team/app:pull,push")]
    scope: Vec<Access>,
    /// `offline` asks for a refresh token too; one is given with `--refresh-tokens`
    #[schema(example = "online")]
    access_type: Option<String>,
    /// For `password`: the name of a registry token, of a trust or of an account, or `<token>` with a refresh token as the password
    #[schema(min_length = 1, example = "ci-push")]
    username: Option<String>,
    /// For `password`: the token's secret, the account's password, a workload's JWT, or the password that it got for one
    #[schema(value_type = Option<String>, min_length = 1, format = Password, example = "whrt_exampleexampleexampleexampleexampleexam")]
    password: Option<SecretString>,
    /// For `refresh_token`: the refresh token of an earlier answer
    #[schema(value_type = Option<String>, min_length = 1, format = Password, example = "whrr_example")]
    refresh_token: Option<SecretString>,
    /// For an exchange: the JWT of the workload
    #[schema(value_type = Option<String>, min_length = 1, format = Password, example = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2NpIn0.c2lnbmF0dXJl")]
    subject_token: Option<SecretString>,
    /// For an exchange: the type of that, which is a JWT by either name: `…:jwt` or `…:id_token`
    #[schema(example = "urn:ietf:params:oauth:token-type:jwt")]
    subject_token_type: Option<String>,
    /// For an exchange: `…:access_token` for a short password, or `…:jwt` for one in the form of a JWT. The short one if absent
    #[schema(example = "urn:ietf:params:oauth:token-type:access_token")]
    requested_token_type: Option<String>,
    /// For an exchange: the same as `service`, or in its place
    #[schema(example = "team-a.localhost")]
    audience: Option<String>,
}

impl TokenForm {
    fn read(parameters: &Parameters) -> Result<Self> {
        let grant_type = parameters.required("grant_type")?;
        let audience = parameters.one("audience")?;
        let instead = audience.clone().filter(|_| grant_type == TOKEN_EXCHANGE);
        let service = match (parameters.one("service")?, instead) {
            (None, Some(audience)) => audience,
            _ => parameters.required("service")?,
        };
        Ok(Self {
            grant_type,
            username: parameters.one("username")?,
            password: parameters.single("password")?.cloned(),
            refresh_token: parameters.single("refresh_token")?.cloned(),
            service,
            scope: parameters.wanted()?,
            access_type: parameters.one("access_type")?,
            client_id: parameters.first("client_id"),
            subject_token: parameters.single("subject_token")?.cloned(),
            subject_token_type: parameters.one("subject_token_type")?,
            requested_token_type: parameters.one("requested_token_type")?,
            audience,
        })
    }
}

/// A JWT for the registry, and its scopes and life
#[derive(Serialize, ToSchema)]
#[schema(as = RegistryAccess)]
struct AccessView {
    /// The JWT. A JWT that grants nothing is no error
    #[schema(value_type = String, example = "eyJ0eXAiOiJKV1Qi.eyJpc3MiOiJ3.c2lnbmF0dXJl")]
    token: Shown,
    /// The same again, under the name that OAuth 2 has for it
    #[schema(value_type = String, example = "eyJ0eXAiOiJKV1Qi.eyJpc3MiOiJ3.c2lnbmF0dXJl")]
    access_token: Shown,
    /// Seconds from `issued_at` to its end
    #[schema(example = 300)]
    expires_in: i64,
    /// When it was issued
    #[schema(example = "2027-01-13T16:27:42Z", format = DateTime)]
    issued_at: String,
    /// The scopes that were granted; only in answers to POST
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "repository:team/app:pull", nullable = false)]
    scope: Option<String>,
    /// A refresh token for a later login; absent unless it was asked for and `--refresh-tokens` is set. It ends with the
    /// secret that it was given for
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "whrr_example", nullable = false)]
    refresh_token: Option<Shown>,
    /// The type of what a workload got in exchange for its JWT, which is a password in place of the JWT above; absent from other answers
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "urn:ietf:params:oauth:token-type:access_token",
        nullable = false
    )]
    issued_token_type: Option<&'static str>,
    /// `N_A`, as that is no Bearer token (RFC 8693 §2.2.1); absent from other answers
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "N_A", nullable = false)]
    token_type: Option<&'static str>,
}

/// Get a JWT for a registry
///
/// A registry's clients call this after the registry has sent them here. Log in with the name and the secret of a
/// registry token, with an account, or with the name of a trust and the JWT of a workload. The grant may be less than the question, or nothing: `evaluate`
/// on a token or a trust says why.
#[utoipa::path(
    operation_id = "registryTokenGet", tag = "Registry access", security(("basicAuth" = [])), params(Question),
    responses((status = 200, description = "A JWT", body = AccessView), Errors),
)]
#[get("/token")]
pub(super) async fn by_query(state: Data<State>, query: ByQuery) -> Answer {
    answer_query(state, query).await
}

/// Get a JWT for a registry by a form
///
/// The request of OAuth 2, which newer clients send: a form with the name and the secret, or with a refresh token. A
/// workload can also exchange its JWT for a password here (RFC 8693): once for each JWT, and for an hour at most.
#[utoipa::path(
    operation_id = "registryTokenPost", tag = "Registry access", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A JWT, or a password for a workload", body = AccessView), FormErrors, Errors),
)]
#[post("/token")]
pub(super) async fn by_form(state: Data<State>, form: ByForm) -> Answer {
    answer_form(state, form).await
}

pub(super) async fn answer_query(state: Data<State>, query: ByQuery) -> Answer {
    answer(state, query.0, |_| None).await
}

pub(super) async fn answer_form(state: Data<State>, form: ByForm) -> Answer {
    match form.0 {
        FormRequest::Ask(ask) => answer(state, ask, |access| Some(scope::joined(access))).await,
        FormRequest::Exchange(exchange) => {
            let form = exchange.form;
            let exchanged = state.service.exchanges().exchange(exchange).await?;
            Ok(json(&password_view(&exchanged, form)))
        }
    }
}

async fn answer(
    state: Data<State>,
    ask: Ask,
    scope: impl FnOnce(&[Access]) -> Option<String>,
) -> Answer {
    let by_code =
        matches!(&ask.login, Login::Password(presented) if presented.name() == app_token::USER);
    match state.service.grants().issue(ask).await {
        Ok(granted) => Ok(json(&view(&granted, scope(&granted.access)))),
        Err(error @ Error::Unauthenticated) if by_code => {
            Ok(HttpResponse::from_error(Failure::<CodeLogin>::from(error)))
        }
        Err(error) => Err(error.into()),
    }
}

/// An answer that no cache may keep.
fn json(view: &AccessView) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(view)
}

fn view(granted: &Granted, scope: Option<String>) -> AccessView {
    AccessView {
        token: granted.jwt.clone().into(),
        access_token: granted.jwt.clone().into(),
        expires_in: granted.expires_in,
        issued_at: granted.issued_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        scope,
        refresh_token: granted.refresh_token.clone().map(Shown::from),
        issued_token_type: None,
        token_type: None,
    }
}

fn password_view(exchanged: &Exchanged, form: PasswordForm) -> AccessView {
    let issued_at = exchanged.issued_at;
    AccessView {
        token: exchanged.password.clone().into(),
        access_token: exchanged.password.clone().into(),
        expires_in: exchanged.expires_in,
        issued_at: issued_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        scope: None,
        refresh_token: None,
        issued_token_type: Some(match form {
            PasswordForm::Short => ACCESS_TOKEN,
            PasswordForm::Jwt => JWT,
        }),
        token_type: Some("N_A"),
    }
}

/// A question in the query, with HTTP Basic.
#[derive(Debug)]
pub(super) struct ByQuery(Ask);

impl FromRequest for ByQuery {
    type Error = Failure<TokenEndpoint>;
    type Future = std::future::Ready<std::result::Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        std::future::ready(read_query(request).map(Self).map_err(Failure::from))
    }
}

pub(super) fn read_query(request: &HttpRequest) -> Result<Ask> {
    let (name, password) = basic(request).ok_or(Error::Unauthenticated)?;
    let parameters = Parameters::parse(request.query_string().as_bytes());
    let Question {
        service,
        scope,
        offline_token,
        client_id: _client_id,
        account: _account,
    } = Question::read(&parameters)?;
    Ok(Ask {
        login: Login::Password(Presented::new(name, password, source(request))),
        service,
        wanted: scope,
        offline: offline_token.as_deref() == Some("true"),
        origin: origin(request),
    })
}

/// The request of a form.
#[derive(Debug)]
pub(super) enum FormRequest {
    /// For a JWT.
    Ask(Ask),
    /// For a workload's password.
    Exchange(Exchange),
}

/// A request in a form, which contains the credentials too.
#[derive(Debug)]
pub(super) struct ByForm(FormRequest);

impl FromRequest for ByForm {
    type Error = Failure<TokenEndpoint>;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = body::form(&request, payload).await?;
            Ok(Self(read_form(&request, &body)?))
        })
    }
}

pub(super) fn read_form(request: &HttpRequest, body: &[u8]) -> Result<FormRequest> {
    let form = TokenForm::read(&Parameters::parse(body))?;
    let source = source(request);
    let login = match form.grant_type.as_str() {
        PASSWORD => Login::Password(Presented::new(
            form.username
                .filter(|username| !username.is_empty())
                .ok_or_else(|| missing("username"))?,
            filled("password", form.password)?,
            source,
        )),
        REFRESH_TOKEN => Login::Refresh {
            token: filled("refresh_token", form.refresh_token)?,
            source,
        },
        TOKEN_EXCHANGE => return exchange(request, form).map(FormRequest::Exchange),
        other => {
            return Err(Error::invalid(
                Field::Other("grant_type"),
                format!(
                    "grant_type {} is none of {PASSWORD}, {REFRESH_TOKEN} and {TOKEN_EXCHANGE}",
                    quoted(other)
                ),
            ));
        }
    };
    Ok(FormRequest::Ask(Ask {
        login,
        service: form.service,
        wanted: form.scope,
        offline: form.access_type.as_deref() == Some("offline"),
        origin: origin(request),
    }))
}

/// Reads the form of an exchange (RFC 8693 §2.1).
fn exchange(request: &HttpRequest, form: TokenForm) -> Result<Exchange> {
    let wrong = |name, message: String| Error::invalid(Field::Other(name), message);
    let neither = |name, sent: &str, one, other| {
        let sent = quoted(sent);
        wrong(name, format!("{name} {sent} is neither {one} nor {other}"))
    };
    let jwt = filled("subject_token", form.subject_token)?;
    match form.subject_token_type.as_deref() {
        Some(JWT | ID_TOKEN) => {}
        None | Some("") => return Err(missing("subject_token_type")),
        Some(other) => return Err(neither("subject_token_type", other, JWT, ID_TOKEN)),
    }
    let password = match form.requested_token_type.as_deref() {
        None | Some(ACCESS_TOKEN) => PasswordForm::Short,
        Some(JWT) => PasswordForm::Jwt,
        Some(other) => {
            return Err(neither("requested_token_type", other, ACCESS_TOKEN, JWT));
        }
    };
    if let Some(audience) = form.audience.filter(|audience| *audience != form.service) {
        let (audience, service) = (quoted(&audience), quoted(&form.service));
        return Err(wrong(
            "audience",
            format!(
                "audience {audience} and service {service} differ; send the registry's hostname in one or both"
            ),
        ));
    }
    if !form.scope.is_empty() {
        return Err(wrong(
            "scope",
            "a password opens all that its trust grants; send scope when you ask for a JWT with the password".to_owned(),
        ));
    }
    let user = basic(request).map(|(name, _)| name);
    let name = match (user, form.client_id.filter(|id| !id.is_empty())) {
        (Some(user), Some(id)) if user != id => {
            let (user, id) = (quoted(&user), quoted(&id));
            return Err(wrong(
                "client_id",
                format!(
                    "client_id {id} and the user name {user} differ; send the trust's name in one or both"
                ),
            ));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(missing("client_id")),
    };
    Ok(Exchange {
        presented: Presented::new(name, jwt, source(request)),
        service: form.service,
        form: password,
        origin: origin(request),
    })
}

fn missing(name: &'static str) -> Error {
    Error::invalid(
        Field::Other(name),
        format!("the parameter {name} is missing"),
    )
}

/// A value that has to be there.
fn filled(name: &'static str, value: Option<SecretString>) -> Result<SecretString> {
    value
        .filter(|value| !value.expose_secret().is_empty())
        .ok_or_else(|| missing(name))
}

/// The pairs of a query or a form.
struct Parameters(Vec<(String, SecretString)>);

impl Parameters {
    fn parse(text: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(text)
            .map(|(name, value)| (name.into_owned(), value.into_owned().into()));
        Self(pairs.collect())
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &SecretString> {
        self.0
            .iter()
            .filter(move |(held, _)| held == name)
            .map(|(_, value)| value)
    }

    fn single(&self, name: &'static str) -> Result<Option<&SecretString>> {
        let mut values = self.all(name);
        let first = values.next();
        // A parameter must not be repeated (RFC 6749 §3.2).
        if values.next().is_some() {
            return Err(Error::invalid(
                Field::Other(name),
                format!("{name} is given twice"),
            ));
        }
        Ok(first)
    }

    fn one(&self, name: &'static str) -> Result<Option<String>> {
        let value = self.single(name)?;
        Ok(value.map(|value| value.expose_secret().to_owned()))
    }

    fn required(&self, name: &'static str) -> Result<String> {
        let value = filled(name, self.single(name)?.cloned())?;
        Ok(value.expose_secret().to_owned())
    }

    /// A value that may be repeated, as nothing depends on it.
    fn first(&self, name: &'static str) -> Option<String> {
        let value = self.all(name).next()?;
        Some(value.expose_secret().to_owned())
    }

    fn wanted(&self) -> Result<Vec<Access>> {
        let wanted = scope::parse_requested(self.all("scope").map(SecretString::expose_secret));
        // Rename the field of the error: the parameter is `scope` here, not `scopes`.
        wanted.map_err(|error| match error {
            Error::Invalid(violations) => Error::Invalid(
                violations
                    .into_iter()
                    .map(|violation| Violation::new(Field::Other("scope"), violation.message))
                    .collect(),
            ),
            other => other,
        })
    }
}
