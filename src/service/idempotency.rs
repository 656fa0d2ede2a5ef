//! Repeated answers: the result of a request with a key, kept sealed for a short time.
//!
//! A claim is looked up, carried out and kept in one job of the writer. So if the same request comes twice, at whatever
//! replicas, one makes something and the other finds it. The stored part is not the answer but its source: the state of
//! the thing that was made, and its secret. While the thing is in that state the answer comes out the same; once it has
//! changed there is no answer.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::core::Core;
use super::data_keys::DataKeys;
use crate::domain::account::Actor;
use crate::domain::idempotency::Attempt;
use crate::domain::precondition::Tag;
use crate::error::{Error, Result, What};
use crate::store::{Session, idempotency as table};

/// The time in which a request can be repeated: enough for clients' own repeats, and for a person to press a key again.
const HELD: TimeDelta = TimeDelta::minutes(15);

/// The result of a request.
#[derive(Debug)]
pub struct Once<T> {
    /// The result.
    pub value: T,
    /// True if it was made for the same request at an earlier time.
    pub repeated: bool,
}

impl<T> Once<T> {
    /// A result of this request.
    pub(super) fn now(value: T) -> Self {
        Self {
            value,
            repeated: false,
        }
    }

    /// A result of an earlier request.
    pub(super) fn earlier(value: T) -> Self {
        Self {
            value,
            repeated: true,
        }
    }
}

/// A request, as its write sees it. Most requests have no key, and then this costs nothing.
#[derive(Clone)]
pub(super) struct Claim(Option<Keyed>);

#[derive(Clone)]
struct Keyed {
    attempt: Attempt,
    vault: Arc<DataKeys>,
    /// The secret of the thing to make.
    secret: Option<SecretString>,
    nonce: [u8; 12],
    now: DateTime<Utc>,
}

/// The stored part of an answer. Its field names are short, as it is text; `v` tells later layouts apart.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    v: u8,
    /// The hash of the request's body.
    body: [u8; 32],
    id: Uuid,
    /// Key, version and state.
    tag: (i64, i64, u8),
    #[serde(borrow)]
    secret: Option<&'a str>,
}

/// The stored result of the first request.
pub(super) struct StoredAnswer {
    /// The public id of the thing.
    pub id: Uuid,
    tag: Tag,
    secret: Option<SecretString>,
}

impl Core {
    /// Prepares a request that may be repeated; `secret` is that of the thing to make.
    pub(super) fn claim(
        &self,
        attempt: Option<Attempt>,
        secret: Option<&SecretString>,
    ) -> Result<Claim> {
        let keyed = |attempt| {
            Ok(Keyed {
                attempt,
                vault: Arc::clone(&self.data_keys),
                secret: secret.cloned(),
                nonce: self.random.bytes()?,
                now: self.clock.now(),
            })
        };
        attempt.map(keyed).transpose().map(Claim)
    }
}

impl Claim {
    /// The earlier result of the same request. Call it only after the check that the actor may do this.
    ///
    /// # Errors
    ///
    /// [`Error::KeyReused`] if it was another request.
    pub(super) fn recall(
        &self,
        connection: &mut Session,
        actor: &Actor,
    ) -> Result<Option<StoredAnswer>> {
        let Some(keyed) = &self.0 else {
            return Ok(None);
        };
        let digest = keyed.digest(actor);
        let Some(sealed) = table::find(connection, actor.key, &digest, keyed.now)? else {
            return Ok(None);
        };
        // Making another one would be worse than giving no answer.
        let opened = keyed.vault.open_sealed(&context(actor, &digest), &sealed);
        let record = opened
            .as_ref()
            .and_then(|bytes| serde_json::from_slice::<Record<'_>>(bytes).ok())
            .filter(|record| record.v == 1)
            .ok_or_else(|| Error::internal("a kept answer does not open"))?;
        if record.body != *keyed.attempt.body() {
            return Err(Error::KeyReused);
        }
        let (key, version, state) = record.tag;
        Ok(Some(StoredAnswer {
            id: record.id,
            tag: Tag {
                key,
                version,
                state,
            },
            secret: record.secret.map(SecretString::from),
        }))
    }

    pub(super) fn keep(
        &self,
        connection: &mut Session,
        actor: &Actor,
        id: Uuid,
        tag: Tag,
    ) -> Result<()> {
        let Some(keyed) = &self.0 else {
            return Ok(());
        };
        let record = Record {
            v: 1,
            body: *keyed.attempt.body(),
            id,
            tag: (tag.key, tag.version, tag.state),
            secret: keyed.secret.as_ref().map(ExposeSecret::expose_secret),
        };
        let digest = keyed.digest(actor);
        let record = Zeroizing::new(serde_json::to_vec(&record).map_err(Error::internal)?);
        let context = context(actor, &digest);
        let sealed = keyed.vault.seal_with(keyed.nonce, &context, &record)?;
        let times = (keyed.now, keyed.now + HELD);
        table::insert(connection, actor.key, &digest, &sealed, times)
    }
}

impl Keyed {
    fn digest(&self, actor: &Actor) -> [u8; 32] {
        self.attempt
            .digest(actor.bearer.as_ref().map(|bearer| bearer.id))
    }
}

impl StoredAnswer {
    /// The thing that was made, with its secret, if it is in the state in which it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Outdated`] if it has changed or is gone.
    pub(super) fn still<T>(
        self,
        what: What,
        found: Option<T>,
        tag: impl FnOnce(&T) -> Tag,
    ) -> Result<(T, Option<SecretString>)> {
        found
            .filter(|thing| tag(thing) == self.tag)
            .map(|thing| (thing, self.secret))
            .ok_or(Error::Outdated(what))
    }
}

/// The context that a kept answer is sealed to: it opens for no other actor, and for no other request.
fn context(actor: &Actor, digest: &[u8; 32]) -> String {
    format!(
        "idempotency/{}/{}",
        actor.key.0,
        URL_SAFE_NO_PAD.encode(digest)
    )
}
