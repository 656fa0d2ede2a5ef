//! Paths of the product whose data is the registry's own: images, not tokens.

use actix_web::web::Data;

use super::super::State;
use super::super::call::Raw;
use super::{Answer, Call};
use crate::domain::text::quoted;
use crate::error::{Error, What};

async fn elsewhere(state: &State, call: &Call<Raw>, what: What) -> Answer {
    // A remembered password alone is no proof that its account is still let in.
    state.service.admit(&call.caller).await?;
    Err(Error::Elsewhere {
        what,
        which: quoted(call.head.0.path()).to_string(),
    }
    .into())
}

pub(super) async fn repositories(state: Data<State>, call: Call<Raw>) -> Answer {
    elsewhere(&state, &call, What::Repository).await
}

pub(super) async fn artifacts(state: Data<State>, call: Call<Raw>) -> Answer {
    elsewhere(&state, &call, What::Artifact).await
}

pub(super) async fn vulnerabilities(state: Data<State>, call: Call<Raw>) -> Answer {
    elsewhere(&state, &call, What::Vulnerability).await
}
