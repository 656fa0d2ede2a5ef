//! Bytes as hostile clients write them: requests that two readers read differently, heads and answers that never end,
//! compressed bodies.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use rstest::rstest;
use tokio::net::TcpSocket;

use crate::harness::{ADMIN_PASSWORD, Backend, PATIENCE, Server};

/// No test waits longer than this for anything.
const BOUND: Duration = PATIENCE;
/// A request that the server would answer if it took a part of a request for another request.
const SMUGGLED: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled\r\nConnection: close\r\n\r\n";

fn connect(address: SocketAddr, patience: Duration) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.set_write_timeout(Some(patience)).unwrap();
    stream
}

/// Sends bytes and nothing after them, and reads all that comes until the server closes.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address, BOUND);
    // A server that answered early may have closed.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        answers.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&answers).into_owned()
}

/// The statuses of all answers. An answer begins where the body before it ends, on the same line.
pub fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .collect()
}

/// Lines of a head that could be read in two ways.
const LINES: [&str; 47] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Transfer-Encoding: chunked\r\nContent-Length: 0",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5, 5",
    "Content-Length: 5, 6",
    "Content-Length: +5",
    "Content-Length: -5",
    "Content-Length: 0x5",
    "Content-Length: 5 6",
    "Content-Length: 5;",
    "Content-Length: 1e1",
    "Content-Length: ",
    "Content-Length: 18446744073709551621",
    "Content-Length: \u{665}",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nContent-Length: 5",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chu nked",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{0}",
    "Transfer-Encoding:",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    // A space before the colon, and lines that go on.
    "Transfer-Encoding : chunked",
    "Content-Length : 5",
    "Content-Length\t: 5",
    " Content-Length: 5",
    "X-Long: a\r\n Content-Length: 5",
    "X-Long: a\r\n\tTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    // Characters that do not end a line, and characters that no line may contain.
    "X-Line: a\rContent-Length: 5",
    "X-Nul: a\u{0}b",
    "X-Escape: a\u{1b}[31mb",
    "Content-Length: 5\u{0}",
    "No colon at all",
    ": no name",
    "X-\u{e4}: b",
    "Host: localhost:1",
];

/// First lines of a head that could be read in two ways, or that are none.
const FIRST_LINES: [&str; 14] = [
    "POST /registries HTTP/1.0\r\nTransfer-Encoding: chunked",
    "POST /registries HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    "POST /registries HTTP/1.0",
    "GET /healthz HTTP/1.1",
    "GET /healthz HTTP/1.2\r\nHost: localhost",
    "GET /healthz HTTP/2.0\r\nHost: localhost",
    "GET /healthz HTTP/0.9\r\nHost: localhost",
    "GET /healthz\r\nHost: localhost",
    "GET  /healthz HTTP/1.1\r\nHost: localhost",
    "GET /healthz HTTP/1.1 \r\nHost: localhost",
    "GET /health z HTTP/1.1\r\nHost: localhost",
    "GET /healthz\u{0} HTTP/1.1\r\nHost: localhost",
    "G\u{0}T /healthz HTTP/1.1\r\nHost: localhost",
    "PRI * HTTP/2.0\r\n\r\nSM",
];

#[actix_web::test]
async fn a_head_that_could_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let server = Server::start(Backend::Sqlite).await;
    for sent in LINES {
        let head = format!(
            "POST /registries HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: meant\r\n{sent}\r\n\r\n"
        );
        for body in ["", "0\r\n\r\n", "5\r\nabcde\r\n0\r\n\r\n", "abcde"] {
            let answers = exchange(server.address, format!("{head}{body}{SMUGGLED}").as_bytes());
            assert_eq!(statuses(&answers), [400], "{sent:?} {body:?}: {answers}");
            assert!(
                !answers.contains("x-request-id"),
                "{sent:?} {body:?}: {answers}"
            );
        }
    }
    for sent in FIRST_LINES {
        let answers = exchange(
            server.address,
            format!("{sent}\r\n\r\n{SMUGGLED}").as_bytes(),
        );
        assert_eq!(statuses(&answers), [400], "{sent:?}: {answers}");
        assert!(!answers.contains("x-request-id"), "{sent:?}: {answers}");
    }
}

