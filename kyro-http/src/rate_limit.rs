//! What one client address may take: token buckets, connections and streams, in a bounded table, IPv6 by /64.
//!
//! A connection takes its client's entry from the table once, when it is accepted. Each request then costs one
//! atomic update and no lock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is limited, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Work on the whole database.
    Admin,
    /// Reads and writes.
    Data,
    /// Requests with a wrong token, or with none where one is needed.
    AuthFailure,
}

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Admin, Self::Data, Self::AuthFailure];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Data => "data",
            Self::AuthFailure => "auth_failure",
        }
    }
}

/// A bucket's size and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Requests a second; 0 = no limit.
    pub(crate) per_second: f64,
    /// Requests at once.
    pub(crate) burst: u32,
}

impl Rate {
    fn limited(&self) -> bool {
        self.per_second > 0.0
    }

    fn nanos_per_request(&self) -> u64 {
        Duration::from_secs_f64((1.0 / self.per_second).clamp(1e-9, 1e6)).as_nanos() as u64
    }
}

/// The buckets of all clients.
#[derive(Debug)]
pub(crate) struct RateLimits {
    rates: [Rate; Class::ALL.len()],
    start: Instant,
    clients: Mutex<HashMap<IpAddr, Arc<Client>>>,
    /// Shared by the clients that find the table full.
    overflow: Arc<Client>,
    refused: [AtomicU64; Class::ALL.len()],
    max_clients: usize,
}

/// One client: for each class the time, in nanoseconds since the start, at which its bucket is full again; and what it
/// has open.
#[derive(Debug, Default)]
pub(crate) struct Client {
    full_at: [AtomicU64; Class::ALL.len()],
    connections: AtomicU32,
    streams: AtomicU32,
}

/// One of a client's connections, until dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPlace(Arc<Client>);

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of a client's streams, until dropped.
#[derive(Debug)]
pub(crate) struct ClientStream(Arc<Client>);

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

fn take_place(count: &AtomicU32, limit: u32) -> bool {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < limit).then_some(open + 1))
        .is_ok()
}

/// Clients remembered at a time; some 100 bytes each.
const MAX_CLIENTS: usize = 1 << 16;

impl RateLimits {
    /// Rates in the order of [`Class::ALL`].
    pub(crate) fn new(rates: [Rate; Class::ALL.len()]) -> Self {
        Self {
            rates,
            start: Instant::now(),
            clients: Mutex::default(),
            overflow: Arc::default(),
            refused: Default::default(),
            max_clients: MAX_CLIENTS,
        }
    }

    /// The entry of a client.
    pub(crate) fn client(&self, address: IpAddr) -> Arc<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network(address);
        if let Some(client) = clients.get(&network) {
            return Arc::clone(client);
        }
        if clients.len() >= self.max_clients {
            let now = self.nanos(Instant::now());
            clients.retain(|_, client| Arc::strong_count(client) > 1 || client.is_emptied(now));
            // Freed at most this often, whatever comes: a full table is not searched for each connection.
            if clients.len() >= self.max_clients - self.max_clients / 8 {
                clients.retain(|_, client| Arc::strong_count(client) > 1);
            }
        }
        if clients.len() >= self.max_clients {
            return Arc::clone(&self.overflow);
        }
        Arc::clone(clients.entry(network).or_default())
    }

    /// Takes so many tokens, or says after how long there are enough. What costs more than a whole bucket takes a
    /// full one: it passes, but not often.
    pub(crate) fn take(&self, client: &Client, class: Class, tokens: u64) -> Result<(), Duration> {
        let limited = self.rates.get(class as usize).is_some_and(Rate::limited);
        if limited { self.take_at(client, class, tokens, Instant::now()) } else { Ok(()) }
    }

    fn take_at(&self, client: &Client, class: Class, tokens: u64, now: Instant) -> Result<(), Duration> {
        let (Some(rate), Some(full_at)) =
            (self.rates.get(class as usize), client.full_at.get(class as usize))
        else {
            return Ok(());
        };
        if !rate.limited() {
            return Ok(());
        }
        let now = self.nanos(now);
        let each = rate.nanos_per_request();
        let capacity = each.saturating_mul(u64::from(rate.burst.max(1)));
        let cost = each.saturating_mul(tokens).min(capacity);
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let after = full_at.max(now).saturating_add(cost);
            (after - now <= capacity).then_some(after)
        });
        taken.map(|_| ()).map_err(|full_at| {
            if let Some(refused) = self.refused.get(class as usize) {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            Duration::from_nanos(full_at.saturating_add(cost).saturating_sub(now.saturating_add(capacity)))
        })
    }

    /// Takes tokens for what cannot be refused any more, also those that are not there yet; gives how long it takes until
    /// they would have been. Until then the client's requests of this class are refused.
    pub(crate) fn owe(&self, client: &Client, class: Class, tokens: u64) -> Duration {
        self.owe_at(client, class, tokens, Instant::now())
    }

    fn owe_at(&self, client: &Client, class: Class, tokens: u64, now: Instant) -> Duration {
        let (Some(rate), Some(full_at)) =
            (self.rates.get(class as usize), client.full_at.get(class as usize))
        else {
            return Duration::ZERO;
        };
        if !rate.limited() {
            return Duration::ZERO;
        }
        let now = self.nanos(now);
        let each = rate.nanos_per_request();
        let capacity = each.saturating_mul(u64::from(rate.burst.max(1)));
        let cost = each.saturating_mul(tokens);
        let after = |full_at: u64| full_at.max(now).saturating_add(cost);
        let before =
            full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(after(full_at)));
        let (Ok(before) | Err(before)) = before;
        Duration::from_nanos(after(before).saturating_sub(now.saturating_add(capacity)))
    }

    /// Requests refused so far, by class.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().zip(&self.refused).map(|(class, count)| (class, count.load(Ordering::Relaxed)))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

