//! Requests of this service to other machines: small documents, by GET.
//!
//! Owns the bounds of a request: the addresses that may be asked, its time, the size of its answer, redirects, and the
//! requests under way. A name is resolved here, and the connection goes to the very address that was checked, so a name
//! that resolves to something else a moment later gains nothing. Proxies of the environment are not used. Refuses to
//! know the purpose of a document.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use crate::domain::network::{NoRequest, OutgoingNetworks};

/// The time for a request with its redirects, from the wait for its turn to the last byte.
const TIME: Duration = Duration::from_secs(5);
/// The largest answer, in bytes.
const SIZE: usize = 256 * 1024;
/// The largest head of an answer, in bytes.
const HEAD: usize = 32 * 1024;
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Requests under way, those included whose name is still looked up after their time.
const REQUESTS: usize = 16;
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;
/// The time for a connection to one of several addresses.
const CONNECTING: Duration = Duration::from_secs(2);

/// A place among the requests under way.
type Turn = Arc<OwnedSemaphorePermit>;

/// The reason for which there is no answer. For the log and for administrators.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The URL cannot be asked.
    #[error("{0}")]
    Url(String),
    /// The address may not be asked.
    #[error("{0}")]
    NoRequest(#[from] NoRequest),
    /// A clear connection to another machine.
    #[error("http is for this machine alone, and {0} is another; use https")]
    Clear(SocketAddr),
    /// The name or the connection failed, or TLS.
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),
    /// The answer is no HTTP, or was cut off.
    #[error("the answer cannot be read: {0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("no whole answer came within {} s", TIME.as_secs())]
    Late,
    /// The answer is too large.
    #[error("the answer is larger than {SIZE} bytes")]
    Large,
    /// The answer leads to another server, or too often on.
    #[error("the answer leads elsewhere: {0}")]
    Elsewhere(String),
    /// The answer is no success.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// The certificates of authorities cannot be used.
    #[error("no certificates of authorities: {0}")]
    Roots(String),
}

/// Sends requests to other machines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outgoing {
    networks: OutgoingNetworks,
    /// The operator's own authorities.
    authorities: Arc<[CertificateDer<'static>]>,
    /// The system's authorities and the operator's. Read at the first request with TLS.
    roots: Arc<OnceCell<RootCertStore>>,
    turns: Arc<Semaphore>,
    time: Duration,
}

impl Outgoing {
    /// Sends nothing yet. `authorities` are the operator's, beside those of the system.
    #[must_use]
    pub fn new(networks: OutgoingNetworks, authorities: Vec<CertificateDer<'static>>) -> Self {
        Self {
            networks,
            authorities: authorities.into(),
            roots: Arc::default(),
            turns: Arc::new(Semaphore::new(REQUESTS)),
            time: TIME,
        }
    }

    /// Gets a document. `authorities`, as PEM, are trusted beside those of the system and the operator.
    pub async fn get(&self, url: &Url, authorities: Option<&str>) -> Result<Bytes, Failure> {
        self.get_by(url, authorities, look_up).await
    }

    async fn get_by(
        &self,
        url: &Url,
        authorities: Option<&str>,
        resolve: impl AsyncFn(&str, u16, Turn) -> io::Result<Vec<SocketAddr>>,
    ) -> Result<Bytes, Failure> {
        let getting = async {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let turn = Arc::new(turn.map_err(io::Error::other)?);
            let mut url = url.clone();
            for _ in 0..=REDIRECTS {
                let mut answer = self.ask(&url, authorities, &turn, &resolve).await?;
                if answer.status().is_success() {
                    return read(&mut answer).await;
                }
                if !answer.status().is_redirection() {
                    return Err(Failure::Status(answer.status().as_u16()));
                }
                url = next(&url, &answer)?;
            }
            Err(Failure::Elsewhere(format!("more than {REDIRECTS} times")))
        };
        let done = tokio::time::timeout(self.time, getting).await;
        done.unwrap_or(Err(Failure::Late))
    }

