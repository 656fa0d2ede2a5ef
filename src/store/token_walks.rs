//! Tokens of registries that no index finds: all are looked at, a stretch at a time.
//!
//! A walk goes over the registries in the order of their keys, and in each over the tokens in creation order. The
//! counts of `token_counts` say how many tokens a stretch has, so that each reads a bounded number of rows.

use std::collections::HashMap;

use diesel::RunQueryDsl;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::rows::from_json;
use super::session::{Session, direct};
use super::statement::{Dialect, Sql};
use super::token_conditions::{Indexes, LAST_SEEN, conditions};
use super::tokens::BUCKET_BITS;
use crate::domain::filter::{NameFilter, Order, OrderBy, Sought};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::token_scope::Scope;
use crate::error::Result;

/// The most registries of a statement.
const REGISTRIES: usize = 500;
/// About so many tokens are a stretch: a full one takes some ten milliseconds.
const STRETCH: i64 = 16 * 1024;
/// The most that a statement looks at: tokens and parts of their texts, see [`weight`].
const HEAVY: i64 = 2 * STRETCH;
/// So many bytes of a token's scopes and labels count as one more token, if a condition is about either.
const READ: i64 = 256;
/// And so many if none is: SQLite goes through the pages of a long row to what is behind them.
const PASSED: i64 = 4_096;
/// The most texts of scopes whose decision is remembered, and the most bytes of one. Most tokens share a few short ones.
const REMEMBERED: usize = 4_096;
const SHORT: usize = 1_024;

/// The place of a token in a walk: its registry, and its position there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The registry.
    pub registry: RegistryKey,
    /// The position.
    pub position: i64,
}

/// Living tokens of 4 096 positions of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The registry.
    registry: i64,
    /// The first position.
    first: i64,
    /// The number of the tokens.
    live: i64,
}

impl Bucket {
    /// The number of the tokens.
    #[must_use]
    pub fn live(self) -> i64 {
        self.live
    }

    fn last(self) -> i64 {
        self.first + ((1 << BUCKET_BITS) - 1)
    }
}

/// A part of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// All registries, or one of which it is a part.
    registries: Vec<i64>,
    /// Only positions after this, and not after that.
    after: i64,
    until: i64,
    /// The tokens at most, as they were counted, or what they weigh if that is more; see [`weighed`].
    pub tokens: i64,
    /// The place at which the walk goes on.
    pub end: Place,
}

/// A token that passes a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Its key.
    pub token: TokenKey,
    /// Its place in the walk.
    pub place: Place,
    /// The value that the list is ordered by.
    pub rank: Rank,
}

/// The value of a token by which a list is ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A number, such as an instant in microseconds since 1970.
    Number(i64),
    /// A text, by its bytes.
    Text(String),
}

/// The buckets of registries that have tokens, in the order of a walk.
pub fn buckets(connection: &mut Session, registries: &[RegistryKey]) -> Result<Vec<Bucket>> {
    let mut found = Vec::new();
    for registries in registries.chunks(REGISTRIES) {
        let sql =
            Sql::of("SELECT registry_key, bucket, live FROM token_counts WHERE registry_key IN (")
                .numbers(registries.iter().map(|registry| registry.0))
                .text(") AND live > 0");
        let rows: Vec<(i64, i64, i64)> = direct!(connection, |direct| sql
            .returning::<(BigInt, BigInt, BigInt)>()
            .load(direct))?;
        found.extend(rows.into_iter().map(|(registry, bucket, live)| Bucket {
            registry,
            first: bucket << BUCKET_BITS,
            live,
        }));
    }
    found.sort_unstable_by_key(|bucket| (bucket.registry, bucket.first));
    Ok(found)
}

