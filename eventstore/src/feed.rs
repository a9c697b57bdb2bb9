use crate::{Filter, RawEvent, Unavailable};
use domain::Position;
use std::sync::Arc;
#[derive(Debug, Clone)]
pub struct Feed;
pub struct Batch {
    pub events: Vec<Arc<RawEvent>>,
    pub through: Position,
}
pub struct Subscription;
impl Feed {
    pub fn subscribe(&self, _after: Position, _filter: Filter) -> Subscription {
        Subscription
    }
}
impl Subscription {
    pub async fn next(&mut self, _limit: usize) -> Result<Batch, Unavailable> {
        std::future::pending().await
    }
}
