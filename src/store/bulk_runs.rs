//! The tables `bulk_runs` and `bulk_refusals`: runs, each a change of many tokens, and what they were not permitted.

use chrono::{DateTime, Utc};
use diesel::dsl::max;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl,
    SelectableHelper,
};

use super::rows::{bytes, from_json, instant, micros, stamp, to_json, uuid};
use super::schema::{bulk_refusals, bulk_runs, tokens};
use super::session::{Session, direct};
use crate::domain::account::Actor;
use crate::domain::audit::{Credential, Origin};
use crate::domain::bulk::{
    LISTED, Mandate, NamedToken, Refused, Run, RunState, Tally, sees_all_runs,
};
use crate::domain::id::{
    AccountKey, ApiTokenId, BulkId, BulkKey, RegistryId, RegistryKey, TokenId, TokenKey,
};
use crate::domain::page::Window;
use crate::error::{Error, Result};

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = bulk_runs)]
struct RunRow {
    key: i64,
    uuid: Vec<u8>,
    account_key: i64,
    created_by: Vec<u8>,
    created_by_name: String,
    created_at: i64,
    credential: String,
    account_version: i64,
    api_token: Option<Vec<u8>>,
    address: Option<String>,
    request_id: String,
    wish: String,
    state: String,
    reason: Option<String>,
    found: i64,
    changed: i64,
    unchanged: i64,
    refused: i64,
    at_registry: Option<i64>,
    at_position: Option<i64>,
    finished_at: Option<i64>,
    login: Option<Vec<u8>>,
    made_since: i64,
}

impl TryFrom<RunRow> for Run {
    type Error = Error;

    fn try_from(row: RunRow) -> Result<Self> {
        let RunRow {
            key,
            uuid: id,
            account_key,
            created_by,
            created_by_name,
            created_at,
            credential,
            account_version,
            api_token,
            address,
            request_id,
            wish,
            state,
            reason,
            found,
            changed,
            unchanged,
            refused,
            at_registry,
            at_position,
            finished_at,
            login,
            made_since,
        } = row;
        let credential = match (credential.as_str(), api_token) {
            (PASSWORD, _) => Credential::Password,
            (SESSION, _) => Credential::Session,
            (API_TOKEN, Some(id)) => Credential::ApiToken(ApiTokenId(uuid(&id)?)),
            _ => {
                return Err(Error::internal(
                    "a run was begun with an unknown credential",
                ));
            }
        };
        let address = address.map(|address| address.parse()).transpose();
        Ok(Self {
            key: BulkKey(key),
            id: BulkId(uuid(&id)?),
            created: stamp(created_at, &created_by, created_by_name)?,
            mandate: Mandate {
                account: AccountKey(account_key),
                version: account_version,
                login: login
                    .map(TryInto::try_into)
                    .transpose()
                    .map_err(|_| Error::internal("the login of a run is no digest"))?,
                credential,
                origin: Origin {
                    address: address.map_err(Error::internal)?,
                    request_id,
                },
            },
            confirmed: from_json(&wish)?,
            made_since,
            state: RunState::from_stored(&state),
            reason,
            tally: Tally {
                found,
                changed,
                unchanged,
                refused,
            },
            place: at_registry
                .zip(at_position)
                .map(|(registry, position)| (RegistryKey(registry), position)),
            finished_at: finished_at.map(instant).transpose()?,
        })
    }
}

const PASSWORD: &str = "password";
const SESSION: &str = "session";
const API_TOKEN: &str = "api-token";

/// The credential as it is stored.
fn words(credential: Credential) -> Result<(&'static str, Option<Vec<u8>>)> {
    match credential {
        Credential::Password => Ok((PASSWORD, None)),
        Credential::Session => Ok((SESSION, None)),
        Credential::ApiToken(id) => Ok((API_TOKEN, Some(bytes(id.0)))),
        Credential::Command | Credential::Scanner | Credential::Service => {
            Err(Error::internal("only an account begins a run"))
        }
    }
}

/// The highest key of a token.
pub fn last_token(connection: &mut Session) -> Result<TokenKey> {
    let last: Option<i64> = tokens::table
        .select(max(tokens::key))
        .get_result(connection)?;
    Ok(TokenKey(last.unwrap_or_default()))
}

