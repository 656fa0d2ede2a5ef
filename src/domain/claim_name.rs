//! Names of claims: of members, of members within each other, and JSON pointers.

use serde_json::Value;

use super::text::{has_control, quoted};
use crate::error::{Error, Field, Result};

/// The longest name, in bytes.
pub(super) const NAME: usize = 256;
/// The most parts of a name: levels of objects.
pub(super) const PARTS: usize = 16;

/// Claims with a meaning of their own, and the reason to leave each out of the rules.
const RESERVED: [(&str, &str); 6] = [
    ("iss", "the trust's \"issuer\" says it"),
    ("aud", "the trust's \"audience\" says it"),
    ("exp", "it is the end of the JWT, and always checked"),
    ("nbf", "it is the beginning of the JWT, and always checked"),
    ("iat", "it is another time in each JWT"),
    ("jti", "it is another one in each JWT"),
];

/// Refuses a name that is too long, that is no JSON pointer although it begins as one, and that the trust says otherwise.
pub(super) fn check(name: &str) -> Result<()> {
    let shown = quoted(name);
    if name.is_empty() || name.len() > NAME || has_control(name) {
        return Err(wrong(&format!(
            "claims: the name {shown} is not 1 to {NAME} bytes without control characters"
        )));
    }
    let plain = name.strip_prefix('/').unwrap_or(name);
    if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == plain) {
        return Err(wrong(&format!("claims: leave {shown} out; {why}")));
    }
    let separator = if name.starts_with('/') { '/' } else { '.' };
    let parts = plain.split(separator).count();
    if parts > PARTS {
        return Err(wrong(&format!(
            "claims: the name {shown} has {parts} parts; at most {PARTS} are allowed"
        )));
    }
    let escapes = name.split('~').skip(1);
    if name.starts_with('/') && !escapes.into_iter().all(|rest| rest.starts_with(['0', '1'])) {
        return Err(wrong(&format!(
            "claims: {shown} is no JSON pointer; in one, ~ is written ~0 and / within a name ~1"
        )));
    }
    Ok(())
}

fn wrong(message: &str) -> Error {
    Error::invalid(Field::Claims, message)
}

/// The value of a claim by its name.
///
/// A name that begins with `/` is a JSON pointer (RFC 6901). Any other is that of a member of the whole, or else the
/// names of members within each other with dots between them. Names have dots themselves, so the longest beginning that
/// is a member counts.
#[must_use]
pub fn find<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    if name.starts_with('/') {
        return claims.pointer(name).filter(|found| !found.is_null());
    }
    let (mut object, mut rest) = (claims.as_object()?, name);
    loop {
        if let Some(found) = object.get(rest) {
            return Some(found).filter(|found| !found.is_null());
        }
        let dots = rest.match_indices('.').rev().take(PARTS);
        let (inner, after) = dots.into_iter().find_map(|(dot, _)| {
            let (name, after) = rest.split_at_checked(dot)?;
            Some((object.get(name)?, after.strip_prefix('.')?))
        })?;
        (object, rest) = (inner.as_object()?, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn names_lead_to_one_claim() {
        let claims = json!({
            "a.b": {"c": 1, "c.d": 2},
            "a": {"b": {"c": 3, "e": 4}, "b.c": 5},
            "/x": 6,
            "list": [7],
            "none": null,
        });
        for (name, value) in [
            ("a.b.c", Some(1)),
            ("a.b.c.d", Some(2)),
            // The longest beginning counts, even if it leads nowhere.
            ("a.b.e", None),
            ("/a/b/e", Some(4)),
            ("/a/b.c", Some(5)),
            ("/~1x", Some(6)),
            ("/x", None),
            ("/list/0", Some(7)),
            ("list.0", None),
            ("none", None),
            ("/none", None),
            ("a.b.c.d.e", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(
                find(&claims, name),
                value.map(|value| json!(value)).as_ref(),
                "{name:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_name_is_too_odd(name in "[a-c./~01]{0,20}", key in "[a-c./~]{0,4}") {
            let claims = json!({key.clone(): {key.clone(): 1}, "a": {"b": {"c": "x"}}});
            let _ = find(&claims, &name);
            if !key.is_empty() && !key.starts_with('/') {
                prop_assert_eq!(find(&claims, &key), claims.get(&key));
            }
        }
    }
}
