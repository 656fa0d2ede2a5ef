//! Patterns in the names of a token's scopes.

/// The longest name, in bytes, which is the longest that Distribution allows a repository.
pub(super) const NAME_LENGTH: usize = 256;
/// The wildcard: as a pattern it fits every name, as an action every action.
pub(super) const ANY: &str = "*";

/// Returns true if a name fits a pattern. `*` alone fits everything; in a pattern `*` stands for any run of characters
/// within one path segment, `**` for any run across segments. Other characters stand for themselves.
///
/// Takes a few word operations for each byte of the pattern in every case: a request may have 100 names, a token 100
/// patterns. No name longer than 256 bytes fits any other pattern than `*`.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    if pattern == ANY {
        return true;
    }
    if name.len() > NAME_LENGTH {
        return false;
    }
    // Most patterns end at their first wildcard, or differ before it.
    let literal = pattern.find(ANY).unwrap_or(pattern.len());
    let (literal, pattern) = pattern.split_at(literal);
    match (name.strip_prefix(literal), pattern) {
        (None, _) => false,
        (Some(rest), "") => rest.is_empty(),
        (Some(rest), ANY) => !rest.contains('/'),
        (Some(_), "**") => true,
        (Some(rest), pattern) => matches_wildcards(pattern, rest),
    }
}

/// `matches` for a pattern and a name without a common beginning.
fn matches_wildcards(pattern: &str, name: &str) -> bool {
    // The places of each byte in the name, and of the bytes that the two wildcards run over.
    let mut places = [Places::NONE; 256];
    let (mut all, mut segments) = (Places::NONE, Places::NONE);
    for (place, byte) in name.bytes().enumerate() {
        if let Some(places) = places.get_mut(usize::from(byte)) {
            places.mark(place);
        }
        all.mark(place);
        if byte != b'/' {
            segments.mark(place);
        }
    }
    // The places at which the pattern read so far can end.
    let mut fits = Places::NONE;
    fits.mark(0);
    let mut rest = pattern.as_bytes();
    while let [next, after @ ..] = rest {
        (fits, rest) = match rest {
            [b'*', b'*', after @ ..] => (fits.stretched(all), after),
            [b'*', after @ ..] => (fits.stretched(segments), after),
            _ => {
                let literal = places.get(usize::from(*next)).copied();
                (fits.shifted(literal.unwrap_or(Places::NONE)), after)
            }
        };
    }
    fits.holds(name.len())
}

/// Returns true if every name that fits `pattern` fits `other` too. Returns false if it cannot tell, which is so for
/// some patterns with `**` in them.
pub(super) fn covers(other: &str, pattern: &str) -> bool {
    if other == ANY || other == pattern {
        return true;
    }
    if pattern == ANY || pattern.contains("**") {
        // Only `**` at the end of the other pattern stands for any continuation of the text before it.
        let whole = pattern != ANY || other == "**";
        let start = other
            .strip_suffix("**")
            .filter(|start| !start.contains(ANY));
        return whole && start.is_some_and(|start| pattern.starts_with(start));
    }
    // Taken as a name, a `*` of the pattern fits only a wildcard of the other, as do the strings that it stands for.
    matches(other, pattern)
}

/// The number of wildcards in a pattern: `*` or `**`, the longer first.
#[must_use]
pub fn wildcards(pattern: &str) -> usize {
    let mut rest = pattern;
    let mut count = 0;
    while let Some((_, after)) = rest.split_once(ANY) {
        rest = after.strip_prefix(ANY).unwrap_or(after);
        count += 1;
    }
    count
}

/// The words that have a bit for each place in the longest name: before each of its bytes, and after the last.
const WORDS: usize = NAME_LENGTH / 64 + 1;

/// Places in a name, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Places([u64; WORDS]);

impl Places {
    const NONE: Self = Self([0; WORDS]);