    async fn ask(
        &self,
        url: &Url,
        authorities: Option<&str>,
        turn: &Turn,
        resolve: &impl AsyncFn(&str, u16, Turn) -> io::Result<Vec<SocketAddr>>,
    ) -> Result<Response<Incoming>, Failure> {
        let no_url = |what: &str| Failure::Url(format!("{url} {what}"));
        let clear = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(no_url("is neither https nor http")),
        };
        let host = url.host().ok_or_else(|| no_url("has no host"))?;
        let port = url.port_or_known_default();
        let port = port.ok_or_else(|| no_url("has no port"))?;
        let (name, addresses) = match host {
            Host::Ipv4(address) => (
                Ok(ServerName::from(IpAddr::from(address))),
                vec![SocketAddr::from((address, port))],
            ),
            Host::Ipv6(address) => (
                Ok(ServerName::from(IpAddr::from(address))),
                vec![SocketAddr::from((address, port))],
            ),
            Host::Domain(name) => (
                ServerName::try_from(name.to_owned()),
                resolve(name, port, Arc::clone(turn)).await?,
            ),
        };
        let stream = self.connect(&addresses, clear).await?;
        if clear {
            return send(url, stream).await;
        }
        let name = name.map_err(|_| no_url("has no host name"))?;
        let tls = TlsConnector::from(self.tls(authorities).await?);
        send(url, tls.connect(name, stream).await?).await
    }

    /// Connects to the first of these addresses that may be asked and answers.
    async fn connect(&self, addresses: &[SocketAddr], clear: bool) -> Result<TcpStream, Failure> {
        let mut failure = Failure::Connection(io::Error::other("the name has no address"));
        for address in addresses.iter().take(ADDRESSES) {
            if let Err(refused) = self.networks.admit(address.ip()) {
                failure = refused.into();
                continue;
            }
            if clear && !address.ip().to_canonical().is_loopback() {
                failure = Failure::Clear(*address);
                continue;
            }
            match tokio::time::timeout(CONNECTING, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error.into(),
                Err(_) => failure = Failure::Late,
            }
        }
        Err(failure)
    }

    /// TLS with the authorities of the system, of the operator, and of the request.
    async fn tls(&self, authorities: Option<&str>) -> Result<Arc<ClientConfig>, Failure> {
        let loaded = self.roots.get_or_try_init(async || {
            let loading = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
            let found = loading.await.map_err(io::Error::other)?.certs;
            let mut roots = RootCertStore::empty();
            // Systems have some that cannot be read.
            roots.add_parsable_certificates(found);
            roots.add_parsable_certificates(self.authorities.iter().cloned());
            Ok::<_, Failure>(roots)
        });
        let mut roots = loaded.await?.clone();
        if let Some(pem) = authorities {
            roots.add_parsable_certificates(certificates(pem.as_bytes()).map_err(Failure::Roots)?);
        }
        if roots.is_empty() {
            let none = "this system has none, and --ca-file names none".to_owned();
            return Err(Failure::Roots(none));
        }
        let builder = ClientConfig::builder_with_provider(default_provider().into());
        let mut config = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Roots(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificates of authorities in a PEM text, one at least; the error says what is wrong.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        let added = roots.add(certificate.clone());
        added.map_err(|error| format!("it has a certificate that cannot be used: {error}"))?;
    }
    Ok(found)
}

/// The addresses of a name, from the system. A look-up that nobody waits for any more goes on in its thread, and keeps
/// its turn until then.
async fn look_up(name: &str, port: u16, turn: Turn) -> io::Result<Vec<SocketAddr>> {
    let name = name.to_owned();
    let looking = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, port)).await;
        let found = found.map(Iterator::collect);
        drop(turn);
        found
    });
    looking.await.map_err(io::Error::other)?
}

