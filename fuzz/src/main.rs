//! The program `wharfinger-fuzz`: libFuzzer with the targets of README.md. The variable `FUZZ_TARGET` names the one to run.

#![no_main]

mod marks;
mod service;
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

use targets::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    targets::find(&name).unwrap_or_else(|| panic!("FUZZ_TARGET: no target is named {name:?}"))
});

fuzz_target!(|input: &[u8]| TARGET.run(input));

/// Text with changes, each of which four bytes of the input describe: what to do, where (two bytes), and a letter.
fn edited(text: &str, input: &[u8]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for change in input.chunks_exact(4) {
        let &[what, high, low, letter] = change else {
            break;
        };
        let place = usize::from(u16::from_be_bytes([high, low])) % (letters.len() + 1);
        let letter = char::from(letter);
        match what % 4 {
            0 => letters.insert(place, letter),
            1 => letters.truncate(place),
            2 if place < letters.len() => drop(letters.remove(place)),
            _ => {
                if let Some(old) = letters.get_mut(place) {
                    *old = letter;
                }
            }
        }
    }
    letters.into_iter().collect()
}

/// The first byte of the input as an instruction, and the rest. `None` if the input is empty.
fn instructed(input: &[u8]) -> Option<(u8, &[u8])> {
    input.split_first().map(|(first, rest)| (*first, rest))
}