#[actix_web::test]
async fn a_body_that_breaks_its_framing_ends_the_connection() {
    let server = Server::start(Backend::Sqlite).await;
    let credentials = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    let long = format!("5;{}\r\n", "a".repeat(300_000));
    let bodies = [
        "z\r\nabcde\r\n0\r\n\r\n",
        "-5\r\nabcde\r\n0\r\n\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "5 6\r\nabcde\r\n0\r\n\r\n",
        " 5\r\nabcde\r\n0\r\n\r\n",
        "\r\nabcde\r\n0\r\n\r\n",
        ";a\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\n0\n\n",
        "5;a\nb\r\nabcde\r\n0\r\n\r\n",
        "5;a\u{0}\r\nabcde\r\n0\r\n\r\n",
        "3\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcde0\r\n\r\n",
        "5\r\nabcde\n0\r\n\r\n",
        "10000000000000005\r\nabcde\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        // Right sizes, whose bodies contain the smuggled request.
        "ffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        "fffff\r\nabcde\r\n0\r\n\r\n",
        long.as_str(),
    ];
    for authorization in ["", &format!("Authorization: Basic {credentials}\r\n")] {
        for body in bodies {
            let head = format!(
                "POST /registries HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: meant\r\n{authorization}\
                 Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let answers = exchange(server.address, format!("{head}{body}{SMUGGLED}").as_bytes());
            let what = body.chars().take(40).collect::<String>();
            assert!(!answers.contains("smuggled"), "{what:?}: {answers}");
            // At most the answer to the request, and one error for the bytes that follow.
            let statuses = statuses(&answers);
            assert!(
                statuses
                    .iter()
                    .all(|status| matches!(status, 400 | 401 | 413)),
                "{what:?}: {answers}"
            );
            assert!(
                statuses.len() <= 2 && !statuses.ends_with(&[401, 401]),
                "{what:?}: {answers}"
            );
            assert!(
                answers.matches("x-request-id").count() <= 1,
                "{what:?}: {answers}"
            );
        }
    }
    assert_eq!(
        server.admin().get("/registries").await.json["items"],
        serde_json::json!([])
    );
}

#[actix_web::test]
async fn a_body_is_never_taken_for_the_next_request() {
    let server = Server::start(Backend::Sqlite).await;
    let length = SMUGGLED.len();
    let chunked = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    for line in [
        "GET /healthz",
        "HEAD /healthz",
        "DELETE /registries/x",
        "OPTIONS /registries",
        "POST /registries",
        "GET /v1/apitokens",
        "GET /nowhere",
        "CONNECT localhost:1",
    ] {
        for (framing, body) in [
            (format!("Content-Length: {length}"), SMUGGLED),
            ("Transfer-Encoding: chunked".to_owned(), chunked.as_str()),
            (
                format!("Content-Length: {length}\r\nExpect: 100-continue"),
                SMUGGLED,
            ),
            (
                format!("Content-Length: {length}\r\nConnection: upgrade\r\nUpgrade: h2c"),
                SMUGGLED,
            ),
            (
                format!("Content-Length: {length}\r\nContent_Length: 0"),
                SMUGGLED,
            ),
        ] {
            let first = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n{body}");
            let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: next\r\n\
                        Connection: close\r\n\r\n";
            let answers = exchange(server.address, format!("{first}{next}").as_bytes());
            let what = format!("{line} {framing}");
            assert!(!answers.contains("smuggled"), "{what}: {answers}");
            let whole: Vec<_> = statuses(&answers)
                .into_iter()
                .filter(|status| *status != 100)
                .collect();
            assert!(matches!(whole.len(), 1 | 2), "{what}: {answers}");
            assert_eq!(
                whole.len() == 2,
                answers.contains("x-request-id: next"),
                "{what}: {answers}"
            );
        }
    }
    // Requests that follow each other, as they may.
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4);
    let answers = exchange(server.address, format!("{get}{SMUGGLED}").as_bytes());
    assert_eq!(statuses(&answers), [200; 5]);
}

