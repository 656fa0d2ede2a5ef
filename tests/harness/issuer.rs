//! An issuer of workloads' JWTs: a server with keys that rotates, goes away and lies as a test asks it to.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Authority};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::{KeyPair, signed};

/// How an issuer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Well,
    /// With a failure.
    Away,
    /// Never.
    Silent,
    /// With more than anybody reads.
    Huge,
    /// With a redirect to this URL.
    Elsewhere(String),
    /// As if it were this issuer.
    Lying(String),
    /// With a set of these keys.
    Keys(Value),
}

struct State {
    mood: Mood,
    /// The keys in the set.
    keys: Vec<(String, Arc<KeyPair>)>,
    /// Requests for the set.
    fetches: usize,
}

/// A running issuer.
pub struct Issuer {
    pub url: String,
    /// The certificate of its authority, as PEM, if it has TLS.
    pub ca: Option<String>,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Issuer {
    /// Starts one without TLS, with one key.
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// Starts one with TLS, and an authority that nobody knows.
    pub fn start_tls() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (authority_key, key) = (rcgen::KeyPair::generate(), rcgen::KeyPair::generate());
        let (authority_key, key) = (authority_key.unwrap(), key.unwrap());
        let ca = authority.self_signed(&authority_key).unwrap().pem();
        let by = Authority::from_params(&authority, authority_key);
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &by).unwrap();
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], private)
            .unwrap();
        Self::start_as(Some((ca, TlsAcceptor::from(Arc::new(config)))))
    }

    fn start_as(tls: Option<(String, TlsAcceptor)>) -> Self {
        let (ca, acceptor) = tls.unzip();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let url = match ca {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Well,
            keys: Vec::new(),
            fetches: 0,
        }));
        let (own, served) = (url.clone(), Arc::clone(&state));
        let (stop, mut stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let serving = async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    _ = &mut stopped => return,
                };
                let (own, served, acceptor) = (own.clone(), Arc::clone(&served), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, &own, &served).await,
                        // A client that does not know the authority hangs up.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &own, &served).await;
                            }
                        }
                    }
                });
            }
        };
        let issuer = Self {
            url,
            ca,
            state,
            stop: Some(stop),
            thread: Some(std::thread::spawn(move || runtime.block_on(serving))),
        };
        issuer.add_key("1", KeyPair::generate("RS256"));
        issuer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes how it answers from now on.
    pub fn set(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// How often its set was asked for.
    pub fn fetches(&self) -> usize {
        self.lock().fetches
    }

    /// Adds a key to the set.
    pub fn add_key(&self, kid: &str, key: KeyPair) {
        self.lock().keys.push((kid.to_owned(), Arc::new(key)));
    }

    /// Replaces all keys by a new one.
    pub fn rotate(&self, kid: &str, algorithm: &'static str) {
        self.lock().keys.clear();
        self.add_key(kid, KeyPair::generate(algorithm));
    }

    /// The key with this id.
    pub fn key(&self, kid: &str) -> Arc<KeyPair> {
        let state = self.lock();
        let found = state.keys.iter().find(|(known, _)| known == kid);
        Arc::clone(&found.unwrap().1)
    }

    /// The set, for pasting.
    pub fn jwks(&self) -> Value {
        jwks(&self.lock().keys)
    }

    /// A JWT with these claims, signed with the newest key.
    pub fn sign(&self, claims: &Value) -> String {
        let (kid, key) = self.lock().keys.last().unwrap().clone();
        signed(&json!({"alg": key.algorithm, "kid": kid}), claims, &key)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The public key as a JSON Web Key.
pub fn jwk(kid: &str, key: &KeyPair) -> Value {
    let (decoding, algorithm) = if key.algorithm == "ES256" {
        let point = &key.public[key.public.len() - 65..];
        (DecodingKey::from_ec_der(point), Algorithm::ES256)
    } else {
        // The numbers are what the key's information ends with, in a string of bits: 24 bytes are before them.
        let numbers = &key.public[24..];
        (DecodingKey::from_rsa_der(numbers), Algorithm::RS256)
    };
    let mut jwk = Jwk::from_decoding_key(&decoding, Some(algorithm)).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    serde_json::to_value(jwk).unwrap()
}

fn jwks(keys: &[(String, Arc<KeyPair>)]) -> Value {
    let keys: Vec<_> = keys.iter().map(|(kid, key)| jwk(kid, key)).collect();
    json!({ "keys": keys })
}

/// Answers one request.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, own: &str, state: &Mutex<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let (mood, keys) = {
        let mut state = state.lock().unwrap();
        state.fetches += usize::from(path == "/keys");
        (state.mood.clone(), jwks(&state.keys))
    };
    let (status, location, body) = match (mood, path.as_str()) {
        (Mood::Silent, _) => return std::future::pending().await,
        (Mood::Away, _) => ("500 Away", None, String::new()),
        (Mood::Elsewhere(url), _) => ("302 Found", Some(url), String::new()),
        (Mood::Huge, _) => ("200 OK", None, " ".repeat(300_000)),
        (Mood::Keys(set), "/keys") => ("200 OK", None, set.to_string()),
        (mood, "/.well-known/openid-configuration") => {
            let issuer = match mood {
                Mood::Lying(issuer) => issuer,
                _ => own.to_owned(),
            };
            let document = json!({"issuer": issuer, "jwks_uri": format!("{own}/keys")});
            ("200 OK", None, document.to_string())
        }
        (_, "/keys") => ("200 OK", None, keys.to_string()),
        _ => ("404 Not Found", None, String::new()),
    };
    let location = location.map_or(String::new(), |url| format!("location: {url}\r\n"));
    let answer = format!(
        "HTTP/1.1 {status}\r\n{location}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A client that has read enough hangs up.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// A part of a JWT.
pub fn part(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}
