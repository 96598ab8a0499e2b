//! Interleavings of the commit queue, the visible offset and the swap of views, tried at random by shuttle:
//! `cargo xtask schedules`. A thread that can never go on is a failure, too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use shuttle::{check_pct, check_random, future, thread};

use crate::batch::Batch;
use crate::commit::{self, Committed};
use crate::committer::Seat;
use crate::error::WriteError;
use crate::published::Published;
use crate::published::tests::Watched;
use crate::queue::{Frozen, Patience, Queue, Request, Requests, Write};
use crate::sources::{Sources, Views};
use crate::visible::{Visible, VisibleAfter};

/// Tries a body at random and with few, well-placed switches; `KYRO_SCHEDULES` sets how often.
fn explore(body: fn()) {
    let schedules =
        std::env::var("KYRO_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    check_random(body, schedules / 2);
    check_pct(body, schedules / 2, 3);
}

fn write() -> (Write, commit::Commit) {
    let (promise, commit) = commit::pair(&Arc::default());
    let payload = Bytes::from_static(b"x");
    (Write { payload, operations: 1, conditions: Vec::new(), grows: true, sync: false, promise }, commit)
}

/// Writers for whom there is not room at once, a committer that serves some of them and goes: each gets one answer, and
/// no two the same offset.
#[test]
fn every_writer_is_answered_once() {
    explore(|| {
        let queue = Arc::new(Queue::new(1));
        let mut requests = Requests::new(Arc::clone(&queue));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let (write, commit) = write();
                    queue.write(write).and_then(|()| commit.wait())
                })
            })
            .collect();
        let committer = thread::spawn(move || {
            for offset in 0..2 {
                queue.rest();
                if let Some(Request::Write(write)) = requests.next(Patience::None) {
                    write.promise.fill(Ok(Committed { first_offset: offset, last_offset: offset }));
                }
            }
        });
        let mut offsets = Vec::new();
        for writer in writers {
            match writer.join().unwrap() {
                Ok(committed) => offsets.push(committed.first_offset),
                Err(WriteError::Closed) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        committer.join().unwrap();
        offsets.sort_unstable();
        assert_eq!(offsets, [0, 1]);
    });
}

/// A commit that is awaited while the committer answers it, or goes without an answer.
#[test]
fn an_awaited_commit_is_woken() {
    explore(|| {
        let (answered, commit) = commit::pair(&Arc::default());
        let (dropped, other) = commit::pair(&Arc::default());
        let committer = thread::spawn(move || {
            answered.fill(Ok(Committed { first_offset: 7, last_offset: 7 }));
            drop(dropped);
        });
        assert_eq!(future::block_on(commit).unwrap().first_offset, 7);
        assert!(matches!(future::block_on(other), Err(WriteError::CommitUnknown { .. })));
        committer.join().unwrap();
    });
}

/// A wait for an offset, another that is given up, and a third that only the end resolves.
#[test]
fn whoever_waits_for_an_offset_hears_of_it() {
    explore(|| {
        let visible = Arc::new(Visible::new(0));
        let waiters: Vec<_> = [0, 1, 9]
            .map(|offset| {
                let visible = Arc::clone(&visible);
                thread::spawn(move || future::block_on(VisibleAfter::new(visible, offset)))
            })
            .into();
        let leaver = {
            let visible = Arc::clone(&visible);
            thread::spawn(move || {
                let mut wait = VisibleAfter::new(visible, 5);
                let mut context = Context::from_waker(std::task::Waker::noop());
                let _pending = Pin::new(&mut wait).poll(&mut context);
            })
        };
        for next in 1..=3 {
            visible.publish(next);
        }
        visible.close();
        let heard: Vec<u64> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        leaver.join().unwrap();
        assert!(heard[0] > 0 && heard[1] > 1 && heard[2] == 3, "{heard:?}");
    });
}

fn apply(views: &Views, visible: &Visible, key: u64) {
    let mut batch = Batch::new();
    batch.put(key, b"v");
    let next = visible.next();
    views.load().delta.apply(next, batch.into_payload()).unwrap();
    thread::yield_now();
    visible.publish(next + 1);
}

