//! The commands.

mod backup;
mod descriptors;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use rustix::process::Signal as Process;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use crate::app::{self, App, FirstPassword, Makes};
use crate::clock::{Clock, SystemClock, SystemRandom};
use crate::config::{
    AccountCommand, AuditCommand, Cli, Command, KeysCommand, OpenapiVersion, PasswordSource,
    RegistryCommand, Settings, read_secret, secret_of_file,
};
use crate::domain::account::{AccountName, NewPassword};
use crate::domain::auth_config::{BundlePath, Product};
use crate::domain::membership::Membership;
use crate::domain::status::Status;
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result};
use crate::http;
use crate::service::Service;
use crate::service::accounts::{Accounts, FIRST, IssuedTokens, LiveTokens};
use crate::service::keys::{Consequence, Rotation};
use crate::service::vault::ServerKey;
use crate::store::leases;
use crate::telemetry;
use crate::tls;

/// How long a health check waits for a server.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs one command to its end.
pub fn run(cli: Cli) -> Result<()> {
    let settings = cli.settings;
    if !settings.core_dumps {
        forbid_core_dumps()?;
    }
    telemetry::start(&settings.log, settings.log_format)?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            // Before the system, which needs some itself.
            let connections = descriptors::prepare(&settings)?;
            let settings = Settings {
                max_connections: settings.max_connections.min(connections),
                ..settings
            };
            actix_web::rt::System::new().block_on(serve(&settings))
        }
        Command::Migrate => {
            let holder = leases::holder(&SystemRandom)?;
            app::open_store(&settings, &clock(), &holder)?.close();
            print(&format!("The database is current: {}.", settings.target()?))
        }
        Command::Account { command } => {
            actix_web::rt::System::new().block_on(account(&settings, command))
        }
        Command::Registry { command } => {
            actix_web::rt::System::new().block_on(registry(&settings, command))
        }
        Command::Keys {
            command:
                KeysCommand::Rotate {
                    registries,
                    all,
                    authority,
                },
        } => actix_web::rt::System::new().block_on(rotate(&settings, registries, all, authority)),
        Command::Keys {
            command: KeysCommand::Init,
        } => {
            app::init_server_key(&settings, &SystemRandom)?;
            print(&format!(
                "Made a server key in {}. Keep a copy in a safe place: without it no token of its database works.",
                settings.server_key_path().display()
            ))
        }
        Command::Keys {
            command:
                KeysCommand::Rewrap {
                    new_server_key,
                    new_server_key_file,
                },
        } => {
            // Before a new key is made for it.
            app::require_database(&settings)?;
            let new = match (&new_server_key, &new_server_key_file) {
                (Some(key), _) => ServerKey::parse(key)?,
                (None, Some(file)) => app::next_server_key(file, &SystemRandom)?,
                (None, None) => return Err(Error::internal("no new server key was given")),
            };
            actix_web::rt::System::new().block_on(rewrap(&settings, new))
        }
        Command::Backup { file, force } => backup::write(&settings, &file, force),
        Command::Restore {
            command: Some(command),
            ..
        } => actix_web::rt::System::new().block_on(backup::about(&settings, command)),
        Command::Restore {
            file: Some(file),
            dry_run,
            ..
        } => backup::restore(&settings, &file, dry_run),
        Command::Restore { .. } => Err(Error::internal("no file was given")),
        Command::Audit {
            command: AuditCommand::Verify,
        } => actix_web::rt::System::new().block_on(verify(&settings)),
        Command::Openapi { surface, version } => {
            let mut document = match surface {
                None => http::document(),
                Some(name) => http::document_of(&name).ok_or_else(|| no_surface(&name))?,
            };
            if let Some(url) = &settings.public_url {
                http::serve_at(&mut document, url);
            }
            let text = match version {
                OpenapiVersion::Three1 => http::document_json(&document),
                OpenapiVersion::Three0 => http::document_json_30(&document),
            };
            print(text.trim_end())
        }
        Command::Healthcheck { ready } => healthcheck(&settings, ready),
    }
}

/// Keeps what a crash leaves behind free of secrets: there is nothing.
///
/// Both, since a limit of zero does not keep a dump from a program that the kernel is set to hand dumps to, and a
/// process may be made dumpable again by what it executes.
fn forbid_core_dumps() -> Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(Error::internal)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(Error::internal)?;
    Ok(())
}