/// The stretches of a walk over buckets, from beyond a place on if there is one. With `backwards` it begins at the end.
#[must_use]
pub fn stretches(buckets: &[Bucket], beyond: Option<Place>, backwards: bool) -> Vec<Stretch> {
    let mut ordered = buckets.to_vec();
    if backwards {
        ordered.reverse();
    }
    let mut stretches: Vec<Stretch> = Vec::new();
    for group in ordered.chunk_by(|one, other| one.registry == other.registry) {
        let Some(registry) = group.first().map(|bucket| RegistryKey(bucket.registry)) else {
            continue;
        };
        let begun = beyond.filter(|place| place.registry == registry);
        let is_passed = |place: Place| {
            if backwards {
                registry > place.registry
            } else {
                registry < place.registry
            }
        };
        if beyond.is_some_and(is_passed) {
            continue;
        }
        let tokens = group.iter().map(|bucket| bucket.live).sum();
        if begun.is_none() && tokens <= STRETCH {
            Stretch::whole(registry, tokens, backwards).join(&mut stretches);
            continue;
        }
        let from = stretches.len();
        for bucket in group {
            let (mut after, mut until) = (bucket.first - 1, bucket.last());
            match begun {
                Some(place) if backwards => until = until.min(place.position.saturating_sub(1)),
                Some(place) => after = after.max(place.position),
                None => {}
            }
            if after < until {
                let part = Stretch::part(registry, (after, until), bucket.live, backwards);
                part.extend(&mut stretches, from);
            }
        }
    }
    stretches
}

impl Stretch {
    fn is_whole(&self) -> bool {
        (self.after, self.until) == (-1, i64::MAX)
    }

    fn whole(registry: RegistryKey, tokens: i64, backwards: bool) -> Self {
        Self::part(registry, (-1, i64::MAX), tokens, backwards)
    }

    fn part(
        registry: RegistryKey,
        (after, until): (i64, i64),
        tokens: i64,
        backwards: bool,
    ) -> Self {
        let position = if backwards { after + 1 } else { until };
        Self {
            registries: vec![registry.0],
            after,
            until,
            tokens,
            end: Place { registry, position },
        }
    }

    /// Adds whole registries to the stretch before, if that has room and whole ones too.
    fn join(self, stretches: &mut Vec<Self>) {
        match stretches.last_mut() {
            Some(last)
                if last.tokens + self.tokens <= STRETCH
                    && last.is_whole()
                    && last.registries.len() < REGISTRIES =>
            {
                last.registries.extend(self.registries);
                last.tokens += self.tokens;
                last.end = self.end;
            }
            _ => stretches.push(self),
        }
    }

    /// Adds the parts of this stretch that are of a registry, whose tokens are given by their positions and weights.
    fn cut(
        &self,
        registry: RegistryKey,
        tokens: &[(i64, i64, i64)],
        wanted: Wanted<'_>,
        parts: &mut Vec<Self>,
    ) {
        let backwards = wanted.is_backwards();
        let total = tokens.iter().map(|(_, _, weight)| weight).sum();
        if self.is_whole() && total <= STRETCH {
            return Self::whole(registry, total, backwards).join(parts);
        }
        let (mut after, mut until, mut here) = (self.after, self.until, 0);
        for (_, position, weight) in tokens {
            if here > 0 && here + weight > HEAVY {
                let ends = if backwards {
                    (*position, until)
                } else {
                    (after, position - 1)
                };
                parts.push(Self::part(registry, ends, here, backwards));
                if backwards {
                    until = *position;
                } else {
                    after = position - 1;
                }
                here = 0;
            }
            here += weight;
        }
        parts.push(Self::part(registry, (after, until), here, backwards));
    }

    /// Adds a part of a registry to the stretch before, if that is one of the same registry, from a place in the list
    /// on, and has room.
    fn extend(self, stretches: &mut Vec<Self>, from: usize) {
        let before = stretches.get_mut(from..).and_then(|own| own.last_mut());
        match before {
            Some(last) if last.tokens + self.tokens <= STRETCH => {
                last.after = last.after.min(self.after);
                last.until = last.until.max(self.until);
                last.tokens += self.tokens;
                last.end = self.end;
            }
            _ => stretches.push(self),
        }
    }
}

