//! Large answers: made in pieces, within a budget, and sent piece by piece.
//!
//! actix-http copies the data of a body into the connection's write buffer. A body that yields a whole list is in
//! memory twice. In pieces, each one is copied when the client has read the one before.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use serde::{Serialize, Serializer};

use super::budget::{Budget, Share};
use crate::error::{Error, Result};

/// The largest answer that takes no share of the budget and is sent as a whole, in bytes.
pub(super) const SMALL: usize = 64 * 1024;
/// The size of a piece, in bytes.
pub(super) const PIECE: usize = 16 * 1024;

/// A complete answer with its share of the budget. Each piece is freed when it was sent.
#[derive(Debug)]
pub(super) struct Pieces {
    waiting: VecDeque<Bytes>,
    left: usize,
    _share: Share,
}

/// Collects an answer as it is written. From [`SMALL`] on it takes a share of the budget before it allocates.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    budget: &'a Budget,
    share: Share,
    full: VecDeque<Bytes>,
    last: Vec<u8>,
    refusal: Option<Error>,
}

/// An answer as JSON. `size` is the expected number of bytes, so that the buffer does not have to grow.
///
/// # Errors
///
/// [`Error::Unavailable`] if the budget has no room for it.
pub(super) fn json(budget: &Budget, value: &impl Serialize, size: usize) -> Result<Pieces> {
    let mut collector = Collector::new(budget, size);
    let written = serde_json::to_writer(&mut collector, value);
    collector.finish(written.map_err(Error::internal))
}

/// An array of items that are serialised one by one and are never in memory together. It can be serialised once.
pub(super) struct Items<'a, T>(RefCell<&'a mut dyn Iterator<Item = T>>);

impl<'a, T> Items<'a, T> {
    /// Wraps an iterator.
    pub(super) fn new(items: &'a mut dyn Iterator<Item = T>) -> Self {
        Self(RefCell::new(items))
    }
}

impl<T: Serialize> Serialize for Items<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(&mut **self.0.borrow_mut())
    }
}

/// Splits a body into pieces if it is one block of bytes.
pub(super) fn split(body: BoxBody) -> BoxBody {
    match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(Block(bytes)),
        Err(body) => body,
    }
}

impl<'a> Collector<'a> {
    /// Reserves about `size` bytes.
    pub(super) fn new(budget: &'a Budget, size: usize) -> Self {
        Self {
            budget,
            share: Share::default(),
            full: VecDeque::new(),
            last: Vec::with_capacity(size.min(PIECE)),
            refusal: None,
        }
    }

    /// The error of the budget, if it had no room for the answer.
    pub(super) fn refusal(&mut self) -> Option<Error> {
        self.refusal.take()
    }

    /// The complete answer, unless writing it failed.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the budget had no room for it, or else the error in `written`.
    pub(super) fn finish(mut self, written: Result<()>) -> Result<Pieces> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        written?;
        if !self.last.is_empty() {
            self.full.push_back(self.last.into());
        }
        Ok(Pieces {
            left: self.full.iter().map(Bytes::len).sum(),
            waiting: self.full,
            _share: self.share,
        })
    }

    /// Begins another piece.
    fn turn(&mut self) -> io::Result<()> {
        let held = (self.full.len() + 1) * PIECE;
        // The first piece beyond `SMALL` takes the share of those before it, too.
        let more = match held {
            ..SMALL => 0,
            SMALL => SMALL + PIECE,
            _ => PIECE,
        };
        if more > 0
            && let Err(refusal) = self.budget.add(&mut self.share, more)
        {
            if held + PIECE > self.budget.size() {
                tracing::warn!(
                    budget = self.budget.size(),
                    "an answer was refused, as it does not fit its part of --answer-memory; raise --answer-memory"
                );
            }
            self.refusal = Some(refusal);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let full = std::mem::replace(&mut self.last, Vec::with_capacity(PIECE));
        self.full.push_back(full.into());
        Ok(())
    }
}

impl Write for Collector<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.last.len() == PIECE {
            self.turn()?;
        }
        let (bytes, _) = bytes
            .split_at_checked(PIECE - self.last.len())
            .unwrap_or((bytes, &[]));
        self.last.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left as u64)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        let next = this.waiting.pop_front();
        this.left -= next.as_ref().map_or(0, Bytes::len);
        Poll::Ready(next.map(Ok))
    }

    fn try_into_bytes(mut self) -> std::result::Result<Bytes, Self> {
        match self.waiting.pop_front() {
            Some(only) if self.waiting.is_empty() => Ok(only),
            None => Ok(Bytes::new()),
            Some(first) => {
                self.waiting.push_front(first);
                Err(self)
            }
        }
    }
}

/// One block of bytes, such as a file inside the program, that is sent in pieces without another copy.
struct Block(Bytes);

impl MessageBody for Block {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Bytes, Infallible>>> {
        let rest = &mut self.get_mut().0;
        let piece = rest.split_to(rest.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::poll_fn;

    fn sent(mut body: impl MessageBody + Unpin) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        while let Some(Ok(piece)) = poll_fn(|context| Pin::new(&mut body).poll_next(context))
            .now_or_never()
            .unwrap()
        {
            pieces.push(piece.to_vec());
        }
        pieces
    }

    fn written(budget: &Budget, size: usize) -> Result<Pieces> {
        // A JSON string has two quotes more than its content.
        json(budget, &"x".repeat(size - 2), size)
    }

    #[test]
    fn an_answer_leaves_in_pieces_and_is_whole() {
        let budget = Budget::new(1024 * 1024);
        for size in [
            2,
            3,
            PIECE - 1,
            PIECE,
            PIECE + 1,
            SMALL,
            SMALL + 1,
            10 * PIECE,
        ] {
            let pieces = written(&budget, size).unwrap();
            assert_eq!(pieces.size(), BodySize::Sized(size as u64));
            let sent = sent(pieces);
            assert!(sent.iter().all(|piece| piece.len() <= PIECE), "{size}");
            let whole = format!("\"{}\"", "x".repeat(size - 2));
            assert!(sent.concat() == whole.as_bytes(), "{size}");
        }
        let block = sent(Block(Bytes::from(vec![7; 2 * PIECE + 1])));
        let sizes: Vec<_> = block.iter().map(Vec::len).collect();
        assert_eq!(sizes, [PIECE, PIECE, 1]);
    }

    #[test]
    fn only_large_answers_take_from_the_budget() {
        let budget = Budget::new(SMALL + 2 * PIECE);
        let small: Vec<_> = (0..10).map(|_| written(&budget, SMALL).unwrap()).collect();
        let large = written(&budget, SMALL + 1).unwrap();
        assert!(matches!(
            written(&budget, SMALL + 1),
            Err(Error::Unavailable { .. })
        ));
        written(&budget, SMALL).unwrap();
        drop(large);
        written(&budget, SMALL + 2 * PIECE).unwrap();
        assert!(written(&budget, SMALL + 2 * PIECE + 1).is_err());
        // A refused answer has given back its share.
        written(&budget, SMALL + 2 * PIECE).unwrap();
        drop(small);
    }
}
