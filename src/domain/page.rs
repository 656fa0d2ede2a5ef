//! Pages of lists.

use super::text::quoted;
use crate::error::{Error, Field, Result, Violations};

/// Elements on a page if the caller gives no limit.
pub const DEFAULT_LIMIT: i64 = 100;
/// The most elements on one page.
pub const MAXIMUM_LIMIT: i64 = 1000;

/// A window into a list by position: skip `offset`, show at most `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Elements to skip, at least 0.
    pub offset: i64,
    /// Elements to show, 0 to [`MAXIMUM_LIMIT`].
    pub limit: i64,
}

impl Window {
    /// Reads offset and limit, which are strings of digits in the API; the defaults are 0 and [`DEFAULT_LIMIT`].
    pub fn parse(offset: Option<&str>, limit: Option<&str>) -> Result<Self> {
        let mut violations = Violations::default();
        let offset = violations.take(parse_offset(offset));
        let limit = violations.take(parse_limit(limit));
        violations.finish((|| {
            Some(Self {
                offset: offset?,
                limit: limit?,
            })
        })())
    }

    /// The window after this one, if a list of `total` elements has one. An empty window has no next.
    #[must_use]
    pub fn next(self, total: i64) -> Option<Self> {
        let offset = self.offset.checked_add(self.limit)?;
        (self.limit > 0 && offset < total).then_some(Self { offset, ..self })
    }

    /// The window before this one in a list of `total` elements, if this is not the first; stops at 0. Before a window
    /// beyond the end comes the last one with elements. An empty window has none: it would be the same one, and a
    /// client that follows it would loop.
    #[must_use]
    pub fn previous(self, total: i64) -> Option<Self> {
        (self.offset > 0 && self.limit > 0).then(|| Self {
            offset: (self.offset.min(total) - self.limit).max(0),
            ..self
        })
    }
}

fn parse_offset(text: Option<&str>) -> Result<i64> {
    let Some(text) = text else { return Ok(0) };
    digits(text).ok_or_else(|| {
        Error::invalid(
            Field::Offset,
            format!(
                "offset {} is not a whole number from 0 to {}",
                quoted(text),
                i64::MAX
            ),
        )
    })
}

/// Reads a limit of 0 to [`MAXIMUM_LIMIT`]; absent it is [`DEFAULT_LIMIT`].
pub fn parse_limit(text: Option<&str>) -> Result<i64> {
    let Some(text) = text else {
        return Ok(DEFAULT_LIMIT);
    };
    digits(text)
        .filter(|limit| *limit <= MAXIMUM_LIMIT)
        .ok_or_else(|| {
            Error::invalid(
                Field::Limit,
                format!(
                    "limit {} is not a whole number from 0 to {MAXIMUM_LIMIT}",
                    quoted(text)
                ),
            )
        })
}

/// Digits only: `parse` alone would also read a sign.
fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_digits_in_range() {
        assert_eq!(
            Window::parse(None, None).unwrap(),
            Window {
                offset: 0,
                limit: 100
            }
        );
        assert_eq!(
            Window::parse(Some("007"), Some("1000")).unwrap(),
            Window {
                offset: 7,
                limit: 1000
            }
        );
        for (offset, limit) in [
            ("-1", "1"),
            ("+1", "1"),
            ("", "1"),
            ("1e3", "1"),
            ("0", "1001"),
            ("0", "-1"),
            ("9223372036854775808", "1"),
        ] {
            assert!(
                Window::parse(Some(offset), Some(limit)).is_err(),
                "{offset} {limit} was accepted"
            );
        }
    }

    #[test]
    fn neighbours_stop_at_the_ends() {
        let window = |offset, limit| Window { offset, limit };
        assert_eq!(window(0, 2).next(5), Some(window(2, 2)));
        assert_eq!(window(3, 2).next(5), None);
        assert_eq!(window(4, 2).next(5), None);
        assert_eq!(window(0, 0).next(5), None);
        assert_eq!(window(i64::MAX, 2).next(5), None);
        assert_eq!(window(0, 2).previous(5), None);
        assert_eq!(window(4, 0).previous(5), None);
        assert_eq!(window(1, 2).previous(5), Some(window(0, 2)));
        assert_eq!(window(4, 2).previous(5), Some(window(2, 2)));
        assert_eq!(window(1000, 2).previous(5), Some(window(3, 2)));
        assert_eq!(window(1000, 2).previous(0), Some(window(0, 2)));
    }
}
