//! The access that a token would be granted, with reasons: the answer to an operator whose pipeline is refused.
//!
//! Owns the reasons. [`super::scope`] decides, as it does for registries: so the two cannot disagree.

use std::cell::OnceCell;
use std::net::IpAddr;

use super::pattern::{ANY, matches};
use super::scope::{
    Access, CATALOG, Grantable, REGISTRY, REPOSITORY, REPOSITORY_ACTIONS, distinct, fitting,
    grantable, grants, is_action, is_name, is_word, merge, parse_exactly, resource,
};
use super::scope_warning::{ScopeWarning, scope_warnings};
use super::text::quoted;
use super::token_scope::{Scope, check_scopes};
use crate::error::{Error, Field, Result};

/// The most scopes that a reason names.
const SHOWN: usize = 3;
const PULL: &str = "pull";
const PUSH: &str = "push";

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The reason for which the token opens nothing at all; `None` if it is usable.
    pub unusable: Option<String>,
    /// The access that would be granted, without resources without any action.
    pub granted: Vec<Access>,
    /// One for each action of each resource.
    pub decisions: Vec<Decision>,
    /// The token's scopes that never grant anything.
    pub warnings: Vec<ScopeWarning>,
}

/// The decision on one action on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The resource's type, as asked for.
    pub r#type: String,
    /// The resource's name, as asked for.
    pub name: String,
    /// The action; `*` on a repository is decided action by action.
    pub action: String,
    /// True if it would be granted now.
    pub granted: bool,
    /// The scope that grants it, or would if the token were usable.
    pub rule: Option<Rule>,
    /// The reason, for people.
    pub reason: String,
}

/// One of a token's scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its place among the token's scopes.
    pub index: usize,
    /// The scope.
    pub scope: Scope,
}

/// Reads the question: resources as objects in the shape of a token's scopes, and as text, in the grammar of
/// [`parse_exactly`]. Objects have the same grammar, since a registry can ask for nothing else. Entries of one resource
/// are merged.
///
/// # Errors
///
/// [`Error::Invalid`] if both together name nothing, for a part that does not parse, and beyond the limits: those of a
/// token's scopes for the objects, those of [`parse_exactly`] for the text and for both together, and 20 actions on one
/// resource.
pub fn parse_wanted(objects: Option<&[Scope]>, text: Option<&str>) -> Result<Vec<Access>> {
    let objects = objects.unwrap_or_default();
    check_scopes(objects)?;
    let mut wanted = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        merge(&mut wanted, parse_object(index, object)?)?;
    }
    for access in parse_exactly(text)? {
        merge(&mut wanted, access)?;
    }
    if wanted.is_empty() {
        return Err(Error::invalid(
            Field::Scopes,
            "nothing is asked for; send \"scopes\", a list of objects, or \"scope\", a text such as \
             repository:team/app:pull,push",
        ));
    }
    Ok(wanted)
}

