//! What every answer under `/v1` has in common, whoever made it: StackRox's words for a 401, its headers, `?pretty`,
//! and gzip for those who take it.

use std::io::Write as _;

use actix_web::body::{BoxBody, to_bytes};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT_ENCODING, AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, Encoding,
    Header as _, HeaderValue, VARY, WWW_AUTHENTICATE,
};
use actix_web::middleware::Next;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::dialects;
use super::call::Attempt;
use super::error::{Code, body};
use super::owns;
use crate::error::Error;

/// The longest user name that a message repeats, in bytes.
const NAME: usize = 128;

/// Wraps every request; those of other surfaces pass untouched.
pub(in super::super) async fn dress(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if !owns(dialects::routed(request.request())) {
        return next.call(request).await;
    }
    let attempt = Attempt::of(request.request());
    let pretty = url::form_urlencoded::parse(request.query_string().as_bytes())
        .any(|(name, _)| name == "pretty");
    let gzip = takes_gzip(&request);
    let (request, response) = next.call(request).await?.into_parts();
    let refusal = response
        .error()
        .and_then(dialects::cause)
        .and_then(|error| refusal(error, &attempt));
    let (mut response, sent) = response.into_parts();
    let mut bytes = match &refusal {
        Some(message) => serde_json::to_vec(&body(Code::Unauthenticated, message.clone()))?,
        None => to_bytes(sent)
            .await
            .map_err(|error| Error::internal(error.to_string()))
            .map_err(|error| dialects::failure(dialects::routed(&request), error))?
            .to_vec(),
    };
    let headers = response.headers_mut();
    if let Some(message) = refusal.and_then(|message| HeaderValue::from_str(&message).ok()) {
        headers.insert(WWW_AUTHENTICATE, message);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-cache"),
    );
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if pretty {
        bytes = indented(&bytes);
    }
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes)?;
        bytes = encoder.finish()?;
    }
    Ok(ServiceResponse::new(
        request,
        response.set_body(BoxBody::new(bytes)),
    ))
}

/// Is gzip asked for? An answer without any word on it is sent as it is.
fn takes_gzip(request: &ServiceRequest) -> bool {
    let asked = request.headers().contains_key(ACCEPT_ENCODING);
    let accepted = AcceptEncoding::parse(request);
    let codings = [Encoding::gzip(), Encoding::identity()];
    asked
        && accepted
            .is_ok_and(|accepted| accepted.negotiate(codings.iter()) == Some(Encoding::gzip()))
}

/// The message of a 401. It depends on nothing but what was sent, so it tells nobody which names there are.
fn refusal(error: &Error, attempt: &Attempt) -> Option<String> {
    match (error, attempt) {
        (Error::Unauthenticated, Attempt::Nothing) => Some("credentials not found".to_owned()),
        (Error::Unauthenticated, Attempt::Bearer) => Some(
            "credentials not found: token-based: cannot extract identity: token validation failed"
                .to_owned(),
        ),
        (Error::Unauthenticated, Attempt::Basic(name)) => Some(format!(
            "credentials not found: basic: cannot extract identity: failed to identify user with username {:?}",
            plain(name)
        )),
        (Error::NoRole, _) => Some(
            "access for this user is not authorized: no valid role, please contact your system administrator"
                .to_owned(),
        ),
        _ => None,
    }
}

/// A name fit for a header: short, and of visible ASCII alone.
fn plain(name: &str) -> String {
    let visible = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    name.chars().take(NAME).map(visible).collect()
}

/// The same JSON with lines and indents. The order of members stays, which it would not through a tree of values.
fn indented(json: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let line = |text: &mut Vec<u8>, depth: usize| {
        text.push(b'\n');
        text.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let mut rest = json.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            text.push(byte);
            continue;
        }
        match byte {
            b'{' | b'[' => {
                text.push(byte);
                if let Some(end) = rest.next_if(|next| matches!(next, b'}' | b']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(byte);
            }
            b',' => {
                text.push(byte);
                line(&mut text, depth);
            }
            b':' => text.extend(b": "),
            _ => {
                quoted = byte == b'"';
                text.push(byte);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indents_are_those_of_other_printers() {
        for value in [
            serde_json::json!({}),
            serde_json::json!({"a": [], "b": {"c": [1, {"d": "x,\"{\\"}], "e": null}}),
            serde_json::json!([true, "\\\"", [[]]]),
        ] {
            let pretty = serde_json::to_vec_pretty(&value).unwrap();
            assert_eq!(indented(&serde_json::to_vec(&value).unwrap()), pretty);
        }
    }

    #[test]
    fn names_in_a_refusal_are_short_and_plain() {
        let told = |name: &str| {
            refusal(&Error::Unauthenticated, &Attempt::Basic(name.to_owned())).unwrap()
        };
        assert!(told("admin").ends_with("username \"admin\""));
        assert!(told("a\"b\\\r\nä").ends_with(r#"username "a\"b\\???""#));
        let name = format!("{:?}", "x".repeat(NAME));
        assert!(told(&"x".repeat(500)).ends_with(&format!("username {name}")));
        assert!(HeaderValue::from_str(&told("\0\u{7f}")).is_ok());
    }
}
