//! Opening a run past a damaged header or footer, and asking one entry column by column: for saving what is left.
//!
//! A [`Run`] opened this way still returns nothing that no block checksum covers. What is guessed here is only where
//! the sections lie, and a wrong guess makes every checksum fail.

use std::ops::RangeInclusive;

use zerocopy::FromBytes;

use crate::error::{Corrupt, OpenError};
use crate::format::{
    ALIGNMENT, BLOCK_BYTES, FOOTER_BYTES, FOOTER_MAGIC, Footer, Header, Layout, MAX_OFFSET, NO_FIXED_WIDTH,
    RunInfo, TOMBSTONE,
};
use crate::run::Run;

/// What is known of a run from elsewhere, for the case that its header or footer is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// UUID of the run.
    pub uuid: Option<[u8; 16]>,
    /// Entries in it.
    pub entries: Option<u64>,
    /// Length of the file.
    pub bytes: Option<u64>,
}

/// A run opened past its damage.
#[derive(Debug)]
#[non_exhaustive]
pub struct Salvaged<B> {
    /// The run. Where the footer is damaged, what only the footer says (ranges, counts, the key checksum) is made up:
    /// use [`offsets`](Self::offsets) instead.
    pub run: Run<B>,
    /// What is wrong with header and footer.
    pub damage: Vec<OpenError>,
    /// Smallest and largest offset, when the footer is right and there are entries.
    pub offsets: Option<RangeInclusive<u64>>,
}

/// Opens a run whose header or footer may be damaged. Without the footer its copy is used where values are compressed;
/// otherwise the `known` entries place the sections, and this reads the whole file once. A file that has grown is read as far as it was; one that was cut short is refused, since
/// its checksums were last: pad it with zeros to try all the same.
///
/// # Errors
/// The [`OpenError`] of [`Run::open`] where nothing can be placed.
pub fn salvage<B: AsRef<[u8]>>(bytes: B, known: &Known) -> Result<Salvaged<B>, OpenError> {
    let file = bytes.as_ref();
    let address = file.as_ptr().addr();
    if !address.is_multiple_of(align_of::<u64>()) {
        return Err(OpenError::Misaligned { address, needed: align_of::<u64>() });
    }
    let mut damage = Vec::new();
    let mut is_packed = None;
    let header = match Header::read(file) {
        Ok(header) => {
            is_packed = Some(header.is_packed());
            Some(header.info())
        }
        Err(newer @ OpenError::NewerVersion { .. }) => return Err(newer),
        Err(error) => {
            damage.push(error);
            None
        }
    };
    let whole = known.bytes.and_then(|bytes| file.get(..usize::try_from(bytes).ok()?)).unwrap_or(file);
    let footer = Footer::ref_from_suffix(whole).ok().map(|(_, footer)| footer);
    // The header is only asked which run it is of; where it is damaged the footer or the caller says so.
    let uuid = header.map(|info| info.uuid).or(known.uuid).or(footer.map(|footer| footer.run));
    let info = header.unwrap_or(RunInfo { uuid: uuid.unwrap_or_default(), ..RunInfo::default() });
    let (footer, layout, offsets) = match Footer::read_of(whole, info.uuid) {
        Ok((footer, layout)) => {
            let range = footer.min_offset.get()..=footer.max_offset.get();
            (footer.clone(), layout, (footer.entries.get() > 0).then_some(range))
        }
        Err(error) => {
            damage.push(error.clone());
            if is_packed != Some(false)
                && let Some((footer, layout)) = footer_copy(whole, info.uuid)
            {
                let range = footer.min_offset.get()..=footer.max_offset.get();
                (footer.clone(), layout, (footer.entries.get() > 0).then_some(range))
            } else {
                let guessed = if is_packed == Some(true) { None } else { guess(file, info, known) };
                let (footer, layout) = guessed.ok_or(error)?;
                (footer, layout, None)
            }
        }
    };
    let run = Run::assemble(bytes, info, footer, layout);
    Ok(Salvaged { run, damage, offsets })
}