/// Sends a whole request and waits for its answer.
fn be_answered(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let began = Instant::now();
    while !answer.ends_with(b"{\"status\":\"ok\"}") {
        assert!(
            began.elapsed() < BOUND,
            "{}",
            String::from_utf8_lossy(&answer)
        );
        match stream.read(&mut chunk) {
            Ok(0) => panic!("closed"),
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            Err(error) => assert!(is_silence(&error), "{error}"),
        }
    }
}

/// Has nothing come for as long as this waits, rather than an end?
fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Writes a byte each tenth of a second until the server hangs up, and says whether it did.
fn trickle(stream: &mut TcpStream, bytes: impl IntoIterator<Item = u8>) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let began = Instant::now();
    for byte in bytes {
        if stream.write_all(&[byte]).is_err() {
            return true;
        }
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if is_silence(&error) => {}
            Err(_) => return true,
        }
        assert!(began.elapsed() < BOUND, "nobody hangs up");
    }
    false
}

#[rstest]
#[actix_web::test]
async fn a_head_that_trickles_is_dropped_on_whichever_request_of_a_connection(
    #[values(0, 1, 3)] before: usize,
) {
    let server = Server::start_with(Backend::Sqlite, &["--head-timeout", "5s"]).await;
    let mut stream = connect(server.address, BOUND);
    for _ in 0..before {
        be_answered(&mut stream);
    }
    let endless = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: "
        .iter()
        .copied()
        .chain(std::iter::repeat(b'a'));
    let began = Instant::now();
    assert!(trickle(&mut stream, endless), "nobody hangs up");
    // Not at once. actix-http counts from an instant that it notes twice a second.
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.anonymous().get("/healthz").await.status, 200);
}

#[actix_web::test]
async fn half_a_head_behind_a_request_does_not_hold_the_connection() {
    let server = Server::start_with(Backend::Sqlite, &["--head-timeout", "2s"]).await;
    let mut stream = connect(server.address, BOUND);
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal")
        .unwrap();
    assert!(trickle(&mut stream, std::iter::repeat(b'a')));
    // The rest of an abandoned body is no request either.
    let mut stream = connect(server.address, BOUND);
    be_answered(&mut stream);
    let head = b"POST /registries HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n";
    stream.write_all(head).unwrap();
    assert!(trickle(&mut stream, std::iter::repeat(b'a')));
}

#[actix_web::test]
async fn a_connection_may_rest_and_a_body_may_take_longer_than_a_head() {
    let server = Server::start_with(Backend::Sqlite, &["--head-timeout", "2s"]).await;
    let mut stream = connect(server.address, Duration::from_millis(2500));
    for _ in 0..3 {
        be_answered(&mut stream);
        // Nothing comes, and the connection stays open.
        assert!(is_silence(&stream.read(&mut [0]).unwrap_err()));
    }
    let credentials = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    let body = [&br#"{"properties": {}}"#[..], &[b' '; 12]].concat();
    let head = format!(
        "POST /registries HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert!(
        !trickle(&mut stream, body.iter().copied()),
        "a body of three seconds was cut off"
    );
    stream
        .set_read_timeout(Some(Duration::from_millis(2500)))
        .unwrap();
    be_answered(&mut stream);
}

#[actix_web::test]
async fn a_client_that_never_reads_is_hung_up_on() {
    let server = Server::start_with(Backend::Sqlite, &["--answer-timeout", "500ms"]).await;
    let mut stream = connect(server.address, Duration::from_millis(200));
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let began = Instant::now();
    // Nothing is read here, so its answers pile up until the server takes nothing more either.
    let hung_up = loop {
        match stream.write(requests.as_bytes()) {
            Ok(_) => {}
            Err(error) if is_silence(&error) => {}
            Err(error) => break error,
        }
        assert!(began.elapsed() < BOUND, "nobody hangs up");
    };
    assert!(
        matches!(
            hung_up.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{hung_up}"
    );
    assert_eq!(server.anonymous().get("/healthz").await.status, 200);
}

#[actix_web::test]
async fn an_answer_that_is_read_late_is_not_cut_off_by_the_request_behind_it() {
    let server = Server::start_with(Backend::Sqlite, &["--head-timeout", "1s"]).await;
    // More than all buffers on the way hold, and one more request when they are on their way.
    let mut late = connect(server.address, BOUND);
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let times = 8;
    let requests = get("/docs/swagger-ui-bundle.js", "").repeat(times);
    late.write_all(requests.as_bytes()).unwrap();
    let mut answers = vec![0; 1024];
    late.read_exact(&mut answers).unwrap();
    late.write_all(get("/healthz", "Connection: close\r\n").as_bytes())
        .unwrap();
    // Twice the time for a head passes: a connection that begins one and does not go on is closed by then.
    for _ in 0..2 {
        let mut half = connect(server.address, BOUND);
        be_answered(&mut half);
        half.write_all(b"GET /healthz HTTP/1.1\r\nHost").unwrap();
        let mut rest = Vec::new();
        let _ = half.read_to_end(&mut rest);
    }
    late.read_to_end(&mut answers).unwrap();
    let answers = String::from_utf8_lossy(&answers);
    assert_eq!(statuses(&answers), vec![200; times + 1]);
}

#[actix_web::test]
async fn a_connection_that_is_gone_at_once_is_nobodys() {
    let flags = ["--trusted-proxies", "127.0.0.1"];
    let server = Server::start_with(Backend::Sqlite, &flags).await;
    let credentials = STANDARD.encode("admin:wrong-password");
    let request = format!(
        "GET /registries HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\
         X-Forwarded-For: 198.51.100.78\r\n\r\n"
    );
    // From an address that is not trusted, and reset before anybody can ask where it comes from.
    for _ in 0..300 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        let stream = socket.connect(server.address).await.unwrap();
        stream.set_zero_linger().unwrap();
        let _ = stream.try_write(request.as_bytes());
    }
    // Behind them in the line.
    assert_eq!(server.admin().get("/registries").await.status, 200);
    server.service.flush_audit(true).await.unwrap();
    let events = server.admin().get("/audit?kind=refuse").await;
    let addresses: Vec<_> = events.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["address"].as_str().unwrap())
        .collect();
    assert!(
        addresses.iter().all(|address| *address == "127.0.0.2"),
        "{addresses:?}"
    );
}

