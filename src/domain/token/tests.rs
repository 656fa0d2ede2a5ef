use super::*;
use crate::domain::id::{AccountId, RegistryId};
use crate::domain::membership::Images;
use crate::domain::period::Period;
use crate::domain::permission::Level;
use crate::domain::rotation::Previous;
use crate::domain::token_verifier::TokenVerifier;
use proptest::prelude::*;

#[test]
fn names_follow_the_pattern() {
    for right in ["ab", "A1", "push-token", &format!("a{}z", "-".repeat(61))] {
        assert!(TokenName::parse(right).is_ok(), "{right:?} was refused");
    }
    for wrong in [
        "",
        "a",
        "1a",
        "-a",
        "a-",
        "a_b",
        "a.b",
        "a b",
        "ab\n",
        "a\0b",
        "äb",
        &"a".repeat(64),
    ] {
        assert!(TokenName::parse(wrong).is_err(), "{wrong:?} was accepted");
    }
}

#[test]
fn the_later_use_counts_and_a_login_keeps_the_repository() {
    let at = |second, repository: Option<&str>| LastUse {
        at: DateTime::from_timestamp(second, 0).unwrap(),
        address: Some(IpAddr::from([192, 0, 2, u8::try_from(second).unwrap()])),
        repository: repository.map(str::to_owned),
    };
    for (first, second, merged) in [
        (at(1, Some("a")), at(2, Some("b")), at(2, Some("b"))),
        (at(2, Some("b")), at(1, Some("a")), at(2, Some("b"))),
        (at(1, Some("a")), at(2, None), at(2, Some("a"))),
        (at(2, None), at(1, Some("a")), at(2, Some("a"))),
        (at(1, None), at(2, None), at(2, None)),
        (at(1, Some("a")), at(1, Some("b")), at(1, Some("b"))),
    ] {
        let mut use_ = first;
        use_.merge(second);
        assert_eq!(use_, merged);
    }
}

#[test]
fn instants_need_a_zone_and_four_digit_years() {
    let read = |text| {
        parse_expiry(text)
            .unwrap()
            .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
    };
    assert_eq!(read("2027-01-13T16:27:42Z"), "2027-01-13T16:27:42Z");
    assert_eq!(
        read("2031-01-02T03:04:05.123456789+02:00"),
        "2031-01-02T01:04:05.123456Z"
    );
    assert_eq!(read("9999-12-31T23:59:59Z"), "9999-12-31T23:59:59Z");
    for wrong in [
        "",
        "2027-01-13",
        "2027-01-13T16:27:42",
        "10000-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "2027-13-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "tomorrow",
    ] {
        assert!(parse_expiry(wrong).is_err(), "{wrong:?} was accepted");
    }
}

proptest! {
    #[test]
    fn what_was_read_is_shown_as_the_same_instant(seconds in 0_i64..253_402_300_800, micros in 0_u32..1_000_000, offset in -14_i32..=14) {
        let zone = chrono::FixedOffset::east_opt(offset * 3600).unwrap();
        let instant = DateTime::from_timestamp(seconds, micros * 1000).unwrap();
        let sent = instant.with_timezone(&zone);
        prop_assume!((1970..=9999).contains(&chrono::Datelike::year(&sent)));
        prop_assert_eq!(parse_expiry(&sent.to_rfc3339()).unwrap(), instant);
    }
}

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(hours)
}

fn list(entries: &[&str]) -> AllowList {
    AllowList::of_token(entries.iter().map(|entry| (*entry).to_owned()).collect()).unwrap()
}

fn scopes(actions: &[&str]) -> Vec<Scope> {
    vec![Scope {
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        name: "a".to_owned(),
        r#type: "repository".to_owned(),
    }]
}

fn token(status: Status, expiry_date: Option<DateTime<Utc>>) -> Token {
    Token {
        key: TokenKey(1),
        id: TokenId(Uuid::nil()),
        registry: RegistryKey(1),
        position: 1,
        name: "ci".to_owned(),
        description: None,
        labels: Labels::default(),
        status,
        expiry_date,
        scopes: scopes(&["pull"]),
        allowed_cidrs: AllowList::default(),
        secrets: Secrets {
            made_at: at(0),
            previous: None,
            maximum_age: None,
        },
        version: 1,
        created: Attribution {
            at: at(0),
            by: AccountId(Uuid::nil()),
            by_name: "alice".to_owned(),
        },
        modified: None,
        last_used: None,
    }
}

