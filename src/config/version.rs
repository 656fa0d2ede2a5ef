//! The text of `--version`: enough to look up whether a report about a library concerns this program.

use std::sync::LazyLock;

static LONG: LazyLock<String> = LazyLock::new(|| {
    let sqlite = libsqlite3_sys::SQLITE_VERSION.to_string_lossy();
    let libpq = env!("BUNDLED_LIBPQ").trim_start_matches("libpq-");
    let (features, openssl) = if cfg!(feature = "postgres-tls") {
        ("postgres-tls", env!("BUNDLED_OPENSSL"))
    } else {
        ("none", "none")
    };
    format!(
        "{}\ncommit: {}\nfeatures: {features}\nSQLite: {sqlite}\nlibpq: {libpq}\nAWS-LC: {}\nOpenSSL: {openssl}",
        env!("CARGO_PKG_VERSION"),
        option_env!("SOURCE_COMMIT").unwrap_or("unknown"),
        concat!("aws-lc-sys ", env!("BUNDLED_AWS_LC")),
    )
});

/// The version, the commit (which scripts/package names), the features, and the versions of libraries in C.
pub(super) fn long() -> &'static str {
    LONG.as_str()
}
