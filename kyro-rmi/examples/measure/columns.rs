//! Columns of keys to measure on: seeded, of the shapes that published data sets have.
#![expect(clippy::cast_sign_loss, reason = "all the numbers are positive")]

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().max(1e-300).ln()).sqrt() * (self.unit() * std::f64::consts::TAU).cos()
    }

    fn exponential(&mut self) -> f64 {
        -self.unit().max(1e-300).ln()
    }
}

type Make = fn(usize) -> Vec<u64>;

/// Every column, by name.
pub(crate) const ALL: [(&str, Make); 11] = [
    ("dense", |count| (0..count as u64).map(|i| i + 1_000_000).collect()),
    ("uniform", |count| draw(count, Random::next)),
    ("normal", |count| draw(count, |r| (r.normal() * 1e17 + 9.2e18) as u64)),
    ("lognormal", |count| draw(count, |r| ((r.normal() * 2.0).exp() * 1e12) as u64)),
    ("bursty", |count| {
        let mut rate = 1.0;
        steps(count, move |r| {
            if r.below(5000) == 0 {
                rate = 10.0 * (r.normal() * 0.7).exp();
            }
            1 + (r.exponential() * rate) as u64
        })
    }),
    ("snowflake", |count| {
        let mut all = Vec::with_capacity(count);
        let (mut r, mut time) = (Random(5), 0u64);
        while all.len() < count {
            time += 1 + r.below(4);
            for worker in 0..4 {
                for sequence in 0..r.below(4) {
                    all.push(time << 22 | worker << 12 | sequence);
                }
            }
        }
        all.truncate(count);
        all
    }),
    ("books", |count| draw(count, |r| (1e7 / r.unit().max(1e-13).powf(1.2)) as u64)),
    ("fb", |count| {
        let mut all = steps(count - 21, |r| 1 + (r.exponential() * 300.0 * (r.normal() * 0.8).exp()) as u64);
        all.extend((0..21).map(|i| (1 << 62) + (i << 57)));
        all
    }),
    ("osm", |count| draw(count, hilbert_point)),
    ("fractal", |count| {
        steps(count, |r| {
            let mut size = 8u64;
            while size < 1 << 40 && r.below(6) == 0 {
                size *= 16;
            }
            1 + r.below(size)
        })
    }),
    ("adversarial", |count| {
        let mut run = 0;
        steps(count, move |r| {
            if run == 0 {
                run = 1 + r.below(300);
                return 1 << r.below(36);
            }
            run -= 1;
            1 + (r.below(8) >> 1)
        })
    }),
];

fn draw(count: usize, mut one: impl FnMut(&mut Random) -> u64) -> Vec<u64> {
    let mut random = Random(42);
    let mut keys: Vec<u64> = (0..count + count / 50).map(|_| one(&mut random)).collect();
    keys.sort_unstable();
    keys.dedup();
    // Too many, evenly spread: leave some out at even distances.
    let extra = keys.len().saturating_sub(count);
    let mut index = 0;
    let total = keys.len();
    keys.retain(|_| {
        index += 1;
        index * extra / total == (index - 1) * extra / total
    });
    keys
}

fn steps(count: usize, mut gap: impl FnMut(&mut Random) -> u64) -> Vec<u64> {
    let mut random = Random(42);
    let mut key = 1u64;
    (0..count)
        .map(|_| {
            key += gap(&mut random);
            key
        })
        .collect()
}

/// A point of one of a few thousand clusters of very different sizes, as its cell on a Hilbert curve.
fn hilbert_point(random: &mut Random) -> u64 {
    let rank = (random.exponential() * 400.0) as u64;
    let mut cluster = Random(rank * 977 + 5);
    let (x, y) = (cluster.unit(), cluster.unit());
    let size = 10f64.powf(-1.5 - 3.5 * cluster.unit());
    let scale = f64::from(u32::MAX);
    let place = |middle: f64, offset: f64| ((middle + size * offset).rem_euclid(1.0) * scale) as u32;
    let street = random.below(3) == 0;
    let (dx, dy) = (random.normal(), random.normal());
    let dy = if street { (dy * 8.0).round() / 8.0 } else { dy };
    hilbert(place(x, dx), place(y, dy))
}

fn hilbert(mut x: u32, mut y: u32) -> u64 {
    let mut cell = 0u64;
    for bit in (0..32).rev() {
        let (rx, ry) = (x >> bit & 1, y >> bit & 1);
        cell = cell << 2 | u64::from((3 * rx) ^ ry);
        if ry == 0 {
            if rx == 1 {
                (x, y) = (!x, !y);
            }
            (x, y) = (y, x);
        }
    }
    cell
}
