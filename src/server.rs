//! Listens: HTTP/1.1 in clear or in TLS, on connections that cannot be held for nothing.
//!
//! Built from the parts that actix-web's own server is built from, which leaves no place for a stream of ours.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, map_config};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::http::{self, Connection, Door, Patience, State};

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long a connection that ends is waited for, so that its client reads the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Starts to listen. The server runs when it is awaited.
pub fn listen(
    settings: &Settings,
    state: Data<State>,
    tls: Option<ServerConfig>,
) -> Result<(Server, Vec<SocketAddr>)> {
    let refused = |error: std::io::Error| {
        Error::invalid(
            "listen",
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
        patience: Patience {
            head: settings.head_timeout,
            answer: settings.answer_timeout,
        },
        address,
        stopping: server.graceful_shutdown_signal(),
        door: Door::Service,
    };
    if let Some(address) = settings.metrics_listen {
        let refused = |error: std::io::Error| {
            Error::invalid(
                "metrics-listen",
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
    patience: Patience,
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
        let patience = self.patience;
        actix_service::fn_service(move |stream: TcpStream| async move {
            let peer = stream.peer_addr().map_err(DispatchError::Io)?;
            let connection = Connection::new(stream, patience);
            Ok((connection, Protocol::Http1, Some(peer)))
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
        Error = TlsError<std::io::Error, DispatchError>,
        InitError = (),
    > + use<> {
        let patience = self.patience;
        Acceptor::new(tls)
            .map_err(TlsError::into_service_error)
            .and_then(actix_service::fn_service(
                move |stream: TlsStream<TcpStream>| async move {
                    let peer = stream.get_ref().0.peer_addr();
                    let peer = peer.map_err(|error| TlsError::Service(error.into()))?;
                    let connection = Connection::new(stream, patience);
                    Ok((connection, Protocol::Http1, Some(peer)))
                },
            ))
            .and_then(self.requests().map_err(TlsError::Service))
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
            .client_request_timeout(self.patience.head)
            .client_disconnect_timeout(LINGER)
            .h1_allow_half_closed(true)
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
