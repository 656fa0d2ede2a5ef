//! The service as commands use it: by the clock of the system, at an address of this machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::app::{self, Makes};
use crate::clock::{Clock, SystemClock, SystemRandom};
use crate::config::Settings;
use crate::error::Result;
use crate::service::Service;

/// Opens the service for a command that works beside a server.
pub(super) async fn open_service(settings: &Settings, makes: Makes) -> Result<Service> {
    app::open_service(settings, clock(), Arc::new(SystemRandom), makes).await
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// An address that a client on this machine can connect to: loopback in place of an unspecified address.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
