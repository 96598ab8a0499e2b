//! The connections that are open: found here to be cut when they are overdue, and told when the server stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::{App, Life, reach};
use crate::connection::{Connection, Order};
use crate::rate_limit::ConnectionPlace;

/// Every open connection, by a number of its own. The lock is taken when one opens or closes, and by the sweep.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

/// A connection's place in the registry and among its client's connections, until dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    number: u64,
    connection: Arc<Connection>,
    _place: ConnectionPlace,
}

impl Registered {
    /// Registers a connection. One that comes after the server was told to stop is told at once.
    pub(crate) fn new(connection: &Arc<Connection>, place: ConnectionPlace) -> Self {
        let app = &connection.app;
        let number = app.connections.next.fetch_add(1, Ordering::Relaxed);
        let mut open = app.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, Arc::clone(connection));
        drop(open);
        if let Some(order) = order_of(app.life()) {
            connection.order(order);
        }
        Self { number, connection: Arc::clone(connection), _place: place }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.connection.app.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.number);
    }
}

fn order_of(life: Life) -> Option<Order> {
    match life {
        Life::Serving => None,
        Life::Draining => Some(Order::Drain),
        Life::Cut => Some(Order::Cut),
    }
}

impl Connections {
    fn for_each(&self, visit: impl FnMut(&Arc<Connection>)) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(visit);
    }
}

/// Cuts what is overdue, and passes on the server's own end, until that end.
pub(crate) async fn watch(app: Arc<App>) {
    let mut life = app.watch_life();
    let mut next = Life::Draining;
    let mut tick = tokio::time::interval(app.limits.deadlines.tick());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = reach(&mut life, next) => {
                let order = order_of(next);
                app.connections.for_each(|connection| {
                    if let Some(order) = order {
                        connection.order(order);
                    }
                });
                if next == Life::Cut {
                    return;
                }
                next = Life::Cut;
            }
            _ = tick.tick() => sweep(&app),
        }
    }
}

fn sweep(app: &App) {
    let now = app.millis();
    app.connections.for_each(|connection| {
        if let Some(reason) = connection.watch.overdue(&app.limits.deadlines, now) {
            connection.cut_if_silent(reason);
        }
    });
}
