//! The limits on open connections: in all, and from one source.
//!
//! Each connection takes memory and a file descriptor before its client is known. Beyond a limit, the connection that
//! has waited longest for its client is closed: for a request, for the rest of a body, or for an answer to be read. If
//! all connections are busy, the new one is closed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use futures_util::task::AtomicWaker;
use ipnet::IpNet;

use crate::domain::network::network;
use crate::metrics;

/// The seats of all connections.
#[derive(Debug)]
pub struct Seats {
    most: usize,
    most_of_source: usize,
    /// Connections of proxies carry many sources, so they count in the total only.
    proxies: Vec<IpNet>,
    taken: Mutex<Taken>,
    /// A counter that grows when a connection begins to wait for its client. A smaller number is longer ago.
    waits: AtomicU64,
    counts: metrics::Connections,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    all: HashMap<u64, Arc<Place>>,
    of_source: HashMap<IpAddr, HashMap<u64, Arc<Place>>>,
}

/// A connection as others see it.
#[derive(Debug, Default)]
struct Place {
    /// The number from [`Seats::waits`] when the connection began to wait for its client; [`BUSY`] while it is busy.
    waits_since: AtomicU64,
    /// True if it has to close for another one.
    leaves: AtomicBool,
    task: AtomicWaker,
}

/// The value of `waits_since` while a connection is busy: the server works for it.
const BUSY: u64 = u64::MAX;

/// The seat of a connection, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    number: u64,
    /// The source that it counts for; `None` for a trusted proxy.
    source: Option<IpAddr>,
    place: Arc<Place>,
}

