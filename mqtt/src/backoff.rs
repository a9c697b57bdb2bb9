//! How long to wait before trying again: longer each time, and never in step with others.

use std::time::Duration;

#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// Between half and all of a time that doubles with each call.
    pub fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// The other side answers again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_over() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, most);
        let waits: Vec<_> = (0..8).map(|_| backoff.next()).collect();
        assert!(waits[0] >= first / 2 && waits[0] <= first);
        assert!(waits[7] >= most / 2 && waits[7] <= most);
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
