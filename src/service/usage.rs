//! The last use of tokens: time, address and repository.
//!
//! Noting a use costs its request a short lock and no I/O: uses gather in memory, merged by token, and are written
//! together. The first use of a token that this process did not see in the last round is written at once, the later
//! ones with the next round, so that a token in use is written at most once a round. Owns the unwritten uses, and
//! bounds them. A process that is killed forgets the uses of its last minute; no decision depends on them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::domain::id::{ApiTokenId, AppTokenKey, RegistryKey, TokenKey};
use crate::domain::text::has_control;
use crate::domain::token::LastUse;
use crate::error::{Error, Result};
use crate::store::token_lookups::UsedSecret;
use crate::store::{Lock, Session, Store, api_tokens, app_tokens, token_uses};

/// The most tokens whose uses wait to be written.
const TOKENS: usize = 200_000;
/// Rows in a store job: the writer has others to serve.
const BATCH: usize = 500;
/// The longest repository that is kept, in bytes: registries take no longer names.
const REPOSITORY: usize = 255;

/// A token of any kind, by a key that is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Used {
    /// A registry token, with its registry.
    Token(TokenKey, RegistryKey),
    /// An app token.
    AppToken(AppTokenKey),
    /// An API token.
    ApiToken(ApiTokenId),
}

/// The uses of a token, merged.
#[derive(Debug, Clone)]
struct Use {
    last: LastUse,
    /// The secret that it was last used with, if its lookup was not kept.
    secret: Option<UsedSecret>,
}

impl Use {
    fn merge(&mut self, other: Self) {
        self.last.merge(other.last);
        self.secret = other.secret.or(self.secret);
    }
}

/// Uses that are not written yet.
#[derive(Debug, Default)]
pub struct UsageRecorder {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    uses: HashMap<Used, Use>,
    /// The tokens among these whose use does not wait for the round.
    first: HashSet<Used>,
    /// Tokens that were used in this round, written or not.
    this_round: HashSet<Used>,
    /// Tokens that were used in the round before.
    last_round: HashSet<Used>,
    /// Uses of further tokens, for which there was no room.
    dropped: u64,
}

impl Waiting {
    fn add(&mut self, token: Used, noted: Use) {
        let full = self.uses.len() >= TOKENS;
        match self.uses.entry(token) {
            Entry::Occupied(mut known) => known.get_mut().merge(noted),
            Entry::Vacant(_) if full => self.dropped += 1,
            Entry::Vacant(free) => {
                free.insert(noted);
                let new = self.this_round.len() < TOKENS && self.this_round.insert(token);
                if new && !self.last_round.contains(&token) {
                    self.first.insert(token);
                }
            }
        }
    }

    /// Takes all uses and ends the round.
    fn take_all(&mut self) -> Vec<(Used, Use)> {
        self.last_round = std::mem::take(&mut self.this_round);
        self.first.clear();
        std::mem::take(&mut self.uses).into_iter().collect()
    }

    /// Takes the first uses alone.
    fn take_first(&mut self) -> Vec<(Used, Use)> {
        let first = std::mem::take(&mut self.first).into_iter();
        first
            .filter_map(|token| self.uses.remove_entry(&token))
            .collect()
    }
}

impl UsageRecorder {
    /// Notes a use of a token: the address of the connection's peer, if that is kept for its kind, and the repository,
    /// if the use named one. Never waits for the database and never fails.
    pub fn note(
        &self,
        token: Used,
        at: DateTime<Utc>,
        address: Option<IpAddr>,
        repository: Option<&str>,
    ) {
        self.note_with(token, at, address, repository, None);
    }

    /// [`Self::note`] for a use with a secret whose lookup is to be kept beside the use.
    pub(super) fn note_with(
        &self,
        token: Used,
        at: DateTime<Utc>,
        address: Option<IpAddr>,
        repository: Option<&str>,
        secret: Option<UsedSecret>,
    ) {
        let last = LastUse {
            at,
            // A dual-stack socket gives IPv4 addresses in the form of IPv6.
            address: address.map(|address| address.to_canonical()),
            // A value that the database refuses would lose the uses beside it too.
            repository: repository
                .filter(|name| name.len() <= REPOSITORY && !has_control(name))
                .map(str::to_owned),
        };
        self.lock().add(token, Use { last, secret });
    }

