//! Fills an empty database for scripts/bench through the service, as clients would: every row, total and event is what
//! the product leaves. Prints what the benchmark needs to know of it, as JSON.
//!
//! `bench-fill --tokens 1000000 --registries 10000 --each 100 --accounts 80 [settings of wharfinger]`

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use wharfinger::app::{self, Makes};
use wharfinger::clock::{SystemClock, SystemRandom};
use wharfinger::config::Settings;
use wharfinger::domain::account::{AccountName, NewPassword};
use wharfinger::domain::allow_list::AllowList;
use wharfinger::domain::api_token::Wish;
use wharfinger::domain::app_token::Title;
use wharfinger::domain::audit::Origin;
use wharfinger::domain::claims::ClaimRules;
use wharfinger::domain::id::RegistryId;
use wharfinger::domain::issuer::NewIssuer;
use wharfinger::domain::issuer_kind::IssuerKind;
use wharfinger::domain::key_source::{IssuerUrl, Jwks, JwtAlgorithm, KeySource};
use wharfinger::domain::patch::Patch;
use wharfinger::domain::registry::{Features, NewRegistry, RegistryName};
use wharfinger::domain::status::Status;
use wharfinger::domain::token::{NewToken, TokenName};
use wharfinger::domain::token_scope::Scope;
use wharfinger::domain::trust::NewTrust;
use wharfinger::service::Service;
use wharfinger::service::access::{Caller, Presented};
use wharfinger::service::account_commands::FIRST;
use wharfinger::service::jwt::Signer;

/// Requests under way at once: the writer commits what it finds waiting as one group.
const TASKS: usize = 256;
/// Tokens of the large registry whose secrets are printed.
const SAMPLE: usize = 1_000;
/// App tokens and API tokens that are there to be listed.
const LISTED: usize = 25;

#[derive(Debug, Parser)]
struct Fill {
    /// Tokens of the one large registry
    #[arg(long)]
    tokens: usize,
    /// Small registries
    #[arg(long)]
    registries: usize,
    /// Tokens of each small registry
    #[arg(long)]
    each: usize,
    /// Accounts that nobody has logged in with, for cold rows
    #[arg(long)]
    accounts: usize,
    #[command(flatten)]
    settings: Settings,
}

#[actix_web::main]
async fn main() -> Result<()> {
    let fill = Fill::parse();
    let service = app::open_service(
        &fill.settings,
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
        Makes::All,
    )
    .await?;
    let told = fill.run(&service).await;
    service.close();
    println!("{}", told?);
    Ok(())
}

impl Fill {
    async fn run(&self, service: &Service) -> Result<Value> {
        let password = service.account_commands().generate_password()?;
        let accounts = service.account_commands();
        accounts
            .create_first(&NewPassword::parse(password.clone())?, None)
            .await?;
        let admin = log_in(service, FIRST, &password).await?;
        let mut cold = Vec::with_capacity(self.accounts);
        for number in 0..self.accounts {
            let (name, password) = account(service, format!("cold-{number}")).await?;
            cold.push(basic(&name, &password));
        }
        let (lister, lister_password) = account(service, "lister".to_owned()).await?;
        let (maker, maker_password) = account(service, "maker".to_owned()).await?;

        let began = service.now();
        let large = registry(service, &admin, "large".to_owned()).await?;
        let sample = tokens(service, &admin, large, self.tokens).await?;
        self.small_registries(service, &admin).await?;
        let seconds = (service.now() - began).as_seconds_f64();

        let owner = log_in(service, &lister, &lister_password).await?;
        let mut app_code = None;
        for number in 0..LISTED {
            let title = Title::parse(format!("machine {number}"))?;
            app_code = service.app_tokens().create(&owner, title).await?.code;
        }
        let app_code =
            app_code.context("codes of app tokens are shown only with --app-token-reveal")?;
        let mut bearer = SecretString::default();
        for number in 0..LISTED {
            let wish = Wish {
                name: format!("machine {number}"),
                roles: vec!["Admin".to_owned()],
                ..Wish::default()
            };
            bearer = service.api_tokens().generate(&admin, wish).await?.secret;
        }
        let host = format!("large.{}", self.settings.registry_domain);
        let workload = workload(service, &admin, large, &host).await?;
        Ok(json!({
            "admin": basic(FIRST, &password),
            "workload": workload,
            "cold": cold,
            "lister": basic(&lister, &lister_password),
            "maker": basic(&maker, &maker_password),
            "app": basic("$app", &app_code),
            "bearer": format!("Bearer {}", bearer.expose_secret()),
            "registry": large.to_string(),
            "service": host,
            "seconds": seconds,
            "tokens": sample,
        }))
    }

    async fn small_registries(&self, service: &Service, admin: &Caller) -> Result<()> {
        let each = self.each;
        share_out(self.registries, TASKS, |number| {
            let (service, admin) = (service.clone(), admin.clone());
            async move {
                let id = registry(&service, &admin, format!("small-{number}")).await?;
                for number in 0..each {
                    token(&service, &admin, id, number).await?;
                }
                Ok(())
            }
        })
        .await
    }
}

async fn log_in(service: &Service, name: &str, password: &SecretString) -> Result<Caller> {
    let source = std::net::Ipv4Addr::LOCALHOST.into();
    let presented = Presented::new(name.to_owned(), password.clone(), source);
    Ok(service.identify(presented, Origin::command()).await?)
}

fn basic(name: &str, password: &SecretString) -> String {
    let pair = format!("{name}:{}", password.expose_secret());
    format!("Basic {}", STANDARD.encode(pair))
}

