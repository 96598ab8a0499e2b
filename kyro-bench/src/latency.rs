//! Histograms of nanoseconds.

use hdrhistogram::Histogram;

/// From a nanosecond to an hour, with three digits. All have the same bounds, so that they can be added.
pub fn histogram() -> Histogram<u64> {
    const HOUR: u64 = 3_600_000_000_000;
    match Histogram::new_with_bounds(1, HOUR, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("these bounds are allowed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_is_kept_with_three_digits() {
        let mut histogram = histogram();
        for nanos in [1, 70, 12_345, 2_000_000_000] {
            histogram.saturating_record(nanos);
        }
        assert_eq!(histogram.min(), 1);
        assert!(histogram.max().abs_diff(2_000_000_000) < 2_000_000, "{}", histogram.max());
        assert!(histogram.value_at_quantile(0.75).abs_diff(12_345) < 13);
    }
}