/// The parts of a stretch, each of which takes a statement about as long as a stretch of tokens with short texts, and as
/// much memory: long ones count as several tokens. Most stretches are one part.
pub fn weighed(
    connection: &mut Session,
    stretch: &Stretch,
    wanted: Wanted<'_>,
) -> Result<Vec<Stretch>> {
    let sql = weighing(stretch, wanted);
    let total: i64 = direct!(connection, |direct| sql
        .returning::<BigInt>()
        .get_result(direct))?;
    if total <= HEAVY {
        let tokens = stretch.tokens.max(total);
        return Ok(vec![Stretch {
            tokens,
            ..stretch.clone()
        }]);
    }
    let sql = weights(stretch, wanted);
    let tokens: Vec<(i64, i64, i64)> = direct!(connection, |direct| sql
        .returning::<(BigInt, BigInt, BigInt)>()
        .load(direct))?;
    let mut parts = Vec::new();
    for tokens in tokens.chunk_by(|one, other| one.0 == other.0) {
        if let Some((registry, ..)) = tokens.first() {
            stretch.cut(RegistryKey(*registry), tokens, wanted, &mut parts);
        }
    }
    if parts.is_empty() {
        parts.push(stretch.clone());
    }
    Ok(parts)
}

/// Finds a part of the tokens that pass a filter. Remembers decisions about scopes.
#[derive(Debug, Default)]
pub struct Finder {
    decided: HashMap<String, bool>,
}

type Row = (i64, i64, i64, Option<i64>, Option<String>, Option<String>);
type Columns = (
    BigInt,
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Text>,
);

impl Finder {
    /// The tokens of a stretch that pass a filter, in the order of the walk; at most `most`, if the filter is one that
    /// the database decides.
    pub fn in_stretch(
        &mut self,
        connection: &mut Session,
        stretch: &Stretch,
        wanted: Wanted<'_>,
        most: i64,
    ) -> Result<Vec<Match>> {
        let sql = stretching(Dialect::of(connection), stretch, wanted, most);
        self.load(connection, sql, wanted)
    }

    /// All tokens of registries that pass a filter, found by an index; see [`leads`].
    pub fn by_index(
        &mut self,
        connection: &mut Session,
        registries: &[RegistryKey],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Match>> {
        let mut found = Vec::new();
        for registries in registries.chunks(REGISTRIES) {
            let sql = indexed(Dialect::of(connection), registries, wanted);
            found.extend(self.load(connection, sql, wanted)?);
        }
        Ok(found)
    }

    fn load(
        &mut self,
        connection: &mut Session,
        sql: Sql,
        wanted: Wanted<'_>,
    ) -> Result<Vec<Match>> {
        let rows: Vec<Row> = direct!(connection, |direct| sql.returning::<Columns>().load(direct))?;
        let mut found = Vec::with_capacity(rows.len());
        for (token, registry, position, number, text, scopes) in rows {
            if let (Some(sought), Some(scopes)) = (wanted.sought, scopes)
                && !self.admits(sought, scopes)?
            {
                continue;
            }
            found.push(Match {
                token: TokenKey(token),
                place: Place {
                    registry: RegistryKey(registry),
                    position,
                },
                rank: match text {
                    Some(text) => Rank::Text(text),
                    None => Rank::Number(number.unwrap_or(token)),
                },
            });
        }
        Ok(found)
    }

    fn admits(&mut self, sought: &Sought, scopes: String) -> Result<bool> {
        if let Some(decided) = self.decided.get(&scopes) {
            return Ok(*decided);
        }
        let read: Vec<Scope> = from_json(&scopes)?;
        let decided = sought.admits(&read);
        if self.decided.len() < REMEMBERED && scopes.len() <= SHORT {
            self.decided.insert(scopes, decided);
        }
        Ok(decided)
    }
}

/// Of tokens of a registry by their keys, those that pass a filter; `None` is all that are there.
pub fn among(
    connection: &mut Session,
    registry: RegistryKey,
    keys: &[TokenKey],
    sought: Option<&Sought>,
) -> Result<Vec<TokenKey>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    // The plus keeps SQLite from an index that begins with the registry: it would read all of its tokens for a few.
    let mut sql =
        Sql::of("SELECT tokens.key, tokens.scopes FROM tokens WHERE +tokens.registry_key = ")
            .number(registry.0)
            .text(" AND tokens.key IN (")
            .numbers(keys.iter().map(|key| key.0))
            .text(")");
    if let Some(sought) = sought {
        sql = sql.then(conditions(Dialect::of(connection), sought, Indexes::Check));
    }
    let rows: Vec<(i64, String)> = direct!(connection, |direct| sql
        .returning::<(BigInt, Text)>()
        .load(direct))?;
    let mut finder = Finder::default();
    let mut found = Vec::with_capacity(rows.len());
    for (key, scopes) in rows {
        let passes = match sought.filter(|sought| sought.decides_by_scopes()) {
            Some(sought) => finder.admits(sought, scopes)?,
            None => true,
        };
        if passes {
            found.push(TokenKey(key));
        }
    }
    Ok(found)
}

