//! Tells cargo what `embed_migrations!` reads, since a macro cannot see new files by itself, and the program which
//! versions of bundled libraries it has.

fn main() {
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
