//! The commands.

mod account;
mod backup;
mod descriptors;
mod health;
mod output;
mod service;
mod terminal;
mod token;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use futures_util::future::try_join;
use rustix::process::Signal as Process;
use rustix::process::{Resource, Rlimit, setrlimit};
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::output::{print, print_as};
use self::service::{clock, open_service, reachable};
use crate::app::{self, App, FirstPassword, Makes};
use crate::clock::SystemRandom;
use crate::config::{
    self, AuditCommand, Cli, Command, KeysCommand, OpenapiVersion, Output, RegistryCommand,
    Settings,
};
use crate::domain::auth_config::{BundlePath, Product};
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result};
use crate::http;
use crate::service::account_commands::FIRST;
use crate::service::data_keys::ServerKey;
use crate::service::signing_keys::{Consequence, Rotation};
use crate::store::leases;
use crate::telemetry;

/// Runs one command to its end.
pub fn run(cli: Cli) -> Result<()> {
    config::check_variables(std::env::vars_os().map(|(name, _)| name))?;
    let settings = cli.settings;
    if !settings.core_dumps {
        forbid_core_dumps()?;
    }
    telemetry::start(&settings.log, settings.log_format)?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            // Before the actix system, which needs descriptors itself.
            let connections = descriptors::prepare(&settings)?;
            let settings = Settings {
                max_connections: settings.max_connections.min(connections),
                ..settings
            };
            actix_web::rt::System::new().block_on(serve(&settings))
        }
        Command::Migrate => {
            let holder = leases::holder(&SystemRandom)?;
            app::make_data_folder(&settings)?;
            app::open_store(&settings, &clock(), &holder)?.close();
            print(&format!("The database is current: {}.", settings.target()?))
        }
        Command::Account { command } => {
            actix_web::rt::System::new().block_on(account::run(&settings, command))
        }
        Command::Registry { command } => {
            actix_web::rt::System::new().block_on(registry(&settings, command))
        }
        Command::Token { command } => {
            actix_web::rt::System::new().block_on(token::run(&settings, command))
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
            let new = || match (&new_server_key, &new_server_key_file) {
                (Some(key), _) => ServerKey::parse(key),
                (None, Some(file)) => app::next_server_key(file, &SystemRandom),
                (None, None) => Err(Error::internal("no new server key was given")),
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
            output,
            ..
        } => backup::restore(&settings, &file, dry_run, output.output),
        Command::Restore { .. } => Err(Error::internal("no file was given")),
        Command::Audit {
            command: AuditCommand::Verify { output },
        } => actix_web::rt::System::new().block_on(verify(&settings, output.output)),
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
        Command::Healthcheck { ready } => health::run(&settings, ready),
    }
}

/// Prevents core dumps, which would contain secrets.
///
/// It sets a limit of zero and makes the process undumpable: the limit does not apply if the kernel pipes dumps to a
/// program, and a process can become dumpable again through what it executes.
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
        "there is no surface {}; the surfaces are {}",
        quoted(name),
        names.join(", ")
    );
    Error::invalid(Field::Setting, message)
}

/// Verifies that nobody changed the audit trail.
async fn verify(settings: &Settings, output: Output) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let report = service.audit().verify().await;
    service.close();
    let report = report?;
    let looked = format!("{} events in {} chains", report.events, report.chains);
    let whole = report.faults.is_empty();
    let shown = serde_json::json!({
        "events": report.events,
        "chains": report.chains,
        "faults": report.faults,
    });
    print_as(output, &shown, || {
        if whole {
            format!("Nothing was changed: {looked}.")
        } else {
            report.faults.join("\n")
        }
    })?;
    if whole {
        return Ok(());
    }
    Err(Error::invalid(
        Field::Setting,
        format!("the audit trail was changed; {looked} were checked"),
    ))
}

async fn serve(settings: &Settings) -> Result<()> {
    let app = App::start(settings, clock(), Arc::new(SystemRandom)).await?;
    // Before the address is printed: whoever reads it may stop this process at once.
    actix_web::rt::spawn(stop_on_signal(app.server.handle(), Signals::listen()?));
    let greeting = greeting(settings, &app).await?;
    tracing::info!(addresses = ?app.addresses, "the service is ready");
    // Printed last, after the server's log lines, where a person looks.
    try_join(app.run(), async { print(&greeting) }).await?;
    tracing::info!("the service has stopped");
    Ok(())
}

/// The signals that stop the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::internal);
        // A handled SIGXFSZ does not end the process: a write beyond `ulimit -f` fails, as on a full disk.
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

