//! Finds the end of a request's head and body, so that a connection hands over one request at a time.
//!
//! It decides only how many bytes are handed over. actix-http parses the same bytes and decides their meaning, so a
//! disagreement only makes a connection wait until it times out.

use actix_web::HttpMessage as _;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::CONTENT_LENGTH;

/// The rule that finds the end of a request's body (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The request has no body.
    Bodiless,
    /// The body has this many bytes.
    Sized(u64),
    /// The body is chunked.
    Chunked,
    /// The body lasts as long as the connection, as after `Upgrade: websocket`.
    Unending,
}

impl Framing {
    /// The framing of a request as actix-http read its head.
    pub(super) fn of(request: &mut ServiceRequest) -> Self {
        let (request, payload) = request.parts_mut();
        if matches!(payload, Payload::None) {
            return Self::Bodiless;
        }
        if request.chunked().unwrap_or(false) {
            return Self::Chunked;
        }
        let length = request.headers().get(CONTENT_LENGTH);
        length
            .and_then(|length| length.to_str().ok()?.trim().parse().ok())
            .map_or(Self::Unending, Self::Sized)
    }
}

/// Finds the empty line that ends a head.
#[derive(Debug)]
pub(super) struct HeadEnd {
    /// True if the current line is empty so far.
    line_is_empty: bool,
    /// True after a line with content. httparse skips empty lines before the request line.
    has_content: bool,
}

impl Default for HeadEnd {
    fn default() -> Self {
        Self {
            line_is_empty: true,
            has_content: false,
        }
    }
}

impl HeadEnd {
    /// The number of these bytes that belong to the head, if it ends in them.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.line_is_empty && self.has_content => return Some(index + 1),
                b'\n' => self.line_is_empty = true,
                // httparse accepts a line feed alone as a line end, too.
                b'\r' => {}
                _ => {
                    self.line_is_empty = false;
                    self.has_content = true;
                }
            }
        }
        None
    }
}

/// The rest of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes.
    Sized(u64),
    /// Chunks.
    Chunked(Chunks),
    /// All further bytes.
    Unending,
}

/// The part of a buffer that belongs to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes that belong to the body.
    pub(super) bytes: usize,
    /// Those of them that are data. The others are the framing of chunks.
    pub(super) data: usize,
    /// Chunks that begin in them.
    pub(super) chunks: usize,
    /// True if the body ends with them.
    pub(super) ended: bool,
}

/// The position of a stream in a chunked body (RFC 9112 §7.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the line with a chunk's size. Digits after other characters belong to an extension.
    Size { size: u64, extension: bool },
    /// In a chunk's data, with this many bytes to come.
    Data(u64),
    /// In the line end after a chunk's data.
    DataEnd,
    /// In the lines after the last chunk.
    Trailer { line_is_empty: bool },
    /// In malformed data. actix-http refuses it, and then the connection ends.
    Malformed,
}

impl Body {
    /// The body of a request with this framing, if it has one.
    pub(super) fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Bodiless | Framing::Sized(0) => None,
            Framing::Sized(length) => Some(Self::Sized(length)),
            Framing::Chunked => Some(Self::Chunked(Chunks::start())),
            Framing::Unending => Some(Self::Unending),
        }
    }

    /// Takes the bytes that belong to the body, with at most `chunks` chunks.
    pub(super) fn take(&mut self, bytes: &[u8], chunks: usize) -> Taken {
        match self {
            Self::Sized(left) => {
                let data = within(bytes.len(), *left);
                *left -= data as u64;
                Taken {
                    bytes: data,
                    data,
                    chunks: 0,
                    ended: *left == 0,
                }
            }
            Self::Chunked(position) => position.take(bytes, chunks),
            Self::Unending => Taken {
                bytes: bytes.len(),
                data: bytes.len(),
                chunks: 0,
                ended: false,
            },
        }
    }
}

impl Chunks {
    fn start() -> Self {
        Self::Size {
            size: 0,
            extension: false,
        }
    }

