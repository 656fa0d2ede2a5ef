//! The rule against privilege escalation: nobody obtains more than they hold.
//!
//! A credential carries rights, and its bearer has them. A caller that makes, reveals, revives or widens a credential
//! therefore needs every right that it carries ([`obtain`], [`change`]). A caller that narrows or ends one needs only
//! the permission to write it, which the service checks first. Each kind of credential defines its rights by
//! [`Credential`], and its widening by [`Changeable`].

use chrono::{DateTime, Utc};

use crate::error::Result;

/// A thing that gives rights to its bearer, or to the account that it belongs to.
pub trait Credential {
    /// The rights of a caller, in the terms of this kind of credential.
    type Held;

    /// Refuses a caller that lacks a right that it carries, and names the right.
    fn require_held(&self, held: &Self::Held) -> Result<()>;
}

/// A credential whose rights can change.
pub trait Changeable: Credential {
    /// Returns true if it gives any right, from any place or at any time, that `before` did not give.
    fn is_wider_than(&self, before: &Self) -> bool;
}

/// A caller's rights on a registry, and their end.
#[derive(Debug, Clone, Copy)]
pub struct Holder<R> {
    /// The rights.
    pub rights: R,
    /// The end of the caller's API token, if it bounds all that the caller makes (`--bounded-delegation`).
    pub until: Option<DateTime<Utc>>,
}

/// Refuses a caller that would learn or choose the secret of a credential with more rights than its own: by making it,
/// rotating it, reading its secret again, or setting its password.
///
/// # Errors
///
/// The error of [`Credential::require_held`].
pub fn obtain<C: Credential>(credential: &C, held: &C::Held) -> Result<()> {
    credential.require_held(held)
}

/// Refuses a caller that would widen a credential beyond its own rights: the caller may know its secret.
///
/// # Errors
///
/// The error of [`Credential::require_held`] for the credential as it would be.
pub fn change<C: Changeable>(before: &C, after: &C, held: &C::Held) -> Result<()> {
    // In this order, because most callers hold the rights of the credential, and comparing two costs more.
    after.require_held(held).or_else(|lack| {
        if after.is_wider_than(before) {
            Err(lack)
        } else {
            Ok(())
        }
    })
}

/// Returns true if a new end is later than the one before. `None` is no end.
#[must_use]
pub fn is_later(end: Option<DateTime<Utc>>, before: Option<DateTime<Utc>>) -> bool {
    match (end, before) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(end), Some(before)) => end > before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// Carries all rights up to a number.
    struct Upto(u8);

    impl Credential for Upto {
        type Held = u8;

        fn require_held(&self, held: &u8) -> Result<()> {
            if self.0 <= *held {
                return Ok(());
            }
            Err(Error::Forbidden(String::new()))
        }
    }

    impl Changeable for Upto {
        fn is_wider_than(&self, before: &Self) -> bool {
            self.0 > before.0
        }
    }

    #[test]
    fn obtaining_and_widening_need_all_that_is_carried_and_narrowing_needs_nothing() {
        for carried in 0..4 {
            for held in 0..4 {
                let obtained = obtain(&Upto(carried), &held).is_ok();
                assert_eq!(obtained, carried <= held, "{carried} {held}");
                for before in 0..4 {
                    let (before, after) = (Upto(before), Upto(carried));
                    let narrowed = carried <= before.0;
                    let changed = change(&before, &after, &held).is_ok();
                    assert_eq!(changed, narrowed || carried <= held, "{carried} {held}");
                }
            }
        }
    }

    #[test]
    fn no_end_is_the_latest() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0);
        for (end, before, later) in [
            (None, None, false),
            (None, at(1), true),
            (at(1), None, false),
            (at(1), at(1), false),
            (at(2), at(1), true),
            (at(1), at(2), false),
        ] {
            assert_eq!(is_later(end, before), later, "{end:?} {before:?}");
        }
    }
}
