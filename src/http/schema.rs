//! Schemas of texts, and parameters in headers, whose rule is elsewhere.

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{Object, ObjectBuilder, Required, Type};

/// Texts without control characters.
pub(super) const PRINTABLE: &str = r"^[^\x00-\x1F\x7F]*$";

/// One of these words.
pub(super) fn one_of(words: impl Iterator<Item = &'static str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}

/// One of these words, with a description and an example.
pub(super) fn described_word(
    description: &str,
    words: impl Iterator<Item = &'static str>,
    example: &str,
) -> Object {
    let mut schema = one_of(words);
    schema.description = Some(description.to_owned());
    schema.example = Some(example.into());
    schema
}

/// [`described_word`] with the names of the words in generated clients, each with a prefix: Go has one name space for the
/// words of all enums.
pub(super) fn prefixed_word(
    description: &str,
    prefix: &str,
    words: &[&'static str],
    example: &str,
) -> Object {
    let name = |word: &&str| format!("{prefix}_{}", word.to_uppercase().replace('-', "_"));
    let names: Vec<_> = words.iter().map(name).collect();
    let mut schema = described_word(description, words.iter().copied(), example);
    let names = Extensions::builder().add("x-enum-varnames", names).build();
    schema.extensions = Some(names);
    schema
}

/// A text that matches a pattern.
pub(super) fn matching(pattern: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .build()
}

/// A text of at most `max_length` characters that matches a pattern.
pub(super) fn text(description: &str, max_length: usize, pattern: &str, example: &str) -> Object {
    let mut schema = matching(pattern);
    schema.description = Some(description.to_owned());
    schema.max_length = Some(max_length);
    // Swagger UI 5 and our generators read `example`, not `examples`.
    schema.example = Some(example.into());
    schema
}

/// A header that a client may send.
pub(super) fn optional_header(name: &str, description: &str, schema: Object) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