/// 4 MiB of nothing, in a few bytes.
fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let part = vec![b' '; 1024 * 1024];
    for _ in 0..4 {
        encoder.write_all(&part).unwrap();
    }
    encoder.finish().unwrap()
}

#[actix_web::test]
async fn compressed_bodies_are_refused_on_every_surface() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let account = admin.create_account("mia@example.com", &[]).await;
    let ticket = server.sign_in("admin", ADMIN_PASSWORD).await;
    let session = server.session(&ticket);
    let visitor = server.session(&server.visit().await);
    let bomb = bomb();
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    let tokens = format!("/registries/{registry}/tokens");
    let member = format!("/registries/{registry}/members/{account}");
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    for (who, method, path, content_type, status) in [
        (&admin, "POST", "/registries", json, 415),
        (
            &admin,
            "PATCH",
            &format!("/registries/{registry}"),
            json,
            415,
        ),
        (&admin, "POST", &tokens, json, 415),
        (&admin, "PUT", &member, json, 415),
        (&admin, "POST", "/accounts", json, 415),
        (&admin, "POST", "/containerregistries/registries", json, 415),
        (&admin, "POST", "/token", form, 415),
        (&admin, "POST", "/v2/auth", form, 415),
        // StackRox's dialect has no other status for a body that cannot be read.
        (&admin, "POST", "/v1/apitokens/generate", json, 400),
        (&session, "POST", "/api/v1/user/apptoken", json, 415),
        (&visitor, "POST", "/api/v1/signin", json, 415),
    ] {
        for encoding in [
            "gzip",
            "GZIP",
            "x-gzip",
            "deflate",
            "br",
            "zstd",
            "gzip, identity",
        ] {
            let request = who
                .request(Method::from_bytes(method.as_bytes()).unwrap(), path)
                .header("content-type", content_type)
                .header("content-encoding", encoding)
                .body(bomb.clone());
            let answer = who.send(request).await;
            assert_eq!(
                answer.status, status,
                "{method} {path} {encoding}: {answer:?}"
            );
            // Quay's words name no reason.
            let quays = path.starts_with("/api/v1/");
            assert!(
                quays || answer.text.contains("content encoding"),
                "{method} {path}: {}",
                answer.text
            );
        }
    }
    assert_eq!(
        admin.get("/registries").await.json["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
