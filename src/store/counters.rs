//! The tables `registry_counters` and `token_counts`, as a group of writes changes them: read when first needed,
//! written once before the commit.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::sql_types::{Array, BigInt, Binary};
use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, sql_query};

use super::prepared::Prepared;
use super::schema::{registry_counters, token_counts};
use super::session::{Session, direct};
use crate::domain::id::{RegistryId, RegistryKey};
use crate::error::Result;

/// The tokens of all buckets, summed by the database: a large registry has thousands, and each row that leaves the
/// database costs ten times as much. PostgreSQL's sum of integers of eight bytes is one of any size.
pub(super) const SUM: &str = "CAST(COALESCE(SUM(live), 0) AS BIGINT)";

/// The jobs' changes to the counters in a group, in order.
#[derive(Default)]
pub(super) struct Counters {
    positions: Vec<Position>,
    changes: Vec<Change>,
}

/// The positions of a registry's tokens. Its row is locked from the read to the end of the transaction.
struct Position {
    registry: RegistryKey,
    kept: i64,
    /// The last position assigned. Positions of an undone job stay unused.
    last: i64,
}

struct Change {
    registry: RegistryKey,
    bucket: i64,
    live: i64,
}

/// The number of changes before a job.
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

    /// Undoes a job's changes. Its locks went with its savepoint, so rows that it was the first to read may change.
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

    /// The number of live tokens of a registry: its buckets with the group's changes.
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
        // The counts of its last jobs are subtracted rather than dropped, so that this too can be undone.
        for ((_, bucket), live) in self.sums(|change| change.registry == registry) {
            self.count(registry, bucket, -live);
        }
        diesel::delete(token_counts::table.filter(token_counts::registry_key.eq(registry.0)))
            .execute(session)?;
        Ok(())
    }

    /// Writes all changes, in the order of the registries' keys.
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

    /// The sums to add to buckets.
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
        // SQLite has one writer at a time.
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
/// The number of tokens of a registry.
pub fn total(connection: &mut Session, registry: RegistryKey) -> Result<i64> {
    Ok(direct!(connection, |direct| Prepared(
        token_counts::table
            .filter(token_counts::registry_key.eq(registry.0))
            .select(sql::<BigInt>(SUM))
    )
    .get_result(direct))?)
}
