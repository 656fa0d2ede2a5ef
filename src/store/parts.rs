//! Lists without pages, read part by part: memory holds one part at a time, however long the list is.

use super::session::Session;
use crate::error::{Error, Result};

/// Rows of a part.
const PART: usize = 500;

/// Passes to `present` all items of a list, from one snapshot. `read` reads the part after a key, of at most so many
/// items in the order of their keys.
///
/// # Errors
///
/// Those of `read` and of `present`.
pub(super) fn in_parts<T, P>(
    connection: &mut Session,
    read: impl Fn(&mut Session, i64, i64) -> Result<Vec<(i64, T)>>,
    present: impl FnOnce(&mut dyn Iterator<Item = T>) -> Result<P>,
) -> Result<P> {
    let limit = i64::try_from(PART).map_err(Error::internal)?;
    connection.snapshot(|connection| {
        // Keys begin at 1.
        let (mut after, mut fault) = (Some(0), None);
        let parts = std::iter::from_fn(|| {
            let part = read(connection, after.take()?, limit)
                .map_err(|error| fault = Some(error))
                .ok()?;
            if part.len() == PART {
                after = part.last().map(|(key, _)| *key);
            }
            Some(part)
        });
        let presented = present(&mut parts.flatten().map(|(_, item)| item));
        match fault {
            Some(fault) => Err(fault),
            None => presented,
        }
    })
}
