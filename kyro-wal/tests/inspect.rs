//! A segment shown as facts, healthy and damaged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use kyro_wal::inspect::{self, FooterFacts, Item};
use kyro_wal::storage::SimDisk;
use rig::*;

#[derive(Debug, PartialEq)]
enum Piece {
    Frame { offset: u64, count: u32, follows: bool, payload: Vec<u8> },
    Damage { from: u64, to: u64 },
    Zeros { from: u64, to: u64 },
}

fn pieces(disk: &SimDisk, number: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    inspect::walk(disk, &segment(number), &mut |item| pieces.push(piece(item))).unwrap();
    pieces
}

fn piece(item: Item<'_>) -> Piece {
    match item {
        Item::Frame { facts, payload } => Piece::Frame {
            offset: facts.first_offset,
            count: facts.count,
            follows: facts.follows,
            payload: payload.to_vec(),
        },
        Item::Damage { from, to, .. } => Piece::Damage { from, to },
        Item::Zeros { from, to } => Piece::Zeros { from, to },
        other => panic!("{other:?}"),
    }
}

fn log() -> SimDisk {
    let disk = disk();
    let mut wal = create(&disk);
    for payload in [&[1; 100][..], &[2; 200], &[3; 300]] {
        wal.append(2, payload).unwrap();
        wal.write_group().unwrap();
        wal.sync().unwrap();
    }
    wal.rotate().unwrap();
    disk
}

#[test]
fn a_healthy_segment_is_its_frames() {
    let disk = log();
    let frame = |offset, payload| Piece::Frame { offset, count: 2, follows: true, payload };
    let frames = [frame(0, vec![1; 100]), frame(2, vec![2; 200]), frame(4, vec![3; 300])];
    assert_eq!(pieces(&disk, 1)[..3], frames);
    assert_eq!(pieces(&disk, 2), [Piece::Zeros { from: 4096, to: 12288 }]);
    let paths = inspect::segments(&disk, dir()).unwrap();
    assert_eq!(paths, [segment(1), segment(2)]);
    let first = inspect::segment_facts(&disk, &segment(1)).unwrap();
    let second = inspect::segment_facts(&disk, &segment(2)).unwrap();
    assert!(matches!(first.footer, FooterFacts::Sealed { frames: 3, next_offset: 6, .. }), "{first:?}");
    assert_eq!(second.footer, FooterFacts::Unsealed);
    let before = second.predecessor.unwrap();
    assert_eq!((before.number, before.next_offset), (1, 6));
}

#[test]
fn what_lies_behind_damage_is_shown() {
    let disk = log();
    // The second frame's payload: it starts behind the first frame (48 + 104 bytes) and a header.
    disk.flip_bit(&segment(1), (4096 + 152 + 48 + 10) * 8).unwrap();
    let pieces = pieces(&disk, 1);
    assert!(matches!(pieces[0], Piece::Frame { offset: 0, follows: true, .. }));
    assert_eq!(pieces[1], Piece::Damage { from: 4248, to: 4496 });
    assert_eq!(pieces[2], Piece::Frame { offset: 4, count: 2, follows: false, payload: vec![3; 300] });
    // Without its header a segment still gives its frames to who knows database and epoch.
    disk.flip_bit(&segment(1), 100).unwrap();
    assert!(inspect::segment_facts(&disk, &segment(1)).is_err());
    let mut frames = 0;
    inspect::walk_without_header(&disk, &segment(1), identity(), &mut |item| {
        frames += u64::from(matches!(item, Item::Frame { .. }));
    })
    .unwrap();
    assert_eq!(frames, 2);
}

#[test]
fn no_damage_stops_it_and_no_byte_is_left_out() {
    let healthy = log();
    let whole = healthy.read(&segment(1)).unwrap();
    for at in (4096..whole.len()).step_by(7) {
        for len in [1, 8, 50, 700] {
            let mut bytes = whole.clone();
            let until = (at + len).min(whole.len());
            bytes[at..until].fill(0xee);
            let disk = healthy.fork();
            disk.overwrite(&segment(1), &bytes).unwrap();
            let mut reached = 4096;
            inspect::walk(&disk, &segment(1), &mut |item| {
                let (from, to) = match item {
                    Item::Frame { facts, .. } => {
                        (facts.at, facts.at + 48 + u64::from(facts.length).next_multiple_of(8))
                    }
                    Item::Damage { from, to, .. } | Item::Zeros { from, to } => (from, to),
                    other => panic!("{other:?}"),
                };
                assert!(from == reached && to > from, "{len} at {at}: {reached} {from} {to}");
                reached = to;
            })
            .unwrap();
            // Where the footer cannot be told from frames that were cut off, its block is looked at too.
            let (end, footer) = (whole.len() as u64, until > whole.len() - 4096);
            assert!(reached == end - 4096 || (footer && reached == end), "{len} at {at}: {reached}");
        }
    }
}
