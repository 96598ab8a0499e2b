//! Keys that break models.

use crate::random::Random;

const RUN: usize = 4096;

/// Runs of up to 4096 keys, each of one kind, drawn at random:
/// - *exponential gaps*: 1, 2, 4, … up to the room there is, then again: no line fits more than a few;
/// - *dense*: one after the other, behind a jump;
/// - *equal modulo a power of two*: the low 33 bits are all the same, so that models which keep the high or the low
///   bits alone see one key; across runs also keys that differ by 1 where a double has no bit left;
/// - *steps*: 64 dense, a gap, 64 dense;
/// - *random* within the room.
///
/// The last key, if there is more than one, is 2^64 − 1: an outlier that flattens the rest.
pub(super) fn adversarial(count: usize, random: &mut Random) -> Vec<u64> {
    let mut keys = Vec::with_capacity(count);
    // Half of the range for all but the outlier, so that it is one.
    let room_per_key = (u64::MAX / 2) / (count as u64).max(1);
    let mut next = 1 + random.below(1000);
    let inner = count.saturating_sub(1);
    while keys.len() < inner {
        let len = (1 + random.below(RUN as u64) as usize).min(inner - keys.len());
        let room = room_per_key * len as u64;
        let end = next + room;
        run(&mut keys, next, len, room, random);
        // Sometimes the next run starts right behind, one key away from a run of another scale.
        next = if random.below(3) == 0 { keys.last().map_or(end, |&last| last + 1) } else { end };
    }
    keys.extend((count > inner).then_some(u64::MAX));
    keys
}

/// Adds `len` keys from `start` on, below `start + room`, where `room >= len`.
fn run(keys: &mut Vec<u64>, start: u64, len: usize, room: u64, random: &mut Random) {
    let len64 = len as u64;
    match random.below(5) {
        0 => {
            // Gaps double until a gap would take more than the share that the keys still to come leave.
            let mut at = start;
            let mut gap = 1;
            let end = start + room;
            for left in (0..len64).rev() {
                keys.push(at);
                if gap > (end - at - left) / 2 {
                    gap = 1;
                }
                at += gap;
                gap *= 2;
            }
        }
        1 => keys.extend((0..len64).map(|index| start + index)),
        2 => {
            let bits = (room / len64).max(1).ilog2().min(33);
            keys.extend((0..len64).map(|index| start + (index << bits)));
        }
        3 => {
            // With fewer than 65 keys there is no gap, and no product to fear.
            let gap = (room / len64).saturating_mul(64);
            keys.extend((0..len64).map(|index| start + index / 64 * gap.max(64) + index % 64));
        }
        _ => {
            let share = room / len64;
            keys.extend((0..len64).map(|index| start + index * share + random.below(share.max(1))));
        }
    }
}
