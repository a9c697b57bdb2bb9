//! Which of a device's messages: one bit each.

/// A set of messages, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// Room for `length` of them.
    pub(super) fn new(length: u32) -> Self {
        Self { words: vec![0; (length as usize).div_ceil(64)], count: 0 }
    }

    /// Adds one; says whether it was not there. One beyond the room is not there, ever.
    pub(super) fn add(&mut self, number: u32) -> bool {
        let Some(word) = self.words.get_mut(number as usize / 64) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(new);
        new
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many of these are not in `other`.
    pub(super) fn missing_in(&self, other: &Self) -> u64 {
        let others = other.words.iter().chain(std::iter::repeat(&0));
        self.words.iter().zip(others).map(|(a, b)| u64::from((a & !b).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_once() {
        let mut bits = Bits::new(100);
        assert!(bits.add(0) && bits.add(63) && bits.add(64) && bits.add(99));
        assert!(!bits.add(64) && !bits.add(128));
        assert_eq!(bits.count(), 4);
    }

    #[test]
    fn what_the_other_does_not_have_is_missing() {
        let (mut all, mut some) = (Bits::new(100), Bits::new(100));
        for number in 0..100 {
            assert!(all.add(number) && (number == 70 || some.add(number)));
        }
        assert_eq!((all.missing_in(&some), some.missing_in(&all)), (1, 0));
        assert_eq!(all.missing_in(&Bits::default()), 100);
    }
}
