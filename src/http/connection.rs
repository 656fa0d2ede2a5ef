//! A connection with limits on memory and time.
//!
//! It hands actix-http one request at a time. actix-http 3.20.0 decodes every head that it has read, up to 128 KiB of
//! them, while the first request waits (`h1/dispatcher.rs`, `poll_request`: `MAX_PIPELINED_MESSAGES` is compared before
//! the loop that decodes, and not in it); 4 094 small heads took 28 MB. So the data after a request stays in the socket
//! until that request is answered, and a body is read only as fast as its handler takes it.
//!
//! It also closes a connection whose client is too slow. actix-http times the first head of a connection and the idle
//! time between requests; for later heads, and for answers that the client does not read, it waits without limit.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::web::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::budget::{Budget, Share};
use super::framing::{Body, HeadEnd};
use super::progress::Requests;
use super::seats::Seat;

/// The longest head that takes no share of the budget, in bytes.
const SMALL_HEAD: usize = 16 * 1024;
/// The longest head that actix-http 3.20.0 decodes (`MAX_BUFFER_SIZE` in `h1/decoder.rs`).
const LONGEST_HEAD: usize = 128 * 1024;
/// The maximum of bytes of a body that are read ahead of its handler.
const READ_AHEAD: usize = 16 * 1024;
/// The maximum of chunks that are handed over ahead of the body's handler. actix-http 3.20.0 queues every chunk by
/// itself, so small ones take many times their size (`h1/payload.rs`).
const CHUNKS_AHEAD: usize = 64;
/// The maximum of chunks of a body: no honest client needs more for the largest body.
const CHUNKS: usize = 64 * 1024;
/// The maximum of bytes for one read.
const READ: usize = 4 * 1024;
/// The maximum of bytes read while nothing may be handed over. The read notices that the client went away.
const WATCHED: usize = 1024;
/// The minimum pace at which a client reads a large answer, in bytes per second, averaged over the answer timeout.
const PACE: u64 = 16 * 1024;

/// The limits of a connection.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The time limit for the head of a request, from its first byte on.
    pub head: Duration,
    /// The time for which a client may read nothing of an answer. Its pace is measured over the same time.
    pub answer: Duration,
    /// The memory of all long heads together.
    pub heads: Budget,
}

/// The part of a request that a connection hands over next.
#[derive(Debug)]
enum Phase {
    /// A head, of which this many bytes were handed over.
    Head { end: HeadEnd, size: usize },
    /// Nothing, until the last handed-over request begins or has been answered.
    Request,
    /// The body of the request.
    Body(Body),
}

impl Phase {
    fn head() -> Self {
        Self::Head {
            end: HeadEnd::default(),
            size: 0,
        }
    }
}

/// The pace at which a client reads a large answer.
#[derive(Debug)]
struct Pace {
    taken: u64,
    measured: Pin<Box<Sleep>>,
}

/// A stream that hands over one request at a time, and closes if its client is too slow.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    bounds: Bounds,
    requests: Requests,
    phase: Phase,
    /// The number of heads that were handed over completely.
    heads: u64,
    /// Bytes that were read and are not handed over yet.
    kept: Bytes,
    /// Bytes of a body that were handed over since actix-http last paused to pass them on: it reads until it has
    /// 128 KiB or has to wait.
    burst: usize,
    /// Chunks that were handed over since then.
    burst_chunks: usize,
    /// Chunks of the body that were handed over.
    body_chunks: usize,
    /// The share of long heads. actix-http keeps a buffer of their size for as long as the connection lasts.
    share: Option<Share>,
    /// The number of requests before a head that has begun, and the deadline of the head.
    head: Option<(u64, Pin<Box<Sleep>>)>,
    /// The deadline by which the client has to read some byte.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The pace of the client, once it was slow to read an answer.
    pace: Option<Pace>,
}

impl<S> Connection<S> {
    /// Wraps a stream. `seat` is the seat of its connection.
    pub fn new(stream: S, bounds: Bounds, seat: Seat) -> Self {
        let requests = Requests::of(seat);
        Self {
            stream,
            bounds,
            requests,
            phase: Phase::head(),
            heads: 0,
            kept: Bytes::new(),
            burst: 0,
            burst_chunks: 0,
            body_chunks: 0,
            share: None,
            head: None,
            stalled: None,
            pace: None,
        }
    }

