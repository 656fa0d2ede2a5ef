//! Claims by which issuers name workloads, by the kind of issuer. The documentation of each service says which are never
//! given to another workload.

use super::issuer_kind::IssuerKind;

/// A claim by which a kind of issuer names a workload for ever: its dotted name, and the same as a JSON pointer.
pub(super) type Pin = (&'static str, &'static str);

const REPOSITORY_ID: Pin = ("repository_id", "/repository_id");
const OWNER_ID: Pin = ("repository_owner_id", "/repository_owner_id");
pub(super) const SUBJECT: Pin = ("sub", "/sub");

/// The claims of which a trust has to pin one.
pub(super) const fn pins(kind: IssuerKind) -> &'static [Pin] {
    match kind {
        IssuerKind::Github => &[REPOSITORY_ID, OWNER_ID, ("enterprise_id", "/enterprise_id")],
        IssuerKind::Forgejo => &[REPOSITORY_ID, OWNER_ID],
        IssuerKind::Gitlab => &[
            ("project_id", "/project_id"),
            ("namespace_id", "/namespace_id"),
        ],
        IssuerKind::Kubernetes => &[
            (
                "kubernetes.io.serviceaccount.uid",
                "/kubernetes.io/serviceaccount/uid",
            ),
            ("kubernetes.io.namespace", "/kubernetes.io/namespace"),
        ],
        IssuerKind::Buildkite => &[
            ("pipeline_id", "/pipeline_id"),
            ("organization_id", "/organization_id"),
            // The ids are in a JWT only if its job asks for them.
            ("organization_slug", "/organization_slug"),
        ],
        IssuerKind::Circleci => &[(
            "oidc.circleci.com/project-id",
            "/oidc.circleci.com~1project-id",
        )],
        IssuerKind::Spiffe | IssuerKind::Other => &[SUBJECT],
    }
}

/// A claim's values that other people can bring about, so that they are refused unless a trust names them.
pub(super) const fn risky(kind: IssuerKind) -> Option<(Pin, &'static [&'static str])> {
    match kind {
        // Both run with the rights of the repository on content of a fork.
        IssuerKind::Github | IssuerKind::Forgejo => Some((
            ("event_name", "/event_name"),
            &["pull_request_target", "workflow_run"],
        )),
        // A person is inside of the job, and can read its JWT.
        IssuerKind::Circleci => Some((
            (
                "oidc.circleci.com/ssh-rerun",
                "/oidc.circleci.com~1ssh-rerun",
            ),
            &["true", "1"],
        )),
        _ => None,
    }
}

/// Returns true if a rule's name is that of a claim, in either of its spellings.
pub(super) fn is(name: &str, (dotted, pointer): Pin) -> bool {
    name == dotted || name == pointer
}
