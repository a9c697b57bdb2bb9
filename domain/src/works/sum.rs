//! The computation of a work.

/// How many numbers are added between two calls of `stop`.
const CHUNK: u64 = 1 << 12;

/// Adds the numbers from 0 to `bound` one by one. Calls `stop` every 4096 numbers, and returns `None`
/// as soon as it returns true.
pub fn add_up_to(bound: u32, stop: &mut dyn FnMut() -> bool) -> Option<u64> {
    let mut sum = 0;
    let mut next = 0;
    while next <= u64::from(bound) {
        if stop() {
            return None;
        }
        let end = (next + CHUNK).min(u64::from(bound) + 1);
        sum += (next..end).sum::<u64>();
        next = end;
    }
    Some(sum)
}
