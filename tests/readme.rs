//! Checks the documents against the program: runs the README's first token, docs/TOUR.md and
//! docs/ESTATE.md as they stand.
//!
//! The second word after a fence gives the kind of a block:
//!
//! - `sh start`: how to start the server, in README.md alone. `cargo run --release` stands for the program under test.
//! - `sh tour`: commands, run in order in one bash session. Its standard input is the text that a person pastes.
//! - `sh protect`, `sh protect denied`, in docs/PROTECT.md alone: run elsewhere, with a real registry.
//! - `… output`: the output of the block before. A `sh tour` block without such a block prints nothing.
//!
//! Ids, times and secrets differ from run to run, so they are replaced by numbers in the order in which they first
//! occur: where a page shows the same id twice, the program must too. Those that the commands name stay as they are.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args as _;
use serde_json::Value;
use wharfinger::config::{self, Settings};
use wharfinger::domain::id::AccountId;
use wharfinger::domain::secret::is_machine_secret;
use wharfinger::error::Field;
use wharfinger::http::Code;

use crate::commands::commands;
use crate::openapi::{document_of, operations, resolve};
use crate::program::files;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wharfinger");
/// The server's URL in the pages.
const SHOWN: &str = "http://127.0.0.1:8080";
/// Printed between the outputs of two blocks.
const SEPARATOR: char = '\u{1e}';

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A command that sees nothing of the developer's settings.
fn command(program: &str, folder: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "where the tools of the tour are")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder)
        .current_dir(folder);
    command
}

/// The blocks that have a marker: the marker and the text.
fn marked_blocks(markdown: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let mut text = String::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            text.push_str(line);
            text.push('\n');
        }
        if let Some((_, marker)) = info.split_once(' ') {
            blocks.push((marker.to_owned(), text));
        }
    }
    blocks
}

/// Replaces values that differ from run to run.
struct Mask<'a> {
    /// Values in the commands stay as they are.
    commands: &'a str,
    seen: Vec<String>,
}

impl Mask<'_> {
    fn apply(&mut self, text: &str) -> String {
        let inside = |c: char| c.is_ascii_alphanumeric() || "_-:.+".contains(c);
        self.words(text, inside, |mask, word| {
            if chrono::DateTime::parse_from_rfc3339(word).is_ok() {
                return mask.number("time", word);
            }
            let inside = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            mask.words(word, inside, |mask, word| {
                let made_password =
                    word.len() == 24 && word.bytes().all(|b| b.is_ascii_alphanumeric());
                if AccountId::parse(word).is_ok() {
                    mask.number("id", word)
                } else if is_machine_secret(word) {
                    mask.number("secret", word)
                } else if made_password {
                    mask.number("password", word)
                } else {
                    word.to_owned()
                }
            })
        })
    }

    fn words(
        &mut self,
        text: &str,
        inside: impl Fn(char) -> bool,
        mut replace: impl FnMut(&mut Self, &str) -> String,
    ) -> String {
        let mut masked = String::new();
        for piece in text.split_inclusive(|c| !inside(c)) {
            let word = piece.trim_end_matches(|c| !inside(c));
            masked.push_str(&replace(self, word));
            masked.push_str(piece.strip_prefix(word).unwrap());
        }
        masked
    }

    fn number(&mut self, kind: &str, word: &str) -> String {
        if self.commands.contains(word) {
            return word.to_owned();
        }
        let known = self.seen.iter().position(|seen| seen == word);
        let number = known.unwrap_or_else(|| {
            self.seen.push(word.to_owned());
            self.seen.len() - 1
        });
        format!("<{kind} {number}>")
    }
}

/// A server at a terminal, as a reader of the pages runs it.
struct Terminal {
    script: Child,
    /// Its output, line by line.
    greeting: Vec<String>,
}