/// Finds a run by its public id.
pub fn find(connection: &mut Session, id: BulkId) -> Result<Option<Run>> {
    let row: Option<RunRow> = bulk_runs::table
        .filter(bulk_runs::uuid.eq(bytes(id.0)))
        .select(RunRow::as_select())
        .get_result(connection)
        .optional()?;
    row.map(Run::try_from).transpose()
}

/// The numbers of runs that are under way: of an account, and in all.
pub fn under_way(connection: &mut Session, account: AccountKey) -> Result<(i64, i64)> {
    let accounts: Vec<i64> = bulk_runs::table
        .filter(bulk_runs::finished_at.is_null())
        .select(bulk_runs::account_key)
        .load(connection)?;
    let own = accounts.iter().filter(|key| **key == account.0).count();
    let count = |count: usize| i64::try_from(count).map_err(Error::internal);
    Ok((count(own)?, count(accounts.len())?))
}

/// Adds a run; its key is assigned here.
pub fn insert(connection: &mut Session, run: &mut Run) -> Result<()> {
    let Run {
        key: _,
        id,
        created,
        mandate,
        confirmed,
        made_since,
        state,
        reason,
        tally,
        place: _,
        finished_at,
    } = &*run;
    let (credential, api_token) = words(mandate.credential)?;
    let key: i64 = diesel::insert_into(bulk_runs::table)
        .values((
            (
                bulk_runs::uuid.eq(bytes(id.0)),
                bulk_runs::account_key.eq(mandate.account.0),
                bulk_runs::created_by.eq(bytes(created.by.0)),
                bulk_runs::created_by_name.eq(&created.by_name),
                bulk_runs::created_at.eq(micros(created.at)),
                bulk_runs::credential.eq(credential),
                bulk_runs::account_version.eq(mandate.version),
                bulk_runs::api_token.eq(api_token),
                bulk_runs::address.eq(mandate.origin.address.map(|address| address.to_string())),
                bulk_runs::request_id.eq(&mandate.origin.request_id),
            ),
            bulk_runs::wish.eq(to_json(confirmed)?),
            bulk_runs::state.eq(state.as_str()),
            bulk_runs::reason.eq(reason),
            bulk_runs::found.eq(tally.found),
            bulk_runs::changed.eq(tally.changed),
            bulk_runs::unchanged.eq(tally.unchanged),
            bulk_runs::refused.eq(tally.refused),
            bulk_runs::worked_at.eq(micros(created.at)),
            bulk_runs::finished_at.eq(finished_at.map(micros)),
            bulk_runs::login.eq(mandate.login.map(Vec::from)),
            bulk_runs::made_since.eq(made_since),
        ))
        .returning(bulk_runs::key)
        .get_result(connection)?;
    run.key = BulkKey(key);
    Ok(())
}

/// Of the runs that are under way, but for some, the one that has waited longest.
pub fn next(connection: &mut Session, but: &[BulkKey]) -> Result<Option<Run>> {
    let but: Vec<i64> = but.iter().map(|key| key.0).collect();
    let row: Option<RunRow> = bulk_runs::table
        .filter(
            bulk_runs::finished_at
                .is_null()
                .and(bulk_runs::key.ne_all(but)),
        )
        .order((bulk_runs::worked_at, bulk_runs::key))
        .limit(1)
        .select(RunRow::as_select())
        .get_result(connection)
        .optional()?;
    row.map(Run::try_from).transpose()
}

/// Takes a run that is under way for this transaction: others that change it wait. `None` if it is not under way.
pub fn hold(connection: &mut Session, key: BulkKey, now: DateTime<Utc>) -> Result<Option<Run>> {
    let held = bulk_runs::table
        .find(key.0)
        .filter(bulk_runs::state.eq(RunState::Running.as_str()));
    let row: Option<RunRow> = direct!(connection, |direct| diesel::update(held)
        .set(bulk_runs::worked_at.eq(micros(now)))
        .returning(RunRow::as_returning())
        .get_result(direct))
    .optional()?;
    row.map(Run::try_from).transpose()
}

