//! Packet ids of the messages that are under way on one connection.

/// Which message has which packet id. Ids are given again in the order in which they were freed, so
/// that a broker that answers twice is not taken for one that answers the next.
#[derive(Debug)]
pub(super) struct Packets {
    /// By packet id less one.
    messages: Vec<Option<u32>>,
    free: std::collections::VecDeque<u16>,
}

impl Packets {
    /// As many ids as may be under way.
    pub(super) fn new(window: u16) -> Self {
        Self { messages: vec![None; window.into()], free: (1..=window).collect() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// An id for a message, if one is free.
    pub(super) fn take(&mut self, sequence: u32) -> Option<u16> {
        let id = self.free.pop_front()?;
        self.messages[usize::from(id) - 1] = Some(sequence);
        Some(id)
    }

    /// The message with this id is answered. `None` if there is none.
    pub(super) fn answered(&mut self, id: u16) -> Option<u32> {
        let message = self.messages.get_mut(usize::from(id).checked_sub(1)?)?.take()?;
        self.free.push_back(id);
        Some(message)
    }

    /// What is under way, and never will be answered.
    pub(super) fn into_unanswered(self) -> Vec<u32> {
        self.messages.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stands_for_one_message_at_a_time() {
        let mut packets = Packets::new(2);
        assert_eq!(
            (packets.take(10), packets.take(11), packets.take(12)),
            (Some(1), Some(2), None)
        );
        assert!(packets.is_full());
        assert_eq!((packets.answered(2), packets.answered(2)), (Some(11), None));
        assert_eq!((packets.answered(0), packets.answered(9)), (None, None));
        assert_eq!(packets.take(12), Some(2));
        assert_eq!(packets.into_unanswered(), [10, 12]);
    }
}
