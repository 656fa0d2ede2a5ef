//! Runs: one change of all tokens that a filter finds.
//!
//! Owns the actions, the state and the counts of a run, and who may see it. Refuses to know how a run works.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Attribution;
use super::account::Actor;
use super::audit::{Credential, Origin, Recorded, SubjectKind};
use super::filter::TokenFilter;
use super::id::{AccountKey, BulkId, BulkKey, RegistryId, RegistryKey, TokenId, TokenKey};
use super::patch::Patch;
use super::permission::{Level, Resource};
use super::status::Status;
use super::text::quoted;
use super::token::TokenPatch;
use crate::error::{Error, Field, Result};

/// The most tokens of a run.
pub const TOKENS: i64 = 100_000;
/// The most tokens that a run lists as refused. It counts all.
pub const LISTED: i64 = 1_000;
/// The most runs of an account that are under way at once.
const OF_ACCOUNT: i64 = 4;
/// The most runs that are under way at once.
const IN_ALL: i64 = 32;
/// The time for which a confirmation is good.
pub const CONFIRMABLE: TimeDelta = TimeDelta::minutes(15);

/// The reason of a stop.
pub const STOPPED: &str = "the credential that confirmed it is not in force any more: its API token ended, the password was \
                           changed, the account was disabled or deleted, or it may read no tokens any more";

/// The change that a run makes to each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Disables it.
    #[serde(rename = "d")]
    Disable,
    /// Enables it.
    #[serde(rename = "e")]
    Enable,
    /// Deletes it.
    #[serde(rename = "r")]
    Delete,
    /// Ends it at an instant, or at the time of the change; an earlier end stays.
    #[serde(rename = "x")]
    Expire(Option<DateTime<Utc>>),
    /// Sets its end, or removes it.
    #[serde(rename = "s")]
    SetExpiry(Option<DateTime<Utc>>),
}

/// The effect of an action on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A change as by a PATCH.
    Patch(TokenPatch),
    /// An end no later than this.
    End(DateTime<Utc>),
    /// The token goes.
    Delete,
}

impl Action {
    /// The words of all actions.
    pub const WORDS: [&'static str; 5] = ["disable", "enable", "delete", "expire", "setExpiry"];

    /// Reads an action and its value. An expiry date that has passed is refused, as in a PATCH.
    pub fn parse(word: &str, expiry: Patch<DateTime<Utc>>) -> Result<Self> {
        let wrong = |message: &str| Err(Error::invalid(Field::ExpiryDate, message));
        let action = match (word, expiry) {
            ("disable", _) => Self::Disable,
            ("enable", _) => Self::Enable,
            ("delete", _) => Self::Delete,
            ("expire", Patch::Keep) => return Ok(Self::Expire(None)),
            ("expire", Patch::Set(at)) => return Ok(Self::Expire(Some(at))),
            ("expire", Patch::Clear) => {
                return wrong(
                    "expiryDate null is no end; send an instant, or leave it out to end them now",
                );
            }
            ("setExpiry", Patch::Keep) => {
                return wrong(
                    "expiryDate is missing; setExpiry needs an instant, or null for no end",
                );
            }
            ("setExpiry", expiry) => return Ok(Self::SetExpiry(expiry.value())),
            _ => {
                return Err(Error::invalid(
                    Field::Action,
                    format!(
                        "action {} is none of {}",
                        quoted(word),
                        Self::WORDS.join(", ")
                    ),
                ));
            }
        };
        if expiry == Patch::Keep {
            return Ok(action);
        }
        wrong("only expire and setExpiry take expiryDate; leave it out")
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Expire(_) => "expire",
            Self::SetExpiry(_) => "setExpiry",
        }
    }

    /// The value: [`Patch::Keep`] for an action without one, or if it was left out; [`Patch::Clear`] is no end.
    #[must_use]
    pub fn expiry_date(self) -> Patch<DateTime<Utc>> {
        match self {
            Self::Disable | Self::Enable | Self::Delete | Self::Expire(None) => Patch::Keep,
            Self::Expire(at) | Self::SetExpiry(at) => at.map_or(Patch::Clear, Patch::Set),
        }
    }

