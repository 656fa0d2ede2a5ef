use super::*;

use proptest::prelude::*;

fn scope(r#type: &str, name: &str, actions: &[&str]) -> Scope {
    Scope {
        actions: actions.iter().map(|&action| action.to_owned()).collect(),
        name: name.to_owned(),
        r#type: r#type.to_owned(),
    }
}

fn ask(scopes: &[Scope], text: &str) -> Vec<String> {
    let requested = parse_requested([text]).unwrap();
    assert_eq!(requested.len(), 1, "{text}");
    granted(scopes, &requested[0])
}

#[test]
fn requests_parse_as_clients_send_them() {
    let parse = |values: &[&str]| {
        parse_requested(values.iter().copied())
            .unwrap()
            .into_iter()
            .map(|access| {
                format!(
                    "{}|{}|{}",
                    access.r#type,
                    access.name,
                    access.actions.join(",")
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        parse(&["repository:a/b:pull,push"]),
        ["repository|a/b|pull,push"]
    );
    assert_eq!(
        parse(&["repository:a:pull repository:b:push", "registry:catalog:*"]),
        [
            "repository|a|pull",
            "repository|b|push",
            "registry|catalog|*"
        ]
    );
    assert_eq!(
        parse(&["repository:a:pull", "repository:a:push,pull"]),
        ["repository|a|pull,push"]
    );
    assert_eq!(
        parse(&["repository:localhost:5000/a:pull"]),
        ["repository|localhost:5000/a|pull"]
    );
    assert_eq!(parse(&["repository::pull"]), ["repository||pull"]);
    assert_eq!(parse(&["repository(plugin):a:pull"]), ["repository|a|pull"]);
    assert_eq!(parse(&["repository:a:"]), ["repository|a|"]);
    assert_eq!(parse(&["", "  "]), Vec::<String>::new());
    for wrong in [
        "repository",
        "repository:a",
        ":a:pull",
        "Repository:a:pull",
        "repository(:a:pull",
        "repository():a:pull",
        "repository(Plugin):a:pull",
        "repository(a)b:a:pull",
        "repository(a)(b):a:pull",
        "repository:ä:pull",
        "repository:a:PULL",
        "repository:a:pull;push",
    ] {
        assert!(parse_exactly([wrong]).is_err(), "{wrong:?} was accepted");
        assert_eq!(
            parse(&[wrong, "repository:a:pull"]),
            ["repository|a|pull"],
            "{wrong:?}"
        );
    }
}

#[test]
fn requests_are_bounded() {
    let many: Vec<_> = (0..101)
        .map(|number| format!("repository:r{number}:pull"))
        .collect();
    assert!(parse_requested(many.iter().map(String::as_str)).is_err());
    assert!(parse_requested(many.iter().take(100).map(String::as_str)).is_ok());
    assert!(parse_requested(["x".repeat(LENGTH + 1).as_str()]).is_err());
    let long = format!("repository:{}:pull", "x".repeat(257));
    assert_eq!(parse_requested([long.as_str()]).unwrap(), []);
    // They are counted after merging, and unreadable ones are not counted.
    let same = [many[0].as_str(); 400].join(" ");
    assert_eq!(parse_requested([same.as_str()]).unwrap().len(), 1);
    let unreadable = ["*"; 400].into_iter();
    assert_eq!(parse_requested(unreadable).unwrap(), []);
}

#[test]
fn actions_are_counted_before_equal_ones_become_one() {
    for repeated in ["pull", "", "*"] {
        let asked = |count| format!("repository:a:{}", vec![repeated; count].join(","));
        assert!(
            parse_requested([asked(20).as_str()]).is_ok(),
            "{repeated:?}"
        );
        assert!(
            parse_requested([asked(21).as_str()]).is_err(),
            "{repeated:?}"
        );
    }
}

#[test]
fn actions_of_one_resource_are_counted_together() {
    let asked = |first: u8, last: u8| {
        let actions: Vec<_> = (first..=last)
            .map(|letter| char::from(letter).to_string())
            .collect();
        format!("repository:a:{}", actions.join(","))
    };
    let (ten, ten_more) = (asked(b'a', b'j'), asked(b'k', b't'));
    assert!(parse_requested([ten.as_str(), ten_more.as_str()]).is_ok());
    // An action that was asked for before counts once.
    assert!(parse_requested([ten.as_str(), ten_more.as_str(), ten.as_str()]).is_ok());
    let eleven_more = asked(b'k', b'u');
    assert!(parse_requested([ten.as_str(), eleven_more.as_str()]).is_err());
}

#[test]
fn a_grant_is_what_was_asked_for_and_is_allowed() {
    let scopes = [
        scope("repository", "team/*", &["pull", "push"]),
        scope("repository", "own", &["*"]),
        scope("backup", "*", &["*"]),
    ];
    assert_eq!(
        ask(&scopes, "repository:team/a:pull,push,delete"),
        ["pull", "push"]
    );
    assert_eq!(ask(&scopes, "repository:team/a:*"), ["pull", "push"]);
    assert_eq!(ask(&scopes, "repository:own:*"), ["pull", "push", "delete"]);
    assert_eq!(ask(&scopes, "repository:own:read"), Vec::<String>::new());
    assert_eq!(ask(&scopes, "repository:other:pull"), Vec::<String>::new());
    assert_eq!(ask(&scopes, "backup:x:write"), Vec::<String>::new());
    assert_eq!(ask(&[], "repository:team/a:pull"), Vec::<String>::new());
}

#[test]
fn the_catalog_needs_its_own_scope() {
    let all = [scope("repository", "*", &["*"])];
    let catalog = [scope("registry", "catalog", &["*"])];
    for question in ["registry:catalog:*", "repository::pull"] {
        assert_eq!(ask(&all, question), Vec::<String>::new(), "{question}");
    }
    assert_eq!(ask(&catalog, "registry:catalog:*"), ["*"]);
    assert_eq!(ask(&catalog, "repository::pull"), ["pull"]);
    assert_eq!(ask(&catalog, "registry:catalog:pull"), Vec::<String>::new());
    assert_eq!(
        ask(&catalog, "repository:catalog:pull"),
        Vec::<String>::new()
    );
}

/// The obvious way to read one scope: every pair of colons is tried.
fn readings(text: &str) -> Vec<(String, String, Vec<String>)> {
    let is_word = |letters: &[char]| {
        let plain = |c: &char| matches!(c, 'a'..='z' | '0'..='9');
        !letters.is_empty() && letters.iter().all(plain)
    };
    let bare = |text: &str| {
        let letters: Vec<char> = text.chars().collect();
        let opening = letters.iter().position(|c| *c == '(');
        let (bare, class) = letters.split_at(opening.unwrap_or(letters.len()));
        let is_class = match class {
            [] => true,
            ['(', class @ .., ')'] => is_word(class),
            _ => false,
        };
        (is_word(bare) && is_class).then(|| bare.iter().collect::<String>())
    };
    let colons: Vec<_> = text.match_indices(':').map(|(place, _)| place).collect();
    let mut found = Vec::new();
    for (number, &first) in colons.iter().enumerate() {
        for &last in &colons[number + 1..] {
            let (r#type, name, actions) =
                (&text[..first], &text[first + 1..last], &text[last + 1..]);
            let fits = name.len() <= 256
                && name.chars().all(|c| ('!'..='~').contains(&c))
                && actions
                    .split(',')
                    .all(|action| action == "*" || action.chars().all(|c| c.is_ascii_lowercase()));
            if let Some(r#type) = bare(r#type).filter(|_| fits) {
                let mut kept: Vec<String> = Vec::new();
                for action in actions.split(',') {
                    if !action.is_empty() && !kept.contains(&action.to_owned()) {
                        kept.push(action.to_owned());
                    }
                }
                found.push((r#type, name.to_owned(), kept));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn reading_agrees_with_the_obvious_way(text in r"([a1]{1,2}(\([a1]{0,2}\)?)?|[a:*()]{0,3}):[aA1:/*,\x01ä]{0,8}(:[a,*]{0,5}|)") {
        let read: Vec<_> = parse_requested([text.as_str()])
            .unwrap_or_default()
            .into_iter()
            .map(|access| (access.r#type, access.name, access.actions))
            .collect();
        prop_assert_eq!(read, readings(&text));
    }

    #[test]
    fn what_clients_may_send_is_read_as_they_mean_it(
        sent in prop::collection::vec(("[ab]", "(\\([a-z0-9]{1,3}\\))?", "[ab:]{0,1}|[!-~]{0,6}", prop::collection::vec("[a-b]{0,2}|\\*", 1..4)), 0..8),
        values in prop::collection::vec(0_usize..8, 0..3),
    ) {
        let texts: Vec<_> = sent
            .iter()
            .map(|(r#type, class, name, actions)| format!("{type}{class}:{name}:{}", actions.join(",")))
            .collect();
        // One parameter or several, each with any number of spaces.
        let mut parameters = vec![String::new()];
        for (place, text) in texts.iter().enumerate() {
            if values.contains(&place) {
                parameters.push(String::new());
            }
            let parameter = parameters.last_mut().unwrap();
            *parameter = format!(" {parameter}  {text} ");
        }
        let mut expected: Vec<(String, Vec<String>)> = Vec::new();
        for (r#type, _, name, actions) in &sent {
            let resource = format!("{type}:{name}");
            if !expected.iter().any(|(held, _)| *held == resource) {
                expected.push((resource.clone(), Vec::new()));
            }
            let (_, kept) = expected.iter_mut().find(|(held, _)| *held == resource).unwrap();
            for action in actions {
                if !action.is_empty() && !kept.contains(action) {
                    kept.push(action.clone());
                }
            }
        }
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(resource, actions)| format!("{resource}:{}", actions.join(",")))
            .collect();
        let read = parse_requested(parameters.iter().map(String::as_str)).unwrap();
        let read: Vec<_> = read.iter().map(ToString::to_string).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_text_makes_reading_panic(values in prop::collection::vec(any::<String>(), 0..4)) {
        let _ = parse_requested(values.iter().map(String::as_str));
    }

    #[test]
    fn parsing_never_panics_and_keeps_what_it_reads(text in "[a-z0-9:,/*() ä]{0,40}") {
        if let Ok(requested) = parse_exactly([text.as_str()]) {
            let again: Vec<_> = requested.iter().map(ToString::to_string).collect();
            prop_assert_eq!(parse_requested(again.iter().map(String::as_str)).unwrap(), requested);
        }
    }
}

#[test]
fn scopes_are_within_others_that_grant_as_much() {
    let repository = |name: &str, actions: &[&str]| scope("repository", name, actions);
    for (scopes, others, within) in [
        (vec![], vec![], true),
        (vec![repository("a", &["pull"])], vec![], false),
        (vec![repository("a", &[])], vec![], true),
        (
            vec![repository("a", &["pull"])],
            vec![repository("a", &["push", "pull"])],
            true,
        ),
        (
            vec![repository("a", &["pull", "push"])],
            vec![repository("*", &["pull"]), repository("a", &["push"])],
            true,
        ),
        (
            vec![repository("a", &["delete"])],
            vec![repository("a", &["*"])],
            true,
        ),
        (
            vec![repository("a", &["*"])],
            vec![repository("a", &["pull", "push", "delete"])],
            false,
        ),
        (
            vec![scope("registry", "catalog", &["*"])],
            vec![repository("*", &["*"])],
            false,
        ),
    ] {
        assert_eq!(
            are_within(&scopes, &others),
            within,
            "{scopes:?} {others:?}"
        );
    }
    for (other, pattern, covered) in [
        ("*", "**", true),
        ("**", "*", true),
        ("a/**", "*", false),
        ("team/*", "team/app", true),
        ("team/*", "team/a*", true),
        ("team/*", "team/a/b", false),
        ("team/*", "team/**", false),
        ("team/**", "team/**", true),
        ("team/**", "team/a/*", true),
        ("team/**", "team/a/**/b", true),
        ("te*/app", "team/app", true),
        ("te*/app", "te*/app", true),
        ("team/app", "team/*", false),
        ("team/*", "te*/app", false),
    ] {
        assert_eq!(covers(other, pattern), covered, "{other} {pattern}");
    }
}

#[test]
fn an_action_is_carried_by_its_name_or_by_all_on_repositories() {
    let scope = |r#type: &str, action: &str| Scope {
        actions: vec![action.to_owned()],
        name: "a".to_owned(),
        r#type: r#type.to_owned(),
    };
    for (held, action, yes) in [
        (scope("repository", "pull"), "pull", true),
        (scope("repository", "pull"), "push", false),
        (scope("repository", "*"), "push", true),
        (scope("repository", "*"), "*", true),
        (scope("repository", "*"), "list", false),
        (scope("registry", "*"), "push", false),
        (scope("registry", "*"), "*", true),
        (scope("backup", "list"), "list", true),
    ] {
        assert_eq!(
            carried(std::slice::from_ref(&held), action),
            yes,
            "{held:?} {action}"
        );
    }
    assert!(!carried(&[], "pull"));
}

#[test]
fn what_tokens_are_searched_by_can_be_granted() {
    for (text, name, held) in [
        ("repository:team/app:push", "team/app", vec!["push"]),
        ("repository:a:pull,push", "a", vec!["pull", "push"]),
        ("repository:a:*", "a", vec!["pull", "push", "delete"]),
        ("registry:catalog:*", "catalog", vec!["*"]),
    ] {
        let opening = Opening::parse(text).unwrap();
        assert_eq!(opening.hints(), (name, held), "{text}");
        assert_eq!(opening.to_string(), text);
    }
    let two = "repository:a:pull repository:b:push";
    assert_eq!(joined(&parse_requested([two]).unwrap()), two);
    for wrong in [
        "",
        "repository:a",
        "repository:a:list",
        "repository:a:pull,list",
        "repository:a*:pull",
        "repository:A:pull",
        "registry:catalog:pull",
        "registry:other:*",
        "backup:a:*",
    ] {
        assert!(Opening::parse(wrong).is_err(), "{wrong:?} was accepted");
    }
}
