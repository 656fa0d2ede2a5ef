//! A connection that cannot be held for nothing: by a head that never ends, or by answers that nobody takes.
//!
//! actix-http times the first head of a connection and the silence between requests. What a client begins to send
//! after that, or does not read, it waits for without end.

use std::cell::Cell;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request, from its first byte on.
    pub head: Duration,
    /// For the next bytes of an answer.
    pub answer: Duration,
}

/// The requests that came over one connection. The connection counts on the guard of all requests to tell it.
#[derive(Debug, Clone, Default)]
pub struct Requests(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: Cell<u64>,
    ended: Cell<u64>,
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Requests);

impl Requests {
    /// A head has come in whole.
    pub(super) fn begin(&self) -> UnderWay {
        self.0.begun.update(|begun| begun + 1);
        UnderWay(self.clone())
    }

    /// How many requests were answered, if more than none, and none is under way: what comes now is a head.
    fn between(&self) -> Option<u64> {
        let begun = self.0.begun.get();
        (begun > 0 && begun == self.0.ended.get()).then_some(begun)
    }
}

/// A body that comes piece by piece. Its request is under way until it is out.
pub(super) struct Streamed {
    body: BoxBody,
    _under_way: UnderWay,
}

impl UnderWay {
    /// Lasts as long as the body, unless that is all there already.
    pub(super) fn until_sent(self, body: BoxBody) -> BoxBody {
        match body.size() {
            BodySize::Stream => BoxBody::new(Streamed {
                body,
                _under_way: self,
            }),
            BodySize::None | BodySize::Sized(_) => body,
        }
    }
}

impl MessageBody for Streamed {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.ended.update(|ended| ended + 1);
    }
}

/// A stream that ends when its client takes longer than it may.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    patience: Patience,
    requests: Requests,
    /// When a head has to be whole that has begun, and after which request it came.
    head: Option<(u64, Pin<Box<Sleep>>)>,
    /// When some byte has to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Connection<S> {
    /// Bounds a stream.
    pub fn new(stream: S, patience: Patience) -> Self {
        Self {
            stream,
            patience,
            requests: Requests::default(),
            head: None,
            stalled: None,
        }
    }

    /// What requests over it have to be told to.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Bounds how long a client may take nothing.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        taken: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.stalled = None;
            return taken;
        }
        let time = self.patience.answer;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let had = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let between = this.requests.between();
        if this.head.as_ref().map(|(after, _)| *after) != between {
            this.head = None;
        }
        match (&read, &mut this.head, between) {
            (Poll::Ready(Ok(())), None, Some(after)) if buffer.filled().len() > had => {
                this.head = Some((after, Box::pin(sleep(this.patience.head))));
            }
            // While the client takes its answers in slowly, what it sent after them is nobody's to wait for.
            (Poll::Pending, Some((_, deadline)), _) if this.stalled.is_some() => {
                deadline.as_mut().reset(Instant::now() + this.patience.head);
            }
            (Poll::Pending, Some((_, deadline)), _) => {
                ready!(deadline.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bounded(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.bounded(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(context);
        this.bounded(context, closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::BodyStream;
    use futures_util::stream;

    #[test]
    fn a_request_lasts_as_long_as_its_answer_comes_in_pieces() {
        let requests = Requests::default();
        let pieces = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"a"))]);
        let streamed = requests
            .begin()
            .until_sent(BoxBody::new(BodyStream::new(pieces)));
        assert_eq!(requests.between(), None);
        drop(streamed);
        assert_eq!(requests.between(), Some(1));

        let whole = requests.begin().until_sent(BoxBody::new("a"));
        assert_eq!(requests.between(), Some(2));
        drop(whole);
        assert_eq!(requests.between(), Some(2));
    }
}
