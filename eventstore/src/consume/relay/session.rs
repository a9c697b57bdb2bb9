//! Publishing from one resumption to the next.

use std::collections::VecDeque;

use eventsourcing::Position;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::context_of::ContextOf;
use super::cursor::Cursor;
use super::interrupted::Interrupted;
use super::window::{Published, WINDOW, Window};
use crate::bus::{Bus, message};
use crate::read::ALL;
use crate::read::head_watch::HeadEstimate;
use crate::{EventStore, Page, RawEvent, Unavailable};

/// Publishing from one resumption to the next.
pub(super) struct Session {
    pub(super) cursor: Cursor,
    pub(super) window: Window,
    /// Events read from the log and not yet published.
    ready: VecDeque<RawEvent>,
    /// The position up to which the log has been read.
    read: Position,
    pub(super) reading: Option<Reading>,
    /// The estimate of the head when the last page was requested.
    asked: HeadEstimate,
    /// Whether that page was empty: the next is requested when the estimate changes.
    exhausted: bool,
}

pub(super) type Reading = BoxFuture<'static, Result<Page, Unavailable>>;

impl Session {
    /// Starts to publish where `cursor` is.
    pub(super) async fn open(bus: &Bus, cursor: Cursor) -> Result<Self, Interrupted> {
        Ok(Self {
            window: Window::open(bus).await?,
            read: cursor.position(),
            cursor,
            ready: VecDeque::new(),
            reading: None,
            asked: HeadEstimate::default(),
            exhausted: false,
        })
    }

    /// Returns whether everything that was read is published and acknowledged.
    pub(super) fn is_idle(&self) -> bool {
        self.window.is_empty() && self.ready.is_empty()
    }

    /// Publishes events while the window has room.
    pub(super) async fn send(
        &mut self,
        store: &EventStore,
        bus: &Bus,
        context_of: ContextOf,
    ) -> Result<(), Interrupted> {
        while self.window.has_room()
            && let Some(event) = self.ready.pop_front()
        {
            let (position, id) = (event.position, event.id);
            let (place, sequence) = self.cursor.place(store, bus, context_of, &event).await?;
            let outgoing = message::encode(event, &place, bus.client().max_payload());
            self.window.publish(Published { position, sequence, id }, outgoing).await?;
        }
        Ok(())
    }

    /// Starts reading the next page if there is one and room for it.
    pub(super) fn read_on(&mut self, store: &EventStore, estimate: HeadEstimate) {
        let wanted = self.reading.is_none()
            && self.ready.len() < WINDOW
            && estimate.head > self.read
            && !(self.exhausted && self.asked == estimate);
        if wanted {
            self.asked = estimate;
            let (store, after) = (store.clone(), self.read);
            // Whatever is visible is committed, and without gaps.
            let read = async move { store.read(after, Position(i64::MAX), &ALL, WINDOW).await };
            self.reading = Some(read.boxed());
        }
    }

    pub(super) fn take(&mut self, page: Page) {
        self.reading = None;
        self.exhausted = page.events.is_empty();
        if let Some(last) = page.events.last() {
            self.read = last.position;
        }
        self.ready.extend(page.events);
    }
}

pub(super) async fn next_page(reading: &mut Option<Reading>) -> Result<Page, Unavailable> {
    match reading {
        Some(page) => page.await,
        None => std::future::pending().await,
    }
}
