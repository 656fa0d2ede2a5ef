//! Statements that find a caller together with the thing that it asks for: an account and a token, or a registry and the
//! credential of a login. On PostgreSQL each statement is a way there and back, and the most frequent requests need no more
//! than one.
//!
//! A statement about an account leaves out its roles: `service/known_permissions.rs` has what they permit.

use chrono::{DateTime, Utc};
use diesel::dsl::case_when;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper,
};

use super::accounts::{CurrentAccount, without_permissions};
use super::credentials::{Credential, CredentialRow, Opening};
use super::members::{HOME, HomeRow, membership, to_home};
use super::registries::{TENANT, TenantRow, to_tenant};
use super::rows::{bytes, to_json};
use super::schema::{accounts, registries, registry_members, signing_keys, token_uses, tokens};
use super::session::{Session, direct};
use super::signing_keys::{CURRENT, Current, CurrentRow, is_standing, to_current};
use super::token_uses::UseRow;
use super::tokens::TokenRow;
use crate::domain::account::name_key;
use crate::domain::allow_list::AllowList;
use crate::domain::id::{AccountKey, RegistryId, SigningKeyNumber, TokenId, TokenKey};
use crate::domain::membership::Membership;
use crate::domain::secret::Lookup;
use crate::domain::signing::KeyRole;
use crate::domain::tenant::{Tenant, TokenRules};
use crate::domain::token::{Token, VerbatimScopes};
use crate::domain::token_verifier::TokenVerifier;
use crate::error::Result;

/// An account as such a statement finds it.
#[derive(Debug)]
pub struct FoundAccount {
    /// The account, without permissions.
    pub account: CurrentAccount,
    /// The time of its last change, in microseconds since 1970. With the version it names a state of the account, even if
    /// a server of the database lost a change and the version came again.
    pub modified_at: i64,
}

type AccountRow = (Vec<u8>, String, String, i64, i64);
/// The columns of an [`AccountRow`].
const ACCOUNT: (
    accounts::uuid,
    accounts::name,
    accounts::status,
    accounts::version,
    accounts::modified_at,
) = (
    accounts::uuid,
    accounts::name,
    accounts::status,
    accounts::version,
    accounts::modified_at,
);

impl FoundAccount {
    fn of(key: AccountKey, (id, name, status, version, modified_at): AccountRow) -> Result<Self> {
        Ok(Self {
            account: without_permissions(key, (&id, name, &status, version))?,
            modified_at,
        })
    }
}

/// A living registry as far as work on its tokens needs it, and the account's membership there.
pub type SeenHome = (TokenRules, Option<Membership>);

/// The same, with the token that was asked for, if there is one.
pub type SeenToken = (SeenHome, Option<Token<VerbatimScopes>>);

/// An account, and a living registry. `None` once the account is deleted.
pub fn home(
    connection: &mut Session,
    account: AccountKey,
    registry: RegistryId,
) -> Result<Option<(FoundAccount, Option<SeenHome>)>> {
    let living = registries::uuid
        .eq(bytes(registry.0))
        .and(registries::deleted_at.is_null());
    let own = registry_members::registry_key
        .nullable()
        .eq(registries::key.nullable())
        .and(registry_members::account_key.eq(accounts::key));
    let row: Option<(AccountRow, Option<HomeRow>, Option<String>)> =
        direct!(connection, |direct| accounts::table
            .left_join(registries::table.on(living))
            .left_join(registry_members::table.on(own))
            .filter(
                accounts::key
                    .eq(account.0)
                    .and(accounts::deleted_at.is_null())
            )
            .select((ACCOUNT, HOME.nullable(), registry_members::level.nullable()))
            .get_result(direct))
        .optional()?;
    let Some((row, home, level)) = row else {
        return Ok(None);
    };
    let found = FoundAccount::of(account, row)?;
    let home = home.map(to_home).transpose()?;
    Ok(Some((
        found,
        home.map(|home| (home, membership(level.as_deref()))),
    )))
}

