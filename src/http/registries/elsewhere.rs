//! Paths of the product whose data is the registry's own: images, not tokens.

use actix_web::HttpRequest;

use super::super::call::Raw;
use super::{Answer, Call};
use crate::domain::text::quoted;
use crate::error::{Error, What};

fn elsewhere(what: What, request: &HttpRequest) -> Answer {
    Err(Error::Elsewhere {
        what,
        which: quoted(request.path()).to_string(),
    }
    .into())
}

pub(super) async fn repositories(call: Call<Raw>) -> Answer {
    elsewhere(What::Repository, &call.head.0)
}

pub(super) async fn artifacts(call: Call<Raw>) -> Answer {
    elsewhere(What::Artifact, &call.head.0)
}

pub(super) async fn vulnerabilities(call: Call<Raw>) -> Answer {
    elsewhere(What::Vulnerability, &call.head.0)
}