impl Client {
    /// A place among the client's connections, while it has fewer than `limit`.
    pub(crate) fn connect(self: &Arc<Self>, limit: u32) -> Option<ConnectionPlace> {
        take_place(&self.connections, limit).then(|| ConnectionPlace(Arc::clone(self)))
    }

    /// A place among the client's streams, while it has fewer than `limit`.
    pub(crate) fn stream(self: &Arc<Self>, limit: u32) -> Option<ClientStream> {
        take_place(&self.streams, limit).then(|| ClientStream(Arc::clone(self)))
    }

    /// Whether any bucket is not full: such a client must not start afresh by being forgotten.
    fn is_emptied(&self, now: u64) -> bool {
        self.full_at.iter().any(|full_at| full_at.load(Ordering::Relaxed) > now)
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 network of the size that one customer gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const OFF: Rate = Rate { per_second: 0.0, burst: 0 };

    fn limits(per_second: f64, burst: u32) -> RateLimits {
        RateLimits::new([Rate { per_second, burst }, OFF, OFF])
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(n))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let limits = limits(2.0, 5);
        let client = limits.client(v4(1));
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(limits.take_at(&client, Class::Admin, 1, now), Ok(()));
        }
        let wait = limits.take_at(&client, Class::Admin, 1, now).unwrap_err();
        assert!(wait > Duration::from_millis(499) && wait <= Duration::from_millis(500), "{wait:?}");
        assert!(limits.take_at(&client, Class::Admin, 1, now + Duration::from_millis(499)).is_err());
        assert_eq!(limits.take_at(&client, Class::Admin, 1, now + Duration::from_millis(501)), Ok(()));
        assert!(limits.take_at(&client, Class::Admin, 1, now + Duration::from_millis(502)).is_err());
        let later = now + Duration::from_secs(3600);
        let passed = (0..20).filter(|_| limits.take_at(&client, Class::Admin, 1, later).is_ok()).count();
        assert_eq!(passed, 5, "a bucket never holds more than its burst");
        assert_eq!(limits.refused().next(), Some((Class::Admin, 18)));
    }

    #[test]
    fn clients_and_classes_do_not_share_a_bucket() {
        let limits =
            RateLimits::new([Rate { per_second: 1.0, burst: 1 }, Rate { per_second: 1.0, burst: 1 }, OFF]);
        let now = Instant::now();
        let (one, other) = (limits.client(v4(1)), limits.client(v4(2)));
        assert!(
            limits.take_at(&one, Class::Admin, 1, now).is_ok()
                && limits.take_at(&one, Class::Admin, 1, now).is_err()
        );
        assert!(
            limits.take_at(&one, Class::Data, 1, now).is_ok()
                && limits.take_at(&other, Class::Admin, 1, now).is_ok()
        );
        assert!((0..100).all(|_| limits.take_at(&one, Class::AuthFailure, 1, now).is_ok()), "0 is no limit");
        let again = limits.client(v4(1));
        assert!(limits.take_at(&again, Class::Admin, 1, now).is_err(), "a new connection gets no new bucket");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let limits = limits(1.0, 1);
        let now = Instant::now();
        let take = |address: &str| {
            limits.take_at(&limits.client(address.parse().unwrap()), Class::Admin, 1, now).is_ok()
        };
        assert!(take("2001:db8:0:1::1"));
        assert!(!take("2001:db8:0:1:ffff::2"));
        assert!(take("2001:db8:0:2::1"));
        assert!(take("10.0.0.1"));
        assert!(!take("::ffff:10.0.0.1"), "the same address, mapped");
    }

    #[test]
    fn the_table_stays_bounded_and_whoever_is_limited_stays_so() {
        let mut limits = limits(0.001, 1);
        limits.max_clients = 64;
        let now = Instant::now();
        let held = limits.client(v4(0));
        assert!(limits.take_at(&held, Class::Admin, 1, now).is_ok());
        for n in 1..100_000 {
            let client = limits.client(v4(n));
            let _either = limits.take_at(&client, Class::Admin, 1, now).is_ok();
        }
        assert!(limits.len() <= 64);
        assert!(
            limits.take_at(&limits.client(v4(0)), Class::Admin, 1, now).is_err(),
            "a connected client is not forgotten"
        );
        let open: Vec<_> = (200_000..200_100).map(|n| limits.client(v4(n))).collect();
        assert!(limits.len() <= 64);
        assert!(Arc::ptr_eq(open.last().unwrap(), &limits.overflow));
    }

    #[test]
    fn a_batch_costs_its_keys_and_a_huge_one_a_whole_bucket() {
        let limits = limits(10.0, 100);
        let client = limits.client(v4(1));
        let now = Instant::now();
        assert_eq!(limits.take_at(&client, Class::Admin, 60, now), Ok(()));
        let wait = limits.take_at(&client, Class::Admin, 60, now).unwrap_err();
        assert!((1.5..2.5).contains(&wait.as_secs_f64()), "{wait:?}");
        assert_eq!(limits.take_at(&client, Class::Admin, 40, now), Ok(()));
        assert!(limits.take_at(&client, Class::Admin, 1, now).is_err());
        let later = now + Duration::from_secs(3600);
        assert_eq!(limits.take_at(&client, Class::Admin, u64::MAX, later), Ok(()));
        assert!(limits.take_at(&client, Class::Admin, 1, later).is_err());
    }

    #[test]
    fn what_is_owed_is_waited_for_and_nothing_else_passes_meanwhile() {
        let limits = limits(10.0, 100);
        let client = limits.client(v4(1));
        let now = Instant::now();
        assert_eq!(limits.owe_at(&client, Class::Admin, 100, now), Duration::ZERO, "the bucket was full");
        assert_eq!(limits.owe_at(&client, Class::Admin, 30, now), Duration::from_secs(3));
        assert_eq!(limits.owe_at(&client, Class::Admin, 10, now), Duration::from_secs(4));
        assert!(limits.take_at(&client, Class::Admin, 1, now + Duration::from_secs(4)).is_err());
        assert_eq!(limits.take_at(&client, Class::Admin, 1, now + Duration::from_millis(4100)), Ok(()));
        assert_eq!(limits.owe_at(&client, Class::Data, 1 << 40, now), Duration::ZERO, "0 is no limit");
    }

    #[test]
    fn a_million_addresses_leave_a_bounded_table() {
        let limits = limits(1.0, 1);
        for n in 0..1_000_000 {
            let client = limits.client(v4(n));
            let _place = client.connect(4).unwrap();
            let _either = limits.take(&client, Class::Admin, 1);
        }
        assert!(limits.len() <= MAX_CLIENTS, "{}", limits.len());
    }

    #[test]
    fn places_are_given_back() {
        let client = limits(1.0, 1).client(v4(1));
        let (one, two) = (client.connect(2), client.connect(2));
        assert!(one.is_some() && two.is_some() && client.connect(2).is_none());
        drop(one);
        assert!(client.connect(2).is_some());
        let stream = client.stream(1);
        assert!(stream.is_some() && client.stream(1).is_none());
        drop(stream);
        assert!(client.stream(1).is_some());
    }
}
