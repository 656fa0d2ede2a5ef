//! Statements that find an account together with the thing that it asks for. On PostgreSQL each statement is a way there
//! and back, and the most frequent requests need no more than one.
//!
//! Such a statement leaves out the roles of the account: `service/known_permissions.rs` has what they permit.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper,
};

use super::accounts::{CurrentAccount, without_permissions};
use super::members::{HOME, HomeRow, membership, to_home};
use super::rows::bytes;
use super::schema::{accounts, registries, registry_members, token_uses, tokens};
use super::session::{Session, direct};
use super::token_uses::UseRow;
use super::tokens::TokenRow;
use crate::domain::id::{AccountKey, RegistryId, TokenId};
use crate::domain::membership::Membership;
use crate::domain::tenant::TokenRules;
use crate::domain::token::{Token, VerbatimScopes};
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

/// A living registry, the account's membership there, and the token that it asked for, if there is one.
pub type SeenToken = (
    (TokenRules, Option<Membership>),
    Option<Token<VerbatimScopes>>,
);

/// An account, and a token of a living registry. `None` once the account is deleted.
pub fn token(
    connection: &mut Session,
    account: AccountKey,
    registry: RegistryId,
    token: TokenId,
) -> Result<Option<(FoundAccount, Option<SeenToken>)>> {
    type Account = (Vec<u8>, String, String, i64, i64);
    type Row = (
        Account,
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
            (
                accounts::uuid,
                accounts::name,
                accounts::status,
                accounts::version,
                accounts::modified_at
            ),
            HOME.nullable(),
            registry_members::level.nullable(),
            Option::<TokenRow>::as_select(),
            Option::<UseRow>::as_select(),
        ))
        .get_result(direct))
    .optional()?;
    let Some(((id, name, status, version, modified_at), home, level, token, used)) = row else {
        return Ok(None);
    };
    let found = FoundAccount {
        account: without_permissions(account, (&id, name, &status, version))?,
        modified_at,
    };
    let Some(home) = home.map(to_home).transpose()? else {
        return Ok(Some((found, None)));
    };
    let token = token.map(|row| row.token(used, home)).transpose()?;
    let seen = ((home, membership(level.as_deref())), token);
    Ok(Some((found, Some(seen))))
}