#[test]
fn a_token_opens_nothing_once_it_is_disabled_or_has_come_to_its_end() {
    for (status, end, state, usable) in [
        (Status::Enabled, None, "enabled", true),
        (Status::Enabled, Some(at(11)), "enabled", true),
        (Status::Enabled, Some(at(10)), "expired", false),
        (Status::Enabled, Some(at(9)), "expired", false),
        (Status::Disabled, None, "disabled", false),
        (Status::Disabled, Some(at(9)), "disabled", false),
    ] {
        let token = token(status, end);
        assert_eq!(token.state_at(at(10)), state, "{status:?} {end:?}");
        assert_eq!(
            token.unusable_at(at(10)).is_none(),
            usable,
            "{status:?} {end:?}"
        );
    }
    let mut aged = token(Status::Enabled, None);
    aged.secrets.maximum_age = Some(Period::of_days(1));
    assert_eq!(aged.unusable_at(at(23)), None);
    assert!(aged.unusable_at(at(24)).unwrap().contains("rotate it"));
}

#[test]
fn each_end_of_a_token_or_a_secret_changes_its_tag() {
    let mut token = token(Status::Enabled, Some(at(40)));
    token.secrets = Secrets {
        made_at: at(6),
        previous: Some(Previous {
            made_at: at(0),
            until: at(10),
        }),
        maximum_age: Some(Period::of_days(1)),
    };
    let state = |hour| token.tag_at(at(hour)).state;
    assert_eq!([9, 10, 29, 30, 39, 40].map(state), [2, 0, 0, 4, 4, 5]);
}

#[test]
fn both_lists_of_addresses_have_to_admit_a_client() {
    let tenant = |entries: &[&str]| Tenant {
        key: RegistryKey(1),
        id: RegistryId(Uuid::nil()),
        name: "prod".to_owned(),
        verifier: TokenVerifier::X5c,
        api_subnet_allow_list: list(entries),
        maximum_secret_age: None,
        frozen: false,
    };
    let here = IpAddr::from([192, 0, 2, 1]);
    for (registry, own, admitted) in [
        (&[][..], &[][..], true),
        (&["192.0.2.0/24"], &["192.0.2.1"], true),
        (&["192.0.3.0/24"], &["192.0.2.1"], false),
        (&["192.0.2.0/24"], &["192.0.2.2"], false),
        (&[], &["192.0.2.2"], false),
    ] {
        let mut token = token(Status::Enabled, None);
        token.allowed_cidrs = list(own);
        let reason = token.closed_to(&tenant(registry), here);
        assert_eq!(reason.is_none(), admitted, "{registry:?} {own:?}");
    }
}

#[test]
fn a_change_that_lets_a_token_do_more_is_wider() {
    let (here, both) = (list(&["192.0.2.1"]), list(&["192.0.2.0/30"]));
    let (pull, push) = (scopes(&["pull"]), scopes(&["pull", "push"]));
    let everywhere = AllowList::default();
    let base = Grant::of(&pull, &here, Status::Enabled, Some(at(10)));
    for (after, wider) in [
        (base, false),
        (
            Grant {
                status: Status::Disabled,
                ..base
            },
            false,
        ),
        (
            Grant {
                expiry_date: Some(at(9)),
                ..base
            },
            false,
        ),
        (
            Grant {
                expiry_date: Some(at(11)),
                ..base
            },
            true,
        ),
        (
            Grant {
                expiry_date: None,
                ..base
            },
            true,
        ),
        (
            Grant {
                scopes: &[],
                ..base
            },
            false,
        ),
        (
            Grant {
                scopes: &push,
                ..base
            },
            true,
        ),
        (
            Grant {
                allowed_cidrs: Some(&both),
                ..base
            },
            true,
        ),
        (
            Grant {
                allowed_cidrs: Some(&everywhere),
                ..base
            },
            true,
        ),
        (
            Grant {
                allowed_cidrs: None,
                ..base
            },
            true,
        ),
    ] {
        assert_eq!(after.is_wider_than(&base), wider, "{after:?}");
    }
    let disabled = Grant {
        status: Status::Disabled,
        ..base
    };
    assert!(base.is_wider_than(&disabled));
    let open = Grant {
        allowed_cidrs: None,
        ..base
    };
    let listed = Grant {
        allowed_cidrs: Some(&everywhere),
        ..base
    };
    assert!(!open.is_wider_than(&listed) && !listed.is_wider_than(&open));
    assert!(!base.is_wider_than(&open));
}

