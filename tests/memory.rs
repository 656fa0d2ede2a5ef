//! Memory that a stranger or a member can make the service take: each kind has a budget, and gives back what it took.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::harness::{ADMIN_PASSWORD, Backend, PATIENCE, Patience, Server};

/// No test waits longer than this for anything.
const BOUND: Duration = PATIENCE;

/// A connection that buffers few unread bytes for its client.
async fn connect(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    stream
}

/// The head of a request by the first account.
fn head(method: &str, path: &str, more: &str) -> String {
    let credentials = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n{more}\r\n"
    )
}

/// Sends a request, and waits for no more than the beginning of its answer.
async fn begin(server: &Server, head: &str) -> (TcpStream, String) {
    let mut stream = connect(server).await;
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).unwrap();
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    (stream, answer)
}

/// A registry with tokens whose scopes take some 12 kB each.
async fn registry_with_long_scopes(server: &Server, tokens: usize) -> String {
    let registry = server.admin().create_registry("team").await;
    let scopes: Vec<Value> = (0..100)
        .map(|number| json!({"type": "repository", "name": format!("{number:03}/{}", "x".repeat(80)), "actions": ["pull"]}))
        .collect();
    for number in 0..tokens {
        let token = json!({"properties": {"name": format!("token-{number}"), "scopes": scopes}});
        let made = server
            .admin()
            .post(&format!("/registries/{registry}/tokens"), token)
            .await;
        assert_eq!(made.status, 201, "{:?}", made.json);
    }
    registry
}

#[actix_web::test]
async fn large_answers_share_one_budget_and_give_it_back() {
    let flags = ["--answer-memory", "4MiB"];
    let server = Server::start_with(Backend::Sqlite, &flags).await;
    let registry = registry_with_long_scopes(&server, 320).await;
    let path = format!("/registries/{registry}/tokens");
    let long = format!("{path}?limit=260");
    // Some 3.5 MB, more than a socket buffers.
    let (stream, answer) = begin(&server, &head("GET", &long, "")).await;
    assert_eq!(answer, "HTTP/1.1 200 OK");
    let refused = server.admin().get(&long).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), "1");
    // A short one takes none of it.
    assert_eq!(
        server.admin().get(&format!("{path}?limit=4")).await.status,
        200
    );
    drop(stream);
    let patience = Patience::new();
    let whole = loop {
        patience.spend("the room is still taken");
        let again = server.admin().get(&long).await;
        if again.status == 200 {
            break again;
        }
    };
    assert_eq!(whole.json["items"].as_array().unwrap().len(), 260);
    // One that is larger than all of it is never made.
    assert_eq!(
        server
            .admin()
            .get(&format!("{path}?limit=320"))
            .await
            .status,
        503
    );
    assert_eq!(server.admin().get(&long).await.status, 200);
}

#[actix_web::test]
async fn lists_without_pages_take_half_of_it() {
    let flags = ["--answer-memory", "512KiB"];
    let server = Server::start_with(Backend::Sqlite, &flags).await;
    let admin = server.admin();
    // More than are read at once.
    let names: Vec<_> = (0..501).map(|number| format!("n{number}")).collect();
    for name in &names {
        let wish = json!({"name": name, "roles": ["Analyst"]});
        assert_eq!(admin.post("/v1/apitokens/generate", wish).await.status, 200);
    }
    let listed = admin.get("/v1/apitokens").await;
    assert_eq!(listed.status, 200);
    let tokens = listed.json["tokens"].as_array().unwrap();
    let told: Vec<_> = tokens.iter().map(|token| &token["name"]).collect();
    assert_eq!(told, names.iter().collect::<Vec<_>>());
    // Indented it is the same list.
    let pretty = admin.get("/v1/apitokens?pretty").await;
    assert_eq!((pretty.status, &pretty.json), (200, &listed.json));
    // Without room for a compressor it comes as it is.
    let request = admin
        .request(reqwest::Method::GET, "/v1/apitokens")
        .header("accept-encoding", "gzip");
    let plain = admin.send(request).await;
    assert_eq!(
        (plain.header("content-encoding"), &plain.json),
        ("", &listed.json)
    );
    for _ in 0..150 {
        let wish = json!({"name": "n".repeat(1024), "roles": ["Analyst"]});
        assert_eq!(admin.post("/v1/apitokens/generate", wish).await.status, 200);
    }
    let refused = admin.get("/v1/apitokens").await;
    assert_eq!(
        (refused.status, refused.json["code"].as_u64()),
        (503, Some(14))
    );
    assert_eq!(refused.header("retry-after"), "1");
}

