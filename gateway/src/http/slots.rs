//! Slots: how much all clients, and each client, may hold at a time, such as requests in progress
//! and event streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A number of slots. Memory is bounded by it: only clients that hold a slot are remembered.
#[derive(Debug)]
pub(super) struct Slots {
    held: Arc<Mutex<Held>>,
    total: usize,
    each: usize,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_client: HashMap<String, usize>,
}

/// A slot, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    held: Arc<Mutex<Held>>,
    client: String,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The client holds as many as one client may.
    Client,
    /// All clients together hold all slots.
    All,
}

impl Slots {
    /// `total` slots, of which one client may hold `each`.
    pub(super) fn new(total: usize, each: usize) -> Self {
        Self { held: Arc::default(), total, each }
    }

    /// Slots that one client may hold.
    pub(super) fn each(&self) -> usize {
        self.each
    }

    /// Takes a slot for `client`.
    pub(super) fn take(&self, client: &str) -> Result<Slot, Full> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.by_client.get(client).copied().unwrap_or_default();
        if own >= self.each {
            return Err(Full::Client);
        }
        if held.total >= self.total {
            return Err(Full::All);
        }
        held.total += 1;
        held.by_client.insert(client.to_owned(), own + 1);
        Ok(Slot { held: Arc::clone(&self.held), client: client.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(1);
        match held.by_client.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.by_client.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_limited_for_each_client_and_for_all() {
        let slots = Slots::new(3, 2);
        let first = slots.take("a").unwrap();
        let _second = slots.take("a").unwrap();
        assert_eq!(slots.take("a").unwrap_err(), Full::Client);
        let _third = slots.take("b").unwrap();
        assert_eq!(slots.take("b").unwrap_err(), Full::All);
        drop(first);
        let again = slots.take("b").unwrap();
        drop(again);
        assert_eq!(slots.held.lock().unwrap().by_client.len(), 2);
    }
}
