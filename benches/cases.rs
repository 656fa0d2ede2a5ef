//! The cases of the micro-benchmarks, measured by time (`micro.rs`) and by instructions (`instructions.rs`).

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::http::StatusCode;
use actix_web::rt::{System, SystemRunner};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use clap::Parser as _;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use uuid::Uuid;
use wharfinger::app::{self, Makes};
use wharfinger::clock::{Clock as _, SystemClock, SystemRandom};
use wharfinger::config::Cli;
use wharfinger::domain::account::NewPassword;
use wharfinger::domain::allow_list::AllowList;
use wharfinger::domain::audit::Origin;
use wharfinger::domain::id::{RegistryId, RegistryKey, SigningKeyNumber};
use wharfinger::domain::registry::{Features, NewRegistry, RegistryName};
use wharfinger::domain::scope::{granted, parse_requested};
use wharfinger::domain::secret::{self, SecretKind};
use wharfinger::domain::signing::{Algorithm, KeyRole};
use wharfinger::domain::token::{NewToken, TokenName};
use wharfinger::domain::token_scope::Scope;
use wharfinger::http;
use wharfinger::metrics::Registry;
use wharfinger::service::Service;
use wharfinger::service::access::{Caller, Presented};
use wharfinger::service::account_commands::FIRST;
use wharfinger::service::certificates::{
    Authority, SERIAL, Subject, make_anchor, make_leaf, make_rsa_key,
};
use wharfinger::service::jwt::{AccessClaim, Claims, Signer};
use wharfinger::store::signing_keys::SigningKey;

pub(crate) const NAMES: [&str; 8] = [
    "credential_check_remembered",
    "scope_match",
    "secret_mint",
    "secret_check",
    "app_token_code_mint",
    "jwt_sign_es256",
    "jwt_sign_rs256",
    "list_of_100",
];

/// One call of the measured function. The call fails if the function did not do its work.
pub(crate) type Case = Box<dyn FnMut() -> Result<()>>;

/// Sets a case up.
pub(crate) fn case(name: &str) -> Result<Case> {
    match name {
        "credential_check_remembered" => credential_check_remembered(),
        "scope_match" => scope_match(),
        "secret_mint" => Ok(secret_mint()),
        "secret_check" => Ok(secret_check()),
        "app_token_code_mint" => Ok(app_token_code_mint()),
        "jwt_sign_es256" => jwt_sign(Algorithm::Es256),
        "jwt_sign_rs256" => jwt_sign(Algorithm::Rs256),
        "list_of_100" => list_of_100(),
        _ => bail!("no case is called {name}; there are: {}", NAMES.join(", ")),
    }
}

/// A password that was right a moment ago, so that the check needs no bcrypt.
fn credential_check_remembered() -> Result<Case> {
    let house = House::build()?;
    Ok(Box::new(move || {
        let caller = house.system.block_on(house.log_in())?;
        black_box(caller);
        Ok(())
    }))
}

/// A token with ten scopes asks for one repository.
fn scope_match() -> Result<Case> {
    let scopes: Vec<_> = (0..10)
        .map(|team| scope(&format!("team-{team}/**")))
        .collect();
    let requested = parse_requested(["repository:team-9/backend/app:pull,push"])?;
    let [requested] = requested
        .try_into()
        .map_err(|_| anyhow!("one was asked for"))?;
    Ok(Box::new(move || {
        let actions = granted(black_box(&scopes), black_box(&requested));
        ensure!(actions.len() == 2, "granted were {actions:?}");
        Ok(())
    }))
}

fn secret_mint() -> Case {
    Box::new(|| {
        black_box(secret::token_secret(black_box([7; 24])));
        Ok(())
    })
}

fn app_token_code_mint() -> Case {
    Box::new(|| {
        black_box(secret::app_token_code(black_box([7; 71])));
        Ok(())
    })
}

/// The kind of a secret by its prefix and checksum, then its keyed hash.
fn secret_check() -> Case {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[5; 32]);
    let (owner, kind) = (Uuid::from_u128(1), SecretKind::RegistryToken);
    // Always the same: digits are looked for one by one, so others take other numbers of instructions.
    let secret = secret::token_secret(std::array::from_fn(|place| {
        u8::try_from(place * 10).unwrap_or(0)
    }));
    let stored = secret::digest(&key, kind, owner, &secret);
    Box::new(move || {
        let found = SecretKind::of(black_box(secret.expose_secret()));
        ensure!(found == Some(kind), "it is taken for {found:?}");
        let digest = secret::digest(&key, kind, owner, &secret);
        ensure!(digest == stored, "it has another digest");
        Ok(())
    })
}

/// The JWT of a registry, by ES256 with its certificate, or by RS256 without, as API tokens have it.
fn jwt_sign(algorithm: Algorithm) -> Result<Case> {
    let signer = match algorithm {
        Algorithm::Es256 => leaf_signer(algorithm)?,
        Algorithm::Rs256 => {
            let key = make_rsa_key()?;
            Signer::rs256("bench", RsaKeyPair::from_pkcs8(key.expose_secret())?)?
        }
    };
    let now = SystemClock.now();
    let end = now + TimeDelta::minutes(5);
    let id = "an-id-as-long-as-those-that-are-sealed".repeat(2);
    let mut claims = Claims::new("wharfinger", "ci-push", "team-a.localhost", id, now, end);
    claims.access.push(AccessClaim {
        r#type: "repository".to_owned(),
        name: "team/app".to_owned(),
        actions: vec!["pull".to_owned(), "push".to_owned()],
    });
    Ok(Box::new(move || {
        black_box(signer.sign(black_box(&claims))?);
        Ok(())
    }))
}

