//! Descriptions: texts of their owners for people.

use super::secret::masked;
use super::text::{has_control, quoted};
use crate::error::{Error, Field, Result};

/// The longest description, in characters.
const DESCRIPTION: usize = 200;

/// Reads a description: one line of at most 200 characters that all show, and no secret, as many may read it.
pub fn parse_description(text: String) -> Result<String> {
    let length = text.chars().count();
    let wrong = if length > DESCRIPTION {
        format!("description has {length} characters; at most {DESCRIPTION} are allowed")
    } else if has_control(&text) {
        format!(
            "description {} is not one line without control characters",
            quoted(&text)
        )
    } else if masked(&text) != text {
        "description contains a secret, and many can read it; leave it out".to_owned()
    } else {
        return Ok(text);
    };
    Err(Error::invalid(Field::Description, wrong))
}
