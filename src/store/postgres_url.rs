//! The URL of a PostgreSQL database, read as libpq reads it.
//!
//! The rules are those of `conninfo_uri_parse_options` in libpq's fe-connect.c. A general URL parser differs from them:
//! it refuses several hosts with ports, ends a parameter at `#`, and takes `+` for a space. Owns the checks of a URL
//! and the parameters added to it. Refuses to know how a connection is used.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::ConnectionError;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Field, Result};

/// Parameters that every connection gets unless its URL has them.
///
/// By the first five libpq finds that a server or the network to it is dead. Without them it waits for the operating
/// system, which gives up after many minutes. They are in seconds, the last one in milliseconds.
const DEFAULTS: [(&str, &str); 6] = [
    (CONNECT_TIMEOUT, "3"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
    (SESSION, "read-write"),
];

/// The time for one server to let a connection in. With several servers a dead one costs a second.
const CONNECT_TIMEOUT: &str = "connect_timeout";
const CONNECT_TIMEOUT_OF_SEVERAL: &str = "1";

/// The parameter that selects the servers that libpq connects to. A parameter of the URL wins over
/// `PGTARGETSESSIONATTRS` and over a service file.
const SESSION: &str = "target_session_attrs";
/// Its values that no standby meets.
const PRIMARY: [&str; 2] = ["read-write", "primary"];

/// An accepted URL, with the added parameters. Its `Debug` hides password and parameters.
#[derive(Clone)]
pub struct Url {
    /// With all servers. It may have a password.
    text: String,
    shown: String,
    /// A URL for each server.
    servers: Vec<String>,
    /// The server that let the last connection in.
    last: Arc<AtomicUsize>,
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Url {}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Url {
    /// Returns true if this text is meant as the URL of a PostgreSQL database.
    pub(super) fn is_meant(text: &str) -> bool {
        text.starts_with("postgres:") || text.starts_with("postgresql:")
    }

    /// Reads a URL.
    ///
    /// Without the feature `postgres-tls` the built-in libpq has no TLS, and its default `sslmode=prefer` would then
    /// silently talk in clear: a server that is not on this machine needs an explicit `sslmode=disable`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if libpq could not read it, if it needs TLS that this build lacks, or if it allows a standby.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse =
            |reason: &str| Error::invalid(Field::Setting, format!("--database-url: {reason}"));
        let parts = Parts::of(text).map_err(refuse)?;
        if !cfg!(feature = "postgres-tls")
            && !parts.is_local()
            && parts.parameter("sslmode").as_deref() != Some("disable")
        {
            return Err(refuse(
                "this build has no TLS to PostgreSQL, and the server is not on this machine: build with \
                 --features postgres-tls, or accept clear text by adding sslmode=disable to the URL",
            ));
        }
        // A standby learns of a revoked token only after it has replayed the change.
        if let Some(session) = parts.parameter(SESSION)
            && !PRIMARY.contains(&&*session)
        {
            return Err(refuse(&format!(
                "{SESSION}={session} allows a standby, which may still accept a token that was revoked: leave it out, or \
                 say {}",
                PRIMARY.join(" or ")
            )));
        }
        let servers = parts.servers();
        let text = parts.with_defaults(text, servers.len() > 1);
        let of_server = |server: &String| format!("{text}&{server}");
        Ok(Self {
            servers: match servers.as_slice() {
                [] => vec![text.clone()],
                several => several.iter().map(of_server).collect(),
            },
            text,
            shown: parts.shown(),
            last: Arc::default(),
        })
    }

    /// Connects to the first server that lets a connection in, beginning with the one that did so last. libpq would always
    /// begin with the first one, and wait for it while it is dead.
    ///
    /// # Errors
    ///
    /// Those of all servers.
    pub(super) fn connect<T>(
        &self,
        connect: impl Fn(&str) -> diesel::ConnectionResult<T>,
    ) -> diesel::ConnectionResult<T> {
        let (count, last) = (self.servers.len(), self.last.load(Ordering::Relaxed));
        let mut causes = Vec::new();
        for place in 0..count {
            let number = (last + place) % count;
            match self.servers.get(number).map(|server| connect(server)) {
                Some(Ok(connected)) => {
                    self.last.store(number, Ordering::Relaxed);
                    return Ok(connected);
                }
                Some(Err(error)) if count == 1 => return Err(error),
                Some(Err(error)) => causes.push(error.to_string()),
                None => {}
            }
        }
        self.skip();
        Err(ConnectionError::BadConnection(causes.join("; ")))
    }

    /// Has the next connection begin with another server: the last one does not answer, or is no primary any more.
    pub(super) fn skip(&self) {
        let next = |last| (last + 1) % self.servers.len();
        let _ = self.last.update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

/// The parts of a URL, still percent-encoded.
struct Parts<'a> {
    scheme: &'a str,
    credentials: Option<&'a str>,
    /// Hosts and ports.
    hosts: Vec<(&'a str, &'a str)>,
    /// Hosts with their ports.
    authority: &'a str,
    /// With its slash.
    database: &'a str,
    parameters: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> std::result::Result<Self, &'static str> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("the form is postgres://USER:PASSWORD@HOST:PORT/DATABASE")?;
        let (credentials, rest) = match rest.find(['@', '/']) {
            Some(end) if rest[end..].starts_with('@') => (Some(&rest[..end]), &rest[end + 1..]),
            _ => (None, rest),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (database, parameters) = match rest.split_once('?') {
            Some((database, parameters)) => (database, Some(parameters)),
            None => (rest, None),
        };
        Ok(Self {
            scheme,
            credentials,
            hosts: authority
                .split(',')
                .map(host)
                .collect::<std::result::Result<_, _>>()?,
            authority,
            database,
            parameters,
        })
    }

    /// The value of a parameter. libpq takes the last of several.
    fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parameters?
            .split('&')
            .filter_map(|parameter| parameter.split_once('='))
            .rfind(|(key, _)| decoded(key) == name)
            .map(|(_, value)| decoded(value))
    }

    /// Returns true if the server is reached by loopback or by a socket file. Every place where libpq looks for a host
    /// counts, its own environment variables included; a service file is not read, so it counts as not local.
    fn is_local(&self) -> bool {
        let parameter = |key| self.parameter(key).is_none_or(|hosts| are_local(&hosts));
        let from_url = self.hosts.iter().all(|(host, _)| are_local(&decoded(host)));
        let no_service = ["service", "servicefile"]
            .iter()
            .all(|key| self.parameter(key).is_none());
        from_url
            && ["host", "hostaddr"].into_iter().all(parameter)
            && no_service
            && is_local_environment()
    }

    /// The parameters that name one server, for each of several. Empty if there is one, or if the lists do not fit, which
    /// is for libpq to tell.
    fn servers(&self) -> Vec<String> {
        let list = |name| -> Option<Vec<String>> {
            let list = self.parameter(name)?;
            Some(list.split(',').map(str::to_owned).collect())
        };
        let of_authority =
            |part: fn(&(&str, &str)) -> String| self.hosts.iter().map(part).collect();
        let hosts: Vec<_> =
            list("host").unwrap_or_else(|| of_authority(|host| decoded(host.0).into()));
        let ports: Vec<_> = list("port").unwrap_or_else(|| of_authority(|host| host.1.to_owned()));
        let addresses = list("hostaddr");
        let count = addresses.as_ref().map_or(hosts.len(), Vec::len);
        let fits = |list: &[String]| list.len() == count || list.len() == 1;
        if count < 2 || hosts.len() != count || !fits(&ports) {
            return Vec::new();
        }
        let encoded = |list: &[String], number: usize| {
            let value = list.get(number).or(list.first());
            value.map_or(String::new(), |value| {
                utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
            })
        };
        let server = |number| {
            let address = addresses.as_ref().map_or(String::new(), |addresses| {
                format!("&hostaddr={}", encoded(addresses, number))
            });
            let (host, port) = (encoded(&hosts, number), encoded(&ports, number));
            format!("host={host}&port={port}{address}")
        };
        (0..count).map(server).collect()
    }

    fn with_defaults(&self, text: &str, several: bool) -> String {
        let mut text = text.to_owned();
        // libpq refuses an empty parameter.
        let mut separator = match self.parameters {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        for (name, value) in DEFAULTS {
            let value = match name {
                CONNECT_TIMEOUT if several => CONNECT_TIMEOUT_OF_SEVERAL,
                _ => value,
            };
            if self.parameter(name).is_none() {
                for part in [separator, name, "=", value] {
                    text.push_str(part);
                }
                separator = "&";
            }
        }
        text
    }

    fn shown(&self) -> String {
        let credentials = self.credentials.map_or(String::new(), |credentials| {
            match credentials.split_once(':') {
                Some((user, _)) => format!("{user}:***@"),
                None => format!("{credentials}@"),
            }
        });
        let Self {
            scheme,
            authority,
            database,
            ..
        } = self;
        format!("{scheme}://{credentials}{authority}{database}")
    }
}

/// A host and its port, which may be empty.
fn host(text: &str) -> std::result::Result<(&str, &str), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .ok_or("an IPv6 address lacks its closing bracket")?;
        (
            host,
            port.strip_prefix(':').or(port.is_empty().then_some("")),
        )
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        (host, Some(port))
    };
    match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, port)),
        _ => Err("a port is no number"),
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Returns true if all hosts of such a list are on this machine.
fn are_local(hosts: &str) -> bool {
    hosts.split(',').all(|host| {
        host.is_empty()
            || host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || host
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "libpq reads these itself: what they name is where it connects"
)]
fn is_local_environment() -> bool {
    let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    ["PGHOST", "PGHOSTADDR"]
        .iter()
        .all(|name| of(name).is_none_or(|hosts| are_local(&hosts)))
        && of("PGSERVICE").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "postgres-tls"))]
    #[test]
    fn clear_text_across_a_network_must_be_asked_for() {
        for local in [
            "postgres://u@localhost/a",
            "postgres://u@127.0.0.2/a",
            "postgres://u@[::1]/a",
            "postgres://u@[::1]:5432,127.0.0.1:5433/a",
            "postgres:///a",
            "postgres:///a?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/a",
            "postgres://%2frun%2fpostgresql,localhost/a",
            "postgres://u:p@/a?host=/run/postgresql",
            "postgres://db.example.com/a?sslmode=disable",
            "postgres://u:p@one:5432,two:5433,three/a?sslmode=disable",
        ] {
            assert!(Url::parse(local).is_ok(), "{local} was refused");
        }
        for remote in [
            "postgres://db.example.com/a",
            "postgres://10.0.0.1/a?sslmode=prefer",
            "postgres:///a?host=10.0.0.1",
            "postgres://localhost/a?hostaddr=10.0.0.1",
            "postgres:///a?host=localhost,db.example.com",
            "postgres://localhost/a?host=localhost&host=10.0.0.1",
            "postgres://localhost/a?%68ost=10.0.0.1",
            "postgres://localhost:5432,10.0.0.1:5432/a",
            "postgres://localhost,db.example.com/a",
            // To libpq a `#` ends nothing.
            "postgres://localhost/a?application_name=x#&host=10.0.0.1",
            "postgres:///a?service=far",
        ] {
            assert!(Url::parse(remote).is_err(), "{remote} was accepted");
        }
    }

    #[test]
    fn every_connection_is_to_a_primary() {
        let text = |url: &str| Url::parse(url).unwrap().text;
        let added = "keepalives_idle=5&keepalives_interval=2&keepalives_count=3&tcp_user_timeout=10000&\
                     target_session_attrs=read-write";
        for (url, separator, seconds) in [
            ("postgres://localhost", "?", 3),
            ("postgresql:///a", "?", 3),
            ("postgres://localhost/a?", "", 3),
            ("postgres://localhost/a?sslmode=disable", "&", 3),
            (
                "postgres://u:p@127.0.0.1:1,[::1]:2/a?sslmode=disable",
                "&",
                1,
            ),
            ("postgres:///a?host=/tmp,/run&port=1,2", "&", 1),
        ] {
            let wanted = format!("{url}{separator}connect_timeout={seconds}&{added}");
            assert_eq!(text(url), wanted);
        }
        let url = "postgres://localhost/a?connect_timeout=9";
        assert!(!text(url).contains("connect_timeout=3"));

        for allowed in ["read-write", "primary", "any&target_session_attrs=primary"] {
            let url = format!("postgres://localhost/a?target_session_attrs={allowed}");
            assert!(text(&url).starts_with(&url));
            assert_eq!(
                text(&url).matches(SESSION).count(),
                url.matches(SESSION).count()
            );
        }
        for refused in [
            "target_session_attrs=any",
            "target_session_attrs=read-only",
            "target_session_attrs=standby",
            "target_session_attrs=prefer-standby",
            "target_session_attrs=",
            "target_session_attrs=Primary",
            "target_session_attrs=primary&target_session_attrs=any",
            "target%5Fsession%5Fattrs=any",
            "application_name=x#&target_session_attrs=any",
        ] {
            let error = Url::parse(&format!("postgres://u:hunter22@localhost/a?{refused}"));
            let said = error.unwrap_err().to_string();
            assert!(
                said.contains("standby") && said.contains("read-write"),
                "{said}"
            );
            assert!(!said.contains("hunter22"), "{said}");
        }
    }

    #[test]
    fn what_libpq_could_not_read_is_refused() {
        for wrong in [
            "postgres:localhost/a",
            "postgres://[::1/a",
            "postgres://[::1]5432/a",
            "postgres://localhost:port/a",
            "postgres://one:1,two:x/a",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn each_server_is_tried_and_the_last_one_that_worked_first() {
        let servers = |url: &str| {
            let url = Url::parse(url).unwrap();
            let ends = url.servers.iter().map(|server| {
                let (_, end) = server.split_once("read-write").unwrap();
                end.to_owned()
            });
            ends.collect::<Vec<_>>()
        };
        for one in [
            "postgres:///a",
            "postgres://localhost:1/a",
            "postgres:///a?host=localhost&port=1",
            // libpq refuses these, and says why.
            "postgres://localhost,127.0.0.1/a?port=1,2,3",
            "postgres://localhost/a?hostaddr=127.0.0.1,127.0.0.2",
        ] {
            assert_eq!(servers(one), [""], "{one}");
        }
        for (several, first, second) in [
            (
                "postgres://localhost:1,[::1]/a",
                "&host=localhost&port=1",
                "&host=%3A%3A1&port=",
            ),
            (
                "postgres://localhost:1,127.0.0.1:2/a?port=3",
                "&host=localhost&port=3",
                "&host=127%2E0%2E0%2E1&port=3",
            ),
            (
                "postgres:///a?host=/tmp,/run&port=1,2",
                "&host=%2Ftmp&port=1",
                "&host=%2Frun&port=2",
            ),
            (
                "postgres://localhost,localhost/a?hostaddr=127.0.0.1,127.0.0.2&port=1",
                "&host=localhost&port=1&hostaddr=127%2E0%2E0%2E1",
                "&host=localhost&port=1&hostaddr=127%2E0%2E0%2E2",
            ),
        ] {
            assert_eq!(servers(several), [first, second], "{several}");
        }

        let url = Url::parse("postgres://localhost:1,localhost:2,localhost:3/a").unwrap();
        let tried = std::cell::RefCell::new(Vec::new());
        let connect = |works: Option<char>| {
            let connected = url.connect(|server| {
                let port = server.chars().last().unwrap();
                tried.borrow_mut().push(port);
                let away = || ConnectionError::BadConnection(format!("{port} is away"));
                works.filter(|works| *works == port).ok_or_else(away)
            });
            (connected, tried.take().into_iter().collect::<String>())
        };
        assert_eq!(connect(Some('2')), (Ok('2'), "12".to_owned()));
        assert_eq!(connect(Some('2')), (Ok('2'), "2".to_owned()));
        assert_eq!(connect(Some('1')), (Ok('1'), "231".to_owned()));
        let (refused, all) = connect(None);
        assert_eq!(all, "123");
        // A dead one is not the first each time.
        assert_eq!(connect(None).1, "231");
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("1 is away; 2 is away; 3 is away"), "{told}");
        // Pools share the memory.
        assert_eq!(connect(Some('3')).1, "3");
        url.clone().skip();
        assert_eq!(connect(Some('3')).1, "123");
    }

    #[test]
    fn debug_hides_the_password() {
        for url in [
            "postgres://u:hunter22@localhost:1,localhost:2/a?password=hunter22",
            "postgres://u:hunter22#?@localhost:1,localhost:2/a",
            "postgres://u:hunter22@localhost:1,localhost:2/a",
        ] {
            let shown = format!("{:?}", Url::parse(url).unwrap());
            assert_eq!(shown, "postgres://u:***@localhost:1,localhost:2/a");
        }
    }
}
