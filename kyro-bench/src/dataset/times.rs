//! Points in time.

use crate::random::Random;

/// Microseconds since an epoch: on average one in 200 by a rhythm of day and night, and every now and then a burst in
/// which thousands come within a few microseconds of each other, as when a robot edits. Distinct, unlike SOSD's set.
pub(super) fn wikipedia_like(count: usize, random: &mut Random) -> Vec<u64> {
    const DAY_US: f64 = 86_400e6;
    let mut time = 1_600_000_000_000_000_u64;
    let mut burst_left = 0;
    (0..count)
        .map(|_| {
            let gap = if burst_left > 0 {
                burst_left -= 1;
                1 + random.below(3)
            } else {
                if random.below(20_000) == 0 {
                    burst_left = random.below(10_000);
                }
                let rhythm = 1.0 + 0.8 * (std::f64::consts::TAU * time as f64 / DAY_US).sin();
                1 + random.exponential(200.0 * rhythm) as u64
            };
            time += gap;
            time
        })
        .collect()
}
