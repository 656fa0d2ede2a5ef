//! The content of the page cursors of token lists, which clients get sealed.

use serde::{Deserialize, Serialize};

use super::data_keys::DataKeys;
use super::token_walk::WalkStart;
use crate::clock::Random;
use crate::domain::filter::{ListPosition, Order, TokenFilter};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::period::Period;
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result};
use crate::store::token_walks::{Place, Rank};

/// The list that a cursor belongs to.
const LIST: &str = "tokens";
/// The layouts of cursors: of the whole list of a registry and its lists by instants, and of all others.
pub(super) const SIMPLE: u8 = 1;
pub(super) const GENERAL: u8 = 2;

/// The content of a page cursor. The names are short for the sake of URLs; `v` tells layouts apart. An older release
/// reads the first layout, and refuses the second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    #[serde(rename = "v")]
    pub(super) layout: u8,
    /// The registry's key: its id can come back. 0 for a list of several.
    #[serde(rename = "r")]
    pub(super) registry: i64,
    /// The number of tokens listed so far.
    #[serde(rename = "n")]
    pub(super) listed: i64,
    /// The position of the last of them: its instant, or in the whole list its position, and its key.
    #[serde(rename = "a")]
    pub(super) at: i64,
    #[serde(rename = "k")]
    pub(super) key: i64,
    /// The filter, in seconds, and the time of the first page, in microseconds since 1970.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub(super) expiring_within: Option<i64>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    pub(super) unused_since: Option<i64>,
    #[serde(rename = "t")]
    pub(super) begun: i64,
    /// The filter and the order of the second layout.
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<TokenFilter>,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub(super) order: Option<Order>,
    #[serde(rename = "w", skip_serializing_if = "Option::is_none")]
    pub(super) walk: Option<WalkCursor>,
}

/// The part of a cursor that belongs to a walk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WalkCursor {
    /// The account that it was given to: the total is of what this account may see.
    #[serde(rename = "u")]
    pub(super) account: i64,
    #[serde(rename = "c")]
    pub(super) total: i64,
    #[serde(rename = "x")]
    pub(super) exact: bool,
    /// The place in the walk beyond which it begins: a registry's key and a position.
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<(i64, i64)>,
    /// In another order than that of the walk: the value of the last token, a number or a text, and its key.
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<(Option<i64>, Option<String>, i64)>,
}

impl WalkCursor {
    pub(super) fn start(&self) -> WalkStart {
        WalkStart {
            beyond: self.place.map(|(registry, position)| Place {
                registry: RegistryKey(registry),
                position,
            }),
            after: self.last.clone().map(|(number, text, key)| {
                let number = Rank::Number(number.unwrap_or_default());
                (text.map_or(number, Rank::Text), TokenKey(key))
            }),
        }
    }
}

impl Cursor {
    /// Opens a cursor of a client.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for one that this service did not give.
    pub(super) fn open(vault: &DataKeys, token: &str) -> Result<Self> {
        vault
            .open_cursor(LIST, token)
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|cursor| matches!(cursor.layout, SIMPLE | GENERAL))
            .ok_or_else(|| not_given(token))
    }

    pub(super) fn seal(&self, vault: &DataKeys, random: &dyn Random) -> Result<String> {
        let bytes = serde_json::to_vec(self).map_err(Error::internal)?;
        vault.seal_cursor(random, LIST, &bytes)
    }

    pub(super) fn filter(&self) -> TokenFilter {
        self.filter.clone().unwrap_or_else(|| TokenFilter {
            expiring_within: self.expiring_within.and_then(Period::of_seconds),
            unused_since: self.unused_since.and_then(Period::of_seconds),
            ..TokenFilter::default()
        })
    }

    pub(super) fn place(&self) -> ListPosition {
        ListPosition {
            at: self.at,
            key: self.key,
        }
    }
}

fn not_given(token: &str) -> Error {
    Error::invalid(
        Field::PaginationToken,
        format!(
            "pagination.token {} is not one that this service gave; start without one",
            quoted(token)
        ),
    )
}
