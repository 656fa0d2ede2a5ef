//! The question which credential a secret belongs to: the secret, and how that credential is to end.

use secrecy::{ExposeSecret as _, SecretString};

use super::secret::{REFRESH_PREFIX, WORKLOAD_PREFIX, is_machine_secret, is_url_safe};
use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The longest secret, in bytes: no longer one fits into the header of a request.
const LENGTH: usize = 8192;

/// A text in the form of a secret of this service.
#[derive(Debug, Clone)]
pub struct Suspect(SecretString);

impl Suspect {
    /// Reads a text in the form of a secret: a machine secret with its checksum, a refresh token, the password of a workload, or a JWT. White space
    /// around it is left out. The error never quotes it.
    pub fn parse(text: &SecretString) -> Result<Self> {
        let secret = text.expose_secret().trim();
        if secret.len() <= LENGTH && has_form(secret) {
            return Ok(Self(secret.into()));
        }
        Err(Error::invalid(
            Field::Secret,
            "secret is not in the form of a secret of this service, or is not whole; send all of a registry token's \
             secret (whrt_…), of an app token's code (WHA…), of a refresh token (whrr_…), of a workload's password (whrw_…), of an API token \
             or of a JWT",
        ))
    }

    /// The secret.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

fn has_form(text: &str) -> bool {
    let url_safe = |part: &str| !part.is_empty() && part.bytes().all(is_url_safe);
    let mut prefixes = [REFRESH_PREFIX, WORKLOAD_PREFIX].into_iter();
    if let Some(sealed) = prefixes.find_map(|prefix| text.strip_prefix(prefix)) {
        return url_safe(sealed);
    }
    // The base64 of `{"`, with which the header of a JWT begins.
    let jwt = text.starts_with("eyJ") && text.split('.').count() == 3;
    is_machine_secret(text) || (jwt && text.split('.').all(url_safe))
}

/// How a credential is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It opens nothing more. A registry token stays, disabled; an API token stays, revoked; an app token goes.
    Disable,
    /// A registry token goes too.
    Delete,
}

impl Ending {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Disable, Self::Delete];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Delete => "delete",
        }
    }

    /// Reads the word as a caller sends it.
    pub fn parse(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| {
            Error::invalid(
                Field::Action,
                format!(
                    "action {} is neither \"disable\" nor \"delete\"; leave it out only to look",
                    quoted(text)
                ),
            )
        })
    }
}

/// The kind of a secret that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretType {
    /// The current secret of a registry token.
    RegistryToken,
    /// The secret of a registry token before its current one.
    PreviousSecret,
    /// The code of an app token.
    AppToken,
    /// An API token.
    ApiToken,
    /// An API token of one registry.
    RegistryApiToken,
    /// The password that a workload got for its JWT.
    WorkloadPassword,
    /// A refresh token of a registry's client.
    RefreshToken,
    /// A JWT for a registry.
    Jwt,
}

impl SecretType {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RegistryToken => "registry-token",
            Self::PreviousSecret => "previous-secret",
            Self::AppToken => "app-token",
            Self::ApiToken => "api-token",
            Self::RegistryApiToken => "registry-api-token",
            Self::WorkloadPassword => "workload-password",
            Self::RefreshToken => "refresh-token",
            Self::Jwt => "jwt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::{CODE_ENTROPY, TOKEN_ENTROPY, app_token_code, token_secret};

    fn is_suspect(text: &str) -> bool {
        Suspect::parse(&text.into()).is_ok()
    }

    #[test]
    fn only_the_form_of_a_secret_is_a_suspect() {
        let token = token_secret([9; TOKEN_ENTROPY]);
        let code = app_token_code([9; CODE_ENTROPY]);
        for secret in [
            token.expose_secret(),
            code.expose_secret(),
            "whrr_AAAAAAAAAAFIl4dZ0cVn",
            "whrw_AAAAAAAAAAFIl4dZ0cVn",
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln",
        ] {
            assert!(is_suspect(secret), "{secret:?}");
            assert!(is_suspect(&format!(" {secret}\r\n")), "{secret:?}");
            assert!(!is_suspect(&format!("{secret}\0")), "{secret:?}");
            assert!(!is_suspect(&format!("x {secret}")), "{secret:?}");
        }
        let long = format!("eyJ.a.{}", "a".repeat(LENGTH));
        let typo = token.expose_secret().replacen("whrt_", "whrt_x", 1);
        for wrong in [
            "",
            "hunter22",
            "whrr_",
            "whrw_",
            "eyJ..a",
            "eyJ.a",
            "eyJ.a.b.c",
            &long,
            &typo,
        ] {
            assert!(!is_suspect(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn an_error_never_quotes_the_text() {
        let error = Suspect::parse(&"hunter22".into()).unwrap_err();
        assert!(!error.to_string().contains("hunter22"), "{error}");
        assert!(!format!("{:?}", Suspect("hunter22".into())).contains("hunter22"));
    }

    #[test]
    fn what_is_looked_up_is_the_secret_that_was_sent() {
        let secret = token_secret([9; TOKEN_ENTROPY]);
        let sent = format!(" {}\n", secret.expose_secret());
        let suspect = Suspect::parse(&sent.as_str().into()).unwrap();
        assert_eq!(suspect.secret().expose_secret(), secret.expose_secret());
        for ending in Ending::ALL {
            assert_eq!(Ending::parse(ending.as_str()).unwrap(), ending);
        }
        assert!(Ending::parse("revoke").is_err());
    }
}
