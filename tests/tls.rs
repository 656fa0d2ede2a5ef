//! TLS of our own: its versions, and certificates that are renewed under way.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Database, PATIENCE, Program};
use crate::program::certificate;

/// No test waits longer than this for anything.
const BOUND: Duration = PATIENCE;

/// The output of `openssl s_client`, and the success of its handshake.
fn shake_hands(program: &Program, arguments: &[&str]) -> (bool, String) {
    let address = program.base.trim_start_matches("https://");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is needed");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The certificate that new connections are shown, PEM.
fn shown(program: &Program) -> String {
    let (_, said) = shake_hands(program, &[]);
    let (_, rest) = said
        .split_once("-----BEGIN")
        .unwrap_or_else(|| panic!("{said}"));
    let (certificate, _) = rest.split_once("END CERTIFICATE").unwrap();
    format!("-----BEGIN{certificate}END CERTIFICATE-----\n")
}

fn start(log: &str) -> (Program, [String; 2], Arc<Database>) {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let pair = certificate(database.folder());
    let mut command = Program::command(&database);
    command.args([
        "--tls-cert",
        &pair[0],
        "--tls-key",
        &pair[1],
        "--log-format",
        log,
    ]);
    (Program::spawn(&database, command), pair, database)
}

#[test]
fn only_tls_of_today_is_spoken() {
    let (program, ..) = start("json");
    // OpenSSL itself would not offer the old ones otherwise.
    let weak = ["-cipher", "ALL:@SECLEVEL=0"];
    for old in ["-tls1", "-tls1_1"] {
        let (done, said) = shake_hands(&program, &[&[old], &weak[..]].concat());
        assert!(!done && said.contains("SSL alert number"), "{old}: {said}");
    }
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (done, said) = shake_hands(&program, &[version, "-alpn", "h2,http/1.1"]);
        assert!(done && said.contains(name), "{version}: {said}");
        assert!(
            said.contains("ALPN protocol: http/1.1"),
            "{version}: {said}"
        );
    }
    // No keys without forward secrecy, and no ciphers that were broken.
    for cipher in [
        "AES128-SHA",
        "AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-SHA",
        "DES-CBC3-SHA",
    ] {
        let cipher = format!("{cipher}:@SECLEVEL=0");
        let (done, said) = shake_hands(&program, &["-tls1_2", "-cipher", &cipher]);
        assert!(!done, "{cipher}: {said}");
    }
}

/// Waits until new connections are shown the certificate of a file.
fn await_shown(program: &Program, expected: &str) {
    let began = Instant::now();
    while shown(program) != expected {
        assert!(began.elapsed() < BOUND, "it is not shown");
    }
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let (program, [certificate_file, key_file], database) = start("json");
    let make = |name: &str| {
        let folder = database.folder().join(name);
        std::fs::create_dir(&folder).unwrap();
        certificate(&folder).map(|file| std::fs::read_to_string(file).unwrap())
    };
    let put = |certificate: &str, key: &str| {
        for (file, text) in [(&key_file, key), (&certificate_file, certificate)] {
            let draft = Path::new(file).with_extension("draft");
            std::fs::write(&draft, text).unwrap();
            std::fs::rename(&draft, file).unwrap();
        }
    };
    let hang_up = || {
        program.signal("HUP");
        // It is handled by the time that some others have been served.
        (0..10).map(|_| shown(&program)).next_back().unwrap()
    };
    let first = std::fs::read_to_string(&certificate_file).unwrap();
    assert_eq!(shown(&program), first);
    let [second, second_key] = make("second");
    put(&second, &second_key);
    // It is looked for.
    await_shown(&program, &second);
    let [third, third_key] = make("third");
    let half = &third[..third.len() / 2];
    for (what, certificate, key) in [
        ("half a certificate", half, third_key.as_str()),
        (
            "half a key",
            third.as_str(),
            &third_key[..third_key.len() / 2],
        ),
        (
            "a key of another certificate",
            third.as_str(),
            second_key.as_str(),
        ),
        ("nothing", "", ""),
        ("no certificate", "nonsense\n", third_key.as_str()),
    ] {
        put(certificate, key);
        assert_eq!(hang_up(), second, "{what}");
    }
    std::fs::remove_file(&certificate_file).unwrap();
    assert_eq!(hang_up(), second, "no file");
    put(&third, &third_key);
    assert_eq!(hang_up(), third);
    // A signal makes it look even where nothing is new, which the log tells.
    hang_up();
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success(), "{log}");
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert!(lines("the certificate was read again") >= 3, "{log}");
    let refused: Vec<_> = log
        .lines()
        .filter(|line| line.contains("the previous one stays in use"))
        .collect();
    assert!(refused.len() >= 6, "{log}");
    for line in refused {
        assert!(
            line.contains("ERROR") && line.contains(&certificate_file) || line.contains(&key_file),
            "{line}"
        );
    }
    for secret in [&second_key, &third_key] {
        let body = secret.lines().nth(1).unwrap();
        assert!(!log.contains(body), "the key is in the log");
    }
}