    /// The requests of the connection, which have to report their progress.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Reads the progress of the last handed-over request.
    fn advance(&mut self) {
        if !matches!(self.phase, Phase::Request) {
            return;
        }
        let counts = &self.requests.0;
        let body = counts.framing.take().and_then(Body::new);
        if let Some(body) = body {
            self.phase = Phase::Body(body);
            self.body_chunks = 0;
        } else if counts.begun.get() == self.heads && counts.ended.get() == self.heads {
            self.phase = Phase::head();
        }
    }

    /// The number of bytes that may be handed over now.
    fn room(&self) -> usize {
        let counts = &self.requests.0;
        match self.phase {
            Phase::Head { .. } => usize::MAX,
            Phase::Request => 0,
            // If a request was answered before its body arrived, nobody takes the rest.
            Phase::Body(_) if self.chunks() == 0 => 0,
            Phase::Body(_) if counts.begun == counts.ended => READ_AHEAD - self.burst,
            Phase::Body(_) => {
                let ahead = READ_AHEAD.saturating_sub(counts.unread.get());
                ahead.min(READ_AHEAD - self.burst)
            }
        }
    }

    /// The number of chunks that may begin in the bytes handed over now.
    fn chunks(&self) -> usize {
        let counts = &self.requests.0;
        let ahead = if counts.begun == counts.ended {
            0
        } else {
            counts.chunks.get()
        };
        CHUNKS_AHEAD.saturating_sub(ahead.max(self.burst_chunks))
    }

    /// Decides how many of these bytes are handed over.
    fn hand_over(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..self.room()).unwrap_or(bytes);
        let chunks = self.chunks();
        match &mut self.phase {
            Phase::Head { end, size } => {
                let found = end.find(bytes);
                let taken = found.unwrap_or(bytes.len());
                *size += taken;
                if *size > SMALL_HEAD && self.share.is_none() {
                    let mut share = Share::default();
                    self.bounds
                        .heads
                        .add(&mut share, LONGEST_HEAD)
                        .map_err(io::Error::other)?;
                    self.share = Some(share);
                }
                if found.is_some() {
                    self.heads += 1;
                    self.phase = Phase::Request;
                }
                Ok(taken)
            }
            Phase::Body(body) => {
                let taken = body.take(bytes, chunks);
                self.requests.0.unread.update(|unread| unread + taken.data);
                self.requests.0.chunks.update(|ahead| ahead + taken.chunks);
                self.burst += taken.bytes;
                self.burst_chunks += taken.chunks;
                self.body_chunks += taken.chunks;
                if self.body_chunks > CHUNKS {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if taken.ended {
                    self.phase = Phase::Request;
                }
                Ok(taken.bytes)
            }
            Phase::Request => Ok(0),
        }
    }

