//! The health check command.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, InvalidMessage, SignatureScheme,
    StreamOwned,
};

use super::output::print;
use super::service::reachable;
use crate::config::Settings;
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result};
use crate::tls;

/// The time limit for each step of a health check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// The first byte of a TLS alert, which a TLS server sends to a request without TLS.
const ALERT: u8 = 0x15;
/// The errors of a connection that the other end closed without a word.
const SILENCE: [ErrorKind; 3] = [
    ErrorKind::BrokenPipe,
    ErrorKind::ConnectionReset,
    ErrorKind::UnexpectedEof,
];
const WITH_TLS: &str = "give --tls-cert and --tls-key as the server has them";

/// Checks the server of these settings, over TLS if it uses TLS.
pub(super) fn run(settings: &Settings, ready: bool) -> Result<()> {
    let address = reachable(settings.listen);
    let path = if ready { "/readyz" } else { "/healthz" };
    let ask = || -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
        stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
        stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
        match &settings.tls_cert {
            None => exchange(stream, address, path),
            Some(certificate) => exchange(
                pinned(stream, certificate).map_err(io::Error::other)?,
                address,
                path,
            ),
        }
    };
    let answer = ask();
    let text = answer.as_deref().map(String::from_utf8_lossy);
    let text = text.unwrap_or_default();
    let met = match &answer {
        Ok(answer) if answer.first() == Some(&ALERT) => format!("speaks TLS: {WITH_TLS}"),
        Ok(answer) if answer.is_empty() => silence(settings),
        Ok(_) if !text.starts_with("HTTP/") => {
            format!(
                "answers {}, which is not HTTP; another service listens there",
                quoted(&text)
            )
        }
        Ok(_) => match text.split(' ').nth(1) {
            Some("200") => return print("ok"),
            status => format!("answers {path} with status {}", status.unwrap_or_default()),
        },
        Err(error) if is_plain(error) => {
            "does not speak TLS; leave out --tls-cert and --tls-key".to_owned()
        }
        Err(error) if SILENCE.contains(&error.kind()) => silence(settings),
        Err(error) => format!("does not answer: {error}"),
    };
    Err(Error::invalid(Field::Setting, format!("{address} {met}")))
}

/// The message for a closed connection: some TLS servers close one that does not begin with TLS without a word.
fn silence(settings: &Settings) -> String {
    let advice = match settings.tls_cert {
        None => format!("; if it speaks TLS, {WITH_TLS}"),
        Some(_) => String::new(),
    };
    format!("closed the connection without an answer{advice}")
}

/// Returns true if the server answered to TLS without TLS.
fn is_plain(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
        ))
    )
}

fn exchange(mut stream: impl Read + Write, address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut head = vec![0; 64];
    let read = stream.read(&mut head)?;
    head.truncate(read);
    Ok(head)
}

/// TLS that accepts exactly the certificate of the settings. Its names need not cover the loopback address.
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