#[test]
fn a_token_gets_neither_scopes_nor_time_that_its_maker_lacks() {
    let everywhere = AllowList::default();
    let (pull, push) = (scopes(&["pull"]), scopes(&["push"]));
    let holder = |until| Holder {
        rights: Rights {
            visible: true,
            registry: None,
            token: Some(Level::Write),
            access: None,
            images: Images::Pull,
        },
        until,
    };
    for (scopes, end, until, made) in [
        (&pull, None, None, true),
        (&push, None, None, false),
        (&pull, Some(at(10)), Some(at(10)), true),
        (&pull, Some(at(11)), Some(at(10)), false),
        (&pull, None, Some(at(10)), false),
    ] {
        let grant = Grant::of(scopes, &everywhere, Status::Enabled, end);
        let taken = grant.require_held(&holder(until)).is_ok();
        assert_eq!(taken, made, "{scopes:?} {end:?} {until:?}");
    }
}

#[test]
fn a_patch_that_disables_and_does_more_is_no_mere_stop() {
    let disables = TokenPatch {
        status: Some(Status::Disabled),
        name: Some("ci".to_owned()),
        ..TokenPatch::default()
    };
    assert!(disables.only_disables());
    for more in [
        TokenPatch {
            description: Patch::Clear,
            ..disables.clone()
        },
        TokenPatch {
            labels: Some(Labels::default()),
            ..disables.clone()
        },
        TokenPatch {
            expiry_date: Patch::Clear,
            ..disables.clone()
        },
        TokenPatch {
            scopes: Some(Vec::new()),
            ..disables.clone()
        },
        TokenPatch {
            allowed_cidrs: Some(AllowList::default()),
            ..disables.clone()
        },
        TokenPatch {
            status: Some(Status::Enabled),
            ..disables.clone()
        },
        TokenPatch {
            status: None,
            ..disables
        },
    ] {
        assert!(!more.only_disables(), "{more:?}");
    }
}

#[test]
fn an_end_that_is_sent_back_is_kept_and_a_new_one_lies_ahead() {
    let update = |patch, lives| {
        let mut token = token(Status::Enabled, Some(at(10)));
        let changed = token.update(patch, lives, at(20));
        changed.map(|changed| (changed, token.expiry_date)).ok()
    };
    let to = |end| TokenPatch {
        expiry_date: end,
        ..TokenPatch::default()
    };
    let none = Lives::default();
    let day = Lives {
        default: None,
        maximum: Some(Period::of_days(1)),
    };
    let kept = Some((false, Some(at(10))));
    for (patch, lives, result) in [
        (to(Patch::Keep), none, kept),
        (to(Patch::Set(at(10))), none, kept),
        (to(Patch::Set(at(10))), day, kept),
        (to(Patch::Set(at(20))), none, None),
        (to(Patch::Set(at(21))), none, Some((true, Some(at(21))))),
        (to(Patch::Set(at(45))), day, None),
        (to(Patch::Clear), none, Some((true, None))),
        (to(Patch::Clear), day, None),
        (
            TokenPatch {
                name: Some("ci".to_owned()),
                ..to(Patch::Keep)
            },
            none,
            kept,
        ),
        (
            TokenPatch {
                name: Some("cd".to_owned()),
                ..to(Patch::Keep)
            },
            none,
            None,
        ),
    ] {
        assert_eq!(update(patch.clone(), lives), result, "{patch:?}");
    }

    // A PUT without an end: none, but where a rule requires one the end stays.
    let replace = |lives| {
        let new = NewToken {
            name: TokenName::parse("ci").unwrap(),
            description: Patch::Keep,
            labels: None,
            expiry_date: Patch::Keep,
            scopes: scopes(&["pull"]),
            allowed_cidrs: None,
            status: Status::Enabled,
            with_password: false,
        };
        let mut token = token(Status::Enabled, Some(at(30)));
        token.replace(new, lives, at(20)).unwrap();
        token.expiry_date
    };
    assert_eq!((replace(none), replace(day)), (None, Some(at(30))));

    let end = |before: Option<_>| {
        let mut token = token(Status::Enabled, before);
        (token.end(at(20)), token.expiry_date)
    };
    assert_eq!(end(None), (true, Some(at(20))));
    assert_eq!(end(Some(at(30))), (true, Some(at(20))));
    assert_eq!(end(Some(at(10))), (false, Some(at(10))));
}