/// Makes an Admin.
async fn account(service: &Service, name: String) -> Result<(String, SecretString)> {
    let accounts = service.account_commands();
    let password = accounts.generate_password()?;
    let new = NewPassword::parse(password.clone())?;
    let roles = vec!["Admin".to_owned()];
    accounts
        .create(AccountName::parse(&name)?, &new, roles)
        .await?;
    Ok((name, password))
}

/// Makes an issuer with a pasted key, and a trust in it. Returns the header with its name and a JWT of GitHub's size.
async fn workload(
    service: &Service,
    admin: &Caller,
    registry: RegistryId,
    host: &str,
) -> Result<String> {
    const ISSUER: &str = "https://token.actions.githubusercontent.com";
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)?;
    // The two numbers of an RSA key are what its information ends with, after 24 bytes.
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    let numbers = public.get(24..).context("a short key")?;
    let mut jwk =
        Jwk::from_decoding_key(&DecodingKey::from_rsa_der(numbers), Some(Algorithm::RS256))?;
    jwk.common.key_id = Some("1".to_owned());
    let set = json!({ "keys": [jwk] });
    let new = NewIssuer {
        url: IssuerUrl::parse(ISSUER)?,
        kind: IssuerKind::Github,
        keys: KeySource::Inline(Jwks::parse(set.as_object().context("no object")?)?),
        ca: None,
        algorithms: JwtAlgorithm::DEFAULT.to_vec(),
        status: Status::Enabled,
    };
    let issuer = service.issuers().create(admin, new, None).await?.value.id;
    let claims = json!({"repository_id": "74", "ref": "refs/heads/main"});
    let new = NewTrust {
        name: TokenName::parse("workload")?,
        issuer,
        audience: None,
        claims: ClaimRules::parse(claims.as_object().context("no object")?.clone())?,
        scopes: vec![Scope {
            actions: vec!["pull".to_owned(), "push".to_owned()],
            name: "team/*".to_owned(),
            r#type: "repository".to_owned(),
        }],
        allowed_cidrs: AllowList::default(),
        maximum_life: None,
        status: Status::Enabled,
        expiry_date: None,
    };
    service.trusts().create(admin, registry, new, None).await?;
    let mut claims: Value =
        serde_json::from_str(include_str!("../examples/workload/claims/github.json"))?;
    let now = service.now().timestamp();
    let times = [("iat", now), ("nbf", now), ("exp", now + 86_400)];
    let members = claims.as_object_mut().context("no object")?;
    members.extend(times.map(|(name, time)| (name.to_owned(), time.into())));
    members.insert("aud".to_owned(), host.into());
    let pair = RsaKeyPair::from_pkcs8(&key.serialize_der())?;
    Ok(basic("workload", &Signer::rs256("1", pair)?.sign(&claims)?))
}

async fn registry(service: &Service, admin: &Caller, name: String) -> Result<RegistryId> {
    let new = NewRegistry {
        name: RegistryName::parse(&name)?,
        location: "de/fra".to_owned(),
        schedule: None,
        features: Features::default(),
        api_subnet_allow_list: AllowList::default(),
        verifier: None,
        lives: wharfinger::domain::life::LivesPatch::default(),
        maximum_secret_age: Patch::Keep,
        frozen: None,
        description: Patch::Keep,
        labels: None,
    };
    Ok(service
        .registries()
        .create(admin, new, None)
        .await?
        .value
        .id)
}

/// Makes the token of a number. Returns its id, name and header.
async fn token(
    service: &Service,
    admin: &Caller,
    registry: RegistryId,
    number: usize,
) -> Result<[String; 3]> {
    let name = format!("token-{number}");
    let new = NewToken {
        scopes: vec![Scope {
            actions: vec!["pull".to_owned(), "push".to_owned()],
            name: "team/*".to_owned(),
            r#type: "repository".to_owned(),
        }],
        ..NewToken::named(TokenName::parse(&name)?)
    };
    let minted = service
        .tokens()
        .create(admin, registry, new, None)
        .await?
        .value;
    let header = basic(&name, &minted.secret);
    Ok([minted.token.id.to_string(), name, header])
}

/// Fills a registry. Returns a sample of its tokens, spread over all of them.
async fn tokens(
    service: &Service,
    admin: &Caller,
    registry: RegistryId,
    count: usize,
) -> Result<Vec<[String; 3]>> {
    let step = count.div_ceil(SAMPLE).max(1);
    let sample = Rc::new(RefCell::new(Vec::new()));
    share_out(count, TASKS, |number| {
        let (service, admin) = (service.clone(), admin.clone());
        let sample = Rc::clone(&sample);
        async move {
            let made = token(&service, &admin, registry, number).await?;
            if number % step == 0 {
                sample.borrow_mut().push(made);
            }
            Ok(())
        }
    })
    .await?;
    Ok(sample.take())
}

/// Does a job for each number, by so many tasks at once, which end at the first failure.
async fn share_out<F, J>(count: usize, tasks: usize, job: J) -> Result<()>
where
    F: Future<Output = Result<()>>,
    J: Fn(usize) -> F,
{
    let next = Cell::new(0);
    let work = || async {
        loop {
            let number = next.replace(next.get() + 1);
            if number >= count {
                return anyhow::Ok(());
            }
            job(number).await?;
        }
    };
    futures_util::future::try_join_all((0..tasks).map(|_| work())).await?;
    Ok(())
}
