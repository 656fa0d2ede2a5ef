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
        "; let the server speak TLS, or accept clear text with sslmode=disable in the URL"
    } else if says("does not match host name") {
        "; name the server in the URL as its certificate does, or leave names unchecked with sslmode=verify-ca"
    } else if says("certificate verify failed") {
        "; name the file of the authority that the server's certificate comes from with sslrootcert in the URL"
    } else if says("session is read-only") || says("server is in hot standby mode") {
        "; this server is a standby, or its settings forbid writes: name the primary, or all servers of the cluster, \
         separated by commas"
    } else {
        ""
    }
}