fn no_surface(name: &str) -> Error {
    let names: Vec<_> = http::document_names().collect();
    let message = format!(
        "there is no surface {}; there are: {}",
        quoted(name),
        names.join(", ")
    );
    Error::invalid(Field::Setting, message)
}

/// Looks for what somebody else did to the audit trail.
async fn verify(settings: &Settings) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let report = service.audit().verify().await;
    service.close();
    let report = report?;
    for fault in &report.faults {
        print(fault)?;
    }
    let looked = format!("{} events in {} chains", report.events, report.chains);
    if report.faults.is_empty() {
        return print(&format!("Nothing was changed: {looked}."));
    }
    Err(Error::invalid(
        Field::Setting,
        format!("the audit trail is not as it was written: {looked} looked at"),
    ))
}

async fn open_service(settings: &Settings, makes: Makes) -> Result<Service> {
    app::open_service(settings, clock(), Arc::new(SystemRandom), makes).await
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Prints a line for the person at the terminal.
fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(Error::internal)
}

async fn serve(settings: &Settings) -> Result<()> {
    let app = App::start(settings, clock(), Arc::new(SystemRandom)).await?;
    // Before anybody learns the address: whoever does may at once ask this process to stop.
    actix_web::rt::spawn(stop_on_signal(app.server.handle(), Signals::listen()?));
    greet(settings, &app)?;
    tracing::info!(addresses = ?app.addresses, "serving");
    app.run().await?;
    tracing::info!("stopped");
    Ok(())
}