impl Terminal {
    /// `lines` is how many to read.
    fn start(start: &str, folder: &Path, lines: usize) -> Self {
        let run = "cargo run --release";
        assert!(start.contains(run), "the README does not say {run}");
        let start = start.replace(run, &format!("exec {PROGRAM} --listen 127.0.0.1:0"));
        // A password is shown on terminals only: `script` has one.
        let mut script = command("script", folder)
            .args(["-qefc", start.trim(), "/dev/null"])
            .env("WHARFINGER_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let greeting: Vec<_> = BufReader::new(script.stdout.take().unwrap())
            .lines()
            .take(lines)
            .map(|line| line.unwrap().trim_end().to_owned())
            .collect();
        Self { script, greeting }
    }

    /// The rest of the line that begins with these words.
    fn after(&self, words: &str) -> &str {
        self.greeting
            .iter()
            .find_map(|line| line.split_once(words))
            .unwrap_or_else(|| panic!("no {words:?} in {:?}", self.greeting))
            .1
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // `script` ends the server too. It would outlive a `script` that is killed, if hangups are ignored as under nohup.
        let script = rustix::process::Pid::from_child(&self.script);
        let _ = rustix::process::kill_process(script, rustix::process::Signal::TERM);
        let _ = self.script.wait();
    }
}

fn require(tools: &[&str]) {
    for tool in tools {
        let there = Command::new(tool)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(
            there.is_ok(),
            "the tour needs {tool}; on Debian: apt-get install bash bsdutils curl jq"
        );
    }
}

#[test]
fn the_first_token_works_as_the_readme_shows_it() {
    run_as_shown(&read("README.md"), 2);
}

/// The README says how to start the server.
fn run_after_the_start(page: &str) {
    let readme = read("README.md");
    let (start, _) = readme.split_once("\n## The first token\n").unwrap();
    run_as_shown(&(start.to_owned() + &read(page)), 10);
}

#[test]
fn the_tour_works_as_its_page_shows_it() {
    run_after_the_start("docs/TOUR.md");
}

#[test]
fn the_questions_about_the_estate_are_answered_as_their_page_shows() {
    run_after_the_start("docs/ESTATE.md");
}

/// Runs the blocks of a page, which must be more than `least`, and compares their output.
fn run_as_shown(page: &str, least: usize) {
    require(&["bash", "curl", "jq", "script"]);
    let blocks = marked_blocks(page);
    let of = |marker: &str| -> String {
        let marked = blocks.iter().filter(|(is, _)| is == marker);
        marked.map(|(_, text)| text.as_str()).collect()
    };
    let (start, commands) = (of("start"), of("tour"));

    // The page's output for each block, the greeting first.
    let mut shown: Vec<(&str, String)> = Vec::new();
    for (marker, text) in &blocks {
        match (marker.as_str(), shown.last_mut()) {
            ("start" | "tour", _) => shown.push((text, String::new())),
            ("output", Some((_, output))) => output.push_str(text),
            _ => panic!("a block is marked {marker:?}, or is an output of nothing"),
        }
    }
    assert_eq!(shown[0].0, start, "there is one start, and it comes first");
    assert!(shown.len() > least, "the tour is gone");

    let folder = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(&start, folder.path(), shown[0].1.lines().count());
    let base = terminal
        .after("Wharfinger is at ")
        .trim_end_matches(". Try:");
    let mut script = String::new();
    for (block, _) in &shown[1..] {
        let block = block
            .replace(SHOWN, base)
            .replace("target/release/wharfinger", PROGRAM);
        writeln!(script, "{block}printf '\\036'").unwrap();
    }
    std::fs::write(folder.path().join("tour"), script).unwrap();
    let mut session = command("bash", folder.path())
        .args(["-euo", "pipefail", "tour"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pasted = terminal.after("shown only now: ");
    writeln!(session.stdin.take().unwrap(), "{pasted}").unwrap();
    let ended = session.wait_with_output().unwrap();
    let printed = String::from_utf8(ended.stdout).unwrap();
    let complaints = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{printed}\n{complaints}");

    let greeting = terminal.greeting.join("\n");
    let printed: Vec<_> = std::iter::once(greeting.as_str())
        .chain(printed.trim_end_matches(SEPARATOR).split(SEPARATOR))
        .collect();
    assert_eq!(printed.len(), shown.len());
    let mask = || Mask {
        commands: &commands,
        seen: Vec::new(),
    };
    let (mut expected, mut actual) = (mask(), mask());
    for ((block, output), printed) in shown.iter().zip(printed) {
        let printed = printed.replace(base, SHOWN);
        assert_eq!(
            expected.apply(output.trim_end()),
            actual.apply(printed.trim_end()),
            "the page (left) shows something else than is printed (right) by:\n{block}\nthis was printed:\n{printed}"
        );
    }
    assert_eq!(complaints, "", "nothing of the tour complains");
}

/// The table as it should be, from the program's own settings.
fn settings_table() -> String {
    let mut table = "| Flag | Variable | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    for setting in Settings::augment_args(clap::Command::new("wharfinger")).get_arguments() {
        let help = setting.get_help().unwrap().to_string();
        let values: Vec<_> = setting
            .get_default_values()
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        // A default that depends on others is given in words.
        let (meaning, told) = match help.split_once(" [default: ") {
            Some((meaning, default)) => (meaning, default.trim_end_matches(']')),
            None => (help.as_str(), "none"),
        };
        let default = match (values.is_empty(), setting.get_action().takes_values()) {
            (false, true) => format!("`{}`", values.join(",")),
            (true, true) => told.to_owned(),
            (_, false) => "off".to_owned(),
        };
        writeln!(
            table,
            "| `--{}` | `{}` | {default} | {meaning} |",
            setting.get_long().unwrap(),
            setting.get_env().unwrap().to_str().unwrap(),
        )
        .unwrap();
    }
    table
}

#[test]
fn the_settings_page_lists_every_setting() {
    let table = settings_table();
    assert!(
        read("docs/SETTINGS.md").contains(&format!("\n{table}\n")),
        "the table of settings should be:\n\n{table}"
    );
}

/// The commands of a page's table: `wharfinger account disable NAME`, `enable` names two.
fn told_commands(page: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `wharfinger"));
    for cell in rows.filter_map(|row| row.split(" | ").next()) {
        let mut before = Vec::new();
        for code in cell.split('`').skip(1).step_by(2) {
            let is_word = |word: &&str| {
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            };
            let words = code
                .split(' ')
                .take_while(|word| is_word(word) && !word.starts_with('-'));
            let words: Vec<_> = words.collect();
            match words.split_first() {
                Some((&"wharfinger", words)) => before = words.to_vec(),
                _ => before.splice(before.len() - 1.., words).for_each(drop),
            }
            told.insert(before.join(" "));
        }
    }
    told
}