    /// Writes the noted uses, and begins a round. Returns the number of tokens' rows that changed. Uses wait for the
    /// next time if the database is away or refuses, as does the rest if this future is dropped half-way.
    pub async fn flush(&self, store: &Store) -> Result<usize> {
        let dropped = std::mem::take(&mut self.lock().dropped);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                tokens = TOKENS,
                "more tokens were used at once than can be kept, so the last uses of some were lost; check that the \
                 database accepts writes"
            );
        }
        self.write(store, self.take(Waiting::take_all)).await
    }

    /// Writes the first uses, see [`Self::flush`]. Uses that could not be written wait for the round.
    pub async fn flush_first(&self, store: &Store) -> Result<usize> {
        self.write(store, self.take(Waiting::take_first)).await
    }

    async fn write(&self, store: &Store, mut taken: Taken<'_>) -> Result<usize> {
        let mut written = 0;
        loop {
            let batch = taken.next_batch();
            if batch.is_empty() {
                return Ok(written);
            }
            let count = batch.len();
            let done = store
                .write(Lock::Nothing, move |connection| record(connection, &batch))
                .await;
            match done {
                Ok(changed) => {
                    taken.forget(count);
                    written += changed;
                }
                Err(error @ Error::Unavailable { .. }) => return Err(error),
                // A defect comes again with the same rows: they must not block the others for ever.
                Err(error) => {
                    taken.forget(count);
                    return Err(error);
                }
            }
        }
    }

    fn take(&self, take: impl FnOnce(&mut Waiting) -> Vec<(Used, Use)>) -> Taken<'_> {
        let mut rest = take(&mut self.lock());
        rest.sort_unstable_by_key(|(token, _)| std::cmp::Reverse(*token));
        Taken { uses: self, rest }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Uses taken to be written; those not forgotten go back, however the writing ends.
struct Taken<'a> {
    uses: &'a UsageRecorder,
    /// By token, the last one first.
    rest: Vec<(Used, Use)>,
}

impl Taken<'_> {
    /// The next to be written, in the order of their tokens.
    fn next_batch(&self) -> Vec<(Used, Use)> {
        self.rest.iter().rev().take(BATCH).cloned().collect()
    }

    fn forget(&mut self, count: usize) {
        self.rest.truncate(self.rest.len().saturating_sub(count));
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        while !self.rest.is_empty() {
            // In parts, since requests wait for this lock.
            let start = self.rest.len().saturating_sub(BATCH);
            let mut waiting = self.uses.lock();
            for (token, noted) in self.rest.drain(start..) {
                waiting.add(token, noted);
            }
        }
    }
}

/// Keeps the uses of tokens, which come in order.
fn record(connection: &mut Session, uses: &[(Used, Use)]) -> Result<usize> {
    let (mut of_tokens, mut of_app_tokens, mut of_bearers) = (Vec::new(), Vec::new(), Vec::new());
    let mut secrets = BTreeMap::new();
    for (used, Use { last, secret }) in uses.iter().cloned() {
        match used {
            Used::Token(token, registry) => {
                of_tokens.push((token, registry, last));
                secrets.extend(secret.map(|secret| (token, secret)));
            }
            Used::AppToken(token) => of_app_tokens.push((token, last)),
            Used::ApiToken(token) => of_bearers.push((token, last)),
        }
    }
    Ok(token_uses::record(connection, &of_tokens, &secrets)?
        + app_tokens::record(connection, &of_app_tokens)?
        + api_tokens::record(connection, &of_bearers)?)
}

#[cfg(test)]
mod tests {
    use crate::service::usage::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn note(uses: &UsageRecorder, token: i64, second: i64) {
        let address = IpAddr::from([192, 0, 2, 1]);
        uses.note(used(token), at(second), Some(address), Some("app"));
    }

    fn used(token: i64) -> Used {
        Used::Token(TokenKey(token), RegistryKey(1))
    }