/// A committer that writes and freezes, and readers that pin: whatever is below a reader's offset is in what it holds,
/// and goes on being there.
#[test]
fn a_pinned_view_holds_everything_below_its_offset() {
    explore(|| {
        let first = Sources::default();
        let (views, visible) = (Arc::new(Views::new(first)), Arc::new(Visible::new(0)));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (views, visible) = (Arc::clone(&views), Arc::clone(&visible));
                thread::spawn(move || {
                    let (sources, next) = views.pin_at(&visible);
                    for _ in 0..2 {
                        for key in 0..next {
                            let found = sources.deltas().any(|delta| delta.get(key, next).is_some());
                            assert!(found, "key {key} is missing below {next}");
                        }
                        let newer = sources.deltas().any(|delta| delta.get(next, next).is_some());
                        assert!(!newer, "a key beyond the offset is seen");
                        thread::yield_now();
                    }
                })
            })
            .collect();
        apply(&views, &visible, 0);
        apply(&views, &visible, 1);
        thread::yield_now();
        views.replace(|sources| {
            let delta = Some(std::mem::take(&mut sources.delta));
            sources.frozen = Some(Frozen { delta, through: 2, oldest_event: None, fresh: true });
        });
        thread::yield_now();
        apply(&views, &visible, 2);
        apply(&views, &visible, 3);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// Two readers, of which one reads in a read, beside two who replace: no value goes while it is read, each goes in the
/// end, and a reader that was the last one of an old value hears of it.
#[test]
fn a_replaced_value_goes_when_its_last_reader_has_left() {
    explore(|| {
        let first = Watched::new(0);
        let gone = Arc::new(std::sync::Mutex::new(vec![first.gone()]));
        let published = Arc::new(Published::for_schedules(first, 2));
        let readers: Vec<_> = (0..2)
            .map(|number| {
                let published = Arc::clone(&published);
                thread::spawn(move || {
                    let mut last = 0;
                    for _ in 0..2 {
                        let look = |value: &Watched| {
                            let seen = value.check();
                            thread::yield_now();
                            if number == 1 {
                                let inner = published.read_by(number, Watched::check, || published.release());
                                assert!(inner >= seen, "{inner} in {seen}");
                            }
                            value.check();
                            seen
                        };
                        let seen = published.read_by(number, look, || published.release());
                        assert!(seen >= last, "{seen} after {last}");
                        last = seen;
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let (published, gone) = (Arc::clone(&published), Arc::clone(&gone));
                thread::spawn(move || {
                    published.replace(|before| {
                        let next = Watched::new(before.check() + 1);
                        gone.lock().unwrap().push(next.gone());
                        next
                    });
                })
            })
            .collect();
        for thread in readers.into_iter().chain(writers) {
            thread.join().unwrap();
        }
        // Nobody asks once more: whoever was last has seen to it.
        assert_eq!(published.retired_values(), 0);
        let gone = gone.lock().unwrap();
        let gone: Vec<bool> =
            gone.iter().map(|gone| gone.load(std::sync::atomic::Ordering::SeqCst)).collect();
        assert_eq!(gone, [true, true, false]);
    });
}

/// A committer without a log: it notes who is at it, and that its group has no witness yet.
#[derive(Default)]
struct Noted {
    /// Of each writer, the numbers of its batches in the order of their commits.
    committed: Vec<u64>,
    unconfirmed: bool,
}

/// The committer's thread, which rests, and two writers that commit by themselves where the seat is free and nothing
/// waits, and else queue: every batch is committed once, those of a writer in their order, and the last one gets its
/// witness, because whoever committed it rings a thread that would rest for ever.
#[test]
fn writers_take_turns_with_the_committers_thread() {
    explore(|| {
        let queue = Arc::new(Queue::new(4));
        let mut requests = Requests::new(Arc::clone(&queue));
        let seat = Arc::new(Seat::new(Noted::default()));
        let writers: Vec<_> = (0..2_u64)
            .map(|writer| {
                let (queue, seat) = (Arc::clone(&queue), Arc::clone(&seat));
                thread::spawn(move || {
                    for number in 0..2 {
                        let (mut write, commit) = write();
                        write.operations = (writer * 10 + number) as u32;
                        let alone = seat.try_take().filter(|_| queue.is_idle());
                        if let Some(mut seated) = alone {
                            let noted = seated.as_mut().unwrap();
                            noted.committed.push(writer * 10 + number);
                            noted.unconfirmed = true;
                            queue.ring_before(std::time::Instant::now());
                        } else {
                            queue.write(write).unwrap();
                            if number == 1 {
                                commit.wait().unwrap();
                            }
                        }
                    }
                })
            })
            .collect();
        let thread = {
            let (queue, seat) = (Arc::clone(&queue), Arc::clone(&seat));
            thread::spawn(move || {
                let mut idle = false;
                loop {
                    let mut seated = seat.wait();
                    let noted = seated.as_mut().unwrap();
                    while let Some(Request::Write(write)) = requests.next(Patience::None) {
                        noted.committed.push(u64::from(write.operations));
                        noted.unconfirmed = true;
                        write.promise.fill(Ok(Committed { first_offset: 0, last_offset: 0 }));
                    }
                    // The time of a rest that has an end is over at once.
                    if std::mem::take(&mut idle) {
                        noted.unconfirmed = false;
                    }
                    if noted.committed.len() == 4 && !noted.unconfirmed {
                        return;
                    }
                    queue.announce(None);
                    if noted.unconfirmed {
                        idle = true;
                        continue;
                    }
                    drop(seated);
                    queue.rest();
                }
            })
        };
        for thread in writers.into_iter().chain([thread]) {
            thread.join().unwrap();
        }
        let seated = seat.wait();
        let committed = &seated.as_ref().unwrap().committed;
        for first in [0, 10] {
            let place = |number| committed.iter().position(|one| *one == number);
            assert!(place(first).is_some() && place(first) < place(first + 1), "{committed:?}");
        }
    });
}