#[test]
fn the_commands_page_tells_of_every_command() {
    let told = told_commands(&read("docs/COMMANDS.md"));
    for (name, _) in commands() {
        assert!(
            told.contains(&name),
            "the page does not tell of {name}: {told:?}"
        );
    }
}

/// The variables that scripts take have other names: the program would refuse them.
#[test]
fn only_settings_begin_as_settings_do() {
    let mut texts = vec![read("README.md").into_bytes()];
    for folder in ["deploy", "docs", "examples", "scripts"] {
        texts.extend(files(&root().join(folder)).into_values());
    }
    let mut named = BTreeSet::new();
    for text in texts {
        let text = String::from_utf8_lossy(&text);
        let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let ours = words.filter(|word| word.starts_with("WHARFINGER_") && !word.ends_with('_'));
        named.extend(ours.map(OsString::from));
    }
    assert!(named.len() > 50, "{named:?}");
    config::check_variables(named.into_iter()).unwrap();
}

#[test]
fn the_api_page_lists_every_error_code() {
    let mut table = "| Code | Status | When |\n|---|---|---|\n".to_owned();
    for code in Code::all() {
        let (text, status, when) = (code.text(), code.status().as_u16(), code.when());
        writeln!(table, "| `{text}` | {status} | {when} |").unwrap();
    }
    assert!(
        read("docs/API.md").contains(&format!("\n{table}\n")),
        "the table of error codes should be:\n\n{table}"
    );
}

#[test]
fn every_member_of_a_body_has_an_error_code() {
    let document = document_of("registries");
    let members = |schema: &Value| -> Vec<(String, Value)> {
        let schema = resolve(&document, schema);
        let item = resolve(&document, schema.get("items").unwrap_or(schema));
        let members = item["properties"].as_object().unwrap().clone();
        members.into_iter().collect()
    };
    let mut checked = 0;
    for (method, path, operation) in operations(&document) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let mut found = members(schema);
        if let Some((_, wrapped)) = found.iter().find(|(name, _)| name == "properties") {
            found = members(wrapped);
        }
        for (name, _) in found {
            assert_ne!(
                Field::of_member(&name),
                Field::Body,
                "{method} {path}: {name}"
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .replace(' ', "-");
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}

/// The pages of a folder.
fn pages_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut pages: Vec<_> = entries
        .map(|entry| Path::new(folder).join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut pages = Vec::new();
    for folder in [
        "",
        "docs",
        "deploy/helm",
        "fuzz",
        "examples/compose",
        "examples/patroni",
        "examples/provision",
        "examples/registry",
        "examples/terraform",
        "examples/workload",
    ] {
        let found = pages_in(folder);
        assert!(!found.is_empty(), "{folder} has no pages");
        pages.extend(found);
    }
    assert!(pages.contains(&PathBuf::from("README.md")), "{pages:?}");
    for page in pages {
        let shown = page.display();
        for link in read(&page).split("](").skip(1) {
            let (link, _) = link.split_once(')').unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(
                root().join(&target).exists(),
                "{shown}: {link} is not there"
            );
            let headings = || {
                read(&target)
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == fragment)
            };
            assert!(
                fragment.is_empty() || headings(),
                "{shown}: {link} leads to no heading"
            );
        }
    }
}

#[test]
fn the_index_names_every_page() {
    let index = read("docs/README.md");
    let mut pages = pages_in("docs");
    pages.retain(|page| !page.ends_with("README.md"));
    assert!(pages.len() > 15, "{pages:?}");
    for page in pages {
        let name = page.file_name().unwrap().to_str().unwrap();
        let times = index.matches(&format!("]({name})")).count();
        let expected = if name == "GLOSSARY.md" { 2 } else { 1 };
        assert_eq!(times, expected, "{name} in docs/README.md");
    }
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "{lines}");
}

#[test]
fn the_security_page_names_tests_that_there_are() {
    let page = read("docs/SECURITY.md");
    let mut named = 0;
    for words in page.split('`').skip(1).step_by(2) {
        let Some((file, test)) = words.split_once("::") else {
            continue;
        };
        named += 1;
        let tests = read(format!("tests/{file}.rs"));
        assert!(
            tests.contains(&format!("fn {test}(")),
            "there is no {words}"
        );
    }
    assert!(named > 30, "{named}");
}
