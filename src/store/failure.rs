//! Database failures as errors of the program.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::{Error, Outage};

/// SQLite's messages when the file, the disk or another process is in the way. They have no error classes in diesel.
const SQLITE_OUTAGES: [&str; 9] = [
    "database is locked",
    "database table is locked",
    "database or disk is full",
    "attempt to write a readonly database",
    "disk I/O error",
    "unable to open database file",
    "database disk image is malformed",
    "file is not a database",
    "out of memory",
];

impl From<DieselError> for Error {
    /// Divides failures by one question, if the service can go on: a constraint that no call site expected is our
    /// defect, every other refusal of the database is an outage.
    fn from(error: DieselError) -> Self {
        let outage = match &error {
            DieselError::DatabaseError(kind, information) => match kind {
                DatabaseErrorKind::SerializationFailure => Some(Outage::Conflict),
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                    Some(Outage::Gone)
                }
                DatabaseErrorKind::ReadOnlyTransaction => Some(Outage::Refusing),
                // diesel hides the SQLSTATE and messages are translated, so a deadlock cannot be told from a full disk.
                // Both are worth one more try alone, and neither is a defect of ours. Only errors of PostgreSQL itself
                // name the severity or a table.
                DatabaseErrorKind::Unknown => {
                    let message = information.message();
                    let sqlite = SQLITE_OUTAGES.iter().any(|known| message.contains(known));
                    let defect = message.starts_with("no such")
                        || message.starts_with("near \"")
                        || message.contains("syntax error");
                    (sqlite || !defect).then_some(Outage::Refusing)
                }
                _ => None,
            },
            DieselError::BrokenTransactionManager => Some(Outage::Gone),
            _ => None,
        };
        match outage {
            Some(outage) => Self::Unavailable {
                outage,
                source: Some(Box::new(error)),
            },
            None => Self::Internal(Box::new(error)),
        }
    }
}

impl From<diesel::ConnectionError> for Error {
    fn from(error: diesel::ConnectionError) -> Self {
        Self::Unavailable {
            outage: Outage::Gone,
            source: Some(Box::new(error)),
        }
    }
}

/// Turns a unique violation into the conflict that the call site expects.
///
/// SQLite does not name the constraint, so only the call site, which has one constraint, can tell.
pub(super) fn on_unique<T>(
    result: diesel::QueryResult<T>,
    conflict: impl FnOnce() -> Error,
) -> Result<T, Error> {
    match result {
        Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Err(conflict()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(kind: DatabaseErrorKind, message: &str) -> Error {
        DieselError::DatabaseError(kind, Box::new(message.to_owned())).into()
    }

    #[test]
    fn outages_are_told_from_defects() {
        for message in SQLITE_OUTAGES {
            let error = database(DatabaseErrorKind::Unknown, message);
            assert!(
                matches!(
                    error,
                    Error::Unavailable {
                        outage: Outage::Refusing,
                        ..
                    }
                ),
                "{message}"
            );
        }
        assert!(matches!(
            database(DatabaseErrorKind::Unknown, "no such table: tokens"),
            Error::Internal(_)
        ));
        assert!(matches!(
            database(DatabaseErrorKind::UniqueViolation, "x"),
            Error::Internal(_)
        ));
        assert!(matches!(
            database(DatabaseErrorKind::SerializationFailure, "x"),
            Error::Unavailable {
                outage: Outage::Conflict,
                ..
            }
        ));
    }
}