/// The signals that end the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::internal);
        // Handled, it does not end the process: a write beyond `ulimit -f` fails, as on a full disk.
        drop(listen(SignalKind::from_raw(Process::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first signal lets requests under way finish, a second one does not.
async fn stop_on_signal(server: ServerHandle, mut signals: Signals) {
    signals.next().await;
    tracing::info!("stopping");
    let stopped = server.stop(true);
    tokio::select! {
        () = stopped => {}
        () = signals.next() => server.stop(false).await,
    }
}

/// Says where the service is, and how to ask it something.
fn greet(settings: &Settings, app: &App) -> Result<()> {
    let Some(address) = app.addresses.first() else {
        return Ok(());
    };
    let base = base(settings, *address);
    let user = match &app.first_password {
        Some(FirstPassword::Show(password)) => {
            print(&format!(
                "Made the account {FIRST}. Its password, shown only now: {}",
                password.expose_secret()
            ))?;
            format!("{FIRST}:{}", password.expose_secret())
        }
        Some(FirstPassword::InFile(path)) => {
            print(&format!(
                "Made the account {FIRST}. Its password is in {}",
                path.display()
            ))?;
            from_file(path)
        }
        Some(FirstPassword::Given) => {
            print(&format!(
                "Made the account {FIRST} with the password you gave."
            ))?;
            FIRST.to_owned()
        }
        // A password that was once written down there still works, unless somebody changed it.
        None => Some(settings.admin_password_path())
            .filter(|path| path.exists())
            .map_or(FIRST.to_owned(), |path| from_file(&path)),
    };
    let trust = match (&settings.tls_cert, &settings.public_url) {
        (Some(certificate), None) => format!(
            " --cacert {}",
            shell_word(&certificate.display().to_string())
        ),
        _ => String::new(),
    };
    let url = shell_word(&format!("{base}/registries"));
    print(&format!(
        "Wharfinger is at {base}. Try:\n  curl{trust} -u \"{user}\" {url}"
    ))
}

/// Where clients reach the service that listens on an address.
fn base(settings: &Settings, address: SocketAddr) -> String {
    let scheme = if settings.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    match &settings.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("{scheme}://{}", reachable(address)),
    }
}

/// For a shell: the name, and the password out of its file.
fn from_file(path: &Path) -> String {
    format!("{FIRST}:$(cat {})", shell_word(&path.display().to_string()))
}

/// A text as one word of a shell command: some shells take the brackets of an IPv6 address for a pattern.
fn shell_word(text: &str) -> String {
    if text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b':'))
    {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// An address that a client on this machine can connect to: all addresses are none.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn account(settings: &Settings, command: AccountCommand) -> Result<()> {
    // The first account can be added before the first start, which then makes none.
    let makes = match command {
        AccountCommand::Add { .. } => Makes::Keys,
        _ => Makes::Nothing,
    };
    let service = open_service(settings, makes).await?;
    let accounts = service.accounts();
    let done = match command {
        AccountCommand::Add {
            name,
            roles,
            password,
        } => {
            let password = choose_password(&accounts, &password)?;
            let parsed = AccountName::parse(&name)?;
            accounts
                .create(
                    parsed,
                    &NewPassword::parse(password.secret().clone())?,
                    roles,
                )
                .await?;
            password.announce(&format!("Added the account {name}."))
        }
        AccountCommand::List => list(&accounts).await,
        AccountCommand::Show { name } => show(&accounts, name).await,
        AccountCommand::Role { name, roles } => {
            accounts.set_roles(name.clone(), roles.clone()).await?;
            print(&match roles.as_slice() {
                [] => format!("{name} has no role."),
                roles => format!("{name} is {} now.", roles.join(", ")),
            })
        }
        AccountCommand::Grant {
            name,
            registry,
            level,
        } => {
            let level = Membership::parse(&level)?;
            accounts
                .grant(name.clone(), registry.clone(), level)
                .await?;
            print(&format!("{name} is {level} of {registry} now."))
        }
        AccountCommand::Revoke { name, registry } => {
            accounts.revoke(name.clone(), registry.clone()).await?;
            print(&format!("{name} is no member of {registry} any more."))
        }
        AccountCommand::Passwd {
            name,
            revoke_tokens,
            password,
        } => {
            let password = choose_password(&accounts, &password)?;
            let (tokens, what_of_them) = if revoke_tokens {
                (IssuedTokens::Revoke, "have ended")
            } else {
                (IssuedTokens::Keep, "go on working")
            };
            let new = NewPassword::parse(password.secret().clone())?;
            accounts.set_password(name.clone(), &new, tokens).await?;
            password.announce(&format!(
                "Set the password of {name}. Its API tokens and app tokens {what_of_them}."
            ))
        }
        AccountCommand::Enable { name } => {
            accounts.set_status(name.clone(), Status::Enabled).await?;
            print(&format!("Enabled {name}."))
        }
        AccountCommand::Disable { name } => {
            accounts.set_status(name.clone(), Status::Disabled).await?;
            print(&format!("Disabled {name}."))
        }
        AccountCommand::Delete {
            name,
            revoke_tokens,
        } => {
            let tokens = if revoke_tokens {
                LiveTokens::Revoke
            } else {
                LiveTokens::Refuse
            };
            accounts.delete(name.clone(), tokens).await?;
            print(&format!("Deleted {name}."))
        }
    };
    service.close();
    done
}

async fn registry(settings: &Settings, command: RegistryCommand) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let keys = service.keys();
    let done = async {
        let text = match command {
            RegistryCommand::AuthConfig {
                registry,
                product,
                bundle,
            } => keys.config_of(
                &keys.tenant(&registry).await?,
                Product::parse(&product)?,
                BundlePath::parse(&bundle)?,
                format!("{}{}", base(settings, settings.listen), http::TOKEN_PATH),
            )?,
            RegistryCommand::AuthBundle { registry } => {
                keys.bundle_of(&keys.tenant(&registry).await?).await?
            }
            RegistryCommand::Jwks { registry } => {
                let set = keys.key_set_of(&keys.tenant(&registry).await?).await?;
                serde_json::to_string_pretty(&set).map_err(Error::internal)?
            }
        };
        print(text.trim_end())
    }
    .await;
    service.close();
    done
}

async fn rotate(
    settings: &Settings,
    registries: Vec<String>,
    all: bool,
    authority: bool,
) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let keys = service.keys();
    let rotation = if authority {
        Rotation::Authority
    } else {
        Rotation::Signer
    };
    let done = async {
        let tenants = if all {
            keys.tenants_with_leaf().await?
        } else {
            let mut tenants = Vec::new();
            for name in &registries {
                tenants.push(keys.tenant(name).await?);
            }
            tenants
        };
        for tenant in tenants {
            print(&match keys.rotate(&tenant, rotation).await? {
                Consequence::None => format!("{} signs with a new key.", tenant.name),
                Consequence::Restart => format!(
                    "{} signs with a new key that its registry does not know: give the registry the new bundle \
                     (wharfinger registry auth-bundle {}, or jwks) and restart it. Until then it refuses every token.",
                    tenant.name, tenant.name
                ),
            })?;
        }
        Ok(())
    }
    .await;
    service.close();
    done
}

