//! Seeded distributions of keys for the tests, kind and unkind.
#![allow(dead_code, reason = "each test file uses some of it")]
#![expect(clippy::cast_sign_loss, reason = "every draw is positive")]

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

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().max(1e-300).ln()).sqrt() * (self.unit() * std::f64::consts::TAU).cos()
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

fn distinct(mut keys: Vec<u64>) -> Vec<u64> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Every distribution, by name: about `count` keys each.
#[expect(clippy::too_many_lines, reason = "a list")]
pub(crate) fn every(count: u64, seed: u64) -> Vec<(&'static str, Vec<u64>)> {
    let random = || Random(seed);
    let draw = |mut one: Box<dyn FnMut(&mut Random) -> u64>| {
        let mut random = random();
        distinct((0..count).map(|_| one(&mut random)).collect())
    };
    let gaps = |mut gap: Box<dyn FnMut(&mut Random) -> u64>| {
        let mut random = random();
        let mut key = 0u64;
        let keys = (0..count).map(|_| {
            key = key.saturating_add(gap(&mut random));
            key
        });
        distinct(keys.collect())
    };
    vec![
        ("dense", (0..count).collect()),
        ("dense from the middle", (0..count).map(|i| (1 << 63) - count / 2 + i).collect()),
        ("dense to the end", (0..count).map(|i| u64::MAX - (count - 1) + i).collect()),
        ("stride", (0..count).map(|i| i * 12_345 + 99).collect()),
        ("uniform", draw(Box::new(Random::next))),
        ("uniform in 32 bits", draw(Box::new(|r| r.next() >> 32))),
        ("normal", draw(Box::new(|r| (r.normal() * 1e17 + 9e18) as u64))),
        ("lognormal", draw(Box::new(|r| ((r.normal() * 2.0).exp() * 1e9) as u64))),
        ("heavy tail", draw(Box::new(|r| (1e6 / r.unit().max(1e-12)) as u64))),
        ("squares", (0..count).map(|i| i * i).collect()),
        ("exponential gaps", gaps(Box::new(|r| 1 << (r.below(48))))),
        (
            "powers and neighbours",
            distinct((0..count).map(|i| (1u64 << (i % 64)).wrapping_add(i / 64)).collect()),
        ),
        ("one huge outlier", (0..count).chain([u64::MAX]).collect()),
        (
            "outliers at both ends",
            [0, 1]
                .into_iter()
                .chain((0..count).map(|i| (1 << 40) + i * 3))
                .chain([1 << 63, u64::MAX])
                .collect(),
        ),
        (
            "a few outliers",
            distinct(
                draw(Box::new(|r| r.next() >> 24))
                    .into_iter()
                    .chain((0..20).map(|i| (1 << 60) + (i << 59)))
                    .collect(),
            ),
        ),
        ("dense runs", gaps(Box::new(|r| if r.below(200) == 0 { 1 << r.below(50) } else { 1 }))),
        ("dense runs of a line", gaps(Box::new(|r| if r.below(9) == 0 { r.below(1 << 40) } else { 1 }))),
        (
            "equal modulo 2^53",
            (0..count.min(2000))
                .map(|i| i << 53)
                .chain([u64::MAX])
                .collect::<Vec<u64>>()
                .into_iter()
                .take(2048)
                .collect(),
        ),
        ("nearly equal in doubles", distinct((0..count).map(|i| (1 << 62) + i / 2 * 3 + (i & 1)).collect())),
        ("steps", (0..count).map(|i| i + (i / 500) * (1 << 33)).collect()),
        ("clusters", {
            let mut at = 0;
            gaps(Box::new(move |r| {
                at += 1;
                if at % 700 == 0 { r.next() >> 12 } else { 1 + r.below(9) }
            }))
        }),
        (
            "clusters of clusters",
            gaps(Box::new(|r| {
                let mut size = 1;
                while size < 1 << 44 && r.below(12) == 0 {
                    size *= 64;
                }
                1 + r.below(size)
            })),
        ),
        ("timestamps in bursts", {
            let mut burst = 1;
            gaps(Box::new(move |r| {
                if r.below(1000) == 0 {
                    burst = 1 << r.below(16);
                }
                1 + r.below(burst)
            }))
        }),
        ("snowflakes", distinct((0..count).map(|i| ((i / 40) << 22) | ((i % 3) << 12) | (i % 40)).collect())),
        (
            "two densities",
            (0..count)
                .map(|i| if i < count / 2 { i } else { count / 2 + (i - count / 2) * (1 << 40) })
                .collect(),
        ),
        ("fibonacci", {
            let (mut a, mut b) = (1u64, 2u64);
            let mut all = Vec::new();
            while let Some(c) = a.checked_add(b) {
                all.push(a);
                a = b;
                b = c;
            }
            all
        }),
    ]
    .into_iter()
    .map(|(name, keys): (&str, Vec<u64>)| (name, distinct(keys)))
    .collect()
}
