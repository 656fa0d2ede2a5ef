//! Walks over the tokens of registries, a part in each job, to the page of a list.

use crate::domain::filter::{Order, Sought};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::error::{Error, Result};
use crate::store::token_walks::{self as table, Finder, Match, Place, Rank, Stretch, Wanted};
use crate::store::{Dialect, Session};

/// The total of a filtered list is counted up to this.
pub const COUNTED: i64 = 100_000;
/// The most tokens that a walk looks at for one page, where long texts count as several. The next page goes on where it
/// ended.
const LOOKED_AT: i64 = 300_000;
/// About so many it looks at in one job, so that others find a reader meanwhile.
const JOB: i64 = 100_000;
/// The most tokens to which an index leads that are read instead of all, where long texts count as several. They are
/// sorted in memory.
const BY_INDEX: i64 = 100_000;

/// The start of a walk.
#[derive(Debug, Clone, Default)]
pub(super) struct WalkStart {
    /// The place in the walk beyond which it begins.
    pub beyond: Option<Place>,
    /// In another order than that of the walk: the value and the key of the token after which the page begins.
    pub after: Option<(Rank, TokenKey)>,
}

/// A walk to a page of a list, between two of its jobs.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    sought: Option<Sought>,
    order: Order,
    start: WalkStart,
    offset: i64,
    limit: i64,
    /// The total of the first page, if this is a later one.
    known: Option<(i64, bool)>,
    /// The place that the walk has reached.
    beyond: Option<Place>,
    looked_at: i64,
    counted: i64,
    /// Of the tokens that pass, those that may be on the page.
    kept: Vec<Match>,
}

/// The page that a walk led to.
#[derive(Debug)]
pub(super) struct Walked {
    pub matches: Vec<Match>,
    pub total: i64,
    pub total_is_exact: bool,
    /// The start of the next page, if there is one.
    pub next: Option<WalkStart>,
}

/// The reason for which a walk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All tokens were looked at.
    All,
    /// The page is full, and the total is known or counted as far as it ever is.
    Page,
    /// It looked at as many tokens as it may.
    Bound,
}

impl Walk {
    pub(super) fn new(
        sought: Option<Sought>,
        order: Order,
        start: WalkStart,
        (offset, limit): (i64, i64),
        known: Option<(i64, bool)>,
    ) -> Self {
        Self {
            sought,
            order,
            beyond: start.beyond,
            start,
            offset,
            limit,
            known,
            looked_at: 0,
            counted: 0,
            kept: Vec::new(),
        }
    }

    /// Goes on over the tokens of registries, in the order of their keys. Returns the page when it has found it, and
    /// `None` if another job has to go on. Call it in a snapshot.
    pub(super) fn go_on(
        &mut self,
        connection: &mut Session,
        registries: &[RegistryKey],
    ) -> Result<Option<Walked>> {
        if self.looked_at == 0 && self.search(connection, registries)? {
            return self.finish(End::All).map(Some);
        }
        let buckets = table::buckets(connection, registries)?;
        if self.sought.is_none() {
            self.known = Some((buckets.iter().map(|bucket| bucket.live()).sum(), true));
        }
        let backwards = self.wanted().is_backwards();
        let mut skipped = 0;
        let mut skip = |tokens: i64| {
            let skips = skipped + tokens <= self.offset;
            skipped += if skips { tokens } else { 0 };
            skips
        };
        let mut stretches = table::stretches(&buckets, self.beyond, backwards);
        // Stretches of which all pass, and that come before the page, need not be looked at.
        if self.sought.is_none() && self.wanted().is_in_order() && self.looked_at == 0 {
            let first = stretches.iter().position(|stretch| !skip(stretch.tokens));
            stretches.drain(..first.unwrap_or(stretches.len()));
            self.offset -= skipped;
        }
        let (mut finder, mut here) = (Finder::default(), 0);
        for stretch in stretches {
            for part in self.parts(connection, stretch)? {
                if self.looked_at >= LOOKED_AT {
                    return self.finish(End::Bound).map(Some);
                }
                if here >= JOB {
                    return Ok(None);
                }
                self.look(connection, &mut finder, &part)?;
                here += part.tokens;
                if self.is_full() {
                    return self.finish(End::Page).map(Some);
                }
            }
        }
        self.finish(End::All).map(Some)
    }

