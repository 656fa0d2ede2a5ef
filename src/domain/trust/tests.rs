use super::*;
use crate::domain::id::{AccountId, IssuerKey, RegistryId};
use crate::domain::issuer_kind::IssuerKind;
use crate::domain::key_source::IssuerUrl;
use crate::domain::membership::Images;
use crate::domain::permission::Level;
use crate::domain::token_verifier::TokenVerifier;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(hours)
}

fn claims(subject: &str) -> ClaimRules {
    let rules = json!({"sub": subject});
    ClaimRules::parse(rules.as_object().unwrap().clone()).unwrap()
}

fn list(entries: &[&str]) -> AllowList {
    AllowList::of_token(entries.iter().map(|entry| (*entry).to_owned()).collect()).unwrap()
}

fn issuer(key: i64) -> IssuerRules {
    IssuerRules {
        key: IssuerKey(key),
        id: IssuerId(Uuid::from_u128(1)),
        url: IssuerUrl::parse("https://ci.example").unwrap(),
        kind: IssuerKind::Other,
        algorithms: Vec::new(),
        status: Status::Enabled,
        version: 1,
    }
}

fn trust() -> Trust {
    Trust {
        key: TrustKey(1),
        id: TrustId(Uuid::nil()),
        registry: RegistryKey(1),
        name: "ci".to_owned(),
        issuer: issuer(1),
        audience: None,
        claims: claims("job"),
        scopes: vec![Scope {
            actions: vec!["pull".to_owned()],
            name: "a".to_owned(),
            r#type: "repository".to_owned(),
        }],
        allowed_cidrs: AllowList::default(),
        maximum_life: None,
        status: Status::Enabled,
        expiry_date: None,
        generation: 1,
        version: 1,
        created: Attribution {
            at: at(0),
            by: AccountId(Uuid::nil()),
            by_name: "alice".to_owned(),
        },
        modified: None,
    }
}

#[test]
fn audiences_all_show() {
    assert!(parse_audience("ä".repeat(256)).is_ok());
    for wrong in ["", "a\nb", &"a".repeat(257)] {
        assert!(
            parse_audience(wrong.to_owned()).is_err(),
            "{wrong:?} was accepted"
        );
    }
}

#[test]
fn a_trust_opens_nothing_once_it_or_its_issuer_is_disabled_or_it_has_ended() {
    let (on, off) = (Status::Enabled, Status::Disabled);
    for (issuer, status, end, state, usable) in [
        (on, on, None, "enabled", true),
        (on, on, Some(at(11)), "enabled", true),
        (on, on, Some(at(10)), "expired", false),
        (on, off, None, "disabled", false),
        (off, on, None, "enabled", false),
    ] {
        let mut trust = trust();
        (trust.issuer.status, trust.status, trust.expiry_date) = (issuer, status, end);
        assert_eq!(trust.state_at(at(10)), state);
        assert_eq!(
            trust.unusable_at(at(10)).is_none(),
            usable,
            "{issuer:?} {status:?} {end:?}"
        );
        assert_eq!(trust.tag_at(at(10)).state, u8::from(state == "expired"));
    }
}

#[test]
fn both_lists_of_addresses_have_to_admit_a_workload() {
    let here = IpAddr::from([192, 0, 2, 1]);
    for (registry, own, admitted) in [
        (&[][..], &[][..], true),
        (&["192.0.2.0/24"], &["192.0.2.1"], true),
        (&["192.0.3.0/24"], &["192.0.2.1"], false),
        (&["192.0.2.0/24"], &["192.0.2.2"], false),
    ] {
        let tenant = Tenant {
            key: RegistryKey(1),
            id: RegistryId(Uuid::nil()),
            name: "prod".to_owned(),
            verifier: TokenVerifier::X5c,
            api_subnet_allow_list: list(registry),
            maximum_secret_age: None,
            frozen: false,
        };
        let trust = Trust {
            allowed_cidrs: list(own),
            ..trust()
        };
        let reason = trust.closed_to(&tenant, here);
        assert_eq!(reason.is_none(), admitted, "{registry:?} {own:?}");
    }
}

