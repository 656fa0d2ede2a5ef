//! Long lists: every token once, in creation order, with the right total, however deep.

use std::collections::HashSet;

use reqwest::Method;
use rstest::rstest;

use crate::harness::{Actor, Backend, Server, fill};

/// The ids of a page, and the total.
async fn page(admin: &Actor, list: &str, offset: usize, limit: usize) -> (Vec<String>, u64) {
    let answer = admin
        .get(&format!("{list}?offset={offset}&limit={limit}"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json["items"].as_array().unwrap();
    let ids = items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    (ids, answer.json["total"].as_u64().unwrap())
}

/// Lists `expected[from..to]` page by page, and looks at offsets at and around the bounds of buckets and of the list.
async fn check(admin: &Actor, list: &str, expected: &[String], from: usize, to: usize) {
    let total = u64::try_from(expected.len()).unwrap();
    let mut listed = Vec::new();
    while from + listed.len() < to {
        let (ids, said) = page(admin, list, from + listed.len(), 1000).await;
        assert_eq!(said, total);
        assert!(!ids.is_empty(), "the list ends early");
        listed.extend(ids);
    }
    let distinct: HashSet<_> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len(), "a token is listed twice");
    assert!(
        listed == expected[from..to],
        "the order is not that of creation"
    );

    let len = expected.len();
    let offsets = [1, 4_094, 4_095, 4_096, 4_097, 8_191, 50_001, 90_000];
    for offset in offsets.into_iter().chain([len - 1, len, len + 1]) {
        let (ids, said) = page(admin, list, offset, 3).await;
        let plain: Vec<_> = expected.iter().skip(offset).take(3).cloned().collect();
        assert_eq!((ids, said), (plain, total), "at offset {offset}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_hundred_thousand_tokens_are_listed_each_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let list = format!("/registries/{registry}/tokens");
    let mut expected = fill(&server, &registry, 100_000).await;
    server.database.check_totals();
    check(&admin, &list, &expected, 0, 100_000).await;

    // A token out of the middle, through the API, and then whole ranges with a bucket's count, as the product keeps it.
    let gone = expected.remove(70_000);
    assert_eq!(admin.delete(&format!("{list}/{gone}")).await.status, 204);
    delete(&server, &mut expected).await;
    server.database.check_totals();
    // Over all the holes, and a little beyond.
    check(&admin, &list, &expected, 9_000, 25_000).await;

    // An id that comes back comes last.
    let body = serde_json::json!({"properties": {"name": "again"}});
    let request = admin
        .request(Method::PUT, &format!("{list}/{gone}"))
        .json(&body);
    assert_eq!(admin.send(request).await.status, 201);
    expected.push(gone);
    let (ids, total) = page(&admin, &list, expected.len() - 2, 1000).await;
    assert_eq!(ids, expected[expected.len() - 2..]);
    assert_eq!(total, u64::try_from(expected.len()).unwrap());
}

/// Removes every third token of a stretch that spans whole buckets, and all of another.
async fn delete(server: &Server, expected: &mut Vec<String>) {
    let mut position = 0;
    let mut gone = Vec::new();
    expected.retain(|id| {
        position += 1;
        let goes = (10_000..13_000).contains(&position) && position % 3 == 0
            || (20_000..26_000).contains(&position);
        if goes {
            gone.push(id.clone());
        }
        !goes
    });
    crate::harness::remove(server, &gone).await;
}
