//! Many tokens at once, made below the HTTP surface.

use std::fmt::Write as _;

use uuid::Uuid;
use wharfinger::clock::{Clock as _, Random, SystemRandom};
use wharfinger::domain::Attribution;
use wharfinger::domain::caps::Caps;
use wharfinger::domain::id::{AccountId, RegistryId, RegistryKey, TokenId};
use wharfinger::domain::life::Lives;
use wharfinger::domain::secret::{LOOKUP, Lookup};
use wharfinger::domain::tenant::TokenRules;
use wharfinger::domain::token::{NewToken, TokenName};
use wharfinger::store::{Lock, Settings, Store, Target, credentials, registries, tokens};

use super::{Backend, Server};

/// So many tokens are made by the product's own code, enough to fill a bucket; the others by SQL that leaves what
/// the product would, since a hundred thousand by the product take minutes.
const BY_PRODUCT: usize = 4_500;
/// No cap keeps a test from its numbers.
const UNBOUNDED: Caps = Caps {
    registries: i64::MAX,
    tokens: i64::MAX,
    members: i64::MAX,
    trusts: i64::MAX,
    app_tokens: i64::MAX,
    api_tokens: i64::MAX,
};

/// Adds tokens named `t0`, `t1` and so on to an empty registry, in that order. Returns their ids in that order.
pub async fn fill(server: &Server, registry: &str, count: usize) -> Vec<String> {
    let random: &dyn Random = &SystemRandom;
    let ids: Vec<_> = (0..count).map(|_| random.uuid().unwrap()).collect();
    let registry = RegistryId::parse(registry).unwrap();
    let store = open(server);
    let key = store
        .read(move |connection| registries::find_key(connection, registry))
        .await
        .unwrap()
        .unwrap();
    let (first, rest) = ids.split_at(count.min(BY_PRODUCT));
    // Small jobs: PostgreSQL keeps all versions of a row that one transaction updates again and again.
    for (job, ids) in first.chunks(250).enumerate() {
        insert(server, &store, registry, key, job * 250, ids.to_vec()).await;
    }
    store.close();
    for (statement, ids) in rest.chunks(2_000).enumerate() {
        insert_by_sql(server, key, BY_PRODUCT + statement * 2_000, ids);
    }
    if !rest.is_empty() {
        let RegistryKey(key) = key;
        server.database.execute(&format!(
            "UPDATE registry_counters SET next_position = {count} WHERE registry_key = {key}; \
             DELETE FROM token_counts WHERE registry_key = {key}; \
             INSERT INTO token_counts SELECT registry_key, position / 4096, COUNT(*) FROM tokens \
             WHERE registry_key = {key} GROUP BY registry_key, position / 4096"
        ));
    }
    ids.iter().map(ToString::to_string).collect()
}

async fn insert(
    server: &Server,
    store: &Store,
    registry: RegistryId,
    key: RegistryKey,
    start: usize,
    ids: Vec<Uuid>,
) {
    let created = Attribution {
        at: server.clock.now(),
        by: AccountId(Uuid::nil()),
        by_name: "filler".to_owned(),
    };
    let home = TokenRules {
        key,
        lives: Lives::default(),
        maximum_secret_age: None,
    };
    store
        .write(Lock::Registry(registry), move |connection| {
            for (number, id) in (start..).zip(&ids) {
                let new = NewToken::named(TokenName::parse(&format!("t{number}"))?);
                let secret = credentials::NewSecret {
                    digest: credentials::SecretDigest {
                        digest: vec![0; 32],
                        key: 1,
                    },
                    lookup: Lookup([0; LOOKUP]),
                };
                tokens::insert(
                    connection,
                    home,
                    TokenId(*id),
                    &new,
                    (&secret, *id),
                    &created,
                    UNBOUNDED,
                )?;
            }
            Ok(())
        })
        .await
        .unwrap();
}

fn insert_by_sql(server: &Server, RegistryKey(key): RegistryKey, start: usize, ids: &[Uuid]) {
    let (open, close) = match server.database.backend {
        Backend::Sqlite => ("X'", "'"),
        Backend::Postgres => ("'\\x", "'"),
    };
    let at = server.clock.now().timestamp_micros();
    let nobody = format!("{open}{}{close}", Uuid::nil().simple());
    let mut sql = "INSERT INTO tokens (uuid, registry_key, position, name, name_key, status, scopes, cidrs, \
         secret_digest, secret_key, secret_version, secret_at, version, created_at, created_by, created_by_name) VALUES "
        .to_owned();
    for (number, id) in (start..).zip(ids) {
        let comma = if number == start { "" } else { "," };
        let (id, position) = (id.simple(), number + 1);
        write!(
            sql,
            "{comma}({open}{id}{close},{key},{position},'t{number}','t{number}','enabled','[]','[]',\
             {nobody},1,1,{at},1,{at},{nobody},'filler')"
        )
        .unwrap();
    }
    server.database.execute(&sql);
}

/// Removes tokens of the one registry there is, by the product's own code.
pub async fn remove(server: &Server, ids: &[String]) {
    let store = open(server);
    let registry = server
        .database
        .lines("SELECT CAST(key AS TEXT) AS line FROM registries WHERE deleted_at IS NULL");
    let key = RegistryKey(registry[0].parse().unwrap());
    for ids in ids.chunks(250) {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.parse().unwrap()).collect();
        store
            .write(Lock::Nothing, move |connection| {
                for id in &ids {
                    assert!(tokens::delete(connection, key, TokenId(*id))?);
                }
                Ok(())
            })
            .await
            .unwrap();
    }
    store.close();
}

fn open(server: &Server) -> Store {
    Store::open(&Settings {
        target: Target::parse(&server.database.url).unwrap(),
        readers: 1,
        queue: 1,
        read_fence: None,
    })
    .unwrap()
}
