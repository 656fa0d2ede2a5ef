//! Marks the passwords in inputs, so that a password in an error is recognised.

/// No error contains this text by itself.
pub const MARK: &str = "7hE-m4Rk";

/// The text of a JSON body, or of what should be one, in which every text that is called "password" has the mark.
pub fn in_json(text: &str) -> String {
    let mut marked = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\"password\"") {
        marked.push_str(before);
        marked.push_str("\"password\"");
        rest = after;
        let value = after
            .trim_start()
            .strip_prefix(':')
            .and_then(|after| after.trim_start().strip_prefix('"'));
        if let Some(value) = value {
            marked.push_str(&after[..after.len() - value.len()]);
            marked.push_str(MARK);
            rest = value;
        }
    }
    marked + rest
}

/// The text of a form in which everything that is called by one of these names has the mark.
pub fn in_form(text: &str, names: &[&str]) -> String {
    let parts = text.split('&').map(|part| match part.split_once('=') {
        Some((name, value)) if names.contains(&name) => format!("{name}={MARK}{value}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("&")
}
