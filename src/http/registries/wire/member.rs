//! Members in bodies.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::Links;
use super::account::AccountStatus;
use crate::domain::membership::{Member, Membership};
use crate::error::{Error, Result};
use crate::http::schema::described_word;

/// The level of a member.
pub(super) struct Level;

impl PartialSchema for Level {
    fn schema() -> RefOr<Schema> {
        let words = Membership::ALL.into_iter().rev().map(Membership::as_str);
        let description = "The level of a member: a reader sees the registry and its tokens and pulls; a maintainer \
                           manages tokens too and pushes; an owner manages the registry and its members too and deletes";
        described_word(description, words, "maintainer").into()
    }
}

impl ToSchema for Level {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("MemberLevel")
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct MemberProperties {
    /// The account's name
    #[schema(example = "alice@example.com")]
    name: String,
    #[schema(value_type = Level)]
    level: &'static str,
    /// The status of the account
    #[schema(value_type = AccountStatus)]
    status: &'static str,
}

/// An account as a member of a registry
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemberResponse)]
pub(in super::super) struct MemberView {
    /// The account's id
    #[schema(format = Uuid, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    id: String,
    #[schema(example = "member")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    properties: MemberProperties,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        let Member {
            registry: _,
            key: _,
            account,
            name,
            status,
            level,
        } = member;
        Self {
            id: account.to_string(),
            r#type: "member",
            href: "",
            properties: MemberProperties {
                name,
                level: level.as_str(),
                status: status.as_str(),
            },
        }
    }
}

/// A page of members
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MembersResponse)]
pub(in super::super) struct MemberList {
    #[schema(example = "members")]
    pub(in super::super) id: &'static str,
    #[schema(example = "collection")]
    pub(in super::super) r#type: &'static str,
    #[schema(example = "")]
    pub(in super::super) href: &'static str,
    /// The number of elements before this page
    #[schema(example = 0)]
    pub(in super::super) offset: i64,
    /// The most elements on this page
    #[schema(example = 100)]
    pub(in super::super) limit: i64,
    /// Elements on this page
    #[schema(example = 1)]
    pub(in super::super) count: usize,
    /// Members in all
    #[schema(example = 1)]
    pub(in super::super) total: i64,
    pub(in super::super) items: Vec<MemberView>,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}

/// The level that an account gets
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutMemberInput)]
pub(in super::super) struct PutMember {
    #[schema(value_type = Level)]
    level: String,
}

impl TryFrom<PutMember> for Membership {
    type Error = Error;

    fn try_from(body: PutMember) -> Result<Self> {
        Self::parse(&body.level)
    }
}
