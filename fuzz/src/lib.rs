//! What several fuzz targets need: changes to a text that the input decides, secrets that no error may repeat, and a
//! service with a few things in it.

pub mod marks;
pub mod service;

/// Text with changes, each of which four bytes of the input describe: what to do, where (two bytes), and a letter.
pub fn edited(text: &str, input: &[u8]) -> String {
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

/// The input as an instruction and what it is about. `None` if it is empty.
pub fn instructed(input: &[u8]) -> Option<(u8, &[u8])> {
    input.split_first().map(|(first, rest)| (*first, rest))
}