/// Keeps the state of a run that is held.
pub fn update(connection: &mut Session, run: &Run) -> Result<()> {
    diesel::update(bulk_runs::table.find(run.key.0))
        .set((
            bulk_runs::state.eq(run.state.as_str()),
            bulk_runs::reason.eq(&run.reason),
            bulk_runs::found.eq(run.tally.found),
            bulk_runs::changed.eq(run.tally.changed),
            bulk_runs::unchanged.eq(run.tally.unchanged),
            bulk_runs::refused.eq(run.tally.refused),
            bulk_runs::at_registry.eq(run.place.map(|(registry, _)| registry.0)),
            bulk_runs::at_position.eq(run.place.map(|(_, position)| position)),
            bulk_runs::finished_at.eq(run.finished_at.map(micros)),
        ))
        .execute(connection)?;
    Ok(())
}

/// Adds tokens that a run was refused, after the first `before`; those beyond [`LISTED`] are left out.
pub fn add_refused(
    connection: &mut Session,
    run: BulkKey,
    before: i64,
    refused: &[Refused],
) -> Result<()> {
    for (number, Refused { token, reason }) in (before..LISTED).zip(refused) {
        diesel::insert_into(bulk_refusals::table)
            .values((
                bulk_refusals::run_key.eq(run.0),
                bulk_refusals::number.eq(number),
                bulk_refusals::token.eq(bytes(token.id.0)),
                bulk_refusals::name.eq(&token.name),
                bulk_refusals::registry.eq(bytes(token.registry.0)),
                bulk_refusals::registry_name.eq(&token.registry_name),
                bulk_refusals::reason.eq(reason),
            ))
            .execute(connection)?;
    }
    Ok(())
}

/// The tokens that a run was refused, as far as they are listed, in its order.
pub fn refused(connection: &mut Session, run: BulkKey) -> Result<Vec<Refused>> {
    type Row = (Vec<u8>, String, Vec<u8>, String, String);
    let rows: Vec<Row> = bulk_refusals::table
        .filter(bulk_refusals::run_key.eq(run.0))
        .order(bulk_refusals::number)
        .select((
            bulk_refusals::token,
            bulk_refusals::name,
            bulk_refusals::registry,
            bulk_refusals::registry_name,
            bulk_refusals::reason,
        ))
        .load(connection)?;
    rows.into_iter()
        .map(|(id, name, registry, registry_name, reason)| {
            let token = NamedToken {
                id: TokenId(uuid(&id)?),
                name,
                registry: RegistryId(uuid(&registry)?),
                registry_name,
            };
            Ok(Refused { token, reason })
        })
        .collect()
}

/// A page of the runs that an actor may see, the newest first, and their number. Call it in a snapshot.
pub fn page(connection: &mut Session, actor: &Actor, window: Window) -> Result<(Vec<Run>, i64)> {
    let visible = || {
        let mut runs = bulk_runs::table.into_boxed();
        if !sees_all_runs(actor) {
            runs = runs.filter(bulk_runs::account_key.eq(actor.key.0));
            if let Some(bearer) = &actor.bearer {
                runs = runs.filter(bulk_runs::api_token.eq(bytes(bearer.id.0)));
            }
        }
        runs
    };
    let total = visible().count().get_result(connection)?;
    let rows: Vec<RunRow> = visible()
        .order(bulk_runs::key.desc())
        .offset(window.offset)
        .limit(window.limit)
        .select(RunRow::as_select())
        .load(connection)?;
    let runs = rows.into_iter().map(Run::try_from).collect::<Result<_>>()?;
    Ok((runs, total))
}

/// Returns true if there is a run that ended at or before an instant.
pub fn any_old(connection: &mut Session, until: DateTime<Utc>) -> Result<bool> {
    let found: Option<i64> = bulk_runs::table
        .filter(bulk_runs::finished_at.le(micros(until)))
        .select(bulk_runs::key)
        .first(connection)
        .optional()?;
    Ok(found.is_some())
}

/// Removes up to `limit` runs that ended at or before an instant, with their lists. Returns their number.
pub fn delete_old(connection: &mut Session, until: DateTime<Utc>, limit: i64) -> Result<usize> {
    let keys: Vec<i64> = bulk_runs::table
        .filter(bulk_runs::finished_at.le(micros(until)))
        .order(bulk_runs::key)
        .limit(limit)
        .select(bulk_runs::key)
        .load(connection)?;
    let lists = bulk_refusals::table.filter(bulk_refusals::run_key.eq_any(&keys));
    diesel::delete(lists).execute(connection)?;
    let runs = bulk_runs::table.filter(bulk_runs::key.eq_any(&keys));
    Ok(diesel::delete(runs).execute(connection)?)
}
