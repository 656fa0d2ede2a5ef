//! The server: HTTP/1.1 with or without TLS, on connections with limits.
//!
//! It is built from the parts of actix-web's own server, which does not accept a stream type of ours.

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

/// The timeout of idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// The time limit for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Bytes of an answer that TLS buffers while the client does not read. The default of rustls is 64 KiB.
const TLS_BUFFER: usize = 16 * 1024;
/// Bytes of an answer that a connection buffers before it sends them: about one piece.
const WRITE_BUFFER: usize = 16 * 1024;
/// The time that a closing connection has for its client to read the last answer.
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
        // The commands listen for signals, before they print the address of the service.
        .disable_signals()
        // actix takes whole seconds: half a second must not become zero.
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

/// Binds an address, with a longer backlog than the standard library asks for.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // The address of a stopped server stays in use for a while.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// The parts from which every worker makes its services.
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
                // Before the handshake, which already costs memory and time.
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

    /// Returns the peer of a new connection and its seat. Without a seat the connection is closed at once.
    fn seat(&self, stream: &TcpStream) -> Result<(SocketAddr, Seat), DispatchError> {
        let peer = stream.peer_addr()?;
        let seat = self.seats.take(peer.ip());
        let seat = seat.ok_or_else(|| std::io::Error::from(ErrorKind::ConnectionRefused))?;
        Ok((peer, seat))
    }

    /// The HTTP service for a connection.
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
