//! Equality of texts, and characters that do not show.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;
use icu_properties::props::{
    BidiControl, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use zeroize::Zeroize as _;

/// U+FEFF: some editors begin a file of UTF-8 with it.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Normalization form C (UAX 15), in which texts that look the same are the same.
#[must_use]
pub fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizer::new_nfc().normalize(text)
}

/// The form for comparison without regard to case: full case folding, composed (Unicode 3.13, D145).
#[must_use]
pub fn folded(text: &str) -> String {
    let mapper = CaseMapper::new();
    composed(&mapper.fold_string(&composed(text))).into_owned()
}

/// The compared form of a password, by `OpaqueString` (RFC 8265 §4.2.2): each space is U+0020, and all is composed.
#[must_use]
pub fn opaque(text: &str) -> String {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let spaced = text.chars().map(|c| match categories.get(c) {
        GeneralCategory::SpaceSeparator => ' ',
        _ => c,
    });
    // At least the text's length, so that a growing buffer leaves few parts of a password behind.
    let mut plain = String::with_capacity(text.len());
    plain.extend(spaced);
    let composed = match composed(&plain) {
        Cow::Borrowed(_) => return plain,
        Cow::Owned(composed) => composed,
    };
    plain.zeroize();
    composed
}

/// Returns true if a character shows nothing, or moves the text around it: controls of the direction of text (bidi),
/// characters without width, and ends of lines. Two names that differ in them look alike.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    let unseen = GeneralCategoryGroup::Format
        .union(GeneralCategoryGroup::LineSeparator)
        .union(GeneralCategoryGroup::ParagraphSeparator);
    unseen.contains(CodePointMapData::<GeneralCategory>::new().get(c))
        || CodePointSetData::new::<BidiControl>().contains(c)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_composition_make_no_difference() {
        for (one, other) in [
            ("J\u{d6}RG", "jo\u{308}rg"),
            ("STRASSE", "stra\u{df}e"),
            (
                "\u{3a3}\u{399}\u{393}\u{39c}\u{391}\u{3a3}",
                "\u{3c3}\u{3b9}\u{3b3}\u{3bc}\u{3b1}\u{3c2}",
            ),
            ("\u{212a}elvin", "KELVIN"),
            ("Alice", "aLICE"),
        ] {
            assert_eq!(folded(one), folded(other), "{one:?} {other:?}");
        }
        assert_ne!(folded("jorg"), folded("j\u{f6}rg"));
    }

    #[test]
    fn opaque_strings_are_those_of_the_standard() {
        assert_eq!(opaque("Correct Horse"), "Correct Horse");
        // RFC 8265 §4.3, table 4: case and width stay, spaces become one kind.
        for (text, form) in [
            ("p\u{1680}w", "p w"),
            ("\u{3c0}\u{df}\u{e5}", "\u{3c0}\u{df}\u{e5}"),
            ("Jack of \u{2666}s", "Jack of \u{2666}s"),
            ("a\u{30a}", "\u{e5}"),
            ("\u{ff21}", "\u{ff21}"),
        ] {
            assert_eq!(opaque(text), form, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_show_is_known() {
        for hidden in [
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2066}',
            '\u{61c}',
            '\u{feff}',
            '\u{ad}',
            '\u{3164}',
            '\u{e0041}',
            '\u{fe0f}',
            '\u{2028}',
            '\u{2029}',
        ] {
            assert!(is_invisible(hidden), "{hidden:?}");
        }
        for shown in [
            'a',
            ' ',
            '\u{e9}',
            '\u{301}',
            '\u{5d0}',
            '\u{1f600}',
            '\u{4e2d}',
        ] {
            assert!(!is_invisible(shown), "{shown:?}");
        }
    }
}
