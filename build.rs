//! Tells cargo what `embed_migrations!` reads, since a macro cannot see new files by itself, and the program which
//! versions of bundled libraries it has. Refuses an OpenSSL that several threads must not use at once.

use std::path::Path;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo has no other way to a build script"
)]
fn main() {
    // Set by openssl-sys, with the feature `postgres-tls` alone.
    if let Some(headers) = std::env::var_os("DEP_OPENSSL_INCLUDE") {
        require_threads(Path::new(&headers));
    }
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    // `cargo run` hands these on to the program, which refuses unknown variables that begin with its own name.
    for (variable, package) in [
        ("BUNDLED_AWS_LC", "aws-lc-sys"),
        ("BUNDLED_LIBPQ", "pq-src"),
        ("BUNDLED_OPENSSL", "openssl-src"),
    ] {
        let version = locked(&lock, package).unwrap_or("unknown");
        println!("cargo:rustc-env={variable}={version}");
    }
}

/// Ends the build if OpenSSL has no locks: its Configure leaves out threads at the mere word `-static`, and then
/// connections that begin at the same time corrupt the memory of the process.
fn require_threads(headers: &Path) {
    let configuration = ["configuration.h", "opensslconf.h"].map(|name| {
        std::fs::read_to_string(headers.join("openssl").join(name)).unwrap_or_default()
    });
    let has_threads = |text: &String| {
        let mut lines = text.lines().map(|line| line.replace(' ', ""));
        lines.any(|line| line == "#defineOPENSSL_THREADS")
    };
    assert!(
        configuration.iter().any(has_threads),
        "OpenSSL in {} was built without threads; build the static program with scripts/package",
        headers.display()
    );
}

/// The version of a package. Behind a `+` stands that of the library which it brings.
fn locked<'lock>(lock: &'lock str, package: &str) -> Option<&'lock str> {
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    let (version, _) = entry.split_once('"')?;
    Some(
        version
            .split_once('+')
            .map_or(version, |(_, library)| library),
    )
}