impl Seats {
    /// Seats for `most` connections, at most `most_of_source` of them for one source. Connections of `proxies` count in
    /// the total only.
    #[must_use]
    pub fn new(most: u32, most_of_source: u32, proxies: Vec<IpNet>) -> Self {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            most: size(most),
            most_of_source: size(most_of_source),
            proxies,
            taken: Mutex::default(),
            waits: AtomicU64::new(0),
            counts: metrics::Connections::default(),
        }
    }

    /// The counts of connections.
    #[must_use]
    pub fn counts(&self) -> &metrics::Connections {
        &self.counts
    }

    /// Gives a connection from `peer` a seat. At a limit, it tells the connection to close that has waited longest for
    /// its client, of the same source or of all. `None` if none waits.
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let peer = peer.to_canonical();
        let proxy = self.proxies.iter().any(|network| network.contains(&peer));
        let source = (!proxy).then(|| network(peer));
        let place = Arc::new(Place::default());
        self.wait(&place);
        let mut taken = self.lock();
        let made_room = taken.make_room(source, self.most, self.most_of_source);
        match made_room {
            None => {
                self.counts.refuse();
                return None;
            }
            Some(0) => {}
            Some(_) => self.counts.evict(),
        }
        let number = taken.next;
        taken.next += 1;
        taken.all.insert(number, Arc::clone(&place));
        if let Some(source) = source {
            let places = taken.of_source.entry(source).or_default();
            places.insert(number, Arc::clone(&place));
        }
        drop(taken);
        self.counts.open();
        Some(Seat {
            seats: Arc::clone(self),
            number,
            source,
            place,
        })
    }

    fn wait(&self, place: &Place) {
        let since = self.waits.fetch_add(1, Ordering::Relaxed);
        place.waits_since.store(since, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Makes room for one more connection. Returns the number of connections that have to close for it, or `None` if
    /// there is no room.
    fn make_room(
        &mut self,
        source: Option<IpAddr>,
        most: usize,
        most_of_source: usize,
    ) -> Option<usize> {
        let of_source = source.and_then(|source| self.of_source.get(&source));
        if let Some(places) = of_source.filter(|places| is_full(places, most_of_source)) {
            evict_oldest(places)?;
            return Some(1);
        }
        if is_full(&self.all, most) {
            evict_oldest(&self.all)?;
            return Some(1);
        }
        Some(0)
    }
}

/// Returns true if the limit is reached, without the connections that are closing.
fn is_full(places: &HashMap<u64, Arc<Place>>, most: usize) -> bool {
    let leaves = |place: &&Arc<Place>| place.leaves.load(Ordering::Relaxed);
    // Count only near the limit.
    places.len() >= most && places.len() - places.values().filter(leaves).count() >= most
}

/// Tells the connection that has waited longest for its client to close, if one waits.
fn evict_oldest(places: &HashMap<u64, Arc<Place>>) -> Option<()> {
    let waits = |place: &&Arc<Place>| {
        let since = place.waits_since.load(Ordering::Relaxed);
        (since != BUSY && !place.leaves.load(Ordering::Relaxed)).then_some(since)
    };
    let oldest = places
        .values()
        .filter(|place| waits(place).is_some())
        .min_by_key(waits)?;
    oldest.leaves.store(true, Ordering::Relaxed);
    oldest.task.wake();
    Some(())
}

impl Seat {
    /// Marks the connection as busy.
    pub(super) fn busy(&self) {
        self.place.waits_since.store(BUSY, Ordering::Relaxed);
    }

    /// Marks the connection as waiting for its client, if it does not wait already.
    pub(super) fn wait(&self) {
        if self.place.waits_since.load(Ordering::Relaxed) == BUSY {
            self.seats.wait(&self.place);
        }
    }

    /// Returns true if the connection has to close. If not, the task of `context` is woken when it has to.
    pub(super) fn has_to_leave(&self, context: &Context<'_>) -> bool {
        self.place.task.register(context.waker());
        self.place.leaves.load(Ordering::Relaxed)
            && self.place.waits_since.load(Ordering::Relaxed) != BUSY
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all.remove(&self.number);
        if let Some(source) = self.source
            && let Entry::Occupied(mut places) = taken.of_source.entry(source)
        {
            places.get_mut().remove(&self.number);
            if places.get().is_empty() {
                places.remove();
            }
        }
        drop(taken);
        self.seats.counts.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;

    fn leaves(seat: &Seat) -> bool {
        seat.has_to_leave(&Context::from_waker(noop_waker_ref()))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_connection_of_a_source_that_waited_longest_makes_room() {
        let seats = Arc::new(Seats::new(10, 3, Vec::new()));
        let take = |peer: &str| seats.take(address(peer));
        let [first, second, third] =
            ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(|peer| take(peer).unwrap());
        // Another network is another source.
        let other = take("2001:db8:0:1::1").unwrap();
        first.busy();
        let fourth = take("2001:db8::4").unwrap();
        assert_eq!(
            [&first, &second, &third, &other, &fourth].map(leaves),
            [false, true, false, false, false]
        );
        // The second is still open, but no longer counts.
        first.wait();
        let fifth = take("2001:db8::5").unwrap();
        assert_eq!([&first, &third, &fourth].map(leaves), [false, true, false]);
        for seat in [&first, &fourth, &fifth] {
            seat.busy();
        }
        assert!(take("2001:db8::6").is_none());
        drop(fourth);
        assert!(take("2001:db8::6").is_some());
    }

    #[test]
    fn beyond_the_total_the_connection_of_all_that_waited_longest_makes_room() {
        let seats = Arc::new(Seats::new(2, 2, vec!["10.0.0.0/8".parse().unwrap()]));
        let take = |peer: &str| seats.take(address(peer));
        let first = take("192.0.2.1").unwrap();
        let second = take("192.0.2.2").unwrap();
        let third = take("192.0.2.3").unwrap();
        assert_eq!([&first, &second, &third].map(leaves), [true, false, false]);
        drop((first, second));
        third.busy();
        // A proxy may have all remaining seats, and a mapped address counts as the IPv4 address.
        let proxied: Vec<_> = (0..3).map(|_| take("::ffff:10.0.0.1").unwrap()).collect();
        assert_eq!(proxied.iter().filter(|seat| leaves(seat)).count(), 2);
        drop((third, proxied));
        let taken = seats.lock();
        assert!(taken.all.is_empty() && taken.of_source.is_empty());
    }

    #[test]
    fn a_connection_that_is_busy_again_stays_until_it_waits() {
        let seats = Arc::new(Seats::new(1, 1, Vec::new()));
        let first = seats.take(address("192.0.2.1")).unwrap();
        let _second = seats.take(address("192.0.2.1")).unwrap();
        first.busy();
        assert!(!leaves(&first));
        first.wait();
        assert!(leaves(&first));
    }
}