/// The first signal lets running requests finish, a second one does not.
async fn stop_on_signal(server: ServerHandle, mut signals: Signals) {
    signals.next().await;
    tracing::info!("the service stops");
    let stopped = server.stop(true);
    tokio::select! {
        () = stopped => {}
        () = signals.next() => server.stop(false).await,
    }
}

/// The address of the service, a command to try it with, and the first password or its place, if that is new.
async fn greeting(settings: &Settings, app: &App) -> Result<String> {
    let Some(address) = app.addresses.first() else {
        return Ok(String::new());
    };
    let base = base(settings, *address);
    let here = format!("Wharfinger is at {base}.");
    // Show a new password even if the database fails now: nobody would see it otherwise.
    let admin = match &app.first_password {
        Some(FirstPassword::Show(_) | FirstPassword::InFile { .. } | FirstPassword::Given) => {
            Ok(Some(FIRST.to_owned()))
        }
        Some(FirstPassword::Elsewhere(_)) | None => app.service.account_commands().an_admin().await,
    };
    let Ok(admin) = admin else {
        return Ok(here);
    };
    let Some(admin) = admin else {
        return Ok(format!(
            "{here} No account has the role Admin, so nobody can manage it. Add one with the same settings:\n  \
             wharfinger account add NAME --role Admin"
        ));
    };
    // A password in this file still works unless somebody changed it.
    let kept = settings.admin_password_path();
    let kept = (admin == FIRST && kept.exists()).then_some(kept);
    let in_file =
        |path: &Path| format!("{FIRST}:$(cat {})", shell_word(&path.display().to_string()));
    let (news, user) = match &app.first_password {
        Some(FirstPassword::Show(password)) => {
            let password = password.expose_secret();
            let news =
                format!("Made the account {FIRST}. Its password, shown only now: {password}\n");
            (news, format!("{FIRST}:{password}"))
        }
        Some(FirstPassword::InFile { path, machine }) => {
            let place = machine
                .as_ref()
                .map_or(String::new(), |machine| format!(" on {machine}"));
            let path_shown = path.display();
            let news =
                format!("Made the account {FIRST}. Its password is in {path_shown}{place}\n");
            (news, in_file(path))
        }
        Some(FirstPassword::Given) => {
            let news = format!("Made the account {FIRST} with the password you gave.\n");
            (news, FIRST.to_owned())
        }
        Some(FirstPassword::Elsewhere(whose)) if kept.is_none() => {
            let news =
                format!("The first start made the password of the account {FIRST}: {whose}.\n");
            (news, admin)
        }
        Some(FirstPassword::Elsewhere(_)) | None => {
            (String::new(), kept.map_or(admin, |path| in_file(&path)))
        }
    };
    let trust = match (&settings.tls_cert, &settings.public_url) {
        (Some(certificate), None) => format!(
            " --cacert {}",
            shell_word(&certificate.display().to_string())
        ),
        _ => String::new(),
    };
    let url = shell_word(&format!("{base}/registries"));
    Ok(format!(
        "{news}{here} Try:\n  curl{trust} -u \"{user}\" {url}"
    ))
}

/// The URL at which clients reach the service that listens on `address`.
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

/// Quotes a text as one word of a shell command: some shells treat the brackets of an IPv6 address as a pattern.
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

async fn registry(settings: &Settings, command: RegistryCommand) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let keys = service.signing_keys();
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
            RegistryCommand::Freeze { registry } => {
                match service.registries().set_frozen(&registry, true).await? {
                    (name, true) => format!(
                        "{name} is frozen: nothing opens it from the next request on. A registry that checks JWTs \
                         itself accepts those that were given out before until they end."
                    ),
                    (name, false) => format!("{name} is frozen already."),
                }
            }
            RegistryCommand::Thaw { registry } => {
                match service.registries().set_frozen(&registry, false).await? {
                    (name, true) => format!("{name} is thawed: its credentials open it again."),
                    (name, false) => format!("{name} is not frozen."),
                }
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
    let keys = service.signing_keys();
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

/// Rewraps the data keys. It gets the new key last, so that no key is made if the old one does not fit.
async fn rewrap(settings: &Settings, new: impl FnOnce() -> Result<ServerKey>) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let change = match new() {
        Ok(new) => service.server_keys().rewrap(new).await,
        Err(error) => Err(error),
    };
    service.close();
    let change = change?;
    print(&format!(
        "The server key {} opens this database from now on; {} does not any more. Restart every server with the new \
         key, in any order; running servers keep working until then. Keep the old key as long as you keep backups from \
         before.",
        change.to, change.from
    ))
}
