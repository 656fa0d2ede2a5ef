//! The bodies of this surface for the fuzz targets, see [`crate::http::fuzzing`].

use super::bulk_request::{Asked, PostBulk};
use super::evaluation::EvaluateToken;
use super::wire::{CreateIssuer, CreateRegistry, CreateToken, CreateTrust, EvaluateTrust};
use super::wire::{PatchAccount, PatchIssuer, PatchRegistry, PatchToken, PatchTrust};
use super::wire::{PostAccount, PutMember, TrustQuestion};
use crate::domain::account::{AccountPatch, CreateAccount};
use crate::domain::evaluation::Question;
use crate::domain::filter::TokenFilter;
use crate::domain::issuer::{IssuerPatch, NewIssuer};
use crate::domain::membership::Membership;
use crate::domain::registry::{NewRegistry, RegistryPatch};
use crate::domain::token::{NewToken, TokenPatch};
use crate::domain::trust::{NewTrust, TrustPatch};
use crate::error::Result;
use crate::http::body::command;

/// The body that makes a registry, or replaces one.
pub fn new_registry(text: &[u8]) -> Result<NewRegistry> {
    command::<CreateRegistry, _>(text)
}

/// The body that changes a registry.
pub fn registry_patch(text: &[u8]) -> Result<RegistryPatch> {
    command::<PatchRegistry, _>(text)
}

/// The body that makes a token, or replaces one.
pub fn new_token(text: &[u8]) -> Result<NewToken> {
    command::<CreateToken, _>(text)
}

/// The body that changes a token.
pub fn token_patch(text: &[u8]) -> Result<TokenPatch> {
    command::<PatchToken, _>(text)
}

/// The body that asks what a token opens.
pub fn question(text: &[u8]) -> Result<Question> {
    command::<EvaluateToken, _>(text)
}

/// The body that makes an account.
pub fn new_account(text: &[u8]) -> Result<CreateAccount> {
    command::<PostAccount, _>(text)
}

/// The body that changes an account.
pub fn account_patch(text: &[u8]) -> Result<AccountPatch> {
    command::<PatchAccount, _>(text)
}

/// The body that makes an account a member.
pub fn membership(text: &[u8]) -> Result<Membership> {
    command::<PutMember, _>(text)
}

/// The body that makes an issuer, or replaces one.
pub fn new_issuer(text: &[u8]) -> Result<NewIssuer> {
    command::<CreateIssuer, _>(text)
}

/// The body that changes an issuer.
pub fn issuer_patch(text: &[u8]) -> Result<IssuerPatch> {
    command::<PatchIssuer, _>(text)
}

/// The body that makes a trust, or replaces one.
pub fn new_trust(text: &[u8]) -> Result<NewTrust> {
    command::<CreateTrust, _>(text)
}

/// The body that changes a trust.
pub fn trust_patch(text: &[u8]) -> Result<TrustPatch> {
    command::<PatchTrust, _>(text)
}

/// The filter of the body that changes many tokens.
pub fn bulk_filter(text: &[u8]) -> Result<Option<TokenFilter>> {
    command::<PostBulk, Asked>(text).map(|asked| match asked {
        Asked::Preview(wish) => Some(wish.filter),
        Asked::Start(confirmation) => confirmation.filter,
    })
}

/// The body that asks what a workload would get.
pub fn trust_question(text: &[u8]) -> Result<Question> {
    command::<EvaluateTrust, TrustQuestion>(text).map(|question| question.question)
}