/// The copy of the footer that a run with compressed values has before its block checksums: where these start follows
/// from the length of the file. `whole` has that length.
fn footer_copy(whole: &[u8], run: [u8; 16]) -> Option<(&Footer, Layout)> {
    let footer_at = whole.len().checked_sub(FOOTER_BYTES)?;
    // Four bytes for each block of 16 KiB, and less than 64 of padding.
    let most = footer_at / (BLOCK_BYTES / 4) + 4 + ALIGNMENT;
    let lowest = footer_at.checked_sub(most)?.next_multiple_of(ALIGNMENT);
    for table_at in (lowest..=footer_at).step_by(ALIGNMENT) {
        let Some(copy) = table_at.checked_sub(FOOTER_BYTES).and_then(|at| whole.get(at..table_at)) else {
            continue;
        };
        if copy.starts_with(&FOOTER_MAGIC)
            && let Ok(footer) = Footer::ref_from_bytes(copy)
            && footer.run == run
            && footer.is_sealed()
            && let Ok(layout) = footer.check(whole.len() as u64)
            && layout.is_packed()
            && layout.table_at == table_at as u64
        {
            return Some((footer, layout));
        }
    }
    None
}

/// A footer made from the number of entries and the length of the file. These allow two layouts, with locators and
/// without; the one is taken that does not contradict the blocks that have their checksums, if only one does not.
fn guess(file: &[u8], info: RunInfo, known: &Known) -> Option<(Footer, Layout)> {
    let entries = known.entries?;
    let file_bytes = known.bytes.unwrap_or(file.len() as u64);
    if file_bytes > file.len() as u64 || entries > file_bytes / 16 {
        return None;
    }
    let mut candidates: Vec<_> = [true, false].map(|lines| place(entries, file_bytes, lines)).into();
    candidates.retain(|candidate| {
        candidate
            .as_ref()
            .is_some_and(|(footer, layout)| is_plausible(&Run::assemble(file, info, footer.clone(), *layout)))
    });
    match (candidates.pop().flatten(), candidates.is_empty()) {
        (Some((mut footer, layout)), true) => {
            footer.run = info.uuid;
            Some((footer, layout))
        }
        _ => None,
    }
}

/// Whether nothing in the blocks that have their checksums, and at least one has, contradicts where the sections are
/// thought to be: keys increase, values follow each other, tombstones have none.
fn is_plausible(run: &Run<&[u8]>) -> bool {
    if (0..run.layout.blocks).all(|block| run.read_block(block).is_err()) {
        return false;
    }
    let mut least_key = Some(0);
    let mut value_at = Some(run.values_at);
    for index in 0..run.len() {
        match (run.key(index), least_key) {
            (Ok(key), Some(least)) if key >= least => least_key = key.checked_add(1),
            (Ok(_), _) => return false,
            (Err(_), least) => least_key = least.and_then(|least: u64| least.checked_add(1)),
        }
        let tombstone = run.offset(index).ok().map(|(_, tombstone)| tombstone);
        match run.locate(index) {
            Ok(Some(value)) => {
                if tombstone == Some(true) || value_at.is_some_and(|at| at != value.start) {
                    return false;
                }
                value_at = Some(value.end);
            }
            Ok(None) if tombstone == Some(false) => return false,
            Ok(None) => {}
            Err(Corrupt::Contradiction { .. }) => return false,
            Err(_) => value_at = None,
        }
    }
    // Padding of less than a line may be between the values and the keys.
    value_at.is_none_or(|at| at <= run.keys_at && run.keys_at - at < 64)
}

