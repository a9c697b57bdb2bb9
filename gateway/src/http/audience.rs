//! The audience of an event stream: which events it may see, and in which form it gets them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse;
use commands::LoadError;
use domain::orders::{Order, order_stream};
use eventsourcing::Decider;
use eventstore::{Filter, RawEvent};
use quick_cache::sync::Cache;

use super::event_view::EventRow;
use super::prelude::*;

/// Orders whose customer a stream remembers.
const REMEMBERED_ORDERS: usize = 1024;
/// Wait before the log is read again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// The type of the server-sent events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventNames {
    /// The type of the event, such as `order_placed`.
    #[default]
    Type,
    /// Always `message`, which `EventSource.onmessage` receives. The type is in the data.
    Message,
}

/// Who receives an event stream.
pub(super) struct Audience {
    api: Arc<Api>,
    caller: Caller,
    names: EventNames,
    /// The customer, for whom the stream is limited to the events of own orders; none for operators.
    customer: Option<Customer>,
}

struct Customer {
    id: Uuid,
    /// Whether an order is one of the customer's.
    orders: Cache<Uuid, bool>,
}

impl Audience {
    /// The audience of `caller`. 403 for a program that is no operator.
    pub(super) fn new(api: Arc<Api>, caller: Caller, names: EventNames) -> Result<Self, Problem> {
        let customer = if caller.sees_all() {
            None
        } else {
            Some(Customer { id: caller.user()?.id, orders: Cache::new(REMEMBERED_ORDERS) })
        };
        Ok(Self { api, caller, names, customer })
    }

    /// Limits `filter` to what the caller may see. 403 if it selects events of other contexts, 404 if it
    /// selects the stream of what is not the caller's.
    pub(super) async fn narrow(&self, filter: &mut Filter) -> Result<(), Problem> {
        let Some(customer) = &self.customer else { return Ok(()) };
        let orders = Order::CATEGORY.to_owned();
        if !filter.categories.is_empty() && !filter.categories.contains(&orders) {
            let detail =
                "users receive the events of their own orders; others require the role operator";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        filter.categories = vec![orders];
        if let Some(stream) = &filter.stream {
            let id = Uuid::parse_str(stream.key()).ok();
            let id = id.filter(|_| stream.category() == Order::CATEGORY);
            let id = id.ok_or_else(|| Problem::not_found("stream"))?;
            if !self.owns(customer, id).await? {
                return Err(Problem::not_found("stream"));
            }
        }
        Ok(())
    }

    /// The event in the format of server-sent events; none if the caller may not see it, or if it is not
    /// JSON, which the log does not accept.
    pub(super) async fn show(&self, event: &RawEvent) -> Option<Result<sse::Event, Infallible>> {
        if !self.sees(event).await {
            return None;
        }
        let row = EventRow::seen_by(&self.caller, event).ok()?;
        let shown = sse::Event::default().id(event.position.to_string());
        let shown = match self.names {
            EventNames::Type => shown.event(&*event.event_type),
            EventNames::Message => shown,
        };
        shown.json_data(row).ok().map(Ok)
    }

    /// Whether the caller may see the event. Waits through an outage: an event is not skipped.
    async fn sees(&self, event: &RawEvent) -> bool {
        let Some(customer) = &self.customer else { return true };
        let Ok(id) = Uuid::parse_str(event.stream.key()) else { return false };
        loop {
            match self.owns(customer, id).await {
                Ok(owns) => return owns,
                Err(LoadError::Codec(_)) => return false,
                Err(LoadError::Unavailable(error)) => {
                    tracing::debug!(%error, "event stream failed to load an order, retrying");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn owns(&self, customer: &Customer, id: Uuid) -> Result<bool, LoadError> {
        if let Some(owns) = customer.orders.get(&id) {
            return Ok(owns);
        }
        let order = self.api.handlers.orders.load(&order_stream(id)).await?.state;
        let owns = order.placed().is_some_and(|placed| placed.customer_id == customer.id);
        customer.orders.insert(id, owns);
        Ok(owns)
    }
}