    fn mark(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    fn holds(&self, place: usize) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// The places reached over one byte from the given places.
    fn shifted(self, literal: Self) -> Self {
        let over = self.with(literal, |fit, literal| fit & literal);
        over.plus(over)
    }

    /// The places reached over any run of bytes from the given places. Adding a place to its run carries to the end of
    /// the run, and so changes all places from it on; the given ones stay.
    fn stretched(self, run: Self) -> Self {
        let entered = self.with(run, |fit, run| fit & run);
        let carried = run.plus(entered).with(run, |sum, run| sum ^ run);
        self.with(carried, |fit, carried| fit | carried)
    }

    fn with(mut self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word = combine(*word, other);
        }
        self
    }

    /// The sum of two numbers of many words.
    fn plus(mut self, other: Self) -> Self {
        let mut carry = false;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = word.overflowing_add(other);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, over || again);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_are_counted_as_they_are_read() {
        for (pattern, count) in [
            ("", 0),
            ("team/app", 0),
            ("*", 1),
            ("**", 1),
            ("***", 2),
            ("****", 2),
            ("a*b**c*", 3),
            ("*/*", 2),
        ] {
            assert_eq!(wildcards(pattern), count, "{pattern:?}");
        }
    }

    #[test]
    fn patterns_mean_what_the_documentation_says() {
        for (pattern, name) in [
            ("*", "a"),
            ("*", "a/b/c"),
            ("team/*", "team/a"),
            ("team/**", "team/a/b"),
            ("team/**", "team/a"),
            ("**/app", "x/y/app"),
            ("t*m/a", "team/a"),
            ("a", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} refused {name}");
        }
        for (pattern, name) in [
            ("team/*", "team-x/a"),
            ("team/*", "team"),
            ("team/*", "team/a/b"),
            ("team/**", "team"),
            ("team/**", "team-x/a"),
            ("a", "ab"),
            ("a", "A"),
            ("", "a"),
            ("*/a", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} took {name}");
        }
    }

    #[test]
    fn the_longest_names_fit_and_longer_ones_do_not() {
        let longest = "a".repeat(256);
        for pattern in [longest.as_str(), "*", "**", "a*", "**a", "*a*a"] {
            assert!(matches(pattern, &longest), "{pattern}");
        }
        assert!(!matches("*b", &longest));
        let longer = "a".repeat(257);
        assert!(matches("*", &longer));
        assert!(!matches("**", &longer));
        assert!(!matches(&longer, &longer));
    }

    /// The obvious way to match, exponential and clear.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=name.len()).any(|skip| slowly(rest, &name[skip..])),
            [b'*', rest @ ..] => (0..=name.len())
                .take_while(|skip| !name[..*skip].contains(&b'/'))
                .any(|skip| slowly(rest, &name[skip..])),
            [first, rest @ ..] => name.first() == Some(first) && slowly(rest, &name[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn matching_agrees_with_the_obvious_way(pattern in "[ab/*]{0,8}", name in "[ab/]{0,10}") {
            let expected = pattern == "*" || slowly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(&pattern, &name), expected);
        }

        /// Names of several words, and patterns that are near them.
        #[test]
        fn long_names_match_in_the_obvious_way(
            name in "[ab]{0,20}(/[ab]{0,60}){0,3}",
            cuts in prop::collection::vec((0_usize..200, 0_usize..80, prop::sample::select(vec!["*", "**", "a", ""])), 1..3),
        ) {
            let mut pattern = name.clone();
            for (place, length, wildcard) in cuts {
                let place = place.min(pattern.len());
                let end = (place + length).min(pattern.len());
                pattern.replace_range(place..end, wildcard);
            }
            let expected = pattern == "*" || slowly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(&pattern, &name), expected, "{} {}", pattern, name);
        }

        /// A pattern fits every name that a pattern covered by it fits. Few letters make many of them fit.
        #[test]
        fn no_name_fits_a_pattern_and_not_one_that_covers_it(
            other in "[ab/*]{0,5}", pattern in "[ab/*]{0,5}", name in "[ab/]{0,6}",
        ) {
            if covers(&other, &pattern) && matches(&pattern, &name) {
                prop_assert!(matches(&other, &name), "{other} {pattern} {name}");
            }
        }
    }
}
