//! Time and randomness as parameters.
//!
//! Nothing else in the crate reads the system's wall clock or its random source (`clippy.toml` enforces it), so tests
//! move the clock instead of sleeping. Rules about elapsed time use [`Clock::instant`]. The work of threads is measured
//! with [`Instant`] itself, since a test's clock stands still.

use std::time::Instant;

use chrono::{DateTime, SubsecRound, Utc};

use crate::error::{Error, Result};

/// The source of the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock, for times that are stored, shown or compared with those of other machines. Somebody may set it,
    /// also back. In whole microseconds, which both databases keep without loss.
    fn now(&self) -> DateTime<Utc>;

    /// The monotonic clock, for durations inside this process. Nobody can set it.
    fn instant(&self) -> Instant;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the system's clock"
        )]
        let now = Utc::now();
        now.trunc_subsecs(6)
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The source of random bytes.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// Fills the buffer with bytes fit for secrets.
    fn fill(&self, buffer: &mut [u8]) -> Result<()>;
}

impl dyn Random + '_ {
    /// An array of random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A random (version 4) UUID.
    pub fn uuid(&self) -> Result<uuid::Uuid> {
        Ok(uuid::Builder::from_random_bytes(self.bytes()?).into_uuid())
    }

    /// A UUID that begins with the time and is otherwise random (version 7, RFC 9562 §5.7). Rows made one after the
    /// other are then adjacent in an index; fully random ones would each change another page.
    pub fn uuid_at(&self, now: DateTime<Utc>) -> Result<uuid::Uuid> {
        let millis = u64::try_from(now.timestamp_millis()).map_err(Error::internal)?;
        let builder = uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()?);
        Ok(builder.into_uuid())
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        aws_lc_rs::rand::fill(buffer)
            .map_err(|_| Error::internal("the system's random source failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn ids_follow_the_time() {
        let random: &dyn Random = &SystemRandom;
        let (first, millisecond) = (SystemClock.now(), TimeDelta::milliseconds(1));
        let ids: Vec<_> = (0..100)
            .map(|later| random.uuid_at(first + millisecond * later).unwrap())
            .collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert_ne!(
            random.uuid_at(first).unwrap(),
            random.uuid_at(first).unwrap()
        );
    }
}
