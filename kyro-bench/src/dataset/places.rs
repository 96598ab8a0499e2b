//! Points on a map, as cells of a Hilbert curve.

use super::distinct;
use crate::random::Random;

const CLUSTERS: usize = 4096;

/// Points in the unit square as 64-bit Hilbert cells: two thirds around 4096 clusters whose sizes follow Zipf and whose
/// widths differ by a factor of 1000, a third along lines from one cluster to another, 2 % anywhere. As with the cells
/// of OpenStreetMap's points, there is structure at every scale and no smooth stretch.
pub(super) fn osm_like(count: usize, random: &mut Random) -> Vec<u64> {
    let clusters: Vec<(f64, f64, f64)> = (0..CLUSTERS)
        .map(|_| (random.unit(), random.unit(), 2_f64.powf(-7.0 - 10.0 * random.unit())))
        .collect();
    // Zipf by its continuous form: the rank of a cluster is CLUSTERS^u.
    let pick = |random: &mut Random| (CLUSTERS as f64).powf(random.unit()) as usize % CLUSTERS;
    distinct(count, || {
        let kind = random.below(100);
        let (east, north) = if kind < 2 {
            (random.unit(), random.unit())
        } else if kind < 35 {
            let from = pick(random);
            // Lines go to a neighbour in the list, so that the same lines recur.
            let to = (from + 1 + random.below(3) as usize) % CLUSTERS;
            let along = random.unit();
            let jitter = 1e-6 * random.normal();
            let ((x0, y0, _), (x1, y1, _)) = (clusters[from], clusters[to]);
            (x0 + (x1 - x0) * along + jitter, y0 + (y1 - y0) * along - jitter)
        } else {
            let (east, north, width) = clusters[pick(random)];
            (east + width * random.normal(), north + width * random.normal())
        };
        hilbert(coordinate(east), coordinate(north))
    })
}

/// A coordinate of the unit interval in 32 bits; what lies outside is folded back in.
fn coordinate(unit: f64) -> u32 {
    (unit.rem_euclid(1.0) * (1_u64 << 32) as f64) as u32
}

/// The cell of a point on the Hilbert curve of order 32: neighbours on the curve are neighbours on the map.
fn hilbert(mut x: u32, mut y: u32) -> u64 {
    let mut cell = 0;
    for bit in (0..32).rev() {
        let right = x >> bit & 1;
        let up = y >> bit & 1;
        cell = cell << 2 | u64::from((3 * right) ^ up);
        if up == 0 {
            if right == 1 {
                x = !x;
                y = !y;
            }
            std::mem::swap(&mut x, &mut y);
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the grid of 16 × 16 coarsest cells, the curve visits each once and moves by one step.
    #[test]
    fn the_curve_is_a_curve() {
        let mut cells: Vec<(u64, i64, i64)> = (0..256_u32)
            .map(|index| (index / 16, index % 16))
            .map(|(x, y)| (hilbert(x << 28, y << 28) >> 56, i64::from(x), i64::from(y)))
            .collect();
        cells.sort_unstable();
        for (index, cell) in cells.iter().enumerate() {
            assert_eq!(cell.0, index as u64);
        }
        for pair in cells.windows(2) {
            assert_eq!((pair[0].1 - pair[1].1).abs() + (pair[0].2 - pair[1].2).abs(), 1, "{pair:?}");
        }
    }
}
