//! Rate limits per client address: token buckets in a bounded table, IPv6 by /64.
//!
//! A connection takes its client's buckets from the table once, when it is accepted. Each request then costs one
//! atomic update and no lock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// One client's buckets: for each class the time, in nanoseconds since the start, at which its bucket is full again.
#[derive(Debug, Default)]
pub(crate) struct Client {
    full_at: [AtomicU64; Class::ALL.len()],
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

    /// The buckets of a client.
    pub(crate) fn client(&self, address: IpAddr) -> Arc<Client> {
        if !self.rates.iter().any(Rate::limited) {
            return Arc::clone(&self.overflow);
        }
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

    /// Takes one token, or says after how long there is one.
    pub(crate) fn take(&self, client: &Client, class: Class, now: Instant) -> Result<(), Duration> {
        let (Some(rate), Some(full_at)) =
            (self.rates.get(class as usize), client.full_at.get(class as usize))
        else {
            return Ok(());
        };
        if !rate.limited() {
            return Ok(());
        }
        let now = self.nanos(now);
        let cost = rate.nanos_per_request();
        let capacity = cost.saturating_mul(u64::from(rate.burst.max(1)));
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

    /// Requests refused so far, by class.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().zip(&self.refused).map(|(class, count)| (class, count.load(Ordering::Relaxed)))
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

impl Client {
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
            assert_eq!(limits.take(&client, Class::Admin, now), Ok(()));
        }
        let wait = limits.take(&client, Class::Admin, now).unwrap_err();
        assert!(wait > Duration::from_millis(499) && wait <= Duration::from_millis(500), "{wait:?}");
        assert!(limits.take(&client, Class::Admin, now + Duration::from_millis(499)).is_err());
        assert_eq!(limits.take(&client, Class::Admin, now + Duration::from_millis(501)), Ok(()));
        assert!(limits.take(&client, Class::Admin, now + Duration::from_millis(502)).is_err());
        let later = now + Duration::from_secs(3600);
        let passed = (0..20).filter(|_| limits.take(&client, Class::Admin, later).is_ok()).count();
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
            limits.take(&one, Class::Admin, now).is_ok() && limits.take(&one, Class::Admin, now).is_err()
        );
        assert!(
            limits.take(&one, Class::Data, now).is_ok() && limits.take(&other, Class::Admin, now).is_ok()
        );
        assert!((0..100).all(|_| limits.take(&one, Class::AuthFailure, now).is_ok()), "0 is no limit");
        let again = limits.client(v4(1));
        assert!(limits.take(&again, Class::Admin, now).is_err(), "a new connection gets no new bucket");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let limits = limits(1.0, 1);
        let now = Instant::now();
        let take =
            |address: &str| limits.take(&limits.client(address.parse().unwrap()), Class::Admin, now).is_ok();
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
        assert!(limits.take(&held, Class::Admin, now).is_ok());
        for n in 1..100_000 {
            let client = limits.client(v4(n));
            let _either = limits.take(&client, Class::Admin, now).is_ok();
        }
        assert!(limits.clients.lock().unwrap().len() <= 64);
        assert!(
            limits.take(&limits.client(v4(0)), Class::Admin, now).is_err(),
            "a connected client is not forgotten"
        );
        let open: Vec<_> = (200_000..200_100).map(|n| limits.client(v4(n))).collect();
        assert!(limits.clients.lock().unwrap().len() <= 64);
        assert!(Arc::ptr_eq(open.last().unwrap(), &limits.overflow));
    }
}