    /// The parts of a stretch that statements look at. If all tokens pass, in order, the page ends the statement.
    fn parts(&self, connection: &mut Session, stretch: Stretch) -> Result<Vec<Stretch>> {
        if self.sought.is_none() && self.wanted().is_in_order() {
            return Ok(vec![stretch]);
        }
        table::weighed(connection, &stretch, self.wanted())
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            sought: self.sought.as_ref(),
            order: self.order,
        }
    }

    /// Looks for the tokens by an index, if one leads to few. Returns true if it did.
    fn search(&mut self, connection: &mut Session, registries: &[RegistryKey]) -> Result<bool> {
        let Some(sought) = &self.sought else {
            return Ok(false);
        };
        if !table::leads(Dialect::of(connection), sought)
            || table::led_to(connection, registries, sought, BY_INDEX + 1)? > BY_INDEX
            || table::weight_led_to(connection, registries, sought)? > BY_INDEX
        {
            return Ok(false);
        }
        let mut found = Finder::default().by_index(connection, registries, self.wanted())?;
        self.counted = length(&found)?;
        if self.wanted().is_in_order() {
            let backwards = self.wanted().is_backwards();
            if let Some(beyond) = self.beyond {
                found.retain(|found| (found.place > beyond) != backwards && found.place != beyond);
            }
            found.sort_unstable_by_key(|found| found.place);
            if backwards {
                found.reverse();
            }
            self.kept = found;
        } else {
            self.keep(found)?;
        }
        Ok(true)
    }

    fn look(
        &mut self,
        connection: &mut Session,
        finder: &mut Finder,
        stretch: &Stretch,
    ) -> Result<()> {
        let most = match (self.wanted().is_in_order(), self.known) {
            (true, Some(_)) => self.room() - length(&self.kept)?,
            _ => i64::MAX,
        };
        let found = finder.in_stretch(connection, stretch, self.wanted(), most)?;
        self.looked_at += stretch.tokens.max(1);
        self.beyond = Some(stretch.end);
        self.counted += length(&found)?;
        self.keep(found)
    }

    /// Keeps those that may be on the page.
    fn keep(&mut self, found: Vec<Match>) -> Result<()> {
        let room = usize::try_from(self.room()).map_err(Error::internal)?;
        if self.wanted().is_in_order() {
            let free = room.saturating_sub(self.kept.len());
            self.kept.extend(found.into_iter().take(free));
            return Ok(());
        }
        let after = self.start.after.clone();
        let is_after = |found: &Match| {
            after.as_ref().is_none_or(|(rank, key)| {
                let place = (&found.rank, found.token).cmp(&(rank, *key));
                place == self.later()
            })
        };
        let found: Vec<_> = found.into_iter().filter(is_after).collect();
        self.kept.extend(found);
        if self.kept.len() > room {
            self.sort();
            self.kept.truncate(room);
        }
        Ok(())
    }

    fn later(&self) -> std::cmp::Ordering {
        if self.order.descending {
            std::cmp::Ordering::Less
        } else {
            std::cmp::Ordering::Greater
        }
    }

    fn sort(&mut self) {
        let descending = self.order.descending;
        self.kept.sort_unstable_by(|one, other| {
            let order = (&one.rank, one.token).cmp(&(&other.rank, other.token));
            if descending { order.reverse() } else { order }
        });
    }

    /// The tokens from the beginning of the list to the end of the page, and one more to tell whether there is a next.
    fn room(&self) -> i64 {
        self.offset.saturating_add(self.limit).saturating_add(1)
    }

    fn is_full(&self) -> bool {
        let counted = self.known.is_some() || self.counted > COUNTED;
        let kept = i64::try_from(self.kept.len()).unwrap_or(i64::MAX);
        self.wanted().is_in_order() && counted && kept >= self.room()
    }

    fn finish(&mut self, end: End) -> Result<Walked> {
        if !self.wanted().is_in_order() {
            self.sort();
        }
        let mut matches = std::mem::take(&mut self.kept);
        let offset = usize::try_from(self.offset).map_err(Error::internal)?;
        matches.drain(..offset.min(matches.len()));
        let limit = usize::try_from(self.limit).map_err(Error::internal)?;
        let more = matches.len() > limit;
        matches.truncate(limit);
        let next = match (matches.last(), end) {
            (Some(last), _) if more => Some(if self.wanted().is_in_order() {
                WalkStart {
                    beyond: Some(last.place),
                    after: None,
                }
            } else {
                WalkStart {
                    beyond: self.start.beyond,
                    after: Some((last.rank.clone(), last.token)),
                }
            }),
            (_, End::Bound) if limit > 0 => Some(WalkStart {
                beyond: self.beyond,
                after: None,
            }),
            _ => None,
        };
        let counted = (
            self.counted.min(COUNTED),
            self.counted <= COUNTED && end != End::Bound,
        );
        let (total, total_is_exact) = self.known.unwrap_or(counted);
        Ok(Walked {
            matches,
            total,
            total_is_exact,
            next,
        })
    }
}

fn length<T>(list: &[T]) -> Result<i64> {
    i64::try_from(list.len()).map_err(Error::internal)
}