/// The tokens that a walk looks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The filter; `None` is all.
    pub sought: Option<&'a Sought>,
    /// The order of the list.
    pub order: Order,
}

impl Wanted<'_> {
    /// Returns true if the order of the list is that of the walk.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        self.order.by == OrderBy::Registry
    }

    /// Returns true if the walk begins at the end.
    #[must_use]
    pub fn is_backwards(&self) -> bool {
        self.is_in_order() && self.order.descending
    }

    fn decides_by_scopes(&self) -> bool {
        self.sought.is_some_and(Sought::decides_by_scopes)
    }
}

/// Returns true if an index leads to the tokens of a filter that may be few: by name or by end.
#[must_use]
pub fn leads(dialect: Dialect, sought: &Sought) -> bool {
    let named = match &sought.filter().name {
        Some(NameFilter::Exactly(_)) => true,
        // PostgreSQL's index is in the order of the database's language, which has no range for a beginning.
        Some(NameFilter::Beginning(_)) => dialect == Dialect::Sqlite,
        None => false,
    };
    named || sought.ends().is_some()
}

/// The number of tokens that an index leads to, before other conditions, but at most `most`.
pub fn led_to(
    connection: &mut Session,
    registries: &[RegistryKey],
    sought: &Sought,
    most: i64,
) -> Result<i64> {
    let mut total = 0;
    for registries in registries.chunks(REGISTRIES) {
        let sql = leading(Dialect::of(connection), registries, sought, most);
        let found: i64 = direct!(connection, |direct| sql
            .returning::<BigInt>()
            .get_result(direct))?;
        total += found;
        if total >= most {
            break;
        }
    }
    Ok(total.min(most))
}

/// The weight of the tokens that an index leads to, see [`weighed`].
pub fn weight_led_to(
    connection: &mut Session,
    registries: &[RegistryKey],
    sought: &Sought,
) -> Result<i64> {
    let mut total = 0;
    for registries in registries.chunks(REGISTRIES) {
        let sql = weighing_led(Dialect::of(connection), registries, sought);
        let found: i64 = direct!(connection, |direct| sql
            .returning::<BigInt>()
            .get_result(direct))?;
        total += found;
    }
    Ok(total)
}

/// The statements of a walk over one stretch, and of a search by an index if there is one, with the values written in,
/// to examine plans.
#[must_use]
pub fn statements(dialect: Dialect, stretch: &Stretch, wanted: Wanted<'_>) -> Vec<String> {
    let registries: Vec<_> = stretch
        .registries
        .iter()
        .copied()
        .map(RegistryKey)
        .collect();
    let walk = [
        stretching(dialect, stretch, wanted, i64::MAX),
        weighing(stretch, wanted),
        weights(stretch, wanted),
    ];
    let search = wanted
        .sought
        .filter(|sought| leads(dialect, sought))
        .map(|sought| {
            let most = i64::MAX;
            [
                leading(dialect, &registries, sought, most),
                weighing_led(dialect, &registries, sought),
                indexed(dialect, &registries, wanted),
            ]
        });
    let all = walk.into_iter().chain(search.into_iter().flatten());
    all.map(|sql| sql.written(dialect)).collect()
}

/// The statement that reads a stretch.
fn stretching(dialect: Dialect, stretch: &Stretch, wanted: Wanted<'_>, most: i64) -> Sql {
    let mut sql = select(wanted).then(within(stretch));
    if let Some(sought) = wanted.sought {
        sql = sql.then(conditions(dialect, sought, Indexes::Check));
    }
    sql = sql.then(in_order(wanted));
    if !wanted.decides_by_scopes() {
        sql = sql.text(" LIMIT ").number(most);
    }
    sql
}

/// The tokens of a stretch.
fn within(stretch: &Stretch) -> Sql {
    of(stretch.registries.iter().copied())
        .text(" AND tokens.position > ")
        .number(stretch.after)
        .text(" AND tokens.position <= ")
        .number(stretch.until)
}

