//! A set of a device's messages, with one bit each.

/// A set of message numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BitSet {
    words: Vec<u64>,
    count: u64,
}

impl BitSet {
    /// A set of numbers below `length`.
    pub(crate) fn new(length: u32) -> Self {
        Self { words: vec![0; (length as usize).div_ceil(64)], count: 0 }
    }

    /// Adds a number. Returns whether it is new; a number out of range never is.
    pub(crate) fn add(&mut self, number: u32) -> bool {
        let Some(word) = self.words.get_mut(number as usize / 64) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(new);
        new
    }

    /// The size of the set.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The number of elements that are not in `other`.
    pub(crate) fn missing_in(&self, other: &Self) -> u64 {
        let others = other.words.iter().chain(std::iter::repeat(&0));
        self.words.iter().zip(others).map(|(a, b)| u64::from((a & !b).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once() {
        let mut bits = BitSet::new(100);
        assert!(bits.add(0) && bits.add(63) && bits.add(64) && bits.add(99));
        assert!(!bits.add(64) && !bits.add(128));
        assert_eq!(bits.count(), 4);
    }

    #[test]
    fn elements_not_in_the_other_set_are_missing() {
        let (mut all, mut some) = (BitSet::new(100), BitSet::new(100));
        for number in 0..100 {
            assert!(all.add(number) && (number == 70 || some.add(number)));
        }
        assert_eq!((all.missing_in(&some), some.missing_in(&all)), (1, 0));
        assert_eq!(all.missing_in(&BitSet::default()), 100);
    }
}