/// The one layout of so many entries that gives a file of this length.
fn place(entries: u64, file_bytes: u64, lines: bool) -> Option<(Footer, Layout)> {
    // The length grows with the bytes of values, in steps of 64: the largest number that does not give more.
    let (mut low, mut high) = (0, file_bytes);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if Layout::of(entries, middle, lines, None).file_bytes <= file_bytes {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let layout = Layout::of(entries, low, lines, None);
    if layout.file_bytes != file_bytes || file_bytes < FOOTER_BYTES as u64 {
        return None;
    }
    let mut footer = Footer::new_empty(&RunInfo::default());
    let (value_bytes, width) = if lines {
        (low, NO_FIXED_WIDTH)
    } else {
        // Up to 63 bytes of padding may be among them: only one width may fit.
        let width = low.checked_div(entries).unwrap_or(0);
        let fewest = low.saturating_sub(63);
        let is_only = width * entries >= fewest && (width == 0 || (width - 1) * entries < fewest);
        if entries > 0 && !is_only {
            return None;
        }
        (width * entries, width)
    };
    footer.entries = entries.into();
    footer.value_bytes = value_bytes.into();
    footer.fixed_width = width.into();
    footer.max_key = u64::MAX.into();
    footer.max_offset = MAX_OFFSET.into();
    Some((footer, layout))
}

impl<B: AsRef<[u8]>> Run<B> {
    /// The offset of entry `index`, and whether it is a tombstone, whatever became of its value.
    ///
    /// # Errors
    /// [`Corrupt::Block`] when the block of the offset is damaged.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn offset(&self, index: usize) -> Result<(u64, bool), Corrupt> {
        let word = self.raw_offsets()[index];
        self.touch_offset(index)?;
        Ok((word & MAX_OFFSET, word & TOMBSTONE != 0))
    }

    /// Reads every block and gives the damaged ones, in file order. `progress` gets bytes done and bytes in all.
    pub fn damaged_blocks(&self, progress: &mut dyn FnMut(u64, u64)) -> Vec<Corrupt> {
        let mut damaged = Vec::new();
        for block in 0..self.layout.blocks {
            if block.is_multiple_of(1024) {
                progress(block * BLOCK_BYTES as u64, self.layout.file_bytes);
            }
            damaged.extend(self.read_block(block).err());
        }
        damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, LastBlock, Mapping, Writer};

    fn file(entries: u64, value: impl Fn(u64) -> Option<Vec<u8>>) -> Vec<u8> {
        file_with(entries, value, Compression::None)
    }

    fn file_with(entries: u64, value: impl Fn(u64) -> Option<Vec<u8>>, compression: Compression) -> Vec<u8> {
        let info = RunInfo { uuid: [7; 16], database: [8; 16], epoch: 3 };
        let mut writer = Writer::with_compression(Vec::new(), info, compression).unwrap();
        for key in 0..entries {
            writer.push(key * 3, key + 100, value(key).as_deref()).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn known(file: &[u8], entries: u64) -> Known {
        Known { uuid: Some([7; 16]), entries: Some(entries), bytes: Some(file.len() as u64) }
    }

    /// Every entry that can be read is the one written; gives how many can.
    fn check(bytes: Vec<u8>, known: &Known, value: impl Fn(u64) -> Option<Vec<u8>>) -> usize {
        let salvaged = salvage(Mapping::from_bytes(bytes), known).unwrap();
        let run = &salvaged.run;
        let mut read = 0;
        for index in 0..run.len() {
            let Ok(key) = run.key(index) else { continue };
            assert_eq!(key, index as u64 * 3);
            if let Ok((offset, tombstone)) = run.offset(index) {
                assert_eq!((offset, tombstone), (index as u64 + 100, value(index as u64).is_none()));
            }
            let Ok(found) = run.value(index) else { continue };
            let found = found.map(|place| run.read(place, &mut LastBlock::default())).transpose();
            if let Ok(found) = found {
                assert_eq!(found.as_deref(), value(index as u64).as_deref());
                read += 1;
            }
        }
        read
    }

    #[test]
    fn a_lost_footer_or_header_costs_no_entry_behind_its_block() {
        let mixed = |key: u64| (key % 7 != 3).then(|| vec![key as u8; (key % 50) as usize]);
        let fixed = |key: u64| Some(vec![key as u8; 24]);
        for (whole, fixed_width) in [(file(5000, mixed), false), (file(5000, fixed), true)] {
            let value = |key| if fixed_width { fixed(key) } else { mixed(key) };
            let known = known(&whole, 5000);
            assert_eq!(check(whole.clone(), &known, value), 5000);
            let mut no_footer = whole.clone();
            let end = no_footer.len();
            no_footer[end - 256..].fill(0);
            assert_eq!(check(no_footer, &known, value), 5000);
            let mut grown = whole.clone();
            grown.extend_from_slice(b"more");
            assert_eq!(check(grown, &known, value), 5000);
            let mut no_header = whole.clone();
            no_header[..100].fill(0xee);
            // The first block covers the header and 12 KiB of values.
            let read = check(no_header.clone(), &known, value);
            assert!((4000..5000).contains(&read), "{read}");
            assert_eq!(check(no_header, &Known::default(), value), read, "the footer names the run");
        }
    }

    #[test]
    fn a_compressed_run_without_its_footer_is_read_by_the_copy() {
        let mixed = |key: u64| (key % 7 != 3).then(|| vec![key as u8; (key % 50) as usize]);
        let fixed = |key: u64| Some(vec![(key / 9) as u8; 24]);
        let wholes = [file_with(5000, mixed, Compression::Lz4), file_with(5000, fixed, Compression::Lz4)];
        for (whole, fixed_width) in wholes.into_iter().zip([false, true]) {
            let value = |key| if fixed_width { fixed(key) } else { mixed(key) };
            let known = known(&whole, 5000);
            let mut no_footer = whole.clone();
            let end = no_footer.len();
            no_footer[end - 256..].fill(0);
            assert_eq!(check(no_footer.clone(), &known, value), 5000);
            let unknown = Known { uuid: Some([7; 16]), entries: None, bytes: None };
            assert_eq!(check(no_footer.clone(), &unknown, value), 5000, "the copy needs nothing else");
            // Without the header too; the first block covers it, and most values.
            no_footer[..100].fill(0xee);
            let read = check(no_footer.clone(), &known, value);
            assert!(read < 5000);
            let salvaged = salvage(Mapping::from_bytes(no_footer.clone()), &known).unwrap();
            assert_eq!((salvaged.damage.len(), salvaged.run.len()), (2, 5000));
            assert_eq!(salvaged.offsets, Some(100..=5099));
            // And without the copy nothing says how values are packed.
            let copy = salvaged.run.layout.copy_at() as usize;
            let mut nothing = whole;
            nothing[end - 256..].fill(0);
            nothing[copy..copy + 256].fill(0);
            assert!(salvage(Mapping::from_bytes(nothing), &known).is_err());
        }
    }

    #[test]
    fn garbage_is_refused_or_gives_nothing() {
        for len in [0, 100, 4352, 40_000] {
            let bytes: Vec<u8> =
                (0..len).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
            for entries in [None, Some(0), Some(1), Some(100), Some(u64::MAX)] {
                let known = Known { uuid: Some([7; 16]), entries, bytes: None };
                assert!(salvage(Mapping::from_bytes(bytes.clone()), &known).is_err());
            }
        }
    }

    #[test]
    fn every_damaged_block_is_given() {
        let mut bytes = file(20_000, |key| Some(vec![key as u8; 8]));
        for at in [5_000, 20_000, 100_000] {
            bytes[at] ^= 1;
        }
        let run = Run::open(Mapping::from_bytes(bytes)).unwrap();
        let blocks: Vec<u64> = run.damaged_blocks(&mut |_, _| {}).iter().map(Corrupt::position).collect();
        assert_eq!(blocks, [0, 16_384, 98_304]);
    }
}