/// The tokens of registries.
fn of(registries: impl IntoIterator<Item = i64>) -> Sql {
    Sql::of(" FROM tokens WHERE tokens.registry_key IN (")
        .numbers(registries)
        .text(")")
}

fn in_order(wanted: Wanted<'_>) -> Sql {
    let descending = if wanted.is_backwards() { " DESC" } else { "" };
    Sql::of(format!(
        " ORDER BY tokens.registry_key{descending}, tokens.position{descending}"
    ))
}

/// The weight of a token: one, and more for long texts. Neither database reads a text to tell its length.
fn weight(sought: Option<&Sought>) -> String {
    let reads = sought
        .is_some_and(|sought| sought.decides_by_scopes() || !sought.filter().labels.is_empty());
    let bytes = if reads { READ } else { PASSED };
    format!(
        "1 + (octet_length(tokens.scopes) + COALESCE(octet_length(tokens.labels), 0)) / {bytes}"
    )
}

/// The statement that weighs a stretch.
fn weighing(stretch: &Stretch, wanted: Wanted<'_>) -> Sql {
    total(&weight(wanted.sought)).then(within(stretch))
}

/// The statement that weighs each token of a stretch.
fn weights(stretch: &Stretch, wanted: Wanted<'_>) -> Sql {
    let weight = weight(wanted.sought);
    Sql::of(format!(
        "SELECT tokens.registry_key, tokens.position, CAST({weight} AS BIGINT)"
    ))
    .then(within(stretch))
    .then(in_order(wanted))
}

/// The statement that weighs the tokens that an index leads to.
fn weighing_led(dialect: Dialect, registries: &[RegistryKey], sought: &Sought) -> Sql {
    total(&weight(Some(sought)))
        .then(of(registries.iter().map(|registry| registry.0)))
        .then(conditions(dialect, &sought.leading(), Indexes::Lead))
}

fn total(weight: &str) -> Sql {
    Sql::of(format!("SELECT CAST(COALESCE(SUM({weight}), 0) AS BIGINT)"))
}

/// The statement that finds the tokens of registries by an index.
fn indexed(dialect: Dialect, registries: &[RegistryKey], wanted: Wanted<'_>) -> Sql {
    let sql = select(wanted).then(of(registries.iter().map(|registry| registry.0)));
    match wanted.sought {
        Some(sought) => sql.then(conditions(dialect, sought, Indexes::Lead)),
        None => sql,
    }
}

/// The statement that counts the entries of an index, by the conditions on names and ends alone.
fn leading(dialect: Dialect, registries: &[RegistryKey], sought: &Sought, most: i64) -> Sql {
    Sql::of("SELECT COUNT(*) FROM (SELECT 1 AS one")
        .then(of(registries.iter().map(|registry| registry.0)))
        .then(conditions(dialect, &sought.leading(), Indexes::Lead))
        .text(" LIMIT ")
        .number(most)
        .text(") AS counted")
}

fn select(wanted: Wanted<'_>) -> Sql {
    let none = "CAST(NULL AS BIGINT)";
    let used = "(SELECT used_at FROM token_uses WHERE token_uses.token_key = tokens.key \
                AND token_uses.registry_key = tokens.registry_key)";
    let number = match wanted.order.by {
        OrderBy::Registry | OrderBy::CreatedDate | OrderBy::Name => Sql::of(none),
        OrderBy::ExpiryDate => Sql::of("COALESCE(tokens.expires_at, ")
            .number(i64::MAX)
            .text(")"),
        OrderBy::LastUsedDate => Sql::of(format!("COALESCE({used}, "))
            .number(i64::MIN)
            .text(")"),
        OrderBy::LastSeen => Sql::of(LAST_SEEN),
    };
    let text = match wanted.order.by {
        OrderBy::Name => "tokens.name_key",
        _ => "CAST(NULL AS TEXT)",
    };
    let scopes = if wanted.decides_by_scopes() {
        "tokens.scopes"
    } else {
        "CAST(NULL AS TEXT)"
    };
    Sql::of("SELECT tokens.key, tokens.registry_key, tokens.position, ")
        .then(number)
        .text(format!(", {text}, {scopes}"))
}
