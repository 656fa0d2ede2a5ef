//! A secret that a person types or pastes at the terminal.

use std::io::{self, Write as _};

use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// Ctrl-D and the two keys that take a character back.
const END: u8 = 4;
const BACK: [u8; 2] = [8, 127];

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        // Not by lines either: the terminal would cut a line at 4095 bytes, and an API token may be longer.
        hidden
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody to tell of an error.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        let _ = writeln!(io::stderr());
    }
}

/// Reads a line of at most `limit` bytes from standard input, a terminal, after a prompt on standard error. The terminal
/// does not show it.
pub(super) fn read_hidden(prompt: &str, limit: usize) -> io::Result<Zeroizing<String>> {
    let _hidden = Hidden::new()?;
    write!(io::stderr(), "{prompt}")?;
    // Of its full size at once, so that no copy stays behind.
    let mut line = Zeroizing::new(Vec::with_capacity(limit));
    while line.len() < limit {
        let mut byte = Zeroizing::new([0]);
        match rustix::io::read(io::stdin(), &mut *byte) {
            Ok(0) | Err(Errno::IO) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => match *byte {
                [b'\n' | b'\r' | END] => break,
                [byte] if BACK.contains(&byte) => {
                    line.pop();
                }
                [byte] => line.push(byte),
            },
        }
    }
    let text = std::str::from_utf8(&line).map_err(io::Error::other)?;
    Ok(Zeroizing::new(text.to_owned()))
}