fn parse_object(index: usize, object: &Scope) -> Result<Access> {
    let wrong = |member: &str, text: &str, rule: &str| {
        Error::invalid(
            Field::Scopes,
            format!(
                "scopes[{index}].{member} {} is not {rule}, and no registry asks for it",
                quoted(text)
            ),
        )
    };
    if !is_word(&object.r#type) {
        let rule = "lower-case letters and digits";
        return Err(wrong("type", &object.r#type, rule));
    }
    if !is_name(&object.name) {
        let rule = "up to 256 printable ASCII characters without spaces";
        return Err(wrong("name", &object.name, rule));
    }
    if let Some(action) = object.actions.iter().find(|action| !is_action(action)) {
        return Err(wrong("actions", action, "lower-case letters or *"));
    }
    Ok(Access {
        r#type: object.r#type.clone(),
        name: object.name.clone(),
        actions: distinct(object.actions.iter().map(String::as_str)),
    })
}

/// A question about a token.
#[derive(Debug, Clone)]
pub struct Question {
    /// The wanted access.
    pub wanted: Vec<Access>,
    /// The client's address, if it is to be checked.
    pub address: Option<IpAddr>,
}

/// Reads the address of a question.
pub fn parse_address(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| {
        Error::invalid(
            Field::Address,
            format!(
                "address {} is no address such as 192.0.2.1 or 2001:db8::1",
                quoted(text)
            ),
        )
    })
}

/// Evaluates the access that a token with these scopes would be granted. A token that is unusable, for the reason
/// given, is granted nothing. `domain` is the suffix of the host names of all registries.
#[must_use]
pub fn evaluate(
    scopes: &[Scope],
    wanted: &[Access],
    unusable: Option<String>,
    domain: &str,
) -> Evaluation {
    let mut decisions: Vec<_> = wanted
        .iter()
        .flat_map(|access| decide(scopes, access))
        .collect();
    if let Some(why) = &unusable {
        for decision in &mut decisions {
            decision.granted = false;
            decision.reason = format!("{why}; otherwise: {}", decision.reason);
        }
    }
    let granted = match unusable {
        None => grants(scopes, wanted),
        Some(_) => Vec::new(),
    };
    Evaluation {
        unusable,
        granted,
        decisions,
        warnings: scope_warnings(scopes, domain),
    }
}

/// Decides each action on a resource: first the known actions, in the order of grants, then the rest.
fn decide(scopes: &[Scope], access: &Access) -> Vec<Decision> {
    let decision = |action: &str, rule: Option<usize>, reason: String| Decision {
        r#type: access.r#type.clone(),
        name: access.name.clone(),
        action: action.to_owned(),
        granted: rule.is_some(),
        rule: rule.and_then(|index| {
            let scope = scopes.get(index)?.clone();
            Some(Rule { index, scope })
        }),
        reason,
    };
    let (fitting, grantable) = (fitting(scopes, access), grantable(access));
    // Every refused action has the same reason, which takes as long to find as all else.
    let refusal = OnceCell::new();
    let refused = || refusal.get_or_init(|| why_refused(scopes, &fitting, access));
    let meaningful = grantable.iter().map(|wanted| {
        let rule = wanted.rule(&fitting);
        let reason = match rule {
            Some(index) => why_granted(&fitting, access, *wanted, index),
            None => refused().clone(),
        };
        decision(wanted.action, rule, reason)
    });
    let known = |action: &str| {
        // `*` was decided as the actions that it stands for.
        (action == ANY && !grantable.is_empty())
            || grantable.iter().any(|wanted| wanted.action == action)
    };
    let rest = access.actions.iter().filter(|action| !known(action));
    let meaningless = rest.map(|action| decision(action, None, why_meaningless(access, action)));
    meaningful.chain(meaningless).collect()
}

fn why_granted(
    fitting: &[(usize, &Scope)],
    access: &Access,
    wanted: Grantable,
    index: usize,
) -> String {
    let mut reason = format!("granted by scopes[{index}]");
    if wanted.action == PUSH {
        let pull = Grantable {
            action: PULL,
            held: PULL,
        };
        let asked = |action: &String| action == PULL || action == ANY;
        let remedy = match (pull.rule(fitting), access.actions.iter().any(asked)) {
            (Some(_), true) => None,
            (Some(_), false) => Some("ask for pull too"),
            (None, _) => Some("no scope of the token grants pull here"),
        };
        if let Some(remedy) = remedy {
            reason.push_str("; but Distribution refuses push without pull: ");
            reason.push_str(remedy);
        }
    }
    if access.name.contains('*') {
        reason.push_str(
            "; the * that was asked for is no wildcard, and no repository has it in its name",
        );
    }
    reason
}

fn why_refused(scopes: &[Scope], fitting: &[(usize, &Scope)], access: &Access) -> String {
    if scopes.is_empty() {
        return "the token has no scopes, so it is granted nothing".to_owned();
    }
    let (r#type, name) = resource(access);
    let need = if r#type == REGISTRY {
        "the registry's catalog needs a scope of type registry, name catalog, action *; "
    } else {
        ""
    };
    if !fitting.is_empty() {
        let mut listed: Vec<_> = fitting.iter().take(SHOWN).map(held).collect();
        if let more @ 1.. = fitting.len().saturating_sub(SHOWN) {
            listed.push(format!(
                "{more} more scopes fit the name, and none of them grants it"
            ));
        }
        return format!("{need}{}", listed.join(", "));
    }
    let of_type = || {
        let places = scopes.iter().enumerate();
        places.filter(|(_, scope)| scope.r#type == r#type)
    };
    if of_type().next().is_none() {
        return format!("{need}no scope of the token is of type {type}");
    }
    let deeper = of_type().find(|(_, scope)| {
        // `*` ends at a slash, which surprises users of other patterns.
        let deep = scope.name.replace("**", ANY).replace(ANY, "**");
        matches(&deep, name)
    });
    let hint = deeper.map(|(index, scope)| {
        format!(
            "; scopes[{index}] {} does not fit, as * covers one path segment and ** covers several",
            quoted(&scope.name)
        )
    });
    format!(
        "{need}no scope of type {type} has a name that fits {}{}",
        quoted(name),
        hint.unwrap_or_default()
    )
}

/// The actions of a scope that fits by its name.
fn held((index, scope): &(usize, &Scope)) -> String {
    let shown = |action: &String| match action.as_str() {
        plain if !plain.is_empty() && is_action(plain) => plain.to_owned(),
        odd => quoted(odd).to_string(),
    };
    let mut actions: Vec<_> = scope.actions.iter().take(SHOWN).map(shown).collect();
    if scope.actions.len() > SHOWN {
        actions.push("…".to_owned());
    }
    if actions.is_empty() {
        return format!("scopes[{index}] fits the name but grants no action");
    }
    format!(
        "scopes[{index}] fits the name but grants only {}",
        actions.join(", ")
    )
}

fn why_meaningless(access: &Access, action: &str) -> String {
    match access.r#type.as_str() {
        REPOSITORY if access.name.is_empty() => {
            "an empty name asks for the catalog, and only with the action pull".to_owned()
        }
        REPOSITORY => format!(
            "action {} means nothing here and is never granted; a repository has {}",
            quoted(action),
            REPOSITORY_ACTIONS.join(", ")
        ),
        REGISTRY if access.name == CATALOG => format!(
            "action {} means nothing here and is never granted; the registry's catalog has *",
            quoted(action)
        ),
        REGISTRY => format!(
            "name {} means nothing here and is never granted; a registry has catalog",
            quoted(&access.name)
        ),
        r#type => format!(
            "type {} means nothing here and is never granted; there are repository and registry",
            quoted(r#type)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope(r#type: &str, name: &str, actions: &[&str]) -> Scope {
        Scope {
            actions: actions.iter().map(|&action| action.to_owned()).collect(),
            name: name.to_owned(),
            r#type: r#type.to_owned(),
        }
    }

    /// The decisions on one question, as lines.
    fn answers(scopes: &[Scope], text: &str) -> Vec<String> {
        let wanted = parse_wanted(None, Some(text)).unwrap();
        let evaluation = evaluate(scopes, &wanted, None, "localhost");
        let decisions = evaluation.decisions.into_iter();
        decisions
            .map(|decision| {
                let verdict = if decision.granted { "yes" } else { "no" };
                format!("{} {verdict}: {}", decision.action, decision.reason)
            })
            .collect()
    }

    #[test]
    fn each_reason_says_what_would_help() {
        let scopes = [
            scope("repository", "team/*", &["pull"]),
            scope("repository", "up/*", &["push"]),
            scope("repository", "own", &["*"]),
            scope("repository", "none", &[]),
            scope("repository", "odd", &["PULL", "", "a", "b"]),
            scope("registry", "*", &["pull"]),
        ];
        for (text, expected) in [
            (
                "repository:team/app:pull",
                vec!["pull yes: granted by scopes[0]"],
            ),
            (
                "repository:team/app:push,pull",
                vec![
                    "pull yes: granted by scopes[0]",
                    "push no: scopes[0] fits the name but grants only pull",
                ],
            ),
            (
                "repository:up/a:pull,push",
                vec![
                    "pull no: scopes[1] fits the name but grants only push",
                    "push yes: granted by scopes[1]; but Distribution refuses push without pull: no scope of the token grants pull here",
                ],
            ),
            (
                "repository:own:push",
                vec![
                    "push yes: granted by scopes[2]; but Distribution refuses push without pull: ask for pull too",
                ],
            ),
            (
                "repository:own:*",
                vec![
                    "pull yes: granted by scopes[2]",
                    "push yes: granted by scopes[2]",
                    "delete yes: granted by scopes[2]",
                ],
            ),
            (
                "repository:none:pull",
                vec!["pull no: scopes[3] fits the name but grants no action"],
            ),
            (
                "repository:odd:pull",
                vec![r#"pull no: scopes[4] fits the name but grants only "PULL", "", a, …"#],
            ),
            (
                "repository:other:pull",
                vec![r#"pull no: no scope of type repository has a name that fits "other""#],
            ),
            (
                "repository:team/a/b:pull",
                vec![
                    r#"pull no: no scope of type repository has a name that fits "team/a/b"; scopes[0] "team/*" does not fit, as * covers one path segment and ** covers several"#,
                ],
            ),
            (
                "repository:team/*:pull",
                vec![
                    "pull yes: granted by scopes[0]; the * that was asked for is no wildcard, and no repository has it in its name",
                ],
            ),
            (
                "repository:own:read,pull",
                vec![
                    "pull yes: granted by scopes[2]",
                    r#"read no: action "read" means nothing here and is never granted; a repository has pull, push, delete"#,
                ],
            ),
            (
                "registry:catalog:*",
                vec![
                    "* no: the registry's catalog needs a scope of type registry, name catalog, action *; scopes[5] fits the name but grants only pull",
                ],
            ),
            (
                "registry:catalog:pull",
                vec![
                    r#"pull no: action "pull" means nothing here and is never granted; the registry's catalog has *"#,
                ],
            ),
            (
                "registry:other:*",
                vec![
                    r#"* no: name "other" means nothing here and is never granted; a registry has catalog"#,
                ],
            ),
            (
                "repository::push",
                vec!["push no: an empty name asks for the catalog, and only with the action pull"],
            ),
            (
                "backup:x:*",
                vec![
                    r#"* no: type "backup" means nothing here and is never granted; there are repository and registry"#,
                ],
            ),
            ("repository:own:", vec![]),
        ] {
            assert_eq!(answers(&scopes, text), expected, "{text}");
        }
        let catalog = [scope("registry", "catalog", &["*"])];
        assert_eq!(
            answers(&catalog, "registry:catalog:*"),
            ["* yes: granted by scopes[0]"]
        );
        assert_eq!(
            answers(&catalog, "repository::*"),
            ["pull yes: granted by scopes[0]"]
        );
        assert_eq!(
            answers(&catalog, "repository:a:pull"),
            ["pull no: no scope of the token is of type repository"]
        );
        let need = "the registry's catalog needs a scope of type registry, name catalog, action *";
        assert_eq!(
            answers(&scopes[..1], "repository::pull"),
            [format!(
                "pull no: {need}; no scope of the token is of type registry"
            )]
        );
        assert_eq!(
            answers(&[scope("registry", "x", &["*"])], "registry:catalog:*"),
            [format!(
                r#"* no: {need}; no scope of type registry has a name that fits "catalog""#
            )]
        );
        assert_eq!(
            answers(&[], "repository:a:pull"),
            ["pull no: the token has no scopes, so it is granted nothing"]
        );
        let many = vec![scope("repository", "a", &["push"]); 5];
        assert!(
            answers(&many, "repository:a:pull")[0]
                .ends_with("2 more scopes fit the name, and none of them grants it")
        );
    }

    #[test]
    fn an_unusable_token_is_granted_nothing_and_told_what_it_would_be() {
        let wanted = parse_wanted(None, Some("repository:a:pull,push")).unwrap();
        let scopes = [scope("repository", "a", &["pull"])];
        for why in [None, Some("the token is disabled")] {
            let evaluation = evaluate(&scopes, &wanted, why.map(str::to_owned), "localhost");
            assert_eq!(evaluation.unusable.as_deref(), why);
            assert_eq!(evaluation.granted.len(), usize::from(why.is_none()));
            let pull = &evaluation.decisions[0];
            assert_eq!(pull.granted, why.is_none());
            assert_eq!(pull.rule.as_ref().unwrap().index, 0);
            let reason = match why {
                None => "granted by scopes[0]".to_owned(),
                Some(why) => format!("{why}; otherwise: granted by scopes[0]"),
            };
            assert_eq!(pull.reason, reason);
            assert_eq!(evaluation.decisions[1].rule, None);
        }
    }

    #[test]
    fn questions_are_objects_or_text_or_both() {
        let both = parse_wanted(
            Some(&[
                scope("repository", "a", &["pull", "", "pull"]),
                scope("repository", "b", &["push"]),
            ]),
            Some("repository:c:pull repository:a:push,pull"),
        )
        .unwrap();
        let shown: Vec<_> = both.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "repository:a:pull,push",
                "repository:b:push",
                "repository:c:pull"
            ]
        );
        for (objects, text) in [
            (Some(&[][..]), None),
            (None, Some(" ")),
            (Some(&[][..]), Some("")),
        ] {
            let error = parse_wanted(objects, text).unwrap_err().to_string();
            assert!(error.contains("nothing is asked for"), "{error}");
        }
        for (objects, text, message) in [
            (None, None, "nothing is asked for"),
            (
                Some(scope("Repo", "a", &[])),
                None,
                r#"scopes[0].type "Repo" is not"#,
            ),
            (
                Some(scope("", "a", &[])),
                None,
                r#"scopes[0].type "" is not"#,
            ),
            (
                Some(scope("repository", "a b", &[])),
                None,
                r#"scopes[0].name "a b" is not"#,
            ),
            (
                Some(scope("repository", "\u{e4}", &[])),
                None,
                "scopes[0].name",
            ),
            (
                Some(scope("repository", "a", &["pull", "PUSH"])),
                None,
                r#"scopes[0].actions "PUSH" is not"#,
            ),
            (
                Some(scope("repository", "a", &["pull,push"])),
                None,
                "scopes[0].actions",
            ),
            (
                Some(scope("repository", &"a".repeat(257), &[])),
                None,
                "longer than 256",
            ),
            (
                Some(scope("repository", "a", &["a"; 21])),
                None,
                "at most 20",
            ),
            (None, Some("repository:a"), "is not of the form"),
            (
                None,
                Some("repository:a:a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u"),
                "21 actions on \"a\"",
            ),
        ] {
            let objects = objects.map(|object| vec![object]);
            let error = parse_wanted(objects.as_deref(), text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{objects:?} {text:?}: {error}");
        }
        let half: Vec<_> = (0..60)
            .map(|number| scope("repository", &format!("a{number}"), &["pull"]))
            .collect();
        let text = |from: usize| {
            let scopes: Vec<_> = (from..from + 60)
                .map(|number| format!("repository:a{number}:push"))
                .collect();
            scopes.join(" ")
        };
        assert_eq!(parse_wanted(Some(&half), Some(&text(0))).unwrap().len(), 60);
        assert!(parse_wanted(Some(&half), Some(&text(60))).is_err());
    }

    fn scopes() -> impl Strategy<Value = Vec<Scope>> {
        let of_type = prop::sample::select(vec!["repository", "registry", "backup"]);
        let actions = prop::sample::select(vec!["pull", "push", "delete", "*", "read", ""]);
        let name = prop_oneof![Just("catalog".to_owned()), "[ab/*]{0,4}"];
        let scope = (of_type, name, prop::collection::vec(actions, 0..4))
            .prop_map(|(of_type, name, actions)| scope(of_type, &name, &actions));
        prop::collection::vec(scope, 1..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn decisions_and_grants_agree(held in scopes(), asked in scopes(), disabled in any::<bool>()) {
            let wanted = parse_wanted(Some(&asked), None).unwrap();
            let unusable = disabled.then(|| "the token is disabled".to_owned());
            let evaluation = evaluate(&held, &wanted, unusable, "localhost");
            let mut granted_to = evaluation.granted.iter();
            let mut seen = 0;
            for access in &wanted {
                let grants = super::super::scope::granted(&held, access);
                let of_access: Vec<_> = evaluation
                    .decisions
                    .iter()
                    .filter(|decision| (&decision.r#type, &decision.name) == (&access.r#type, &access.name))
                    .collect();
                seen += of_access.len();
                // Every wanted action has an answer; `*` may have several.
                for action in &access.actions {
                    let answered = |decision: &&Decision| decision.action == *action || action == ANY;
                    prop_assert!(of_access.iter().any(answered), "{action}");
                }
                let by_rule: Vec<_> = of_access
                    .iter()
                    .filter(|decision| decision.rule.is_some())
                    .map(|decision| decision.action.clone())
                    .collect();
                prop_assert_eq!(&by_rule, &grants);
                for decision in of_access {
                    prop_assert_eq!(decision.granted, decision.rule.is_some() && !disabled);
                    prop_assert!(!decision.reason.is_empty());
                    if let Some(rule) = &decision.rule {
                        prop_assert_eq!(&held[rule.index], &rule.scope);
                    }
                }
                if !grants.is_empty() && !disabled {
                    prop_assert_eq!(&granted_to.next().unwrap().actions, &grants);
                }
            }
            prop_assert_eq!((seen, granted_to.next()), (evaluation.decisions.len(), None));
        }
    }
}