fn leaf_signer(algorithm: Algorithm) -> Result<Signer> {
    let subject = Subject {
        service: "team-a.localhost".to_owned(),
        registry: "bench".to_owned(),
    };
    let now = SystemClock.now();
    let anchor = make_anchor(KeyRole::Authority, algorithm, &subject, [1; SERIAL], now)?;
    let authority = Authority {
        algorithm,
        private: &anchor.private,
        not_after: anchor.not_after,
    };
    let leaf = make_leaf(&authority, algorithm, &subject, [2; SERIAL], now)?;
    let key = SigningKey {
        number: SigningKeyNumber(1),
        registry: RegistryKey(1),
        role: leaf.role,
        algorithm: leaf.algorithm,
        kid: leaf.kid,
        certificate: leaf.certificate,
        public_key: leaf.public_key,
        // Sealing is not a part of signing.
        sealed_private: Vec::new(),
        seal_key: 1,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        active_from: now,
        retired_at: None,
    };
    Ok(Signer::new(&key, leaf.private.expose_secret())?)
}

/// A list of 100 tokens through the whole application but the network: its serialisation is most of it.
fn list_of_100() -> Result<Case> {
    let house = House::build()?;
    let registry = house.system.block_on(house.fill(100))?;
    let bodies = http::Budget::new(16 * 1024 * 1024);
    let state = Data::new(http::state(
        house.service.clone(),
        Arc::new(SystemRandom),
        http::Settings {
            origins: http::Origins::default(),
            memory: http::Memory {
                bodies: http::Bodies {
                    timeout: Duration::from_secs(15),
                    memory: bodies.clone(),
                    unproven: bodies,
                },
                answers: http::Budget::new(64 * 1024 * 1024),
            },
            quay_created: StatusCode::CREATED,
            monitored: false,
        },
        Registry::default(),
    ));
    // Within, since the application makes a worker's waker.
    let app = house
        .system
        .block_on(async { init_service(http::app(state, http::Door::Service)).await });
    let pair = format!("{FIRST}:{}", house.password.expose_secret());
    let basic = format!("Basic {}", STANDARD.encode(pair));
    let mut list: Case = Box::new(move || {
        house.system.block_on(async {
            let request = TestRequest::get()
                .uri(&format!("/registries/{registry}/tokens?limit=100"))
                .insert_header(("Authorization", basic.as_str()))
                .to_request();
            let response = call_service(&app, request).await;
            let status = response.status();
            let body = to_bytes(response.into_body()).await;
            let body = body.map_err(|_| anyhow!("the body broke off"))?;
            let told = || String::from_utf8_lossy(&body);
            ensure!(status == StatusCode::OK, "{status}: {}", told());
            ensure!(body.len() > 10_000, "a body of {} bytes", body.len());
            Ok(())
        })
    });
    // The first list opens a connection. On a machine with much else to do that can take longer than a request waits.
    let opened = (0..10).map(|_| list()).find(Result::is_ok);
    opened.unwrap_or_else(&mut list)?;
    Ok(list)
}

/// A service on a fresh database of its own.
struct House {
    system: SystemRunner,
    service: Service,
    password: SecretString,
    /// Removed when the case ends.
    _folder: TempDir,
}

impl House {
    fn build() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_str().context("a folder's name in UTF-8")?;
        // The cheapest bcrypt: the measured work comes after it.
        let arguments = ["wharfinger", "--data-dir", path, "--bcrypt-cost", "4"];
        let settings = Cli::try_parse_from(arguments)?.settings;
        let system = System::new();
        let (service, password) = system.block_on(async {
            let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
            let service = app::open_service(&settings, clock, random, Makes::All).await?;
            let password = service.account_commands().generate_password()?;
            let first = NewPassword::parse(password.clone())?;
            service
                .account_commands()
                .create_first(&first, None)
                .await?;
            anyhow::Ok((service, password))
        })?;
        Ok(Self {
            system,
            service,
            password,
            _folder: folder,
        })
    }

    async fn log_in(&self) -> Result<Caller> {
        let presented = Presented::new(
            FIRST.to_owned(),
            self.password.clone(),
            Ipv4Addr::LOCALHOST.into(),
        );
        Ok(self.service.identify(presented, Origin::command()).await?)
    }

    /// Makes a registry with so many tokens. Returns its id.
    async fn fill(&self, count: usize) -> Result<RegistryId> {
        let admin = self.log_in().await?;
        let new = NewRegistry {
            name: RegistryName::parse("bench")?,
            location: "de/fra".to_owned(),
            schedule: None,
            features: Features::default(),
            api_subnet_allow_list: AllowList::default(),
            verifier: None,
            lives: wharfinger::domain::life::LivesPatch::default(),
            maximum_secret_age: wharfinger::domain::patch::Patch::Keep,
            frozen: None,
            description: wharfinger::domain::patch::Patch::Keep,
            labels: None,
        };
        let registry = self
            .service
            .registries()
            .create(&admin, new, None)
            .await?
            .value
            .id;
        for number in 0..count {
            let new = NewToken {
                scopes: vec![scope("team/*")],
                ..NewToken::named(TokenName::parse(&format!("token-{number}"))?)
            };
            self.service
                .tokens()
                .create(&admin, registry, new, None)
                .await?;
        }
        Ok(registry)
    }
}

fn scope(name: &str) -> Scope {
    Scope {
        actions: vec!["pull".to_owned(), "push".to_owned()],
        name: name.to_owned(),
        r#type: "repository".to_owned(),
    }
}