async fn send(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Response<Incoming>, Failure> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // It ends when the answer is read or dropped.
    tokio::spawn(connection);
    let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(ACCEPT, "application/json")
        .header(
            USER_AGENT,
            concat!("wharfinger/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::Url(error.to_string()))?;
    Ok(sender.send_request(request).await?)
}

async fn read(answer: &mut Response<Incoming>) -> Result<Bytes, Failure> {
    let mut read = Vec::new();
    while let Some(frame) = answer.body_mut().frame().await {
        if let Ok(data) = frame?.into_data() {
            if read.len() + data.len() > SIZE {
                return Err(Failure::Large);
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.into())
}

/// The URL that an answer leads to, if it is of the same server.
fn next(url: &Url, answer: &Response<Incoming>) -> Result<Url, Failure> {
    let location = answer.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok());
    let next = next.ok_or_else(|| Failure::Elsewhere("without a URL".to_owned()))?;
    if next.origin() == url.origin() {
        return Ok(next);
    }
    Err(Failure::Elsewhere(next.origin().ascii_serialization()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// One that asks this machine too.
    fn outgoing(allowed: &[&str]) -> Outgoing {
        let allowed = allowed.iter().map(|network| network.parse().unwrap());
        Outgoing::new(OutgoingNetworks::new(allowed.collect()), Vec::new())
    }

    /// A server of this machine that gives these answers, one for each connection, and then none; and its port.
    async fn server(answers: &[&str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                // A client that has read enough hangs up.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            let (_silent, _) = listener.accept().await.unwrap();
            std::future::pending::<()>().await;
        });
        port
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn to(location: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
    }

    async fn get(outgoing: &Outgoing, url: &str) -> Result<Bytes, Failure> {
        outgoing.get(&url.parse().unwrap(), None).await
    }

    #[tokio::test]
    async fn a_document_is_read_within_bounds() {
        let loopback = outgoing(&["127.0.0.0/8"]);
        let (largest, larger) = (ok(&"x".repeat(SIZE)), ok(&"x".repeat(SIZE + 1)));
        let endless = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(2 * SIZE);
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(4 * HEAD));
        let port = server(&[
            &largest,
            &larger,
            &endless,
            &head,
            "HTTP/1.1 404 No\r\n\r\n",
        ])
        .await;
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(get(&loopback, &url).await.unwrap().len(), SIZE);
        assert!(matches!(get(&loopback, &url).await, Err(Failure::Large)));
        assert!(matches!(get(&loopback, &url).await, Err(Failure::Large)));
        assert!(matches!(get(&loopback, &url).await, Err(Failure::Http(_))));
        assert!(matches!(
            get(&loopback, &url).await,
            Err(Failure::Status(404))
        ));
        // The server is silent from here on.
        let hasty = Outgoing {
            time: Duration::from_millis(50),
            ..loopback
        };
        assert!(matches!(get(&hasty, &url).await, Err(Failure::Late)));
    }

    #[tokio::test]
    async fn a_redirect_is_followed_to_the_same_server_alone() {
        let loopback = outgoing(&["127.0.0.0/8"]);
        let port = server(&[&to("/b?c"), &ok("b")]).await;
        let url = |port| format!("http://127.0.0.1:{port}/a");
        assert_eq!(get(&loopback, &url(port)).await.unwrap(), "b");
        for elsewhere in [
            "http://127.0.0.1:1/",
            "https://127.0.0.1/",
            "http://localhost/",
            "//a/",
        ] {
            let port = server(&[&to(elsewhere)]).await;
            let found = get(&loopback, &url(port)).await;
            assert!(
                matches!(found, Err(Failure::Elsewhere(_))),
                "{elsewhere}: {found:?}"
            );
        }
        let port = server(&[&to("/"), &to("/"), &to("/"), &to("/")]).await;
        let found = get(&loopback, &url(port)).await;
        assert!(matches!(found, Err(Failure::Elsewhere(_))), "{found:?}");
    }

    #[tokio::test]
    async fn an_address_in_a_url_is_checked_in_every_form() {
        let (closed, open) = (outgoing(&[]), outgoing(&["0.0.0.0/0", "::/0"]));
        for private in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.0.0.1",
            "localhost",
        ] {
            let found = get(&closed, &format!("https://{private}/")).await;
            let private_address = matches!(found, Err(Failure::NoRequest(NoRequest::Private(_))));
            assert!(private_address, "{private}: {found:?}");
        }
        for never in [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "[fe80::1]",
            "[::ffff:a9fe:a9fe]",
        ] {
            let found = get(&open, &format!("http://{never}/")).await;
            assert!(
                matches!(found, Err(Failure::NoRequest(NoRequest::Never(_)))),
                "{never}: {found:?}"
            );
        }
        let found = get(&open, "http://192.0.2.1/").await;
        assert!(matches!(found, Err(Failure::Clear(_))), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_is_checked_each_time_that_it_is_resolved() {
        let loopback = outgoing(&["127.0.0.0/8", "10.0.0.0/8"]);
        let port = server(&[&to("/again")]).await;
        let url: Url = format!("http://keys.test:{port}/").parse().unwrap();
        let asked = Cell::new(0);
        // Allowed at first, and another address after that.
        let rebinding = async |name: &str, port, _: Turn| {
            assert_eq!(name, "keys.test");
            asked.set(asked.get() + 1);
            let address = [[127, 0, 0, 1], [169, 254, 169, 254]][asked.get() - 1];
            Ok(vec![SocketAddr::from((address, port))])
        };
        let found = loopback.get_by(&url, None, rebinding).await;
        assert!(
            matches!(found, Err(Failure::NoRequest(NoRequest::Never(_)))),
            "{found:?}"
        );
        assert_eq!(asked.get(), 2);
    }

    #[tokio::test]
    async fn of_several_addresses_only_allowed_ones_are_asked() {
        let loopback = outgoing(&["127.0.0.0/8"]);
        let port = server(&[&ok("keys")]).await;
        let url: Url = format!("http://keys.test:{port}/").parse().unwrap();
        let both = async |_: &str, port, _: Turn| {
            let addresses = [[169, 254, 169, 254], [127, 0, 0, 1]];
            Ok(addresses
                .map(|address| SocketAddr::from((address, port)))
                .to_vec())
        };
        assert_eq!(loopback.get_by(&url, None, both).await.unwrap(), "keys");
        let none = async |_: &str, _, _: Turn| Ok(Vec::new());
        let found = loopback.get_by(&url, None, none).await;
        assert!(matches!(found, Err(Failure::Connection(_))), "{found:?}");
    }
}
