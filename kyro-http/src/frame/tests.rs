//! Every byte of the frame, frozen; and what a decoder must refuse.

use super::*;

const LIMIT: u32 = 1 << 20;

fn write_operation(out: &mut Vec<u8>, operation: &Operation) {
    let (condition, offset) = match operation.expected {
        None => (0, 0),
        Some(Condition::Absent) => (1, 0),
        Some(Condition::Offset(offset)) => (2, offset),
        Some(Condition::Present) => (3, 0),
    };
    let (tag, key, value) = match &operation.op {
        Op::Put { key, value } => (1, *key, value.clone()),
        Op::Delete { key } => (2, *key, Bytes::new()),
        Op::Append { payload } => (3, 0, payload.clone()),
    };
    write_record(out, [tag, condition, 0, 0], value.len() as u32, key, offset);
    out.extend_from_slice(&value);
}

fn operations() -> Vec<Operation> {
    let put = |key, value: &'static [u8], expected| Operation {
        op: Op::Put { key, value: Bytes::from_static(value) },
        expected,
    };
    vec![
        put(7, b"seven", None),
        put(u64::MAX, b"", Some(Condition::Absent)),
        put(8, b"\x00\xff", Some(Condition::Offset(0x0102_0304_0506_0708))),
        Operation { op: Op::Delete { key: 9 }, expected: Some(Condition::Present) },
        Operation { op: Op::Append { payload: Bytes::from_static(b"event") }, expected: None },
    ]
}

fn batch(records: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, Kind::Operations, records);
    for operation in &operations() {
        write_operation(&mut out, operation);
    }
    if records.is_none() {
        write_end(&mut out, None);
    }
    out
}

/// One frame of each kind, one after the other, as the golden file has them.
fn every_kind() -> Vec<u8> {
    let mut out = batch(Some(5));
    out.extend_from_slice(&batch(None));
    write_header(&mut out, Kind::Keys, Some(2));
    out.extend_from_slice(&7_u64.to_le_bytes());
    out.extend_from_slice(&u64::MAX.to_le_bytes());
    write_header(&mut out, Kind::Values, Some(3));
    write_value(&mut out, Some(b"seven"));
    write_value(&mut out, None);
    write_value(&mut out, Some(b""));
    write_header(&mut out, Kind::Entries, None);
    write_entry(&mut out, 7, 1, Some(b"seven"));
    write_entry(&mut out, 8, 2, None);
    write_end(&mut out, Some(8));
    out
}

#[test]
fn the_bytes_are_frozen() {
    let golden = include_bytes!("../../tests/golden/v1-frames.kyf");
    assert_eq!(every_kind(), golden);
    let first = batch(Some(5)).len();
    let read = read_operations(Bytes::from_static(&golden[..first]), LIMIT);
    assert_eq!(read, Ok(operations()));
}

/// A server of this version says so of a frame of the next, and reads nothing of it.
#[test]
fn a_frame_of_a_newer_version_is_refused() {
    let mut newer = batch(Some(5));
    newer[3] = b'2';
    let refused = read_operations(newer.into(), LIMIT).unwrap_err();
    assert_eq!(refused, FrameError::NoHeader);
    assert!(refused.to_string().contains("KYF1"), "{refused}");
}

#[test]
fn frames_with_and_without_a_number_read_the_same() {
    for records in [Some(5), None] {
        assert_eq!(read_operations(batch(records).into(), LIMIT), Ok(operations()));
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    for records in [Some(5), None] {
        let whole = batch(records);
        for end in 0..whole.len() {
            assert!(
                read_operations(Bytes::copy_from_slice(&whole[..end]), LIMIT).is_err(),
                "{records:?} {end}"
            );
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(read_operations(longer.into(), LIMIT), Err(FrameError::Trailing { records: 5 }));
    }
}

#[test]
fn no_changed_byte_goes_unnoticed_outside_keys_offsets_and_values() {
    let whole = batch(Some(5));
    let (mut refused, mut read) = (0, 0);
    for at in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= flip;
            match read_operations(changed.into(), LIMIT) {
                Err(_) => refused += 1,
                Ok(found) => {
                    read += 1;
                    assert_ne!(found, operations(), "byte {at}");
                }
            }
        }
    }
    assert!(refused > 100 && read > 50, "{refused} {read}");
}

#[test]
fn what_no_frame_may_hold_is_named() {
    let record = |bytes: [u8; 24]| {
        let mut out = Vec::new();
        write_header(&mut out, Kind::Operations, Some(1));
        out.extend_from_slice(&bytes);
        read_operations(out.into(), LIMIT)
    };
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = [0; 24];
        for (at, byte) in changes {
            bytes[*at] = *byte;
        }
        record(bytes)
    };
    assert_eq!(with(&[(0, 4)]), Err(FrameError::Tag { record: 0, tag: 4 }));
    assert_eq!(
        with(&[(0, 0)]),
        Err(FrameError::Tag { record: 0, tag: 0 }),
        "an end before the number is full"
    );
    assert_eq!(with(&[(0, 1), (1, 4)]), Err(FrameError::Condition { record: 0, condition: 4 }));
    for changes in [
        &[(0, 1), (2, 1)][..],
        &[(0, 1), (16, 1)],
        &[(0, 2), (4, 1)],
        &[(0, 3), (8, 1)],
        &[(0, 3), (1, 1)],
        &[(0, 0), (8, 1)],
    ] {
        assert_eq!(with(changes), Err(FrameError::NotZero { record: Some(0) }), "{changes:?}");
    }
    assert!(matches!(with(&[(0, 1), (7, 1)]), Err(FrameError::ValueTooLarge { record: 0, .. })));
    let mut many = Vec::new();
    write_header(&mut many, Kind::Operations, Some(u64::MAX - 1));
    assert_eq!(read_operations(many.into(), LIMIT), Err(FrameError::TooMany { records: u64::MAX - 1 }));
    let mut keys = Vec::new();
    write_header(&mut keys, Kind::Keys, Some(1));
    assert_eq!(read_operations(keys.clone().into(), LIMIT), Err(FrameError::Kind { expected: 1, found: 2 }));
    assert_eq!(read_keys(keys.clone().into()), Err(FrameError::TooMany { records: 1 }));
    keys.extend_from_slice(&7_u64.to_le_bytes());
    assert_eq!(read_keys(keys.clone().into()), Ok(vec![7]));
    keys.push(0);
    assert_eq!(read_keys(keys.into()), Err(FrameError::Short { record: 1 }));
    assert_eq!(read_keys(Bytes::from_static(b"KYF2")), Err(FrameError::NoHeader));
}
