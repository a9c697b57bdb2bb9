//! The verification of a log in Postgres: its hash chain page by page, then what refers to it.

use eventsourcing::Position;

use crate::error::Unavailable;
use crate::hash_chain::EventHash;
use crate::read::log_reader::LogReader;
use crate::read::verify::{ChainVerifier, Finding};

/// Events per page.
const PAGE: i64 = 2_000;

/// Verifies a log up to the head that it had at the beginning. The caller decides when the next page is
/// read, and so how fast.
#[derive(Debug)]
pub struct LogVerification {
    reader: LogReader,
    walk: ChainVerifier,
    head: Position,
    hash: EventHash,
    is_over: bool,
}

impl LogVerification {
    /// Begins at the first event.
    pub async fn begin(reader: LogReader) -> Result<Self, Unavailable> {
        let (head, hash) = reader.head_and_hash().await?;
        Ok(Self { reader, walk: ChainVerifier::default(), head, hash, is_over: false })
    }

    /// The head that the verification ends at.
    pub fn head(&self) -> Position {
        self.head
    }

    /// The chain up to the last event checked.
    pub fn walk(&self) -> &ChainVerifier {
        &self.walk
    }

    /// Returns the chain up to the last event checked.
    pub fn into_walk(self) -> ChainVerifier {
        self.walk
    }

    /// Checks the next page of events, and after the last one the end of the chain and what refers to the
    /// log. Returns what is wrong; none when all is checked. After an error it may be called again.
    pub async fn next(&mut self) -> Result<Option<Vec<Finding>>, Unavailable> {
        if self.is_over {
            return Ok(None);
        }
        let (position, _) = self.walk.at();
        let events = if position < self.head {
            self.reader.hashed_events(position, PAGE).await?
        } else {
            Vec::new()
        };
        // Later ones were appended since; or they are behind a gap, which is found at the end.
        let head = self.head;
        let mut events =
            events.into_iter().take_while(|hashed| hashed.event.position <= head).peekable();
        if events.peek().is_some() {
            return Ok(Some(events.filter_map(|hashed| self.walk.check(hashed)).collect()));
        }
        let mut findings: Vec<_> = self.end().into_iter().collect();
        findings.extend(self.reader.find_dangling_references().await?);
        self.is_over = true;
        Ok(Some(findings))
    }

    /// What is wrong with the end of the chain.
    fn end(&self) -> Option<Finding> {
        let (position, hash) = self.walk.at();
        let head = self.head;
        if position != head {
            let what =
                format!("this event and all after it are missing: the log's head is at {head}");
            Some(Finding { position: Some(position.0 + 1), what })
        } else if hash != self.hash {
            let what = "the log's head has another hash than its last event".into();
            Some(Finding { position: Some(position.0), what })
        } else {
            None
        }
    }
}