/// An account, and a token of a living registry. `None` once the account is deleted.
pub fn token(
    connection: &mut Session,
    account: AccountKey,
    registry: RegistryId,
    token: TokenId,
) -> Result<Option<(FoundAccount, Option<SeenToken>)>> {
    type Row = (
        AccountRow,
        Option<HomeRow>,
        Option<String>,
        Option<TokenRow>,
        Option<UseRow>,
    );
    let living = registries::uuid
        .eq(bytes(registry.0))
        .and(registries::deleted_at.is_null());
    let own = registry_members::registry_key
        .nullable()
        .eq(registries::key.nullable())
        .and(registry_members::account_key.eq(accounts::key));
    let named = tokens::registry_key
        .nullable()
        .eq(registries::key.nullable())
        .and(tokens::uuid.eq(bytes(token.0)));
    let of_token = token_uses::token_key
        .nullable()
        .eq(tokens::key.nullable())
        .and(
            token_uses::registry_key
                .nullable()
                .eq(tokens::registry_key.nullable()),
        );
    let row: Option<Row> = direct!(connection, |direct| accounts::table
        .left_join(registries::table.on(living))
        .left_join(registry_members::table.on(own))
        .left_join(tokens::table.on(named))
        .left_join(token_uses::table.on(of_token))
        .filter(
            accounts::key
                .eq(account.0)
                .and(accounts::deleted_at.is_null())
        )
        .select((
            ACCOUNT,
            HOME.nullable(),
            registry_members::level.nullable(),
            Option::<TokenRow>::as_select(),
            Option::<UseRow>::as_select(),
        ))
        .get_result(direct))
    .optional()?;
    let Some((row, home, level, token, used)) = row else {
        return Ok(None);
    };
    let found = FoundAccount::of(account, row)?;
    let Some(home) = home.map(to_home).transpose()? else {
        return Ok(Some((found, None)));
    };
    let token = token.map(|row| row.token(used, home)).transpose()?;
    let seen = ((home, membership(level.as_deref())), token);
    Ok(Some((found, Some(seen))))
}

/// A living registry by its name, as far as logins need it.
#[diesel::dsl::auto_type]
fn registry_named(name: String) -> _ {
    registries::table.filter(
        registries::name
            .eq(name)
            .and(registries::deleted_at.is_null()),
    )
}

/// A registry, and the token that a client names there, if there is one.
pub type Login = (Tenant, Option<(Credential, Opening)>);

/// The same before the token's secret is proven, when its scopes may not have been read.
pub type UnprovenLogin = (Tenant, Option<(Credential, Option<Opening>)>);

/// The scopes and the allow list of a token as a statement finds them, with NULL where it was not to read them.
type OpeningRow = (Option<String>, Option<String>);

fn to_login(
    tenant: TenantRow,
    token: Option<CredentialRow>,
    opening: OpeningRow,
) -> Result<UnprovenLogin> {
    let tenant = to_tenant(tenant)?;
    let token = token.map(|row| row.credential(tenant.home())).transpose()?;
    let opening = opening.0.zip(opening.1);
    let opening = opening.map(|(scopes, cidrs)| Opening { scopes, cidrs });
    Ok((tenant, token.map(|token| (token, opening))))
}

/// The token with a name in lower case.
#[diesel::dsl::auto_type]
fn token_named(name_key: String) -> _ {
    tokens::registry_key
        .eq(registries::key)
        .and(tokens::name_key.eq(name_key))
}

/// The token whose secret has this lookup, at a registry that everybody may enter from everywhere. Each value is bound
/// once, so the lookup comes twice.
#[diesel::dsl::auto_type]
fn is_opened(lookup: Vec<u8>, same: Vec<u8>, everywhere: String) -> _ {
    let has_secret = tokens::lookup
        .nullable()
        .eq(lookup)
        .or(tokens::previous_lookup.nullable().eq(same));
    let may_be_entered = registries::subnets
        .eq(everywhere)
        .and(registries::frozen_at.is_null());
    has_secret.and(may_be_entered)
}

