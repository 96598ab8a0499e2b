//! The verdict on the place where the frames of a segment stop: as it may be, torn, or damaged.

use crate::cursor::{Place, Stop};
use crate::error::Corruption;
use crate::scan;
use crate::segment::Pin;
use crate::{CleanMark, Error};

use super::chain::Chain;
use super::{ends_at, last_offset};

/// How the last segment ends, when it ends as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// At the mark.
    Clean { place: Place, next_offset: u64 },
    /// Without a mark. `used` is the byte after the last one that is not zero; the place itself when nothing follows.
    Unclean { place: Place, used: u64 },
}

/// A segment that has a successor must stop where that says.
pub(super) fn check_sealed(
    chain: &Chain,
    index: usize,
    place: Place,
    stop: Stop,
    pin: &Pin,
) -> Result<(), Error> {
    let frames =
        chain.segments.get(index).and_then(|segment| segment.footer.ok()).map(|footer| footer.frames);
    let truncated = chain.segments.get(index + 1).is_some_and(|after| after.header.truncates);
    if ends_at(&place, pin) && (truncated || frames.is_none_or(|frames| frames == place.frames)) {
        return Ok(());
    }
    Err(damage(chain, index, place, stop, "the frames do not end where the successor's header says"))
}

/// The rule of the module's documentation, for the last segment.
pub(super) fn verdict(
    chain: &Chain,
    place: Place,
    stop: Stop,
    mark: Option<CleanMark>,
) -> Result<Verdict, Error> {
    let index = chain.segments.len().saturating_sub(1);
    let Some(segment) = chain.segments.last() else {
        return Ok(Verdict::Unclean { place, used: place.at });
    };
    if let Some(mark) = mark {
        let here = mark.segment == segment.number() && mark.end == place.at && mark.checksum == place.chain;
        if here && mark.next_offset >= place.next_offset {
            return Ok(Verdict::Clean { place, next_offset: mark.next_offset });
        }
        return Err(damage(chain, index, place, stop, "the log does not end where its clean close left it"));
    }
    let remains = scan::remains(segment, place.at, segment.frames_limit())?;
    if remains.watermark > place.at {
        return Err(damage(
            chain,
            index,
            place,
            stop,
            "a later frame proves that the bytes here were durable",
        ));
    }
    Ok(Verdict::Unclean { place, used: remains.end })
}

/// The error for damage at the place where the frames stop, with all that helps to judge it.
fn damage(chain: &Chain, index: usize, place: Place, stop: Stop, rule: &'static str) -> Error {
    let Some(segment) = chain.segments.get(index) else {
        return Error::Corrupt(Box::new(Corruption::new(std::path::Path::new(""), place.at, rule)));
    };
    let (at, what, sums) = match stop {
        Stop::Bad { at, what, sums } => (at, what, sums),
        Stop::Blank => (place.at, "there are zeros where a frame must be", None),
        Stop::Limit => (place.at, rule, None),
    };
    Error::Corrupt(Box::new(Corruption {
        expected: sums.map(|(expected, _)| expected),
        found: sums.map(|(_, found)| found),
        last_good_offset: last_offset(segment, &place),
        frames_after: frames_after(chain, index, place.at),
        ..Corruption::new(&segment.path, at, what)
    }))
}

/// Valid frames behind the damage. A read error here ends the count: the damage is what is to be reported.
fn frames_after(chain: &Chain, index: usize, at: u64) -> u64 {
    let mut frames = 0;
    for (number, segment) in chain.segments.iter().enumerate().skip(index) {
        let from = if number == index { at } else { crate::format::FIRST_FRAME };
        match (number == index, segment.footer) {
            (false, Ok(footer)) => frames += footer.frames,
            _ => match scan::remains(segment, from, chain.limit(number, segment)) {
                Ok(remains) => frames += remains.frames,
                Err(_) => return frames,
            },
        }
    }
    frames
}
