//! What the writer refuses, and what it says.

use std::io;

use kyro_snapshot::{MAX_OFFSET, MAX_VALUE_BYTES, Mapping, OpenError, Run, RunInfo, WriteError, Writer};

#[test]
fn keys_out_of_order_are_refused_by_name() {
    for (previous, key) in [(5, 4), (5, 5), (u64::MAX, 0), (0, 0), (u64::MAX, u64::MAX)] {
        let mut writer = Writer::new(Vec::new(), RunInfo::default()).unwrap();
        writer.push(previous, 1, Some(b"first")).unwrap();
        let error = writer.push(key, 2, Some(b"second")).unwrap_err();
        assert!(matches!(error, WriteError::KeyOrder { previous: p, key: k } if (p, k) == (previous, key)));
        assert_eq!(
            error.to_string(),
            format!("key {key} was pushed after key {previous}: keys must be strictly increasing")
        );
    }
}

#[test]
fn a_refused_entry_leaves_the_writer_as_it_was() {
    let mut writer = Writer::new(Vec::new(), RunInfo::default()).unwrap();
    let mut same = Writer::new(Vec::new(), RunInfo::default()).unwrap();
    let too_long = vec![0; MAX_VALUE_BYTES + 1];
    for (key, value) in [(1, Some(&b"one"[..])), (2, None), (3, Some(b"three"))] {
        writer.push(key, key, value).unwrap();
        same.push(key, key, value).unwrap();
        writer.push(key, key, value).unwrap_err();
        writer.push(key + 1, MAX_OFFSET + 1, value).unwrap_err();
        writer.push(key + 1, key, Some(&too_long)).unwrap_err();
        assert_eq!((writer.entries(), writer.value_bytes()), (same.entries(), same.value_bytes()));
    }
    assert_eq!(writer.finish().unwrap(), same.finish().unwrap());
}

#[test]
fn the_longest_value_and_the_largest_offset_are_accepted() {
    let longest = vec![0xA5; MAX_VALUE_BYTES];
    let mut writer = Writer::new(Vec::new(), RunInfo::default()).unwrap();
    writer.push(1, MAX_OFFSET, Some(&longest)).unwrap();
    writer.push(2, 0, Some(b"short")).unwrap();
    let error = writer.push(3, MAX_OFFSET + 1, None).unwrap_err();
    assert!(
        matches!(error, WriteError::OffsetTooLarge { key: 3, offset, limit: MAX_OFFSET } if offset == 1 << 63)
    );
    let run = Run::open(Mapping::from_bytes(writer.finish().unwrap().0)).unwrap();
    let entry = run.entry(0).unwrap();
    assert_eq!(entry.offset, MAX_OFFSET);
    assert!(run.slice(entry.value.unwrap()) == longest);
    assert_eq!(run.slice(run.entry(1).unwrap().value.unwrap()), b"short");
}

/// Takes so many bytes, then no more.
struct Full {
    room: usize,
}

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failed_output_is_final() {
    let value = [7; 1000];
    for room in [0, 1, 4096, 16 * 1024, 20_000, 40_000, 50_000] {
        let mut writer = Writer::new(Full { room }, RunInfo::default()).unwrap();
        let mut failure = None;
        for key in 0..50 {
            if let Err(error) = writer.push(key, key, Some(&value)) {
                failure = Some((key, error));
                break;
            }
        }
        if let Some((key, error)) = failure {
            assert!(matches!(error, WriteError::Io { position, .. } if position <= room as u64), "{error}");
            assert!(matches!(writer.push(key + 1, 0, None), Err(WriteError::Failed)));
            assert!(matches!(writer.finish(), Err(WriteError::Failed)));
        } else {
            assert!(matches!(writer.finish(), Err(WriteError::Io { .. })), "room for {room} bytes");
        }
    }
}

#[test]
fn an_unfinished_file_is_refused() {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, RunInfo::default()).unwrap();
    for key in 0..1_000_000 {
        writer.push(key, key, Some(b"value")).unwrap();
    }
    drop(writer);
    assert!(file.len() > 1_000_000);
    let position = file.len() as u64 - 256;
    assert_eq!(Run::open(Mapping::from_bytes(file)).unwrap_err(), OpenError::NoFooter { position });
}

#[test]
fn bytes_that_are_not_aligned_are_refused_or_copied() {
    let mut writer = Writer::new(Vec::new(), RunInfo::default()).unwrap();
    writer.push(1, 1, Some(b"one")).unwrap();
    let (file, _) = writer.finish().unwrap();
    let mut room = vec![0_u64; file.len() / 8 + 2];
    for shift in 0..16 {
        let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(&mut room[..]);
        let place = &mut bytes[shift..shift + file.len()];
        place.copy_from_slice(&file);
        let opened = Run::open(&*place);
        if shift % 8 == 0 {
            assert_eq!(opened.unwrap().keys(), [1]);
        } else {
            let address = place.as_ptr().addr();
            assert_eq!(opened.unwrap_err(), OpenError::Misaligned { address, needed: 8 });
        }
        assert_eq!(Mapping::from_bytes(place.to_vec()).as_ref().as_ptr().addr() % 64, 0);
    }
}
