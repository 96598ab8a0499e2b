//! Ranks by Zipf's law: the item of rank `r` is asked for in proportion to 1 / (r + 1)^theta.

use crate::random::Random;

/// Draws ranks in constant time, by the inverse of the distribution's integral (Gray and others, "Quickly generating
/// billion-record synthetic databases", 1994), as YCSB does.
#[derive(Clone, Debug)]
pub struct Zipf {
    items: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// Ranks from 0 to `items` - 1. Costs one power an item, once.
    ///
    /// # Panics
    /// When there are no items, or `theta` is not between 0 and 1 (both excluded).
    pub fn new(items: u64, theta: f64) -> Self {
        assert!(items > 0, "nothing to draw from");
        assert!(theta > 0.0 && theta < 1.0, "theta must lie between 0 and 1, got {theta}");
        let zeta_of = |items: u64| (1..=items).map(|rank| (rank as f64).powf(-theta)).sum::<f64>();
        let zeta = zeta_of(items);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - zeta_of(2) / zeta);
        Self { items, theta, alpha: 1.0 / (1.0 - theta), zeta, eta }
    }

    /// The next rank.
    pub fn draw(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1.min(self.items - 1);
        }
        let rank = self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        // Neither negative nor out of range: the base of the power lies between 0 and 1.
        #[expect(clippy::cast_sign_loss, reason = "see above")]
        let rank = rank as u64;
        rank.min(self.items - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_law() {
        let (items, draws) = (1_000, 400_000);
        let zipf = Zipf::new(items, 0.99);
        let mut random = Random::new(1, "zipf");
        let mut counts = vec![0_u32; items as usize];
        for _ in 0..draws {
            counts[zipf.draw(&mut random) as usize] += 1;
        }
        let zeta: f64 = (1..=items).map(|rank| (rank as f64).powf(-0.99)).sum();
        for rank in [0, 1, 9, 99] {
            let share: f64 =
                counts[..=rank].iter().map(|&count| f64::from(count)).sum::<f64>() / f64::from(draws);
            let law: f64 = (1..=rank + 1).map(|rank| (rank as f64).powf(-0.99)).sum::<f64>() / zeta;
            assert!((share - law).abs() < 0.03, "up to rank {rank}: {share} of the draws, {law} by the law");
        }
        assert!(counts[999] > 0);
    }

    #[test]
    fn few_items() {
        let mut random = Random::new(1, "zipf");
        assert!((0..100).all(|_| Zipf::new(1, 0.5).draw(&mut random) == 0));
        assert!((0..100).all(|_| Zipf::new(3, 0.99).draw(&mut random) < 3));
    }
}