    /// Returns true if it ends tokens and never widens one.
    #[must_use]
    pub fn ends(self) -> bool {
        match self {
            Self::Disable | Self::Delete | Self::Expire(_) => true,
            Self::Enable | Self::SetExpiry(_) => false,
        }
    }

    /// Refuses an end that has passed.
    pub fn require_future(self, now: DateTime<Utc>) -> Result<()> {
        match self.expiry_date().value() {
            Some(end) if end <= now => Err(Error::invalid(
                Field::ExpiryDate,
                format!(
                    "expiryDate {} is in the past; send a later one, or the action expire without one to end tokens now",
                    end.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The effect on a token at an instant.
    #[must_use]
    pub fn effect(self, now: DateTime<Utc>) -> Effect {
        let status = |status| {
            Effect::Patch(TokenPatch {
                status: Some(status),
                ..TokenPatch::default()
            })
        };
        match self {
            Self::Disable => status(Status::Disabled),
            Self::Enable => status(Status::Enabled),
            Self::Delete => Effect::Delete,
            // An instant that passed meanwhile would let the token be removed earlier than others that end now.
            Self::Expire(at) => Effect::End(at.map_or(now, |at| at.max(now))),
            Self::SetExpiry(end) => Effect::Patch(TokenPatch {
                expiry_date: end.map_or(Patch::Clear, Patch::Set),
                ..TokenPatch::default()
            }),
        }
    }
}

/// The tokens to change, and the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The filter.
    #[serde(rename = "f")]
    pub filter: TokenFilter,
    /// The change.
    #[serde(rename = "a")]
    pub action: Action,
}

impl Wish {
    /// Refuses a filter that finds all tokens of all registries: a slip must not end everything.
    pub fn require_bounds(&self) -> Result<()> {
        if self.filter.has_conditions() || !self.filter.registries.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(
            Field::Filter,
            "filter has no condition, so it would find every token; name one, or registryId for all tokens of registries",
        ))
    }
}

/// A wish, with the bounds of its set: the tokens that it found then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The wish.
    #[serde(flatten)]
    pub wish: Wish,
    /// The time of the dry run, at which the filter is meant, in microseconds since 1970.
    #[serde(rename = "t")]
    begun: i64,
    /// The highest key of a token then: later ones are not touched.
    #[serde(rename = "k")]
    last: i64,
}

impl Confirmed {
    /// A wish as of an instant, for tokens up to the last.
    #[must_use]
    pub fn new(wish: Wish, begun: DateTime<Utc>, last: TokenKey) -> Self {
        Self {
            wish,
            begun: begun.timestamp_micros(),
            last: last.0,
        }
    }

    /// The time of the dry run.
    #[must_use]
    pub fn begun(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.begun).unwrap_or_default()
    }

    /// The last token that existed then.
    #[must_use]
    pub fn last(&self) -> TokenKey {
        TokenKey(self.last)
    }
}

/// The bits of [`Marks`].
const MARKS: usize = 8192;

/// A digest of a set that tells by how many members two sets differ: each member flips one of its bits. Two members that
/// share a bit hide each other, so it tells too few now and then, and never too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Marks(Vec<u8>);

impl Default for Marks {
    fn default() -> Self {
        Self(vec![0; MARKS / 8])
    }
}

impl From<Marks> for String {
    fn from(marks: Marks) -> Self {
        URL_SAFE_NO_PAD.encode(marks.0)
    }
}

impl TryFrom<String> for Marks {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        let marks = URL_SAFE_NO_PAD.decode(text).ok();
        let marks = marks.filter(|marks| marks.len() == MARKS / 8);
        marks.map(Self).ok_or("these are no marks")
    }
}

