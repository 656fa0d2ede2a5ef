//! TLS of the server: one certificate and its key, reloaded when their files change.
//!
//! If the new files are missing or do not match, the server keeps the last matching pair.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::Signal;
use zeroize::Zeroizing;

use crate::error::{Error, Field, Result};
use crate::metrics::Reloads;

/// The time between checks of the files.
const LOOK: Duration = Duration::from_secs(3);

/// A certificate with its key, and the files that both come from.
#[derive(Debug)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    /// The state of the files when they were first read.
    first: Seen,
    shown: RwLock<Arc<CertifiedKey>>,
    reloads: Reloads,
}

/// Digests of both files, to notice changes without keeping the content.
type Seen = [Option<Vec<u8>>; 2];

impl Identity {
    /// Reads both files, which have to match.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self> {
        // Digest before reading: a change in between is then found later, not missed.
        let first = look(certificate, key);
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            first,
            shown: RwLock::new(Arc::new(read(certificate, key)?)),
            reloads: Reloads::default(),
        })
    }

    /// The TLS configuration: TLS 1.2 and 1.3 with HTTP/1.1. Each handshake uses the current certificate.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Checks the files every few seconds and at each signal, for ever, and reloads them if they changed.
    pub async fn follow(self: Arc<Self>, mut signal: Signal) {
        let mut seen = self.first.clone();
        let mut pause = tokio::time::interval(LOOK);
        loop {
            let asked = tokio::select! {
                _ = pause.tick() => false,
                _ = signal.recv() => true,
            };
            let found = look(&self.certificate, &self.key);
            if asked || found != seen {
                self.renew();
                seen = found;
            }
        }
    }

    /// The counts of reloads.
    #[must_use]
    pub fn counts(&self) -> &Reloads {
        &self.reloads
    }

    fn renew(&self) {
        let read = read(&self.certificate, &self.key);
        self.reloads.count(read.is_ok());
        match read {
            Ok(pair) => {
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                tracing::info!(file = %self.certificate.display(), "the certificate was read again and is in use");
            }
            Err(error) => {
                tracing::error!(
                    error = error.chain(),
                    "the certificate could not be read again, so the previous one stays in use; correct the files"
                );
            }
        }
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

/// Computes the digests; `None` for a file that cannot be read.
fn look(certificate: &Path, key: &Path) -> Seen {
    [certificate, key].map(|file| {
        let contents = std::fs::read(file).map(Zeroizing::new).ok()?;
        Some(digest(&SHA256, &contents).as_ref().to_vec())
    })
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey> {
    let chain = read_certificates(certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| refused("--tls-key", key, &error))?;
    let provider: CryptoProvider = default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(|error| {
        let key = key.display();
        refused(
            "--tls-cert",
            certificate,
            &format!("with the key {key}: {error}"),
        )
    })
}

/// The certificates of a PEM file.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| refused("--tls-cert", path, &error))?;
    if chain.is_empty() {
        return Err(refused(
            "--tls-cert",
            path,
            &"there is no certificate in it",
        ));
    }
    Ok(chain)
}

fn refused(setting: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(
        Field::Setting,
        format!("{setting}: {} cannot be used: {error}", path.display()),
    )
}
