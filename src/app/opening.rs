//! Failures to open the database at a start.

use crate::error::{Error, Field};
use crate::store::Target;

/// Reports an outage at the start as a fault of the settings, which is the most likely cause.
pub(super) fn unopened(target: &Target, error: Error) -> Error {
    match error {
        Error::Unavailable { .. } => {
            let cause = error.cause();
            let advice = connection_advice(&cause);
            Error::invalid(
                Field::Setting,
                format!("--database-url: {target} cannot be opened: {cause}{advice}"),
            )
        }
        other => other,
    }
}

/// Advice for a failed connection to PostgreSQL, chosen by the message of libpq.
fn connection_advice(cause: &str) -> &'static str {
    let says = |words| cause.contains(words);
    if says("does not support SSL") {
        "; turn on TLS at the database server, or accept clear text with sslmode=disable in the URL"
    } else if says("does not match host name") {
        "; write the name of the certificate into the URL, or turn off the check of the name with sslmode=verify-ca"
    } else if says("certificate verify failed") {
        "; set sslrootcert in the URL to the certificate of the authority that signed the server's certificate"
    } else if says("session is read-only") || says("server is in hot standby mode") {
        "; this server is a standby, or its settings forbid writes: name the primary, or all servers of the cluster, \
         separated by commas"
    } else {
        ""
    }
}