impl Marks {
    fn flip(&mut self, token: TokenKey) {
        let hash = digest(&SHA256, &token.0.to_be_bytes());
        let number = hash
            .as_ref()
            .iter()
            .take(2)
            .fold(0, |number, byte| number << 8 | usize::from(*byte));
        let bit = number % MARKS;
        if let Some(byte) = self.0.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    fn differences(&self, other: &Self) -> i64 {
        let pairs = self.0.iter().zip(&other.0);
        pairs
            .map(|(one, other)| i64::from((one ^ other).count_ones()))
            .sum()
    }
}

/// The tokens that a filter finds, as a confirmation seals them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Their number.
    #[serde(rename = "n")]
    pub found: i64,
    /// A digest of their keys, in the order of the walk.
    #[serde(rename = "d")]
    digest: [u8; 32],
    #[serde(rename = "m")]
    marks: Marks,
}

impl Census {
    /// Counts one more token.
    pub fn count(&mut self, token: TokenKey) {
        let mut context = Context::new(&SHA256);
        context.update(&self.digest);
        context.update(&token.0.to_be_bytes());
        self.digest.copy_from_slice(context.finish().as_ref());
        self.marks.flip(token);
        self.found += 1;
    }

    /// The change since this census: `now` is of the tokens that existed then, and `made` more were made since.
    #[must_use]
    pub fn change(&self, now: &Self, made: i64) -> SetChange {
        let more = now.found - self.found;
        let told = match self.marks.differences(&now.marks) {
            _ if self.digest == now.digest => 0,
            // One that left and one that came share a bit.
            0 if more == 0 => 2,
            marks => marks.max(more.abs()),
        };
        let left = (told - more) / 2;
        SetChange {
            before: self.found,
            left,
            came: left + more,
            made,
        }
    }
}

/// The difference of the tokens that a filter finds from those of a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetChange {
    /// Those of the dry run.
    pub before: i64,
    /// Those of them that it does not find any more.
    pub left: i64,
    /// Those that existed then, and that it finds only now.
    pub came: i64,
    /// Those that were made since.
    pub made: i64,
}

impl SetChange {
    /// Refuses a change of more tokens than a caller permits.
    pub fn require_within(self, maximum_change: i64) -> Result<()> {
        let Self {
            before,
            left,
            came,
            made,
        } = self;
        let (all, now) = (left + came + made, before - left + came + made);
        if all <= maximum_change {
            return Ok(());
        }
        Err(Error::Unsuited(format!(
            "the dry run found {before} tokens, and now there are {now}: {left} left and {} came, {made} of them new; \
             maximumChange {maximum_change} does not permit that; make the dry run once more, or send maximumChange {all}",
            came + made
        )))
    }
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Under way, or waiting to go on.
    Running,
    /// All tokens were looked at.
    Done,
    /// Somebody cancelled it.
    Cancelled,
    /// The credential that it was confirmed with ended, or its rights did.
    Stopped,
}

impl RunState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Cancelled, Self::Stopped];

    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }

    /// The state of a stored word. An unknown word is of a later release, whose runs this one leaves alone.
    #[must_use]
    pub fn from_stored(word: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        let known = all.find(|state| state.as_str() == word);
        known.unwrap_or(Self::Stopped)
    }
}

/// The numbers of tokens of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Found when it began; more, if more were found since.
    pub found: i64,
    /// Changed.
    pub changed: i64,
    /// Left as they were: the change was made before, or they ceased to pass the filter.
    pub unchanged: i64,
    /// Not permitted.
    pub refused: i64,
}

impl Tally {
    /// The same with further tokens that were looked at.
    #[must_use]
    pub fn and(self, changed: i64, unchanged: i64, refused: i64) -> Self {
        let sum = Self {
            found: self.found,
            changed: self.changed + changed,
            unchanged: self.unchanged + unchanged,
            refused: self.refused + refused,
        };
        Self {
            found: sum.found.max(sum.changed + sum.unchanged + sum.refused),
            ..sum
        }
    }

    /// The numbers when all tokens were looked at: those that were found once and not again are left as they were.
    #[must_use]
    pub fn complete(self) -> Self {
        Self {
            unchanged: self.found - self.changed - self.refused,
            ..self
        }
    }
}

