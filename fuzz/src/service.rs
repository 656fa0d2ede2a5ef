//! A whole service on SQLite, with two registries, an account and something of everything that is signed or sealed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::{Builder, Runtime};
use wharfinger::app::{self, Makes};
use wharfinger::clock::{Clock, SystemRandom};
use wharfinger::config::Cli;
use wharfinger::domain::account::{AccountName, NewPassword};
use wharfinger::domain::api_token::Wish;
use wharfinger::domain::audit::Origin;
use wharfinger::domain::registry::{NewRegistry, RegistryName};
use wharfinger::domain::scope::Access;
use wharfinger::service::Service;
use wharfinger::service::access::{Caller, Presented};
use wharfinger::service::grants::{Ask, Granted, Login, Pass, Passage, Verdict};
use wharfinger::service::registries::Listing;
use wharfinger::service::sessions::Ticket;
use wharfinger::store::audit::Filter;

/// The name and the password of the one account.
const ACCOUNT: (&str, &str) = ("somebody", "correct horse battery");
/// The client address of every request.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// It is always noon.
#[derive(Debug)]
struct Noon(Instant);

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_262_400, 0).expect("an instant")
    }

    fn instant(&self) -> Instant {
        self.0
    }
}

/// The service and its runtime.
pub struct RunningService {
    runtime: Runtime,
    service: Service,
    caller: Caller,
}

impl RunningService {
    /// Starts the service on an empty database, which stays behind in the folder for temporary files.
    pub fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("wharfinger-fuzz-{}", std::process::id()));
        let folder = folder.to_str().expect("a folder with a plain name");
        let settings = Cli::parse_from([
            "wharfinger",
            "--data-dir",
            folder,
            "--bcrypt-cost=4",
            "--readers=1",
            "--refresh-tokens",
            "--failures-per-source=1000000000",
            "--failures-per-identity=1000000000",
        ])
        .settings;
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let (service, caller) = runtime.block_on(async {
            let (clock, random) = (Arc::new(Noon(Instant::now())), Arc::new(SystemRandom));
            let open = app::open_service(&settings, clock, random, Makes::All);
            let service = open.await.expect("a service");
            let name = AccountName::parse(ACCOUNT.0).expect("a name");
            let password = NewPassword::parse(password()).expect("a password");
            let roles = vec!["Admin".to_owned()];
            let made = service
                .account_commands()
                .create(name, &password, roles)
                .await;
            made.expect("an account");
            let caller = service.identify(presented(), origin()).await;
            let caller = caller.expect("a caller");
            for name in ["team-a", "team-b", "team-c"] {
                let new = NewRegistry {
                    name: RegistryName::parse(name).expect("a name"),
                    location: "de/fra".to_owned(),
                    schedule: None,
                    features: Default::default(),
                    api_subnet_allow_list: Default::default(),
                    verifier: None,
                    lives: wharfinger::domain::life::LivesPatch::default(),
                    maximum_secret_age: Default::default(),
                    frozen: None,
                    description: Default::default(),
                    labels: None,
                };
                let made = service.registries().create(&caller, new, None).await;
                made.expect("a registry");
            }
            (service, caller)
        });
        Self {
            runtime,
            service,
            caller,
        }
    }

    /// A JWT for a registry, and a refresh token.
    pub fn granted(&self, registry: &str) -> Granted {
        let ask = Ask {
            login: Login::Password(presented()),
            service: format!("{registry}.localhost"),
            wanted: vec![pull()],
            offline: true,
            origin: origin(),
        };
        let granted = self.runtime.block_on(self.service.grants().issue(ask));
        granted.expect("a JWT")
    }

    /// An API token.
    pub fn api_token(&self) -> String {
        let wish = Wish {
            name: "ci".to_owned(),
            role: None,
            roles: vec!["Analyst".to_owned()],
            expires_at: Some(self.service.now() + TimeDelta::days(1)),
        };
        let tokens = self.service.api_tokens();
        let generated = self.runtime.block_on(tokens.generate(&self.caller, wish));
        let generated = generated.expect("an API token");
        generated.secret.expose_secret().to_owned()
    }

    /// A session of the account.
    pub fn session(&self) -> Ticket {
        let sessions = self.service.sessions();
        let visit = sessions.visit(None).expect("a session");
        let signed_in = self.runtime.block_on(sessions.sign_in(
            Some(visit.cookie.expose_secret()),
            Some(visit.csrf_token.expose_secret()),
            presented(),
            origin(),
        ));
        signed_in.expect("a session")
    }

    /// The cursor to the second page of registries.
    pub fn registry_cursor(&self) -> String {
        self.registries(None).expect("a page").expect("a cursor")
    }

    /// The cursor to the second page of the audit trail.
    pub fn audit_cursor(&self) -> String {
        self.audit(None).expect("a page").expect("a cursor")
    }

    /// Does a JWT let somebody through a proxy to the first registry?
    pub fn passes(&self, jwt: &str) -> bool {
        let passage = Passage {
            pass: Pass::Jwt {
                jwt: jwt.into(),
                source: SOURCE,
            },
            service: "team-a.localhost".to_owned(),
            needed: Some(vec![pull()]),
            origin: origin(),
        };
        let verdict = self.runtime.block_on(self.service.grants().check(passage));
        verdict.is_ok_and(|verdict| verdict == Verdict::Pass)
    }

    /// Is it an API token?
    pub fn identifies(&self, jwt: &str) -> bool {
        let jwt = SecretString::from(jwt);
        let bearer = self.service.identify_bearer(&jwt, origin());
        self.runtime.block_on(bearer).is_ok()
    }

    /// Does a refresh token get a JWT of the first registry?
    pub fn refreshes(&self, token: &str) -> bool {
        let ask = Ask {
            login: Login::Refresh {
                token: token.into(),
                source: SOURCE,
            },
            service: "team-a.localhost".to_owned(),
            wanted: Vec::new(),
            offline: false,
            origin: origin(),
        };
        let granted = self.runtime.block_on(self.service.grants().issue(ask));
        granted.is_ok()
    }

    /// Is it the cookie of somebody's session?
    pub fn is_session(&self, cookie: &str) -> bool {
        self.service.sessions().identify(cookie).is_ok()
    }

    /// A page of registries; its next one, if there is one. `None` if the cursor is none.
    pub fn registries(&self, cursor: Option<&str>) -> Option<Option<String>> {
        let listing = Listing {
            limit: 1,
            token: cursor.map(str::to_owned),
            ..Default::default()
        };
        let registries = self.service.registries();
        let page = self
            .runtime
            .block_on(registries.list(&self.caller, listing));
        page.ok().map(|page| page.next)
    }

    /// A page of the audit trail; its next one, if there is one. `None` if the cursor is none.
    pub fn audit(&self, cursor: Option<&str>) -> Option<Option<String>> {
        let audit = self.service.audit();
        let page = audit.list(&self.caller, Filter::default(), 1, cursor);
        self.runtime.block_on(page).ok().map(|page| page.next)
    }
}

fn presented() -> Presented {
    Presented::new(ACCOUNT.0.to_owned(), password(), SOURCE)
}

fn password() -> SecretString {
    ACCOUNT.1.into()
}

fn origin() -> Origin {
    Origin {
        address: Some(SOURCE),
        request_id: String::new(),
    }
}

fn pull() -> Access {
    Access {
        r#type: "repository".to_owned(),
        name: "team/app".to_owned(),
        actions: vec!["pull".to_owned()],
    }
}