async fn rewrap(settings: &Settings, new: ServerKey) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let change = service.server_keys().rewrap(new).await;
    service.close();
    let change = change?;
    print(&format!(
        "The server key {} opens this database from now on; {} does not any more. Restart every server with the new \
         one, in any order: those that run go on until then. Keep the old one as long as backups made with it.",
        change.to, change.from
    ))
}

async fn show(accounts: &Accounts<'_>, name: String) -> Result<()> {
    let (account, memberships) = accounts.show(name).await?;
    for (label, value) in [
        ("ID", account.id.to_string()),
        ("NAME", account.name),
        ("STATUS", account.status.as_str().to_owned()),
        ("ROLES", account.roles.join(",")),
    ] {
        print(format!("{label:<12}{value}").trim_end())?;
    }
    for (registry, level) in memberships {
        print(&format!("{:<12}{registry}", level.as_str().to_uppercase()))?;
    }
    Ok(())
}

async fn list(accounts: &Accounts<'_>) -> Result<()> {
    print(&format!("{:<38}{:<10}{:<20}NAME", "ID", "STATUS", "ROLES"))?;
    for account in accounts.list().await? {
        print(&format!(
            "{:<38}{:<10}{:<20}{}",
            account.id.to_string(),
            account.status.as_str(),
            account.roles.join(","),
            account.name
        ))?;
    }
    Ok(())
}

enum Password {
    Given(SecretString),
    Made(SecretString),
}

impl Password {
    fn secret(&self) -> &SecretString {
        match self {
            Self::Given(secret) | Self::Made(secret) => secret,
        }
    }

    fn announce(&self, done: &str) -> Result<()> {
        match self {
            Self::Given(_) => print(done),
            Self::Made(secret) => print(&format!(
                "{done} Its password, shown only now: {}",
                secret.expose_secret()
            )),
        }
    }
}

fn choose_password(accounts: &Accounts<'_>, source: &PasswordSource) -> Result<Password> {
    match &source.password_file {
        None => accounts.generate_password().map(Password::Made),
        // Not by the name /dev/stdin, which cannot be opened where standard input is a socket.
        Some(path) if path == Path::new("-") => std::io::read_to_string(std::io::stdin())
            .map(|text| Password::Given(secret_of_file(&Zeroizing::new(text))))
            .map_err(|error| {
                Error::invalid(
                    Field::Setting,
                    format!("--password-file: standard input cannot be read: {error}"),
                )
            }),
        Some(path) => read_secret("--password-file", path).map(Password::Given),
    }
}

/// Asks the server of these settings how it is, over TLS if it has that.
fn healthcheck(settings: &Settings, ready: bool) -> Result<()> {
    let address = reachable(settings.listen);
    let path = if ready { "/readyz" } else { "/healthz" };
    let ask = || -> std::io::Result<String> {
        let stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
        stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
        stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
        match &settings.tls_cert {
            None => exchange(stream, address, path),
            Some(certificate) => exchange(
                pinned(stream, certificate).map_err(std::io::Error::other)?,
                address,
                path,
            ),
        }
    };
    let answer = ask().map_err(|error| {
        Error::invalid(
            Field::Setting,
            format!("{address} does not answer: {error}"),
        )
    })?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        return print("ok");
    }
    Err(Error::invalid(
        Field::Setting,
        format!("{address} answers {path} with status {status}"),
    ))
}

fn exchange(
    mut stream: impl std::io::Read + std::io::Write,
    address: SocketAddr,
    path: &str,
) -> std::io::Result<String> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    stream.flush()?;
    let mut head = vec![0; 64];
    let read = stream.read(&mut head)?;
    head.truncate(read);
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// TLS to a server that shows the very certificate of the settings. Its names need not cover the loopback address.
fn pinned(
    stream: TcpStream,
    certificate: &Path,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let own = tls::read_certificates(certificate)?.into_iter().next();
    let own = own.ok_or_else(|| {
        Error::invalid(
            Field::Setting,
            format!("{} has no certificate", certificate.display()),
        )
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { own, provider }))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(Error::internal)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(Error::internal)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Accepts one certificate.
#[derive(Debug)]
struct Pinned {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.own {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "the server shows another certificate than --tls-cert".to_owned(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
