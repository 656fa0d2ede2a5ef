//! Sessions of clients that sign in with a password and then send a cookie, as those of Quay do.
//!
//! A session is stored nowhere: its sealed cookie holds the account, the time of the sign-in and the CSRF token. It
//! ends after [`SESSION_LIFE`], and with any change to its account; a client that signs out forgets it. Owns the
//! validity of sessions. Refuses to know how cookies and headers are named.

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::access::{Caller, Presented, Proof};
use super::core::Core;
use crate::domain::audit::{By, Event, Kind, Origin, Outcome, SubjectKind};
use crate::domain::id::{AccountId, AccountKey};
use crate::error::{Error, Result};

/// The life of a session.
pub const SESSION_LIFE: TimeDelta = TimeDelta::hours(1);
/// The most that the clock of the replica that made a session may be ahead.
const SKEW: TimeDelta = TimeDelta::seconds(30);
/// The context that cookies are sealed to.
const SESSION: &str = "session";
/// Random bytes in a CSRF token.
const CSRF: usize = 18;

/// The two values that a client of a session holds.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The sealed cookie, sent with every request.
    pub cookie: SecretString,
    /// The CSRF token, sent beside it with requests that change something.
    pub csrf_token: SecretString,
}

/// Session use cases.
#[derive(Debug)]
pub struct Sessions<'a> {
    core: &'a Core,
}

impl<'a> Sessions<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A session before the sign-in; the same one again if the client has a valid one.
    pub fn visit(&self, cookie: Option<&str>) -> Result<Ticket> {
        match cookie.and_then(|cookie| Some((cookie, self.open(cookie)?))) {
            Some((cookie, session)) => Ok(session.ticket(cookie.to_owned())),
            None => self.begin(None),
        }
    }

    /// Makes a session of an account, by its password.
    ///
    /// # Errors
    ///
    /// [`Error::CsrfToken`] without a session before it, or without its token: else a foreign page could sign a browser
    /// in to an account of its choice.
    pub async fn sign_in(
        &self,
        cookie: Option<&str>,
        csrf_token: Option<&str>,
        presented: Presented,
        origin: Origin,
    ) -> Result<Ticket> {
        self.visitor(cookie, csrf_token)?;
        let caller = self.core.identify(presented, origin).await?;
        let actor = self
            .core
            .read(&caller, |_, actor| Ok(actor.clone()))
            .await?;
        let by = By::actor(&actor, caller.credential(), caller.origin().clone());
        let (subject, now) = ((SubjectKind::Session, None), self.core.clock.now());
        let login = Event::of(Kind::Login, Outcome::Success, subject, by, now);
        self.core
            .audit_buffer
            .count(login, self.core.clock.instant());
        self.begin(Some(Owner {
            key: actor.key,
            id: actor.id,
            version: actor.version,
        }))
    }

    /// Refuses a client without a session, signed in or not, or without its CSRF token.
    pub fn visitor(&self, cookie: Option<&str>, csrf_token: Option<&str>) -> Result<()> {
        let session = cookie.and_then(|cookie| self.open(cookie));
        session.ok_or(Error::CsrfToken)?.confirm(csrf_token)
    }

    /// Refuses a request without the CSRF token of its session. An invalid cookie is not refused here.
    pub fn confirm(&self, cookie: &str, csrf_token: Option<&str>) -> Result<()> {
        self.open(cookie)
            .map_or(Ok(()), |session| session.confirm(csrf_token))
    }

    /// The account of a session. The request's own work reads if the account is unchanged.
    pub fn identify(&self, cookie: &str) -> Result<Caller> {
        let session = self.open(cookie).ok_or(Error::Unauthenticated)?;
        let owner = session.owner.ok_or(Error::Unauthenticated)?;
        let proof = Proof {
            account: owner.key,
            id: owner.id,
            version: owner.version,
        };
        Ok(Caller::by_session(proof, session.at))
    }

    fn begin(&self, owner: Option<Owner>) -> Result<Ticket> {
        let session = Session {
            owner,
            at: self.core.clock.now(),
            csrf: self.core.random.bytes()?,
        };
        let sealed =
            self.core
                .data_keys
                .seal_text(&*self.core.random, SESSION, &session.to_bytes())?;
        Ok(session.ticket(sealed))
    }

    fn open(&self, cookie: &str) -> Option<Session> {
        let session = Session::from_bytes(&self.core.data_keys.open_text(SESSION, cookie)?)?;
        let age = self.core.clock.now() - session.at;
        (-SKEW <= age && age < SESSION_LIFE).then_some(session)
    }
}

/// An account as it was at the sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    key: AccountKey,
    id: AccountId,
    version: i64,
}

/// The content of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session {
    /// The account; none before the sign-in.
    owner: Option<Owner>,
    at: DateTime<Utc>,
    csrf: [u8; CSRF],
}

impl Session {
    fn ticket(&self, cookie: String) -> Ticket {
        Ticket {
            cookie: cookie.into(),
            csrf_token: URL_SAFE_NO_PAD.encode(self.csrf).into(),
        }
    }

    fn confirm(&self, csrf_token: Option<&str>) -> Result<()> {
        let own = self.ticket(String::new()).csrf_token;
        let own = own.expose_secret().as_bytes();
        csrf_token
            .filter(|sent| constant_time::verify_slices_are_equal(own, sent.as_bytes()).is_ok())
            .map(drop)
            .ok_or(Error::CsrfToken)
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.at.timestamp_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.csrf);
        if let Some(owner) = self.owner {
            bytes.extend_from_slice(&owner.key.0.to_be_bytes());
            bytes.extend_from_slice(&owner.version.to_be_bytes());
            bytes.extend_from_slice(owner.id.0.as_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (csrf, rest) = rest.split_first_chunk::<CSRF>()?;
        let owner = match rest {
            [] => None,
            owner => {
                let (key, rest) = owner.split_first_chunk::<8>()?;
                let (version, id) = rest.split_first_chunk::<8>()?;
                Some(Owner {
                    key: AccountKey(i64::from_be_bytes(*key)),
                    id: AccountId(Uuid::from_slice(id).ok()?),
                    version: i64::from_be_bytes(*version),
                })
            }
        };
        Some(Self {
            owner,
            at: DateTime::from_timestamp_micros(i64::from_be_bytes(*at))?,
            csrf: *csrf,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_back_as_they_were() {
        let owner = Owner {
            key: AccountKey(7),
            id: AccountId(Uuid::from_u128(8)),
            version: 3,
        };
        for owner in [None, Some(owner)] {
            let session = Session {
                owner,
                at: DateTime::from_timestamp_micros(1_795_262_400_250_000).unwrap(),
                csrf: [9; CSRF],
            };
            assert_eq!(Session::from_bytes(&session.to_bytes()), Some(session));
        }
        assert_eq!(Session::from_bytes(&[]), None);
        assert_eq!(Session::from_bytes(&[1; 43]), None);
    }
}
