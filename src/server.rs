//! Listens: HTTP/1.1 in clear or in TLS, on connections that cannot be held for nothing.
//!
//! Built from the parts that actix-web's own server is built from, which leaves no place for a stream of ours.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio_rustls::TlsAcceptor;

use crate::config::Settings;
use crate::error::{Error, Field};
use crate::http::{self, Bounds, Connection, Door, Seat, Seats, State};

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// The time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Bytes that TLS keeps of an answer that the client does not take. rustls keeps 64 KiB otherwise.
const TLS_BUFFER: usize = 16 * 1024;
/// Bytes of an answer that are copied for a connection before they are sent: about one piece.
const WRITE_BUFFER: usize = 16 * 1024;
/// How long a connection that ends is waited for, so that its client reads the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Starts to listen. The server runs when it is awaited.
pub fn listen(
    settings: &Settings,
    state: Data<State>,
    bounds: Bounds,
    seats: &Arc<Seats>,
    tls: Option<ServerConfig>,
) -> Result<(Server, Vec<SocketAddr>), Error> {
    let refused = |error: std::io::Error| {
        Error::invalid(
            Field::Setting,
            format!("--listen: cannot listen on {}: {error}", settings.listen),
        )
    };
    let listener = bind(settings.listen).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let mut addresses = vec![address];
    let mut server = Server::build()
        // The commands listen for signals, before they say where the service is.
        .disable_signals()
        // In whole seconds there: half a second must not become none.
        .shutdown_timeout(
            u64::try_from(settings.shutdown_timeout.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        );
    if let Some(workers) = settings.workers {
        server = server.workers(usize::from(workers));
    }
    let worker = Worker {
        state,
        bounds,
        seats: Arc::clone(seats),
        address,
        stopping: server.graceful_shutdown_signal(),
        door: Door::Service,
    };
    if let Some(address) = settings.metrics_listen {
        let refused = |error: std::io::Error| {
            Error::invalid(
                Field::Setting,
                format!("--metrics-listen: cannot listen on {address}: {error}"),
            )
        };
        let listener = bind(address).map_err(refused)?;
        let monitors = Worker {
            address: listener.local_addr().map_err(refused)?,
            door: Door::Metrics,
            ..worker.clone()
        };
        addresses.push(monitors.address);
        server = server
            .listen("metrics", listener, move || monitors.http())
            .map_err(refused)?;
    }
    let bound = match tls {
        Some(tls) => server.listen("https", listener, move || worker.https(tls.clone())),
        None => server.listen("http", listener, move || worker.http()),
    };
    Ok((bound.map_err(refused)?.run(), addresses))
}

/// Takes an address, with room for more connections that nobody accepted yet than the standard library asks for.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that was stopped leaves its address behind for a while.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// What every worker makes its services of.
#[derive(Clone)]
struct Worker {
    state: Data<State>,
    bounds: Bounds,
    seats: Arc<Seats>,
    address: SocketAddr,
    stopping: GracefulShutdownSignal,
    door: Door,
}

impl Worker {
    fn http(
        &self,
    ) -> impl ServiceFactory<
        TcpStream,
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let worker = self.clone();
        actix_service::fn_service(move |stream: TcpStream| {
            let worker = worker.clone();
            async move {
                let (peer, seat) = worker.seat(&stream)?;
                let connection = Connection::new(stream, worker.bounds, seat);
                Ok((connection, Protocol::Http1, Some(peer)))
            }
        })
        .and_then(self.requests())
    }

    fn https(
        &self,
        tls: ServerConfig,
    ) -> impl ServiceFactory<
        TcpStream,
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let (worker, acceptor) = (self.clone(), TlsAcceptor::from(Arc::new(tls)));
        actix_service::fn_service(move |stream: TcpStream| {
            let (worker, acceptor) = (worker.clone(), acceptor.clone());
            async move {
                // Before the handshake, which takes memory and time of ours already.
                let (peer, seat) = worker.seat(&stream)?;
                let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
                let mut stream = handshake.await.map_err(std::io::Error::from)??;
                stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
                let connection = Connection::new(stream, worker.bounds, seat);
                Ok((connection, Protocol::Http1, Some(peer)))
            }
        })
        .and_then(self.requests())
    }

    /// Gives a new connection its seat, and says where it comes from. Without a seat it is closed at once.
    fn seat(&self, stream: &TcpStream) -> Result<(SocketAddr, Seat), DispatchError> {
        let peer = stream.peer_addr()?;
        let seat = self.seats.take(peer.ip());
        let seat = seat.ok_or_else(|| std::io::Error::from(ErrorKind::ConnectionRefused))?;
        Ok((peer, seat))
    }

    /// What is served over a connection.
    fn requests<S>(
        &self,
    ) -> impl ServiceFactory<
        (Connection<S>, Protocol, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let app = http::app(self.state.clone(), self.door)
            .into_factory()
            .map_err(|error: actix_web::Error| error.error_response());
        let stopping = self.stopping.clone();
        HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(self.bounds.head)
            .client_disconnect_timeout(LINGER)
            .h1_allow_half_closed(true)
            .h1_write_buffer_size(WRITE_BUFFER)
            .local_addr(self.address)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &Connection<S>, data| {
                data.insert(connection.requests());
            })
            .finish(map_config(app, |()| AppConfig::default()))
    }
}