    /// Limits the time for which a client reads nothing, and its pace with a large answer.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        taken: Poll<io::Result<T>>,
        size: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if !self.requests.0.large.get() {
            self.pace = None;
        }
        if let Poll::Ready(result) = taken {
            if self.stalled.take().is_some() {
                self.requests.go_on();
            }
            if let (Ok(taken), Some(pace)) = (&result, &mut self.pace) {
                pace.taken += size(taken) as u64;
            }
            return Poll::Ready(result);
        }
        self.requests.wait_for_client();
        if self.requests.have_to_leave(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let time = self.bounds.answer;
        if self.requests.0.large.get() {
            let pace = self.pace.get_or_insert_with(|| Pace {
                taken: 0,
                measured: Box::pin(sleep(time)),
            });
            if pace.measured.as_mut().poll(context).is_ready() {
                if u128::from(pace.taken) * 1000 < u128::from(PACE) * time.as_millis() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                self.pace = None;
                context.waker().wake_by_ref();
            }
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Reads from the stream and hands over as much as is allowed.
    fn read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.advance();
        if self.room() == 0 {
            if self.burst == READ_AHEAD || self.burst_chunks == CHUNKS_AHEAD {
                (self.burst, self.burst_chunks) = (0, 0);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return self.watch(context);
        }
        if self.kept.is_empty() {
            let mut bytes = [0; READ];
            let length = READ.min(buffer.remaining());
            let mut part = ReadBuf::new(bytes.get_mut(..length).unwrap_or_default());
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            let read = part.filled();
            let taken = self.hand_over(read)?;
            let (taken, kept) = read.split_at(taken);
            buffer.put_slice(taken);
            self.kept = Bytes::copy_from_slice(kept);
        } else {
            let length = self.kept.len().min(buffer.remaining());
            let taken = self.hand_over(&self.kept.slice(..length))?;
            buffer.put_slice(&self.kept.split_to(taken));
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until something may be handed over. Until then it watches for the end of the connection.
    fn watch(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept.is_empty() {
            let mut bytes = [0; WATCHED];
            let mut part = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.kept = Bytes::copy_from_slice(part.filled());
        }
        self.requests.wait(context);
        Poll::Pending
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
        if this.requests.have_to_leave(context) {
            // As if the client had closed the connection: answers are sent, and nothing more is read.
            return Poll::Ready(Ok(()));
        }
        let read = this.read(context, buffer);
        if matches!(this.phase, Phase::Body(_)) && this.requests.0.unread.get() == 0 {
            // The handler has all of the body that arrived.
            if read.is_pending() {
                this.requests.wait_for_client();
            }
        } else if this.requests.0.unread.get() > 0 {
            this.requests.go_on();
        }
        let between = this.requests.between();
        if this.head.as_ref().map(|(after, _)| *after) != between {
            this.head = None;
        }
        match (&read, &mut this.head, between) {
            (Poll::Ready(Ok(())), None, Some(after)) if buffer.filled().len() > had => {
                this.head = Some((after, Box::pin(sleep(this.bounds.head))));
            }
            // While the client reads its answers slowly, data that it sent after them has no deadline.
            (Poll::Pending, Some((_, deadline)), _) if this.stalled.is_some() => {
                deadline.as_mut().reset(Instant::now() + this.bounds.head);
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
        this.bounded(context, written, |size| *size)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.bounded(context, written, |size| *size)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.bounded(context, flushed, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(context);
        this.bounded(context, closed, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::poll_fn;
    use std::sync::Arc;
    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::super::framing::Framing;
    use super::super::seats::Seats;

    const HEAD: &str = "GET /readyz HTTP/1.1\r\nHost:x\r\n\r\n";

    /// A connection, and the client's end of it.
    fn connection(heads: usize) -> (Connection<DuplexStream>, DuplexStream) {
        let (stream, client) = tokio::io::duplex(1024 * 1024);
        let minute = Duration::from_mins(1);
        let bounds = Bounds {
            head: minute,
            answer: minute,
            heads: Budget::new(heads),
        };
        let seats = Arc::new(Seats::new(1, 1, Vec::new()));
        let seat = seats.take([192, 0, 2, 1].into()).unwrap();
        (Connection::new(stream, bounds, seat), client)
    }

    /// All that is handed over until the connection waits, as actix-http reads.
    fn handed_over(connection: &mut Connection<DuplexStream>) -> io::Result<String> {
        let mut all = Vec::new();
        loop {
            let mut bytes = [0; 8192];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read =
                poll_fn(|context| Pin::new(&mut *connection).poll_read(context, &mut buffer));
            match read.now_or_never() {
                Some(Ok(())) if buffer.filled().is_empty() => break,
                Some(Ok(())) => all.extend_from_slice(buffer.filled()),
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(String::from_utf8(all).unwrap())
    }

    #[tokio::test]
    async fn one_request_is_handed_over_at_a_time() {
        let (mut connection, mut client) = connection(0);
        let requests = connection.requests();
        client
            .write_all(HEAD.repeat(4094).as_bytes())
            .await
            .unwrap();
        for _ in 0..3 {
            assert_eq!(handed_over(&mut connection).unwrap(), HEAD);
            // Decoded, and not begun.
            assert_eq!(handed_over(&mut connection).unwrap(), "");
            let under_way = requests.begin(Framing::Bodiless);
            assert_eq!(handed_over(&mut connection).unwrap(), "");
            assert!(connection.kept.len() <= READ, "{}", connection.kept.len());
            drop(under_way);
        }
    }

    #[tokio::test]
    async fn a_body_is_read_no_faster_than_it_is_taken() {
        let (mut connection, mut client) = connection(0);
        let requests = connection.requests();
        let head = "POST / HTTP/1.1\r\nHost:x\r\nContent-Length:100000\r\n\r\n";
        let sent = format!("{head}{}{HEAD}", "b".repeat(100_000));
        client.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(handed_over(&mut connection).unwrap(), head);
        let under_way = requests.begin(Framing::Sized(100_000));
        let mut body = handed_over(&mut connection).unwrap().len();
        assert_eq!(body, READ_AHEAD);
        let mut taken = 0;
        while body < 100_000 {
            requests.take(1000);
            taken += 1000;
            let more = handed_over(&mut connection).unwrap();
            assert!(more.bytes().all(|byte| byte == b'b'));
            body += more.len();
            assert!(body <= taken + READ_AHEAD, "{body} of {taken}");
        }
        requests.take(READ_AHEAD);
        assert_eq!(handed_over(&mut connection).unwrap(), "");
        drop(under_way);
        assert_eq!(handed_over(&mut connection).unwrap(), HEAD);
    }

    #[tokio::test]
    async fn no_more_chunks_are_handed_over_than_the_handler_keeps_up_with() {
        let (mut connection, mut client) = connection(0);
        let requests = connection.requests();
        let head = "POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n";
        let body = format!("{}0\r\n\r\n", "1;extension\r\na\r\n".repeat(10_000));
        client
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
        assert_eq!(handed_over(&mut connection).unwrap(), head);
        let _under_way = requests.begin(Framing::Chunked);
        let mut all = String::new();
        while all.len() < body.len() {
            let more = handed_over(&mut connection).unwrap();
            let chunks = more.matches("\na\r").count();
            assert!((1..=CHUNKS_AHEAD).contains(&chunks), "{chunks}");
            assert_eq!(handed_over(&mut connection).unwrap(), "");
            all.push_str(&more);
            requests.take(chunks);
        }
        assert_eq!(all, body);
    }

    #[tokio::test]
    async fn the_rest_of_a_body_that_nobody_wanted_comes_before_the_next_head() {
        let (mut connection, mut client) = connection(0);
        let head = "POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\n\r\n";
        let body = format!("c350\r\n{}\r\n0\r\n\r\n", "b".repeat(50_000));
        let sent = format!("{head}{body}{HEAD}");
        client.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(handed_over(&mut connection).unwrap(), head);
        drop(connection.requests().begin(Framing::Chunked));
        let mut rest = String::new();
        while !rest.ends_with(HEAD) {
            let more = handed_over(&mut connection).unwrap();
            // No more than actix-http drops at once.
            assert!((1..=READ_AHEAD + HEAD.len()).contains(&more.len()));
            rest.push_str(&more);
        }
        assert_eq!(rest, format!("{body}{HEAD}"));
        assert_eq!(handed_over(&mut connection).unwrap(), "");
    }

    #[tokio::test]
    async fn a_long_head_takes_a_share_until_its_connection_is_gone() {
        let head = format!(
            "GET / HTTP/1.1\r\nHost:x\r\nX:{}\r\n\r\n",
            "x".repeat(SMALL_HEAD)
        );
        let (mut first, mut client) = connection(LONGEST_HEAD);
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(handed_over(&mut first).unwrap(), head);
        let (mut second, mut client) = connection(0);
        second.bounds = first.bounds.clone();
        client.write_all(head.as_bytes()).await.unwrap();
        assert!(handed_over(&mut second).is_err());
        drop(first);
        let (mut third, mut client) = connection(0);
        third.bounds = second.bounds.clone();
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(handed_over(&mut third).unwrap(), head);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_during_its_request_is_noticed() {
        let (mut connection, mut client) = connection(0);
        client.write_all(HEAD.as_bytes()).await.unwrap();
        assert_eq!(handed_over(&mut connection).unwrap(), HEAD);
        let _under_way = connection.requests().begin(Framing::Bodiless);
        drop(client);
        let mut bytes = [0; 10];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = poll_fn(|context| Pin::new(&mut connection).poll_read(context, &mut buffer));
        read.now_or_never().unwrap().unwrap();
        assert!(buffer.filled().is_empty());
    }
}
