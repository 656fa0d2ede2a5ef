//! The progress of a connection's requests: the code that serves a request reports it, and the connection acts on it.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;

use super::framing::Framing;
use super::pieces;
use super::seats::Seat;

/// The requests of one connection. The code that serves a request reports its progress here.
#[derive(Debug, Clone, Default)]
pub struct Requests(pub(super) Rc<Counts>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) begun: Cell<u64>,
    pub(super) ended: Cell<u64>,
    /// The framing of the request that began last, until the connection has read it.
    pub(super) framing: Cell<Option<Framing>>,
    /// Bytes of a body that were handed over and that its handler has not taken yet.
    pub(super) unread: Cell<usize>,
    /// Chunks that were handed over since the handler last had all.
    pub(super) chunks: Cell<usize>,
    /// True while a complete answer larger than [`pieces::SMALL`] is sent.
    pub(super) large: Cell<bool>,
    /// The task to wake when more may be handed over.
    waiting: RefCell<Option<Waker>>,
    seat: Option<Seat>,
}

/// A running request, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Requests);

impl Requests {
    /// The requests of a connection that has this seat.
    pub(super) fn of(seat: Seat) -> Self {
        Self(Rc::new(Counts {
            seat: Some(seat),
            ..Counts::default()
        }))
    }

    /// Begins a request whose head is complete.
    pub(super) fn begin(&self, framing: Framing) -> UnderWay {
        self.0.begun.update(|begun| begun + 1);
        if let Some(seat) = &self.0.seat {
            seat.busy();
        }
        self.0.framing.set(Some(framing));
        self.0.unread.set(0);
        self.0.chunks.set(0);
        self.wake();
        UnderWay(self.clone())
    }

    /// Reports that the handler has taken `bytes` more of the body.
    pub(super) fn take(&self, bytes: usize) {
        self.0.unread.update(|unread| unread.saturating_sub(bytes));
        if self.0.unread.get() == 0 {
            self.0.chunks.set(0);
        }
        self.wake();
    }

    /// The number of answered requests if no request is running and the next data is a head; `None` before the first.
    pub(super) fn between(&self) -> Option<u64> {
        let begun = self.0.begun.get();
        (begun > 0 && begun == self.0.ended.get()).then_some(begun)
    }

    /// Returns true if a request is running.
    fn are_under_way(&self) -> bool {
        self.0.begun != self.0.ended
    }

    /// Notes that the connection waits for its client.
    pub(super) fn wait_for_client(&self) {
        if let Some(seat) = &self.0.seat {
            seat.wait();
        }
    }

    /// Notes that the client has sent or read something. If a request is running, the server is busy again.
    pub(super) fn go_on(&self) {
        if let Some(seat) = &self.0.seat
            && self.are_under_way()
        {
            seat.busy();
        }
    }

    /// Returns true if the connection has to close for another one.
    pub(super) fn have_to_leave(&self, context: &Context<'_>) -> bool {
        let seat = self.0.seat.as_ref();
        seat.is_some_and(|seat| seat.has_to_leave(context))
    }

    fn wake(&self) {
        if let Some(waiting) = self.0.waiting.take() {
            waiting.wake();
        }
    }

    pub(super) fn wait(&self, context: &Context<'_>) {
        *self.0.waiting.borrow_mut() = Some(context.waker().clone());
    }
}

/// The outermost middleware: tells the connection when a request begins and when its answer is sent.
pub(super) async fn accompany(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let framing = Framing::of(&mut request);
    let under_way = request
        .request()
        .conn_data::<Requests>()
        .map(|requests| requests.begin(framing));
    let response = next.call(request).await?;
    Ok(match under_way {
        Some(under_way) => response.map_body(|_, body| under_way.until_sent(body)),
        None => response,
    })
}

/// An answer that is sent piece by piece. Its request is running until the last piece was handed over.
struct Sending {
    body: BoxBody,
    _under_way: UnderWay,
}

impl UnderWay {
    /// Keeps the request running until the body is sent, unless that is small and complete.
    fn until_sent(self, body: BoxBody) -> BoxBody {
        match body.size() {
            BodySize::None => body,
            BodySize::Sized(size) if size <= pieces::SMALL as u64 => body,
            size @ (BodySize::Stream | BodySize::Sized(_)) => {
                // A stream may wait for the database, which is not the client's fault.
                self.0.0.large.set(size != BodySize::Stream);
                BoxBody::new(Sending {
                    body: pieces::split(body),
                    _under_way: self,
                })
            }
        }
    }
}

impl MessageBody for Sending {
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
        self.0.0.large.set(false);
        if let Some(seat) = &self.0.0.seat {
            seat.wait();
        }
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use actix_web::body::BodyStream;
    use futures_util::stream;

    use super::*;

    #[test]
    fn a_request_lasts_as_long_as_its_answer_leaves_in_pieces() {
        let requests = Requests::default();
        let begin = || requests.begin(Framing::Bodiless);
        let pieces = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"a"))]);
        let streamed = begin().until_sent(BoxBody::new(BodyStream::new(pieces)));
        assert_eq!(requests.between(), None);
        drop(streamed);
        assert_eq!(requests.between(), Some(1));

        let large = begin().until_sent(BoxBody::new(vec![0; pieces::SMALL + 1]));
        assert_eq!((requests.between(), requests.0.large.get()), (None, true));
        drop(large);
        assert_eq!(
            (requests.between(), requests.0.large.get()),
            (Some(2), false)
        );

        let small = begin().until_sent(BoxBody::new(vec![0; pieces::SMALL]));
        assert_eq!(requests.between(), Some(3));
        drop(small);
        assert_eq!(requests.between(), Some(3));
    }
}
