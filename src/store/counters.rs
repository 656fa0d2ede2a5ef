//! The tables `registry_counters` and `token_counts`, as a group of writes changes them: read when first needed, written
//! once before the commit.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::sql_types::{Array, BigInt, Binary};
use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, sql_query};

use super::prepared::Prepared;
use super::schema::{registry_counters, token_counts};
use super::session::{Session, direct};
use crate::domain::id::{RegistryId, RegistryKey};
use crate::error::Result;

/// The tokens of all buckets, summed by the database: a large registry has thousands, and each row that leaves it costs ten
/// times as much. PostgreSQL's sum of integers of eight bytes is one of any size.
pub(super) const SUM: &str = "CAST(COALESCE(SUM(live), 0) AS BIGINT)";

/// What the jobs of a group did to the counters, in the order in which they did it.
#[derive(Default)]
pub(super) struct Counters {
    positions: Vec<Position>,
    changes: Vec<Change>,
}

/// The positions of a registry's tokens. From when it is read to the end of the transaction its row is locked.
struct Position {
    registry: RegistryKey,
    kept: i64,
    /// The last that was handed out. What an undone job was given stays unused.
    last: i64,
}

struct Change {
    registry: RegistryKey,
    bucket: i64,
    live: i64,
}

/// How much there was before a job.
pub(super) struct Mark {
    positions: usize,
    changes: usize,
}

impl Counters {
    /// Locks, on PostgreSQL, the rows of living registries in the order of their keys.
    pub(super) fn lock(
        &mut self,
        session: &mut Session,
        registries: impl Iterator<Item = RegistryId>,
    ) -> Result<()> {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            registry_key: i64,
            #[diesel(sql_type = BigInt)]
            next_position: i64,
        }
        let Session::Postgres(postgres) = session else {
            return Ok(());
        };
        let mut registries: Vec<_> = registries.map(|id| id.0.as_bytes().to_vec()).collect();
        registries.sort_unstable();
        registries.dedup();
        if registries.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = Prepared(
            sql_query(
                "SELECT counters.registry_key, counters.next_position FROM registry_counters AS counters \
                 JOIN registries ON registries.key = counters.registry_key \
                 WHERE registries.uuid = ANY($1) AND registries.deleted_at IS NULL \
                 ORDER BY counters.registry_key FOR UPDATE OF counters",
            )
            .bind::<Array<Binary>, _>(registries),
        )
        .load(postgres)?;
        self.positions.extend(rows.into_iter().map(|row| Position {
            registry: RegistryKey(row.registry_key),
            kept: row.next_position,
            last: row.next_position,
        }));
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            positions: self.positions.len(),
            changes: self.changes.len(),
        }
    }

    /// Forgets what a job did. Its locks went with its savepoint, so what it was the first to read may change.
    pub(super) fn undo(&mut self, mark: &Mark) {
        self.positions.truncate(mark.positions);
        self.changes.truncate(mark.changes);
    }

    pub(super) fn next_position(
        &mut self,
        session: &mut Session,
        registry: RegistryKey,
    ) -> Result<i64> {
        let mut known = self.positions.iter_mut();
        if let Some(known) = known.find(|known| known.registry == registry) {
            known.last += 1;
            return Ok(known.last);
        }
        let kept = read(session, registry)?;
        let last = kept + 1;
        self.positions.push(Position {
            registry,
            kept,
            last,
        });
        Ok(last)
    }

    pub(super) fn count(&mut self, registry: RegistryKey, bucket: i64, live: i64) {
        self.changes.push(Change {
            registry,
            bucket,
            live,
        });
    }

    /// How many live tokens a registry has: what its buckets have, and what the group changed.
    pub(super) fn total(&self, session: &mut Session, registry: RegistryKey) -> Result<i64> {
        let kept = total(session, registry)?;
        let changed = self
            .changes
            .iter()
            .filter(|change| change.registry == registry);
        Ok(kept + changed.map(|change| change.live).sum::<i64>())
    }

    /// Removes a registry's buckets.
    pub(super) fn forget(&mut self, session: &mut Session, registry: RegistryKey) -> Result<()> {
        // What its last jobs counted is taken back rather than dropped, so that this too can be undone.
        for ((_, bucket), live) in self.sums(|change| change.registry == registry) {
            self.count(registry, bucket, -live);
        }
        diesel::delete(token_counts::table.filter(token_counts::registry_key.eq(registry.0)))
            .execute(session)?;
        Ok(())
    }

    /// Writes all of it, in the order of the registries' keys.
    pub(super) fn write(&self, session: &mut Session) -> Result<()> {
        let moved = self
            .positions
            .iter()
            .filter(|position| position.last > position.kept);
        let moved: BTreeMap<i64, i64> = moved
            .map(|position| (position.registry.0, position.last))
            .collect();
        for (registry, last) in moved {
            let row = registry_counters::table.find(registry);
            let update = diesel::update(row).set(registry_counters::next_position.eq(last));
            direct!(session, |direct| Prepared(update).execute(direct))?;
        }
        for ((registry, bucket), live) in self.sums(|_| true) {
            add(session, registry, bucket, live)?;
        }
        Ok(())
    }

    /// What is to be added to buckets.
    fn sums(&self, wanted: impl Fn(&Change) -> bool) -> BTreeMap<(i64, i64), i64> {
        let mut sums = BTreeMap::new();
        for change in self.changes.iter().filter(|change| wanted(change)) {
            *sums.entry((change.registry.0, change.bucket)).or_default() += change.live;
        }
        sums.retain(|_, live| *live != 0);
        sums
    }
}

fn read(session: &mut Session, registry: RegistryKey) -> Result<i64> {
    let row = registry_counters::table
        .find(registry.0)
        .select(registry_counters::next_position);
    Ok(match session {
        // One writer at a time is all that there is.
        Session::Sqlite(sqlite) => row.first(sqlite)?,
        Session::Postgres(postgres) => row.for_update().first(postgres)?,
    })
}

fn add(session: &mut Session, registry: i64, bucket: i64, live: i64) -> Result<()> {
    let upsert = sql_query(
        "INSERT INTO token_counts (registry_key, bucket, live) VALUES ($1, $2, $3) \
         ON CONFLICT (registry_key, bucket) DO UPDATE SET live = token_counts.live + excluded.live",
    );
    let bound = upsert
        .bind::<BigInt, _>(registry)
        .bind::<BigInt, _>(bucket)
        .bind::<BigInt, _>(live);
    direct!(session, |direct| Prepared(bound).execute(direct))?;
    Ok(())
}
/// How many tokens a registry has.
pub fn total(connection: &mut Session, registry: RegistryKey) -> Result<i64> {
    Ok(direct!(connection, |direct| Prepared(
        token_counts::table
            .filter(token_counts::registry_key.eq(registry.0))
            .select(sql::<BigInt>(SUM))
    )
    .get_result(direct))?)
}