#[actix_web::test]
async fn bodies_share_one_budget_and_strangers_a_quarter_of_it() {
    let flags = ["--body-memory", "64KiB"];
    let server = Server::start_with(Backend::Sqlite, &flags).await;
    let unfinished = async |path: &str, sent: usize| {
        let mut stream = connect(&server).await;
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all("{".repeat(sent).as_bytes()).unwrap();
        stream
    };
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(unfinished("/v1/apitokens/generate", 7000).await);
    }
    // Of four bodies of 7 kB there is room for two; the others are answered though they are not whole.
    let patience = Patience::new();
    let mut refused = 0;
    while refused < 2 {
        patience.spend("no two of them are refused");
        strangers.retain(|stranger| {
            let mut answer = [0; 12];
            stranger
                .set_read_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            let mut stream = stranger;
            let read = stream.read_exact(&mut answer).is_ok();
            if read {
                assert_eq!(&answer, b"HTTP/1.1 503");
                refused += 1;
            }
            !read
        });
    }
    let waiting = strangers;
    assert_eq!((refused, waiting.len()), (2, 2));
    // Small bodies need no room, and those of known callers have more.
    let admin = server.admin();
    let wish = |size| json!({"name": "n".repeat(size), "roles": ["Analyst"]});
    assert_eq!(
        admin.post("/v1/apitokens/generate", wish(10)).await.status,
        200
    );
    assert_eq!(
        admin
            .post("/v1/apitokens/generate", wish(4100))
            .await
            .status,
        503
    );
    let registry = server.admin().create_registry("team").await;
    let long = json!({"properties": {"name": "x".repeat(20_000)}});
    let tokens = format!("/registries/{registry}/tokens");
    assert_eq!(admin.post(&tokens, long.clone()).await.status, 400);
    drop(waiting);
    let patience = Patience::new();
    loop {
        patience.spend("the room is still taken");
        let answer = admin.post("/v1/apitokens/generate", wish(4100)).await;
        if answer.status != 503 {
            assert_eq!(answer.status, 400);
            break;
        }
    }
}

#[actix_web::test]
async fn the_connection_that_waited_longest_makes_room_for_a_new_one() {
    for flags in [
        ["--connections-per-source", "3"],
        ["--max-connections", "3"],
    ] {
        let server = Server::start_with(Backend::Sqlite, &flags).await;
        let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut idle = Vec::new();
        for _ in 0..4 {
            idle.push(begin(&server, get).await.0);
        }
        let mut rest = Vec::new();
        // The first was closed after its answer.
        idle[0].read_to_end(&mut rest).unwrap();
        assert!(String::from_utf8_lossy(&rest).ends_with(r#"{"status":"ok"}"#));
        // A connection that keeps a request waiting for its body makes room, too.
        for stream in &mut idle[1..] {
            let post = head(
                "POST",
                "/accounts",
                "Content-Length: 10\r\nExpect: 100-continue\r\n",
            );
            stream.write_all(post.as_bytes()).unwrap();
            let mut answers = String::new();
            while !answers.contains("100 Continue") {
                let mut bytes = [0; 1024];
                let length = stream.read(&mut bytes).unwrap();
                assert_ne!(length, 0, "the connection was closed");
                answers.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
        }
        // Only once they wait: before that the server is at work for them, and a new one is closed.
        let mut answer = [0; 15];
        let patience = Patience::new();
        loop {
            patience.spend("no connection makes room");
            let mut stream = connect(&server).await;
            let _ = stream.write_all(get.as_bytes());
            if stream.read_exact(&mut answer).is_ok() {
                assert_eq!(&answer, b"HTTP/1.1 200 OK");
                break;
            }
        }
        let mut cut = 0;
        for stream in &mut idle[1..] {
            let _ = stream.write_all(b"{}        ");
            let mut answer = String::new();
            while !answer.contains("}]}") {
                let mut bytes = [0; 1024];
                let length = stream.read(&mut bytes).unwrap();
                assert_ne!(length, 0, "the connection was closed");
                answer.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
            cut += usize::from(answer.contains("the body could not be read"));
        }
        assert_eq!(cut, 1);
    }
}

#[actix_web::test]
async fn a_client_that_takes_a_large_answer_too_slowly_loses_it() {
    let flags = ["--answer-timeout", "2s"];
    let server = Server::start_with(Backend::Sqlite, &flags).await;
    let registry = registry_with_long_scopes(&server, 260).await;
    let path = format!("/registries/{registry}/tokens?limit=260");
    let whole = server.admin().get(&path).await.text.len();
    let (mut stream, _) = begin(&server, &head("GET", &path, "")).await;
    let mut taken = 0;
    let (_pause, never) = std::sync::mpsc::channel::<()>();
    // Some bytes are always taken in time, and yet the answer does not last.
    for _ in 0..8 {
        let mut bytes = [0; 8192];
        stream.read_exact(&mut bytes).unwrap();
        taken += bytes.len();
        let _ = never.recv_timeout(Duration::from_millis(700));
    }
    // The kernel holds the rest of it.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(taken + rest.len() < whole, "all of {whole} bytes came");
}
