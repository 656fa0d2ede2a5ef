//! The house: which part may know which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemExternCrate, ItemMod, ItemUse, Macro, Meta, UseTree, Visibility};

/// Modules of the crate, and those that each may name. `app` and `cli` put everything together; `lib` and `main` hold
/// nothing.
const MAY_NAME: [(&str, &[&str]); 14] = [
    ("waker", &[]),
    ("error", &[]),
    ("clock", &["error"]),
    ("metrics", &[]),
    ("telemetry", &["error", "config", "domain"]),
    ("domain", &["error", "clock"]),
    ("store", &["waker", "error", "clock", "metrics", "domain"]),
    ("config", &["error", "clock", "domain", "store"]),
    ("outgoing", &["domain"]),
    (
        "service",
        &["error", "clock", "metrics", "domain", "store", "outgoing"],
    ),
    (
        "http",
        &["waker", "error", "clock", "metrics", "domain", "service"],
    ),
    ("tls", &["error", "metrics"]),
    ("tasks", &["error", "domain", "service", "tls"]),
    ("server", &["error", "config", "http"]),
];

/// Crates, and the modules that may name them.
const NAMED_BY: [(&str, &[&str]); 12] = [
    ("diesel", &["store"]),
    ("diesel_migrations", &["store"]),
    ("prometheus_client", &["metrics"]),
    ("hyper", &["outgoing"]),
    ("hyper_util", &["outgoing"]),
    ("rustls_native_certs", &["outgoing"]),
    ("actix_web", &["http", "app", "cli", "server", "tasks"]),
    ("actix_http", &["server"]),
    ("actix_server", &["server"]),
    ("utoipa", &["http"]),
    ("utoipa_actix_web", &["http"]),
    ("utoipa_swagger_ui", &["http"]),
];

/// A path as its words: `crate::store::Store` is three. Those into this crate begin with `crate`, however they were
/// written.
type Words = Vec<String>;

/// Modules of `http` outside of a surface that may name it: the list of surfaces, and the functions for the fuzzer.
const NAME_SURFACES: [&str; 2] = ["surfaces", "fuzzing"];

/// Finds the paths that a file names.
#[derive(Default)]
struct Paths {
    /// The module that is being read.
    module: Words,
    /// Is it one of tests?
    tests: bool,
    found: BTreeSet<Words>,
    /// Those that are named outside of tests.
    found_outside_tests: BTreeSet<Words>,
}

impl Paths {
    fn of(module: Words, code: &str) -> Self {
        let mut paths = Self {
            tests: module.last().is_some_and(|name| name == "tests"),
            module,
            ..Self::default()
        };
        paths.visit_file(&syn::parse_file(code).unwrap());
        paths
    }

    fn insert(&mut self, path: Words) {
        if !self.tests {
            self.found_outside_tests.insert(path.clone());
        }
        self.found.insert(path);
    }

    fn note(&mut self, path: Words) {
        let is_relative = |word: &&String| ["self", "super"].contains(&word.as_str());
        let relative = path.iter().take_while(is_relative).count();
        if relative == 0 {
            self.insert(path);
            return;
        }
        let up = path[..relative].iter().filter(|word| *word == "super");
        let kept = self.module.len().saturating_sub(up.count());
        let mut full = vec!["crate".to_owned()];
        full.extend_from_slice(&self.module[..kept]);
        full.extend_from_slice(&path[relative..]);
        self.insert(full);
    }

    fn note_use(&mut self, mut before: Words, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_use(before, &path.tree);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(before.clone(), tree);
                }
            }
            UseTree::Name(name) => self.note_import(before, name.ident.to_string()),
            UseTree::Rename(rename) => self.note_import(before, rename.ident.to_string()),
            UseTree::Glob(_) => self.note_import(before, "*".to_owned()),
        }
    }

    fn note_import(&mut self, mut path: Words, last: String) {
        path.push(last);
        if path.len() == 1 {
            // A lone word in an expression is a variable; this one is a crate.
            path.push("self".to_owned());
        }
        self.note(path);
    }

    /// Tokens that only a macro understands: whatever looks like a path is one.
    fn note_tokens(&mut self, before: &[String], tokens: TokenStream) {
        let (mut path, mut colons) = (before.to_vec(), 2);
        for token in tokens {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.note(std::mem::replace(&mut path, before.to_vec()));
                    }
                    path.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    let before = if colons == 2 { path.as_slice() } else { &[] };
                    self.note_tokens(before, group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.note(std::mem::replace(&mut path, before.to_vec()));
                    colons = 2;
                }
            }
        }
        self.note(path);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words = path.segments.iter();
        self.note(words.map(|word| word.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.note_use(Words::new(), &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        self.note_import(Words::new(), item.ident.to_string());
    }

    /// A module that something is visible in is not used there.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let of_tests = self.tests;
        self.tests = of_tests || item.ident == "tests";
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
        self.tests = of_tests;
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.note_tokens(&[], item.tokens.clone());
        visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.note_tokens(&[], list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A file of the crate.
struct File {
    module: Words,
    path: PathBuf,
    /// The paths that it names.
    named: BTreeSet<Words>,
    /// Those of them that it names outside of its tests.
    named_outside_tests: BTreeSet<Words>,
}

fn house() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 30, "only {} files were found", found.len());
    found
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap().with_extension("");
            let words = inside.iter().map(|word| word.to_str().unwrap().to_owned());
            let module: Words = words.filter(|word| word != "mod").collect();
            let code = std::fs::read_to_string(&path).unwrap();
            let paths = Paths::of(module.clone(), &code);
            File {
                module,
                path,
                named: paths.found,
                named_outside_tests: paths.found_outside_tests,
            }
        })
        .collect()
}

