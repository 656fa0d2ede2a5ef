//! The common parts of every answer under `/v1`: StackRox's words for a 401, its headers, `?pretty`,
//! and gzip for those who take it.

use std::io::{self, Write};
use std::pin::Pin;

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT_ENCODING, AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, Encoding,
    Header as _, HeaderValue, VARY, WWW_AUTHENTICATE,
};
use actix_web::middleware::Next;
use actix_web::web::Data;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::poll_fn;

use super::call::Attempt;
use super::error::{Code, StackRox, body};
use crate::error::{Error, Result as Outcome};
use crate::http::budget::{Budget, Share};
use crate::http::dialect::{Failure, cause};
use crate::http::pieces::{Collector, PIECE, Pieces};
use crate::http::state::State;

/// The longest user name that a message repeats, in bytes.
const NAME: usize = 128;
/// The smallest answer that is compressed, in bytes. A smaller one gains nothing.
const WORTH: u64 = 1024;
/// About what a compressor takes, in bytes.
const COMPRESSOR: usize = 320 * 1024;

/// Wraps the requests of this surface.
pub(in super::super) async fn dress(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let attempt = Attempt::of(request.request());
    let pretty = url::form_urlencoded::parse(request.query_string().as_bytes())
        .any(|(name, _)| name == "pretty");
    let gzip = takes_gzip(&request);
    let (request, response) = next.call(request).await?.into_parts();
    let refusal = cause(&response).and_then(|error| refusal(&error, &attempt));
    let (mut response, mut sent) = response.into_parts();
    if let Some(message) = &refusal {
        let refused = body(Code::Unauthenticated, message.clone());
        sent = BoxBody::new(serde_json::to_vec(&refused)?);
    }
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
    let state = request.app_data::<Data<State>>();
    let budget = state.map_or_else(|| Budget::new(0), |state| state.answers.unpaged.clone());
    let worth = !matches!(sent.size(), BodySize::None | BodySize::Sized(..WORTH));
    let mut compressor = Share::default();
    // Without room for a compressor the answer is sent as it is.
    let gzip = gzip && worth && budget.add(&mut compressor, COMPRESSOR).is_ok();
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if pretty || gzip {
        let dressed = rewrite(sent, &budget, pretty, gzip).await;
        sent = BoxBody::new(dressed.map_err(Failure::<StackRox>::from)?);
    }
    Ok(ServiceResponse::new(request, response.set_body(sent)))
}

/// Indents a body, compresses it, or both. Other requests have their turn after each piece.
async fn rewrite(mut sent: BoxBody, budget: &Budget, pretty: bool, gzip: bool) -> Outcome<Pieces> {
    let mut written = Written {
        indents: pretty.then(Indents::default),
        packed: Packed::new(Collector::new(budget, PIECE), gzip),
    };
    let mut result = Ok(());
    while result.is_ok()
        && let Some(piece) = poll_fn(|context| Pin::new(&mut sent).poll_next(context)).await
    {
        let piece = piece.map_err(|error| Error::internal(error.to_string()))?;
        result = written.write(&piece);
        if piece.len() >= PIECE {
            tokio::task::yield_now().await;
        }
    }
    written.packed.finish(result)
}

struct Written<'a> {
    indents: Option<Indents>,
    packed: Packed<'a>,
}

impl Written<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.indents {
            Some(indents) => indents.write(piece, &mut self.packed),
            None => self.packed.write_all(piece),
        }
    }
}

/// Collects an answer, compressed or as it is.
enum Packed<'a> {
    Plain(Collector<'a>),
    Gzip(Box<GzEncoder<Collector<'a>>>),
}

impl<'a> Packed<'a> {
    fn new(collector: Collector<'a>, gzip: bool) -> Self {
        if gzip {
            Self::Gzip(Box::new(GzEncoder::new(collector, Compression::fast())))
        } else {
            Self::Plain(collector)
        }
    }

    fn finish(self, written: io::Result<()>) -> Outcome<Pieces> {
        match self {
            Self::Plain(collector) => collector.finish(written.map_err(Error::internal)),
            Self::Gzip(mut encoder) => {
                let written = written.and_then(|()| encoder.try_finish());
                let refused = encoder.get_mut().refusal();
                match (refused, written) {
                    (Some(refusal), _) => Err(refusal),
                    (None, Ok(())) => encoder
                        .finish()
                        .map_err(Error::internal)
                        .and_then(|collector| collector.finish(Ok(()))),
                    (None, Err(error)) => Err(Error::internal(error)),
                }
            }
        }
    }
}

impl Write for Packed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(collector) => collector.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

/// Gives JSON lines and indents, piece by piece as it is sent. By hand: serde-transcode reads from a reader that blocks, and
/// a tree of values would be in memory whole and change the order of members.
#[derive(Debug, Default)]
struct Indents {
    depth: usize,
    quoted: bool,
    escaped: bool,
    /// Did the byte before open an object or an array? An empty one stays on its line.
    opened: bool,
    text: Vec<u8>,
}

impl Indents {
    fn write(&mut self, json: &[u8], to: &mut impl Write) -> io::Result<()> {
        for byte in json.iter().copied() {
            self.indent(byte);
            if self.text.len() >= PIECE {
                to.write_all(&self.text)?;
                self.text.clear();
            }
        }
        to.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }

    fn indent(&mut self, byte: u8) {
        if self.quoted {
            self.quoted = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            self.text.push(byte);
            return;
        }
        let opened = std::mem::take(&mut self.opened);
        match byte {
            b'}' | b']' if opened => self.text.push(byte),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.line();
                self.text.push(byte);
            }
            _ => {
                if opened {
                    self.depth += 1;
                    self.line();
                }
                self.text.push(byte);
                match byte {
                    b'{' | b'[' => self.opened = true,
                    b',' => self.line(),
                    b':' => self.text.push(b' '),
                    b'"' => self.quoted = true,
                    _ => {}
                }
            }
        }
    }

    fn line(&mut self) {
        self.text.push(b'\n');
        let indent = std::iter::repeat_n(b' ', self.depth * 2);
        self.text.extend(indent);
    }
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
            let json = serde_json::to_vec(&value).unwrap();
            for piece in 1..=json.len() {
                let (mut indents, mut text) = (Indents::default(), Vec::new());
                for piece in json.chunks(piece) {
                    indents.write(piece, &mut text).unwrap();
                }
                assert_eq!(text, pretty);
            }
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