/// Each patch, whether it ends what was issued before, and whether it gives somebody more.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a table of cases is read best where it is written"
)]
fn other_workloads_count_as_more_and_end_what_was_issued() {
    let patch = TrustPatch::default;
    let scopes = |actions: &[&str]| {
        let mut scopes = trust().scopes;
        scopes[0].actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Some(scopes)
    };
    let short = Trust {
        maximum_life: Some(Period::of_minutes(5)),
        ..trust()
    };
    for (before, patch, to, changed, ended, wider) in [
        (trust(), patch(), None, false, false, false),
        (trust(), patch(), Some(issuer(1)), false, false, false),
        (trust(), patch(), Some(issuer(2)), true, true, true),
        (
            trust(),
            TrustPatch {
                audience: Patch::Set("us".to_owned()),
                ..patch()
            },
            None,
            true,
            true,
            true,
        ),
        (
            trust(),
            TrustPatch {
                claims: Some(claims("other")),
                ..patch()
            },
            None,
            true,
            true,
            true,
        ),
        (
            trust(),
            TrustPatch {
                scopes: scopes(&["pull", "push"]),
                ..patch()
            },
            None,
            true,
            false,
            true,
        ),
        (
            trust(),
            TrustPatch {
                scopes: scopes(&[]),
                ..patch()
            },
            None,
            true,
            false,
            false,
        ),
        (
            trust(),
            TrustPatch {
                status: Some(Status::Disabled),
                ..patch()
            },
            None,
            true,
            true,
            false,
        ),
        (
            trust(),
            TrustPatch {
                maximum_life: Patch::Set(LONGEST_LIFE),
                ..patch()
            },
            None,
            false,
            false,
            false,
        ),
        (
            trust(),
            TrustPatch {
                maximum_life: Patch::Set(Period::of_minutes(5)),
                ..patch()
            },
            None,
            true,
            false,
            false,
        ),
        (
            short,
            TrustPatch {
                maximum_life: Patch::Clear,
                ..patch()
            },
            None,
            true,
            false,
            true,
        ),
    ] {
        let mut after = before.clone();
        let told = after.update(patch.clone(), to.as_ref(), at(10)).unwrap();
        assert_eq!(told, changed, "{patch:?}");
        assert_eq!(after.generation > before.generation, ended, "{patch:?}");
        assert_eq!(
            after.grant().is_wider_than(&before.grant()),
            wider,
            "{patch:?}"
        );
    }
    let past = TrustPatch {
        expiry_date: Patch::Set(at(10)),
        ..patch()
    };
    assert!(trust().update(past.clone(), None, at(10)).is_err());
    let mut ended = Trust {
        expiry_date: Some(at(10)),
        ..trust()
    };
    assert!(!ended.update(past, None, at(20)).unwrap());
    let renamed = TrustPatch {
        name: Some("cd".to_owned()),
        ..patch()
    };
    assert!(trust().update(renamed, None, at(10)).is_err());
}

#[test]
fn a_trust_opens_no_more_than_its_maker_may() {
    let holder = |images| Holder {
        rights: Rights {
            visible: true,
            registry: None,
            token: Some(Level::Write),
            access: None,
            images,
        },
        until: None,
    };
    let trust = trust();
    assert!(trust.grant().require_held(&holder(Images::Pull)).is_ok());
    assert!(
        trust
            .grant()
            .require_held(&holder(Images::Nothing))
            .is_err()
    );
}

#[test]
fn a_patch_that_disables_and_does_more_is_no_mere_stop() {
    let disables = TrustPatch {
        status: Some(Status::Disabled),
        name: Some("ci".to_owned()),
        ..TrustPatch::default()
    };
    assert!(disables.only_disables());
    for more in [
        TrustPatch {
            issuer: Some(issuer(1).id),
            ..disables.clone()
        },
        TrustPatch {
            audience: Patch::Clear,
            ..disables.clone()
        },
        TrustPatch {
            claims: Some(claims("job")),
            ..disables.clone()
        },
        TrustPatch {
            scopes: Some(Vec::new()),
            ..disables.clone()
        },
        TrustPatch {
            allowed_cidrs: Some(AllowList::default()),
            ..disables.clone()
        },
        TrustPatch {
            maximum_life: Patch::Clear,
            ..disables.clone()
        },
        TrustPatch {
            expiry_date: Patch::Clear,
            ..disables.clone()
        },
        TrustPatch {
            status: Some(Status::Enabled),
            ..disables.clone()
        },
        TrustPatch {
            status: None,
            ..disables
        },
    ] {
        assert!(!more.only_disables(), "{more:?}");
    }
}