/// A token that a run was not permitted to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The token.
    pub token: NamedToken,
    /// The reason, as the error of a single change.
    pub reason: String,
}

/// A token and its registry, by ids and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedToken {
    /// The token's id.
    pub id: TokenId,
    /// The token's name.
    pub name: String,
    /// The registry's id.
    pub registry: RegistryId,
    /// The registry's name.
    pub registry_name: String,
}

/// The credential that a run was confirmed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandate {
    /// The account.
    pub account: AccountKey,
    /// Its version then.
    pub version: i64,
    /// A digest of its login then; see `service/access.rs`. None in runs of an earlier release.
    pub login: Option<[u8; 32]>,
    /// The credential.
    pub credential: Credential,
    /// The origin of the request.
    pub origin: Origin,
}

/// A change of many tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Internal key.
    pub key: BulkKey,
    /// Public id.
    pub id: BulkId,
    /// The account that began it, and when.
    pub created: Attribution,
    /// The credential that it was confirmed with.
    pub mandate: Mandate,
    /// The change that was confirmed.
    pub confirmed: Confirmed,
    /// The tokens that met the conditions at the confirmation, but were made after the dry run: they are not touched.
    pub made_since: i64,
    /// The state.
    pub state: RunState,
    /// The reason of a stop.
    pub reason: Option<String>,
    /// The numbers so far.
    pub tally: Tally,
    /// The place that it has reached: a registry and a position there.
    pub place: Option<(RegistryKey, i64)>,
    /// The end.
    pub finished_at: Option<DateTime<Utc>>,
}

impl Run {
    /// Returns true if an actor may see and cancel it: the account that began it, or who may write to the whole service.
    /// An API token sees the runs that it began.
    #[must_use]
    pub fn is_visible_to(&self, actor: &Actor) -> bool {
        let own = self.mandate.account == actor.key
            && match &actor.bearer {
                None => true,
                Some(bearer) => self.mandate.credential == Credential::ApiToken(bearer.id),
            };
        own || sees_all_runs(actor)
    }
}

/// Returns true if an actor may see and cancel all runs.
#[must_use]
pub fn sees_all_runs(actor: &Actor) -> bool {
    let permissions = &actor.permissions;
    permissions.allow(Resource::Administration, Level::Write)
}

/// Refuses one more run if an account has so many under way, or all have. Runs that end tokens have as many places again:
/// others may wait for hours, and must not hold them up.
pub fn admit_run(of_account: i64, in_all: i64, ends: bool) -> Result<()> {
    let places = if ends { 2 } else { 1 };
    let (own, all) = (places * OF_ACCOUNT, places * IN_ALL);
    if of_account >= own {
        return Err(Error::Full(format!(
            "your account has {of_account} bulk runs under way, and no more than {own} are allowed for this action; wait for \
             one, or cancel it"
        )));
    }
    if in_all >= all {
        return Err(Error::Full(format!(
            "{in_all} bulk runs are under way, and no more than {all} are allowed for this action; wait for one"
        )));
    }
    Ok(())
}

