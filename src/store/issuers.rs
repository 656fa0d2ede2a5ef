//! The table `issuers`.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper};

use super::failure::on_unique;
use super::rows::{bytes, from_json, micros, optional_stamp, stamp, to_json, uuid};
use super::schema::issuers;
use super::session::{Session, direct};
use crate::domain::Attribution;
use crate::domain::id::{IssuerId, IssuerKey};
use crate::domain::issuer::{Issuer, IssuerRules, ListedIssuer};
use crate::domain::issuer_kind::IssuerKind;
use crate::domain::key_source::{Authorities, IssuerUrl, Jwks, JwksUrl, JwtAlgorithm, KeySource};
use crate::domain::page::Window;
use crate::domain::status::Status;
use crate::error::{Error, Result, What};

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = issuers)]
pub(super) struct RulesRow {
    key: i64,
    uuid: Vec<u8>,
    url: String,
    kind: String,
    algorithms: String,
    status: String,
    version: i64,
}

impl TryFrom<RulesRow> for IssuerRules {
    type Error = Error;

    fn try_from(row: RulesRow) -> Result<Self> {
        let RulesRow {
            key,
            uuid: id,
            url,
            kind,
            algorithms,
            status,
            version,
        } = row;
        let names: Vec<String> = from_json(&algorithms)?;
        let known = names.iter();
        Ok(Self {
            key: IssuerKey(key),
            id: IssuerId(uuid(&id)?),
            url: IssuerUrl::from_stored(url),
            kind: IssuerKind::from_stored(&kind)
                .ok_or_else(|| Error::internal(format!("{kind} is no kind of issuer")))?,
            // An algorithm of a later release is none here.
            algorithms: known
                .filter_map(|name| JwtAlgorithm::from_stored(name))
                .collect(),
            status: Status::from_stored(&status),
            version,
        })
    }
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = issuers)]
struct KeysRow {
    source: String,
    jwks_url: Option<String>,
    jwks: Option<String>,
    ca: Option<String>,
}

/// The place of an issuer's keys, and the authorities for its server.
type Keys = (KeySource, Option<Authorities>);

impl TryFrom<KeysRow> for Keys {
    type Error = Error;

    fn try_from(row: KeysRow) -> Result<Self> {
        let KeysRow {
            source,
            jwks_url,
            jwks,
            ca,
        } = row;
        let keys = match (source.as_str(), jwks_url, jwks) {
            ("discovery", _, _) => KeySource::Discovery,
            ("jwks-url", Some(url), _) => KeySource::JwksUrl(JwksUrl::from_stored(url)),
            ("inline", _, Some(jwks)) => KeySource::Inline(Jwks::from_stored(jwks)),
            _ => return Err(Error::internal(format!("{source} is no place of keys"))),
        };
        Ok((keys, ca.map(Authorities::from_stored)))
    }
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = issuers)]
struct StampsRow {
    created_at: i64,
    created_by: Vec<u8>,
    created_by_name: String,
    modified_at: Option<i64>,
    modified_by: Option<Vec<u8>>,
    modified_by_name: Option<String>,
}

impl StampsRow {
    fn stamps(self) -> Result<(Attribution, Option<Attribution>)> {
        let Self {
            created_at,
            created_by,
            created_by_name,
            modified_at,
            modified_by,
            modified_by_name,
        } = self;
        let created = stamp(created_at, &created_by, created_by_name)?;
        let modified = optional_stamp(modified_at, modified_by, modified_by_name)?;
        Ok((created, modified))
    }
}

type IssuerRow = (RulesRow, KeysRow, StampsRow);

fn issuer((rules, keys, stamps): IssuerRow) -> Result<Issuer> {
    let IssuerRules {
        key,
        id,
        url,
        kind,
        algorithms,
        status,
        version,
    } = rules.try_into()?;
    let (keys, ca) = keys.try_into()?;
    let (created, modified) = stamps.stamps()?;
    Ok(Issuer {
        key,
        id,
        url,
        kind,
        keys,
        ca,
        algorithms,
        status,
        version,
        created,
        modified,
    })
}

/// The columns that a change of an issuer can change.
#[derive(diesel::AsChangeset, diesel::Insertable)]
#[diesel(table_name = issuers, treat_none_as_null = true, treat_none_as_default_value = false)]
struct Columns {
    source: &'static str,
    jwks_url: Option<String>,
    jwks: Option<String>,
    ca: Option<String>,
    algorithms: String,
    status: &'static str,
    version: i64,
}

impl Columns {
    fn of(issuer: &Issuer) -> Result<Self> {
        let Issuer {
            key: _,
            id: _,
            url: _,
            kind: _,
            keys,
            ca,
            algorithms,
            status,
            version,
            created: _,
            modified: _,
        } = issuer;
        let (jwks_url, jwks) = match keys {
            KeySource::Discovery => (None, None),
            KeySource::JwksUrl(url) => (Some(url.as_str().to_owned()), None),
            KeySource::Inline(jwks) => (None, Some(jwks.as_str().to_owned())),
        };
        let algorithms: Vec<_> = algorithms.iter().map(|known| known.as_str()).collect();
        Ok(Self {
            source: keys.as_str(),
            jwks_url,
            jwks,
            ca: ca.as_ref().map(|ca| ca.as_str().to_owned()),
            algorithms: to_json(&algorithms)?,
            status: status.as_str(),
            version: *version,
        })
    }
}

