//! Where writers sleep until their group is answered: one wake-up for all of a group, not one for each.
//!
//! There are two gates. A batch that is about to wait for the committer takes the one that the next group opens; those
//! that come while that group is written take the other. So hardly anybody is woken for somebody else's answer, and whoever
//! is looks, and sleeps on.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: [Gate; 2],
    turn: AtomicUsize,
}

/// Which gates to open.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opening([bool; 2]);

impl Opening {
    /// Adds the gate of somebody who sleeps there.
    pub(crate) fn add(&mut self, gate: Option<usize>) {
        if let Some(gate) = gate.and_then(|gate| self.0.get_mut(gate)) {
            *gate = true;
        }
    }
}

impl Gates {
    /// The gate for a batch that comes now.
    pub(crate) fn current(&self) -> usize {
        self.turn.load(Ordering::Relaxed) & 1
    }

    /// What comes from now on is for another group.
    pub(crate) fn turn(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// To be taken while what is waited for cannot have come, and given to [`Gates::wait`].
    pub(crate) fn ticket(&self, gate: usize) -> u32 {
        self.gates[gate & 1].ticket()
    }

    /// Sleeps until the gate was opened since the ticket was taken; or a little less.
    pub(crate) fn wait(&self, gate: usize, ticket: u32) {
        self.gates[gate & 1].wait(ticket);
    }

    /// Wakes everybody who sleeps at these gates.
    pub(crate) fn open(&self, opening: Opening) {
        for (gate, _) in self.gates.iter().zip(opening.0).filter(|(_, open)| *open) {
            gate.open();
        }
    }
}

#[cfg(all(target_os = "linux", not(shuttle)))]
use linux::Gate;

/// One word of the kernel's: no lock is taken by those who wake.
#[cfg(all(target_os = "linux", not(shuttle)))]
mod linux {
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::thread::futex;

    #[derive(Debug, Default)]
    pub(super) struct Gate {
        opened: AtomicU32,
    }

    impl Gate {
        pub(super) fn ticket(&self) -> u32 {
            self.opened.load(Ordering::Acquire)
        }

        pub(super) fn wait(&self, ticket: u32) {
            // Also where the word has changed or a signal came: the caller looks again.
            futex::wait(&self.opened, futex::Flags::PRIVATE, ticket, None).ok();
        }

        pub(super) fn open(&self) {
            self.opened.fetch_add(1, Ordering::Release);
            futex::wake(&self.opened, futex::Flags::PRIVATE, i32::MAX as u32).ok();
        }
    }
}

#[cfg(not(all(target_os = "linux", not(shuttle))))]
use portable::Gate;

#[cfg(not(all(target_os = "linux", not(shuttle))))]
mod portable {
    use std::sync::PoisonError;

    use crate::sync::{Condvar, Mutex};

    #[derive(Debug, Default)]
    pub(super) struct Gate {
        opened: Mutex<u32>,
        changed: Condvar,
    }

    impl Gate {
        pub(super) fn ticket(&self) -> u32 {
            *self.opened.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(super) fn wait(&self, ticket: u32) {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            while *opened == ticket {
                opened = self.changed.wait(opened).unwrap_or_else(PoisonError::into_inner);
            }
        }

        pub(super) fn open(&self) {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            *opened = opened.wrapping_add(1);
            self.changed.notify_all();
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn an_opening_wakes_all_who_sleep_at_that_gate_and_no_ticket_from_before_sleeps() {
        let gates = Gates::default();
        let mut opening = Opening::default();
        opening.add(Some(gates.current()));
        let stale = gates.ticket(0);
        std::thread::scope(|scope| {
            // Who is woken looks again, as writers do: the system may wake anybody for nothing.
            let sleep = || {
                while gates.ticket(0) == stale {
                    gates.wait(0, stale);
                }
            };
            let sleepers: Vec<_> = (0..4).map(|_| scope.spawn(sleep)).collect();
            std::thread::sleep(std::time::Duration::from_millis(10));
            assert!(sleepers.iter().all(|sleeper| !sleeper.is_finished()));
            gates.open(opening);
        });
        gates.wait(0, stale);
        gates.turn();
        assert_eq!(gates.current(), 1);
    }
}
