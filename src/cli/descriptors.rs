//! The limit on open files. Every connection is an open file, and the process needs some for itself.
//!
//! Without a free one, tokio cannot make a worker and SQLite cannot open its file. Both would fail in the middle of a
//! start or later, so the need is computed first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;
use crate::error::{Error, Field, Result};

/// Standard input, output and error; the main thread's epoll and signals; the listener and its acceptor; and files that
/// are opened now and then, such as certificates.
const BASE: u64 = 32;
/// Of each worker: two epolls, its waker, and the signals.
const WORKER: u64 = 4;
/// The minimum of connections for a useful server.
const LEAST_CONNECTIONS: u64 = 16;

/// The number of open files that a server needs for itself, without the connections of its clients.
fn own_need(settings: &Settings) -> Result<u64> {
    let target = settings.target()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = settings.workers.map_or(cores, usize::from);
    // Beside the readers: the writer, one for long lists, one for probes, and one for migrations and the file check.
    let connections = settings.reader_threads(&target).saturating_add(4);
    let count = |number: usize| u64::try_from(number).map_err(Error::internal);
    let database = if target.is_sqlite() {
        // Each has the file and its WAL; all share the WAL index.
        2 * count(connections)? + 1
    } else {
        count(connections)?
    };
    let metrics = u64::from(settings.metrics_listen.is_some());
    Ok(BASE + WORKER * count(workers)? + database + metrics)
}

/// Raises the limit as far as this process may. Returns the number of connections that this leaves, and warns if they
/// are fewer than the settings allow.
///
/// # Errors
///
/// [`Error::Invalid`] if it leaves too few.
pub(super) fn prepare(settings: &Settings) -> Result<u32> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let own = own_need(settings)?;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Even without a hard limit, the kernel refuses more than its own limit.
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let Some(limit) = limit else {
        tracing::info!(own, "the number of open files is not limited");
        return Ok(u32::MAX);
    };
    let least = own + LEAST_CONNECTIONS;
    if limit < least {
        return Err(Error::invalid(
            Field::Setting,
            format!(
                "this process may have {limit} open files, and needs {least}: {own} for itself and at least \
                 {LEAST_CONNECTIONS} for connections. Raise the limit (`ulimit -n`, or `LimitNOFILE=` for systemd), or \
                 lower --workers and --readers"
            ),
        ));
    }
    let connections = limit - own;
    tracing::info!(
        limit,
        own,
        connections,
        "the limit of open files, less those that the process itself needs, is the maximum of connections"
    );
    if connections < settings.max_connections.into() {
        tracing::warn!(
            connections,
            max_connections = settings.max_connections,
            "the limit of open files leaves fewer connections than --max-connections allows; raise it (`ulimit -n`, or \
             `LimitNOFILE=` for systemd)"
        );
    }
    Ok(u32::try_from(connections).unwrap_or(u32::MAX))
}
