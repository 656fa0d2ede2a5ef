//! Accounts, as the operator of the machine manages them: by commands, with no caller to check.

use secrecy::SecretString;

use super::passwords;
use crate::clock::{Clock, Random};
use crate::domain::account::{Account, AccountName, NewAccount, NewPassword};
use crate::domain::id::AccountId;
use crate::domain::status::Status;
use crate::error::{Error, Result};
use crate::store::accounts::{self as table, Change};
use crate::store::{Lock, Store};

/// The role that must never be without an enabled account.
const ADMIN: &str = "Admin";
/// The name of the first account.
pub const FIRST: &str = "admin";

/// Account use cases. They need no keys, so commands can run them beside a running server.
#[derive(Debug)]
pub struct Accounts<'a> {
    store: &'a Store,
    clock: &'a dyn Clock,
    random: &'a dyn Random,
    bcrypt_cost: u32,
}

impl<'a> Accounts<'a> {
    /// `bcrypt_cost` is for the passwords that are set.
    pub fn new(
        store: &'a Store,
        clock: &'a dyn Clock,
        random: &'a dyn Random,
        bcrypt_cost: u32,
    ) -> Self {
        Self {
            store,
            clock,
            random,
            bcrypt_cost,
        }
    }

    /// A random password: 24 characters that need no quoting in a shell, 143 bits.
    pub fn generate_password(&self) -> Result<SecretString> {
        use base64::Engine as _;
        let bytes: [u8; 18] = self.random.bytes()?;
        Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD
            .encode(bytes)
            .replace(['-', '_'], "x")
            .into())
    }

    /// Every account, oldest first.
    pub async fn list(&self) -> Result<Vec<Account>> {
        self.store.read(table::list).await
    }

    /// Adds an enabled account.
    pub async fn create(
        &self,
        name: AccountName,
        password: &NewPassword,
        roles: Vec<String>,
    ) -> Result<()> {
        let new = self.prepare(name, password, roles)?;
        self.store
            .write(Lock::Catalog, move |connection| {
                table::insert(connection, &new).map(drop)
            })
            .await
    }

    /// Is this a first start: has there never been an account?
    pub async fn none_ever(&self) -> Result<bool> {
        self.store
            .read(|connection| Ok(!table::any_ever(connection)?))
            .await
    }

    /// Adds the first account, with the role Admin. Returns false, and adds none, if there is one already: of
    /// several replicas that start at once one wins.
    pub async fn create_first(&self, password: &NewPassword) -> Result<bool> {
        let new = self.prepare(AccountName::parse(FIRST)?, password, vec![ADMIN.to_owned()])?;
        self.store
            .write(Lock::Catalog, move |connection| {
                let first = !table::any_ever(connection)?;
                if first {
                    table::insert(connection, &new)?;
                }
                Ok(first)
            })
            .await
    }

    /// Sets a password. The old one fails on the next request.
    pub async fn set_password(&self, name: String, password: &NewPassword) -> Result<()> {
        let hash = passwords::hash(password.secret(), self.bcrypt_cost, self.random.bytes()?)?;
        self.update(name, Change::Password(hash)).await
    }

    /// Enables or disables an account.
    pub async fn set_status(&self, name: String, status: Status) -> Result<()> {
        self.update(name, Change::Status(status)).await
    }

    /// Deletes an account. What it made stays and keeps its name.
    pub async fn delete(&self, name: String) -> Result<()> {
        self.update(name, Change::Delete).await
    }

    async fn update(&self, name: String, change: Change) -> Result<()> {
        let now = self.clock.now();
        self.store
            .write(Lock::Catalog, move |connection| {
                let before = table::count_enabled_with_role(connection, ADMIN)?;
                table::update(connection, &name, &change, now)?;
                if before > 0 && table::count_enabled_with_role(connection, ADMIN)? == 0 {
                    return Err(Error::invalid(
                        "account",
                        format!("{name} is the last enabled account with the role {ADMIN}; enable or add another one first"),
                    ));
                }
                Ok(())
            })
            .await
    }

    fn prepare(
        &self,
        name: AccountName,
        password: &NewPassword,
        mut roles: Vec<String>,
    ) -> Result<NewAccount> {
        // A role given twice is held once.
        let mut seen = std::collections::BTreeSet::new();
        roles.retain(|role| seen.insert(role.clone()));
        Ok(NewAccount {
            id: AccountId(self.random.uuid()?),
            name,
            password_hash: passwords::hash(
                password.secret(),
                self.bcrypt_cost,
                self.random.bytes()?,
            )?,
            roles,
            at: self.clock.now(),
        })
    }
}
