//! Packet ids of the messages that one connection has published and the broker not acknowledged.

use std::collections::VecDeque;

/// Maps packet ids to tags, with a limit. Ids are reused in the order in which they were freed, so
/// that a second PUBACK for an id is not taken for the answer to the next message.
#[derive(Debug)]
pub(crate) struct Window<T> {
    limit: u16,
    /// By packet id less one; grows up to `limit`.
    tags: Vec<Option<T>>,
    free: VecDeque<u16>,
}

impl<T> Window<T> {
    pub(crate) fn new(limit: u16) -> Self {
        Self { limit, tags: Vec::new(), free: VecDeque::new() }
    }

    /// Messages that may be published now.
    pub(crate) fn room(&self) -> usize {
        usize::from(self.limit) - self.tags.len() + self.free.len()
    }

    /// Assigns a packet id; `None` if the window is full.
    pub(crate) fn insert(&mut self, tag: T) -> Option<u16> {
        if self.tags.len() < self.limit.into() {
            self.tags.push(Some(tag));
            return u16::try_from(self.tags.len()).ok();
        }
        let id = self.free.pop_front()?;
        self.tags[usize::from(id) - 1] = Some(tag);
        Some(id)
    }

    /// Frees a packet id and returns its tag; `None` if the id is not in use.
    pub(crate) fn remove(&mut self, id: u16) -> Option<T> {
        let tag = self.tags.get_mut(usize::from(id).checked_sub(1)?)?.take()?;
        self.free.push_back(id);
        Some(tag)
    }

    /// The tags of all unacknowledged messages.
    pub(crate) fn into_tags(self) -> Vec<T> {
        self.tags.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_id_stands_for_one_message_at_a_time() {
        let mut window = Window::new(2);
        assert_eq!(
            (window.insert(10), window.insert(11), window.insert(12)),
            (Some(1), Some(2), None)
        );
        assert_eq!(window.room(), 0);
        assert_eq!((window.remove(2), window.remove(2)), (Some(11), None));
        assert_eq!((window.remove(0), window.remove(9)), (None, None));
        assert_eq!(window.room(), 1);
        assert_eq!(window.insert(12), Some(2));
        assert_eq!(window.into_tags(), [10, 12]);
    }
}