impl Recorded for Run {
    const KIND: SubjectKind = SubjectKind::Bulk;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        let Wish { filter, action } = &self.confirmed.wish;
        let Tally {
            found,
            changed,
            unchanged,
            refused,
        } = self.tally;
        let mut record = json!({
            "state": self.state.as_str(),
            "action": action.as_str(),
            "found": found,
        });
        if let Value::Object(record) = &mut record {
            let mut tell = |name: &str, value: Value| record.insert(name.to_owned(), value);
            if let Some(end) = action.expiry_date().change() {
                tell("expires", json!(end));
            }
            if self.state != RunState::Running {
                tell("changed", changed.into());
                tell("unchanged", unchanged.into());
                tell("refused", refused.into());
            }
            if let Some(reason) = &self.reason {
                tell("reason", reason.as_str().into());
            }
            let conditions = filter.parameters();
            let conditions = conditions
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"));
            tell("filter", conditions.collect());
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn an_action_has_its_value_and_no_other() {
        let set = Patch::Set(at(9));
        for (word, expiry, action) in [
            ("disable", Patch::Keep, Action::Disable),
            ("enable", Patch::Keep, Action::Enable),
            ("delete", Patch::Keep, Action::Delete),
            ("expire", Patch::Keep, Action::Expire(None)),
            ("expire", set, Action::Expire(Some(at(9)))),
            ("setExpiry", set, Action::SetExpiry(Some(at(9)))),
            ("setExpiry", Patch::Clear, Action::SetExpiry(None)),
        ] {
            assert_eq!(Action::parse(word, expiry).unwrap(), action);
        }
        for (word, expiry) in [
            ("disable", set),
            ("enable", Patch::Clear),
            ("delete", set),
            ("expire", Patch::Clear),
            ("setExpiry", Patch::Keep),
            ("Disable", Patch::Keep),
            ("", Patch::Keep),
        ] {
            assert!(Action::parse(word, expiry).is_err(), "{word} {expiry:?}");
        }
    }

    #[test]
    fn an_instant_that_passed_meanwhile_is_now() {
        for (sent, end) in [(None, 5), (Some(at(4)), 5), (Some(at(6)), 6)] {
            assert_eq!(Action::Expire(sent).effect(at(5)), Effect::End(at(end)));
        }
    }

    #[test]
    fn what_was_found_once_and_not_again_is_unchanged() {
        let tally = Tally {
            found: 10,
            ..Tally::default()
        };
        let tally = tally.and(3, 1, 2);
        assert_eq!((tally.found, tally.complete().unchanged), (10, 5));
        assert_eq!(tally.and(9, 0, 0).found, 15);
    }

    fn census(keys: impl IntoIterator<Item = i64>) -> Census {
        let mut census = Census::default();
        for key in keys {
            census.count(TokenKey(key));
        }
        census
    }

    #[test]
    fn a_changed_set_is_told_by_what_left_and_came() {
        for (before, now, left, came) in [
            (0..0, 0..0, 0, 0),
            (0..0, 0..9, 0, 9),
            (1..4, 1..4, 0, 0),
            (1..4, 2..5, 1, 1),
            (1..11, 4..9, 5, 0),
            (1..100_000, 3..100_004, 2, 4),
        ] {
            let change = census(before.clone()).change(&census(now), 7);
            let before = before.end - before.start;
            let told = SetChange {
                before,
                left,
                came,
                made: 7,
            };
            assert_eq!(change, told, "{before}");
        }
    }

    #[test]
    fn tokens_that_share_a_bit_are_a_change_all_the_same() {
        let of = |key| census([key]).marks;
        let twin = (2..1_000_000).find(|key| of(*key) == of(1)).unwrap();
        let change = census([1]).change(&census([twin]), 0);
        assert_eq!((change.left, change.came), (1, 1));
    }

    #[test]
    fn a_change_is_permitted_up_to_its_number() {
        let change = SetChange {
            before: 3,
            left: 1,
            came: 1,
            made: 2,
        };
        assert!(change.require_within(4).is_ok());
        assert!(change.require_within(3).is_err());
    }

    #[test]
    fn a_census_comes_back_as_it_was() {
        let census = census(1..50);
        let text = serde_json::to_string(&census).unwrap();
        assert_eq!(serde_json::from_str::<Census>(&text).unwrap(), census);
        assert!(serde_json::from_str::<Marks>("\"AAAA\"").is_err());
    }

    #[test]
    fn the_last_place_for_a_run_is_given_and_no_more() {
        for (ends, places) in [(false, 1), (true, 2)] {
            let (own, all) = (places * OF_ACCOUNT, places * IN_ALL);
            assert!(admit_run(own - 1, all - 1, ends).is_ok());
            assert!(admit_run(own, 0, ends).is_err());
            assert!(admit_run(0, all, ends).is_err());
        }
    }
}
