//! The rule against privilege escalation: nobody obtains more than they hold.
//!
//! A credential carries rights, and whoever presents it has them. A caller who makes, reveals, revives or widens a
//! credential therefore needs every right that it carries ([`obtain`], [`change`]). A caller who narrows or ends one
//! needs only the permission to write it, which the service checks first. Each kind of credential says what it carries
//! by [`Credential`], and what makes it wider by [`Changeable`].

use chrono::{DateTime, Utc};

use crate::error::Result;

/// A thing that gives rights to whoever presents it, or to the account that it belongs to.
pub trait Credential {
    /// The rights of a caller, in the terms of this kind of credential.
    type Held;

    /// Refuses a caller who lacks a right that it carries, and names the right.
    fn require_held(&self, held: &Self::Held) -> Result<()>;
}

/// A credential that can be good for more or for less later.
pub trait Changeable: Credential {
    /// Does it give any right, from any place or at any time, that `before` did not give?
    fn is_wider_than(&self, before: &Self) -> bool;
}

/// A caller's rights on a registry, and until when the caller has them.
#[derive(Debug, Clone, Copy)]
pub struct Holder<R> {
    /// The rights.
    pub rights: R,
    /// When the API token ends that the caller came with, where that bounds all that the caller makes
    /// (`--bounded-delegation`); `None` is no bound.
    pub until: Option<DateTime<Utc>>,
}

/// Refuses a caller who would learn or choose the secret of a credential that carries more than they hold: who makes
/// it, rotates it, is shown its secret again, or sets its password.
///
/// # Errors
///
/// The error of [`Credential::require_held`].
pub fn obtain<C: Credential>(credential: &C, held: &C::Held) -> Result<()> {
    credential.require_held(held)
}

/// Refuses a caller who would widen a credential to more than they hold: the caller may know its secret.
///
/// # Errors
///
/// The error of [`Credential::require_held`] for the credential as it would be.
pub fn change<C: Changeable>(before: &C, after: &C, held: &C::Held) -> Result<()> {
    // In this order, because most callers hold what the credential carries, and to compare two costs more.
    after.require_held(held).or_else(|lack| {
        if after.is_wider_than(before) {
            Err(lack)
        } else {
            Ok(())
        }
    })
}

/// Does a credential last longer by another end? `None` is no end.
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
