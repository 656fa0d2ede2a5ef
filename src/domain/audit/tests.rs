use super::*;

#[test]
fn secrets_are_masked_in_the_names_of_members_too() {
    let secret = "whrt_0123456789abcdefghijklmnopqrstuvwxyzABC";
    let record = json!({"properties": {secret: [secret]}});
    let masked = without_secrets(record);
    assert_eq!(
        masked,
        json!({"properties": {"whrt_[masked]": ["whrt_[masked]"]}})
    );
}

#[test]
fn names_with_a_secret_in_them_are_not_kept() {
    let secret = "whrt_0123456789abcdefghijklmnopqrstuvwxyzABC";
    assert_eq!(told_name("al\u{7}ice").as_deref(), Some("alice"));
    assert_eq!(told_name(secret), None);
    let told = |name| told_actor(name).map(Text::into_string);
    assert_eq!(told(Some("alice")).as_deref(), Some("alice"));
    assert_eq!(told(Some(secret)).as_deref(), Some("whrt_[masked]"));
    assert_eq!(told(None), None);
}

#[test]
fn refusals_have_an_outcome_and_other_errors_have_none() {
    for (error, outcome) in [
        (Error::Unauthenticated, Some(Outcome::Unauthenticated)),
        (Error::NoRole, Some(Outcome::Unauthenticated)),
        (Error::StaleLogin, Some(Outcome::Unauthenticated)),
        (Error::CsrfToken, Some(Outcome::Forbidden)),
        (Error::Forbidden(String::new()), Some(Outcome::Forbidden)),
        (Error::Excessive(Vec::new()), Some(Outcome::Forbidden)),
        (
            Error::RateLimited { retry_after: 1 },
            Some(Outcome::Throttled),
        ),
        (Error::Invalid(Vec::new()), None),
    ] {
        assert_eq!(Outcome::of(&error), outcome, "{error:?}");
    }
}

#[test]
fn an_event_of_nobody_names_nobody() {
    let origin = Origin {
        address: Some(IpAddr::from([192, 0, 2, 1])),
        request_id: "r-1".to_owned(),
    };
    let id = Some(Uuid::from_u128(7));
    let subject = (SubjectKind::Token, id);
    let at = DateTime::UNIX_EPOCH;
    let mut event = Event::of(
        Kind::Refuse,
        Outcome::Forbidden,
        subject,
        By {
            actor: Some(AccountId(Uuid::from_u128(8))),
            credential: Some(Credential::Password),
            ..By::named("alice", origin)
        },
        at,
    );
    assert!(event.actor_name.is_some() && event.address.is_some());
    event.registry = Some(RegistryId(Uuid::from_u128(9)));
    event.registry_name = Some("prod".to_owned());
    let nobody = event.of_nobody();
    assert_eq!(
        (nobody.actor, nobody.registry, nobody.subject),
        (None, None, None)
    );
    assert!(nobody.actor_name.is_none() && nobody.registry_name.is_none());
    assert_eq!(nobody.address, None);
    assert_eq!(nobody.detail, Detail::default());
    assert_eq!(
        (nobody.kind, nobody.outcome),
        (Kind::Refuse, Outcome::Forbidden)
    );
}

#[test]
fn a_change_shows_the_members_that_differ() {
    let change = |kind| Change {
        kind,
        subject_kind: SubjectKind::Token,
        subject: None,
        registry: None,
        before: Some(json!({"name": "ci", "status": "enabled"})),
        after: Some(json!({"name": "ci", "status": "disabled"})),
        beside: Map::new(),
    };
    let whole = json!({"name": "ci", "status": "disabled"});
    for (kind, detail) in [
        (
            Kind::Update,
            json!({"before": {"status": "enabled"}, "after": {"status": "disabled"}}),
        ),
        (
            Kind::Leak,
            json!({"before": {"name": "ci", "status": "enabled"}, "after": whole}),
        ),
        (Kind::Revoke, json!({"after": whole})),
    ] {
        let by = By::nobody(Origin::command());
        let event = Event::of_change(change(kind), &by, DateTime::UNIX_EPOCH);
        let told: Value = serde_json::from_str(&event.detail.into_json()).unwrap();
        assert_eq!(told, detail);
    }
}

#[test]
fn a_workload_is_recorded_by_its_claims() {
    let claims = [("sub", "job".to_owned()), ("ref", "main".to_owned())];
    assert_eq!(named_claims(&claims), json!({"sub": "job", "ref": "main"}));
}