#[test]
fn every_part_knows_only_those_below_it() {
    let allowed: BTreeMap<_, _> = MAY_NAME.into_iter().collect();
    let mut faults = Vec::new();
    for File {
        module,
        path,
        named,
        ..
    } in house()
    {
        let module = &module[0];
        if ["app", "cli", "lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            faults.push(format!("{module} has no place in the house yet"));
            continue;
        };
        for named in &named {
            if named.first().is_none_or(|first| first != "crate") {
                continue;
            }
            let other = match named.get(1).map(String::as_str) {
                // `crate::Error` is the error's other name.
                Some("Error") => "error",
                Some(other) => other,
                None => continue,
            };
            if other != module && !allowed.contains(&other) {
                faults.push(format!("{} names {}", path.display(), named.join("::")));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn each_framework_stays_in_its_room() {
    let mut faults = Vec::new();
    for File {
        module,
        path,
        named,
        ..
    } in house()
    {
        let module = &module[0];
        for (name, rooms) in NAMED_BY {
            let names_it = named.iter().any(|path| path.len() > 1 && path[0] == name);
            if names_it && !rooms.contains(&module.as_str()) {
                faults.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The modules that each module names, by the file in which the name is.
fn names() -> BTreeMap<Words, BTreeSet<Words>> {
    let house = house();
    let modules: BTreeSet<_> = house.iter().map(|file| file.module.clone()).collect();
    let of = |module: &Words, path: &Words| {
        // A path that begins with another word begins with a module inside this one, or with a crate.
        let full = match path.strip_prefix(&["crate".to_owned()][..]) {
            Some(inside) => inside.to_vec(),
            None => [module.as_slice(), path].concat(),
        };
        let longest = (1..=full.len()).rev().map(|length| full[..length].to_vec());
        longest.into_iter().find(|words| modules.contains(words))
    };
    let named = |file: File| {
        let mut others: BTreeSet<_> = file
            .named_outside_tests
            .iter()
            .filter_map(|path| of(&file.module, path))
            .collect();
        others.remove(&file.module);
        (file.module, others)
    };
    house.into_iter().map(named).collect()
}

fn reached<'a>(
    names: &'a BTreeMap<Words, BTreeSet<Words>>,
    from: &'a Words,
) -> BTreeSet<&'a Words> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(names[module].iter().filter(|other| reached.insert(*other)));
    }
    reached
}

#[test]
fn no_module_names_one_that_names_it() {
    let names = names();
    let reaches: BTreeMap<_, _> = names
        .keys()
        .map(|from| (from, reached(&names, from)))
        .collect();
    // The folders of `http` that declare a surface. Inside one, modules may name each other.
    let folders: BTreeSet<_> = house()
        .into_iter()
        .filter(|file| file.path.ends_with("mod.rs") && declares_surface(&file.path))
        .map(|file| file.module)
        .collect();
    assert!(folders.len() >= 4, "{folders:?}");
    let surface = |module: &Words| folders.iter().find(|folder| module.starts_with(folder));
    let mut faults = BTreeSet::new();
    for (module, reached) in &reaches {
        for other in reached {
            let within = surface(module).is_some() && surface(module) == surface(other);
            if module < other && reaches[*other].contains(module) && !within {
                faults.insert(format!("{} and {}", module.join("::"), other.join("::")));
            }
        }
    }
    for (module, named) in &names {
        let may = module.len() == 1 || NAME_SURFACES.contains(&module[1].as_str());
        for other in named.iter().filter(|_| !may) {
            if surface(other).is_some() && surface(other) != surface(module) {
                faults.insert(format!("{} names {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn declares_surface(path: &Path) -> bool {
    let file = syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap();
    let is_surface = |item: &Item| matches!(item, Item::Static(item) if item.ident == "SURFACE");
    file.items.iter().any(is_surface)
}

#[test]
fn paths_are_found_wherever_they_are_written() {
    let code = r#"
        use crate::{http::{self, State}, error::Error as Fault};
        use diesel as sql;
        #[utoipa::path(responses((status = 200, body = crate::a::Body)))]
        fn one() -> Vec<crate::b::Row> { crate::c::make(super::super::d::Place) }
        mod tests {
            fn two() { assert!(super::e::holds(), "{}", crate::f::shown()); }
        }
    "#;
    let found = Paths::of(vec!["store".to_owned(), "rows".to_owned()], code).found;
    for path in [
        "crate::http::self",
        "crate::http::State",
        "crate::error::Error",
        "diesel::self",
        "utoipa::path",
        "crate::a::Body",
        "crate::b::Row",
        "crate::c::make",
        "crate::d::Place",
        "crate::store::rows::e::holds",
        "crate::f::shown",
    ] {
        let words: Words = path.split("::").map(str::to_owned).collect();
        assert!(found.contains(&words), "{path} is not in {found:?}");
    }
}