/// Finds an issuer by its public id.
pub fn find(connection: &mut Session, id: IssuerId) -> Result<Option<Issuer>> {
    let row: Option<IssuerRow> = issuers::table
        .filter(issuers::uuid.eq(bytes(id.0)))
        .select((
            RulesRow::as_select(),
            KeysRow::as_select(),
            StampsRow::as_select(),
        ))
        .get_result(connection)
        .optional()?;
    row.map(issuer).transpose()
}

/// Finds an issuer by its public id, as far as its trusts need it.
pub fn rules(connection: &mut Session, id: IssuerId) -> Result<Option<IssuerRules>> {
    let row: Option<RulesRow> = issuers::table
        .filter(issuers::uuid.eq(bytes(id.0)))
        .select(RulesRow::as_select())
        .get_result(connection)
        .optional()?;
    row.map(IssuerRules::try_from).transpose()
}

/// Finds an issuer by its URL, byte for byte, as far as the check of a JWT needs it.
pub fn named(connection: &mut Session, url: &str) -> Result<Option<IssuerRules>> {
    let row = direct!(connection, |direct| issuers::table
        .filter(issuers::url.eq(url))
        .select(RulesRow::as_select())
        .get_result::<RulesRow>(direct))
    .optional()?;
    row.map(IssuerRules::try_from).transpose()
}

/// The place of an issuer's keys and the authorities for its server, if it is still in this version.
pub fn keys(connection: &mut Session, issuer: IssuerKey, version: i64) -> Result<Option<Keys>> {
    let row: Option<KeysRow> = issuers::table
        .find(issuer.0)
        .filter(issuers::version.eq(version))
        .select(KeysRow::as_select())
        .get_result(connection)
        .optional()?;
    row.map(Keys::try_from).transpose()
}

/// A page of issuers in creation order, and the total. Call it in a snapshot.
pub fn page(connection: &mut Session, window: Window) -> Result<(Vec<ListedIssuer>, i64)> {
    let total = count(connection)?;
    let rows: Vec<(RulesRow, Option<String>, StampsRow)> = issuers::table
        .order(issuers::key)
        .offset(window.offset)
        .limit(window.limit)
        .select((
            RulesRow::as_select(),
            issuers::jwks_url,
            StampsRow::as_select(),
        ))
        .load(connection)?;
    let mut found = Vec::with_capacity(rows.len());
    for (rules, url, stamps) in rows {
        let (created, modified) = stamps.stamps()?;
        found.push(ListedIssuer {
            rules: rules.try_into()?,
            jwks_url: url.map(JwksUrl::from_stored),
            created,
            modified,
        });
    }
    Ok((found, total))
}

/// The number of issuers.
pub fn count(connection: &mut Session) -> Result<i64> {
    Ok(issuers::table.count().get_result(connection)?)
}

/// Adds an issuer, and gives it its key.
pub fn insert(connection: &mut Session, issuer: &mut Issuer) -> Result<()> {
    let created = &issuer.created;
    let inserted = diesel::insert_into(issuers::table)
        .values((
            Columns::of(issuer)?,
            issuers::uuid.eq(bytes(issuer.id.0)),
            issuers::url.eq(issuer.url.as_str()),
            issuers::kind.eq(issuer.kind.as_str()),
            issuers::created_at.eq(micros(created.at)),
            issuers::created_by.eq(bytes(created.by.0)),
            issuers::created_by_name.eq(&created.by_name),
        ))
        .returning(issuers::key)
        .get_result::<i64>(connection);
    // The caller looks for a taken id, so the conflict is the URL's.
    let key = on_unique(inserted, || {
        Error::name_taken(What::Issuer, issuer.url.as_str())
    })?;
    issuer.key = IssuerKey(key);
    Ok(())
}

/// Keeps a changed issuer, and the account that changed it.
pub fn update(connection: &mut Session, issuer: &mut Issuer, modified: Attribution) -> Result<()> {
    issuer.version += 1;
    diesel::update(issuers::table.find(issuer.key.0))
        .set((
            Columns::of(issuer)?,
            issuers::modified_at.eq(micros(modified.at)),
            issuers::modified_by.eq(bytes(modified.by.0)),
            issuers::modified_by_name.eq(&modified.by_name),
        ))
        .execute(connection)?;
    issuer.modified = Some(modified);
    Ok(())
}

/// Removes an issuer. Its trusts are gone before.
pub fn delete(connection: &mut Session, issuer: IssuerKey) -> Result<()> {
    diesel::delete(issuers::table.find(issuer.0)).execute(connection)?;
    Ok(())
}