/// The login of a token at a living registry, both by their names.
///
/// It reads the scopes and the allow list of the token only if the token has the secret by its lookup, and if the registry
/// shuts nobody out: they can be long, and the time to read them would tell strangers which names there are, and a thief
/// who may not enter that the secret is right. Otherwise [`credentials::opening`](super::credentials::opening) reads
/// them once the secret is proven and the client may enter.
pub fn login(
    connection: &mut Session,
    registry: &str,
    token: &str,
    secret: &Lookup,
) -> Result<Option<UnprovenLogin>> {
    let (name, everywhere) = (name_key(token), to_json(&AllowList::default())?);
    let lookup = || secret.0.to_vec();
    let opened = || is_opened(lookup(), lookup(), everywhere.clone());
    let row: Option<(TenantRow, Option<CredentialRow>, OpeningRow)> =
        direct!(connection, |direct| registry_named(registry.to_owned())
            .left_join(tokens::table.on(token_named(name)))
            .select((
                TENANT,
                Option::<CredentialRow>::as_select(),
                (
                    case_when(opened(), tokens::scopes.nullable()),
                    case_when(opened(), tokens::cidrs.nullable()),
                ),
            ))
            .get_result(direct))
        .optional()?;
    row.map(|(tenant, token, opening)| to_login(tenant, token, opening))
        .transpose()
}

/// [`login`], with the key that signs for the registry.
pub fn login_to_sign(
    connection: &mut Session,
    registry: &str,
    token: &str,
    secret: &Lookup,
) -> Result<Option<(UnprovenLogin, Option<Current>)>> {
    type Row = (
        TenantRow,
        Option<CredentialRow>,
        OpeningRow,
        Option<CurrentRow>,
    );
    let (name, everywhere) = (name_key(token), to_json(&AllowList::default())?);
    let lookup = || secret.0.to_vec();
    let opened = || is_opened(lookup(), lookup(), everywhere.clone());
    let role = |verifier| signing_keys::role.eq(KeyRole::of_signer(verifier).as_str());
    let x5c = TokenVerifier::X5c.as_str();
    // Any other word is read as `Pinned`.
    let roles =
        (registries::verifier.eq(x5c).and(role(TokenVerifier::X5c))).or(registries::verifier
            .ne(x5c)
            .and(role(TokenVerifier::Pinned)));
    let signs = signing_keys::registry_key
        .eq(registries::key)
        .and(signing_keys::retired_at.is_null())
        .and(roles);
    let row: Option<Row> = direct!(connection, |direct| registry_named(registry.to_owned())
        .left_join(tokens::table.on(token_named(name)))
        .left_join(signing_keys::table.on(signs))
        .order((signing_keys::active_from.desc(), signing_keys::key.desc()))
        .select((
            TENANT,
            Option::<CredentialRow>::as_select(),
            (
                case_when(opened(), tokens::scopes.nullable()),
                case_when(opened(), tokens::cidrs.nullable()),
            ),
            CURRENT.nullable(),
        ))
        .limit(1)
        .get_result(direct))
    .optional()?;
    row.map(|(tenant, token, opening, key)| {
        let login = to_login(tenant, token, opening)?;
        Ok((login, key.map(to_current).transpose()?))
    })
    .transpose()
}

/// A living registry by its name, with a token by its key, for a JWT that names both. Also tells whether the key that
/// signed the JWT is the registry's, and in use or retired after `since`.
pub fn signed_login(
    connection: &mut Session,
    registry: &str,
    (key, since): (SigningKeyNumber, DateTime<Utc>),
    token: TokenKey,
) -> Result<Option<(Login, bool)>> {
    type Row = (
        TenantRow,
        Option<CredentialRow>,
        Option<Opening>,
        Option<(i64, Option<i64>)>,
    );
    let signed = signing_keys::registry_key
        .eq(registries::key)
        .and(signing_keys::key.eq(key.0));
    let keyed = tokens::registry_key
        .eq(registries::key)
        .and(tokens::key.eq(token.0));
    let row: Option<Row> = direct!(connection, |direct| registry_named(registry.to_owned())
        .left_join(signing_keys::table.on(signed))
        .left_join(tokens::table.on(keyed))
        .select((
            TENANT,
            Option::<CredentialRow>::as_select(),
            Option::<Opening>::as_select(),
            (signing_keys::key, signing_keys::retired_at).nullable(),
        ))
        .get_result(direct))
    .optional()?;
    row.map(|(tenant, token, opening, key)| {
        let tenant = to_tenant(tenant)?;
        let token = token.map(|row| row.credential(tenant.home())).transpose()?;
        let login = (tenant, token.zip(opening));
        let stands = key.is_some_and(|(_, retired)| is_standing(retired, since));
        Ok((login, stands))
    })
    .transpose()
}