    fn take(&mut self, bytes: &[u8], chunks: usize) -> Taken {
        let mut all = Taken {
            bytes: 0,
            data: 0,
            chunks: 0,
            ended: false,
        };
        while let Some(&byte) = bytes.get(all.bytes) {
            let mut taken = 1;
            match self {
                Self::Size { size: 0, .. } if byte == b'\n' => {
                    *self = Self::Trailer {
                        line_is_empty: true,
                    };
                }
                Self::Size { .. } if byte == b'\n' && all.chunks == chunks => break,
                Self::Size { size, .. } if byte == b'\n' => {
                    *self = Self::Data(*size);
                    all.chunks += 1;
                }
                Self::Size { size, extension } => match char::from(byte).to_digit(16) {
                    Some(digit) if !*extension => {
                        match size
                            .checked_mul(16)
                            .and_then(|size| size.checked_add(digit.into()))
                        {
                            Some(larger) => *size = larger,
                            None => *self = Self::Malformed,
                        }
                    }
                    _ => *extension = true,
                },
                Self::Data(left) => {
                    taken = within(bytes.len() - all.bytes, *left);
                    all.data += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                }
                Self::DataEnd if byte == b'\n' => *self = Self::start(),
                Self::DataEnd => {}
                Self::Trailer {
                    line_is_empty: true,
                } if byte == b'\n' => all.ended = true,
                Self::Trailer { line_is_empty } => match byte {
                    b'\r' => {}
                    b'\n' => *line_is_empty = true,
                    _ => *line_is_empty = false,
                },
                Self::Malformed => taken = bytes.len() - all.bytes,
            }
            all.bytes += taken;
            if all.ended {
                break;
            }
        }
        all
    }
}

/// The smaller of both.
fn within(length: usize, left: u64) -> usize {
    usize::try_from(left).map_or(length, |left| left.min(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds bytes in pieces of a size; returns how many belonged to what was looked for, if its end was found.
    fn fed(
        text: &str,
        piece: usize,
        mut feed: impl FnMut(&[u8]) -> Option<usize>,
    ) -> Option<usize> {
        let mut before = 0;
        for piece in text.as_bytes().chunks(piece) {
            if let Some(end) = feed(piece) {
                return Some(before + end);
            }
            before += piece.len();
        }
        None
    }

    #[test]
    fn a_head_ends_with_its_first_empty_line() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET"),
            ("GET / HTTP/1.1\nHost: x\n\n", "\n\n"),
            ("\r\n\n\r\nGET / HTTP/1.0\r\n\r\n", "\r\n\r\n"),
        ] {
            let text = format!("{head}{rest}");
            for piece in 1..=text.len() {
                let mut end = HeadEnd::default();
                let found = fed(&text, piece, |bytes| end.find(bytes));
                assert_eq!(found, Some(head.len()), "{text:?} by {piece}");
            }
        }
        for unended in [
            "",
            "\r\n\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            "\n\nG\n",
        ] {
            assert_eq!(
                HeadEnd::default().find(unended.as_bytes()),
                None,
                "{unended:?}"
            );
        }
    }

    #[test]
    fn a_body_ends_as_its_framing_says() {
        for (framing, body, length) in [
            (Framing::Sized(5), "12345", 5),
            (Framing::Chunked, "0\r\n\r\n", 0),
            (
                Framing::Chunked,
                "3\r\nabc\r\n0a;x=1f\r\n0123456789\r\n0\r\n\r\n",
                13,
            ),
            (
                Framing::Chunked,
                "1\r\n\n\r\n0;e\r\nTrailer: 1\r\nOther: 2\r\n\r\n",
                1,
            ),
        ] {
            let text = format!("{body}GET / HTTP/1.1\r\n");
            for piece in 1..=text.len() {
                let (mut rest, mut data) = (Body::new(framing).unwrap(), 0);
                let found = fed(&text, piece, |bytes| {
                    let taken = rest.take(bytes, usize::MAX);
                    data += taken.data;
                    taken.ended.then_some(taken.bytes)
                });
                assert_eq!(
                    (found, data),
                    (Some(body.len()), length),
                    "{text:?} by {piece}"
                );
            }
        }
        assert_eq!(Body::new(Framing::Bodiless), None);
        assert_eq!(Body::new(Framing::Sized(0)), None);
        for unended in [
            "ffffffffffffffffffff\r\n",
            "fffffffffffffffe\r\nabc",
            "5\r\nab",
        ] {
            let mut body = Body::new(Framing::Chunked).unwrap();
            let taken = body.take(unended.as_bytes(), usize::MAX);
            assert_eq!(
                (taken.bytes, taken.ended),
                (unended.len(), false),
                "{unended:?}"
            );
        }
        let taken = Body::Unending.take(b"abc", usize::MAX);
        assert_eq!((taken.bytes, taken.data, taken.ended), (3, 3, false));
    }
    #[test]
    fn chunks_are_taken_so_many_at_a_time() {
        let text = b"1\r\na\r\n2\r\nbc\r\n1\r\nd\r\n0\r\n\r\n";
        let mut body = Body::new(Framing::Chunked).unwrap();
        let (mut rest, mut found) = (&text[..], Vec::new());
        for _ in 0..3 {
            let taken = body.take(rest, 2);
            rest = &rest[taken.bytes..];
            found.push((taken.chunks, taken.data, taken.ended));
        }
        assert_eq!(found, [(2, 3, false), (1, 1, true), (0, 0, false)]);
        let mut body = Body::new(Framing::Chunked).unwrap();
        let taken = body.take(text, 0);
        assert_eq!((taken.chunks, taken.data), (0, 0));
    }
}