    fn waiting(uses: &UsageRecorder) -> Vec<(i64, i64)> {
        let mut all: Vec<_> = uses
            .lock()
            .uses
            .iter()
            .map(|(token, noted)| match token {
                Used::Token(token, _) => (token.0, noted.last.at.timestamp()),
                other => panic!("{other:?} is no registry token"),
            })
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn what_is_not_written_goes_back_and_newer_notes_win() {
        let uses = UsageRecorder::default();
        for token in 1..=1200 {
            note(&uses, token, 1);
        }
        let mut taken = uses.take(Waiting::take_all);
        assert!(waiting(&uses).is_empty());
        let batch = taken.next_batch();
        assert_eq!(batch.len(), BATCH);
        assert!(
            batch
                .iter()
                .map(|(token, _)| *token)
                .eq((1..=500).map(used))
        );
        taken.forget(batch.len());
        assert_eq!(taken.next_batch()[0].0, used(501));
        // Meanwhile one of the written and one of the others are used again, and an old use comes late.
        note(&uses, 1, 2);
        note(&uses, 600, 2);
        note(&uses, 700, 0);
        drop(taken);
        let expected = (501..=1200).map(|token| (token, if token == 600 { 2 } else { 1 }));
        let expected: Vec<_> = [(1, 2)].into_iter().chain(expected).collect();
        assert_eq!(waiting(&uses), expected);
    }

    #[test]
    fn the_first_use_waits_for_no_round_and_later_ones_do() {
        let uses = UsageRecorder::default();
        let first = || {
            let mut taken = uses.take(Waiting::take_first);
            let batch = taken.next_batch();
            taken.forget(batch.len());
            batch
                .iter()
                .map(|(_, noted)| noted.last.at.timestamp())
                .collect::<Vec<_>>()
        };
        let all = || {
            let mut taken = uses.take(Waiting::take_all);
            let count = taken.next_batch().len();
            taken.forget(count);
            count
        };
        note(&uses, 1, 1);
        assert_eq!(first(), [1]);
        note(&uses, 1, 2);
        note(&uses, 2, 3);
        assert_eq!(first(), [3]);
        assert_eq!(waiting(&uses), [(1, 2)]);
        // A token that was used in a round waits in the next one, written at once or not.
        assert_eq!(all(), 1);
        for _ in 0..3 {
            note(&uses, 1, 4);
            note(&uses, 2, 5);
            assert!(first().is_empty());
            assert_eq!(all(), 2);
        }
        assert_eq!(all(), 0);
        note(&uses, 1, 6);
        assert_eq!(first(), [6]);
        // Uses that could not be written wait for the round.
        note(&uses, 3, 7);
        drop(uses.take(Waiting::take_first));
        assert!(first().is_empty());
        assert_eq!(waiting(&uses), [(3, 7)]);
    }

    #[test]
    fn a_full_map_takes_known_tokens_only() {
        let uses = UsageRecorder::default();
        for token in 0..i64::try_from(TOKENS).unwrap() + 3 {
            note(&uses, token, 1);
        }
        note(&uses, 0, 2);
        assert_eq!(uses.lock().uses.len(), TOKENS);
        assert_eq!(uses.lock().uses[&used(0)].last.at, at(2));
        assert_eq!(uses.lock().dropped, 3);
        // Returned uses find room only beside those noted meanwhile.
        let taken = uses.take(Waiting::take_all);
        note(&uses, -1, 1);
        drop(taken);
        assert_eq!(uses.lock().uses.len(), TOKENS);
        assert!(uses.lock().uses.contains_key(&used(-1)));
        assert_eq!(uses.lock().dropped, 4);
    }

    #[test]
    fn addresses_are_plain_and_odd_repositories_are_left_out() {
        let uses = UsageRecorder::default();
        let address = "::ffff:192.0.2.1".parse().unwrap();
        for (token, repository) in [(1, "team/app"), (2, "a\0b"), (3, &*"a".repeat(256))] {
            uses.note(used(token), at(1), Some(address), Some(repository));
        }
        let taken = uses.take(Waiting::take_all);
        let shown: Vec<_> = taken
            .next_batch()
            .into_iter()
            .map(|(_, Use { last, .. })| (last.address.unwrap().to_string(), last.repository))
            .collect();
        assert_eq!(
            shown,
            [Some("team/app".to_owned()), None, None].map(|name| ("192.0.2.1".to_owned(), name))
        );
    }
}
