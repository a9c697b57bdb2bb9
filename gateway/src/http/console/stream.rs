//! The stream of an open console: vitals once a second, and samples of the newest events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::Event;
use eventsourcing::Position;
use futures::{Stream, StreamExt, future, stream};

use super::super::events::{EPOCH, FeedQuery};
use super::super::prelude::*;
use super::super::slots::Slot;
use super::super::sse;
use super::tail::Tail;
use crate::vitals::Subscription;

/// What a console follows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsoleQuery {
    /// Position after which the tail begins: that of the last sample received, to resume. The default is
    /// the end of the log.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<Position>,
    /// Whether to send samples of the newest events (default true).
    tail: Option<bool>,
    /// Only events of these contexts in the tail, separated by commas.
    context: Option<String>,
    /// Only events of these types in the tail, separated by commas.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Only events of this stream in the tail.
    stream: Option<String>,
    /// The epoch of the log that `after` belongs to, from `Tributary-Epoch`: 409 `epoch_changed` if the
    /// log has another one.
    epoch: Option<i64>,
}

/// Stream vitals and the newest events
///
/// Server-sent events, for an open console. `event: vitals` comes once a second, its data is a `Vitals`.
/// `event: tail` comes at most four times a second, its data is a `TailSample` with the newest events since
/// the one before, and its `id` is the position to resume after. A client that reads slowly gets fewer of
/// both. The stream ends with a comment when the token expires. It counts as an event stream of the caller.
#[utoipa::path(
    get, path = "/api/v1/console/stream", tag = tags::OPERATIONS, params(ConsoleQuery),
    responses((status = 200, description = "Vitals and samples of events", body = String,
        content_type = "text/event-stream",
        headers(("Tributary-Epoch" = i64, description = "Epoch of the log, which grows when it is restored from a backup"))),
        (status = 403, description = "The caller is not an operator"),
        (status = 409, description = "The log has another epoch (`epoch_changed`)"),
        (status = 422, description = "A parameter is invalid, or `after` is beyond the end of the log")),
)]
pub(super) async fn listen(
    State(api): State<Arc<Api>>,
    Operator(caller): Operator,
    Query(query): Query<ConsoleQuery>,
) -> Result<Response, Problem> {
    let ConsoleQuery { after, tail, context, event_type, stream, epoch } = query;
    let mut query = FeedQuery::default();
    (query.after, query.epoch) = (after, epoch);
    (query.context, query.event_type, query.stream) = (context, event_type, stream);
    let (filter, after) = (query.filter()?, query.after()?);
    let epoch = query.check(&api, after.map(|after| ("after", after))).await?;
    let after = match after {
        Some(after) => after,
        None => api.store.head().await?,
    };
    let slot = api.admission.stream(&caller.subject)?;
    let vitals = vitals(api.vitals.subscribe(), slot);
    let events = if tail.unwrap_or(true) {
        stream::select(vitals, samples(Tail::new(&api.feed, after, filter))).left_stream()
    } else {
        vitals.right_stream()
    };
    let mut response = sse::send(events, caller.valid_for(), api.shutdown.clone());
    response.headers_mut().insert(EPOCH, epoch.into());
    Ok(response)
}

/// The vitals as they are gathered. The `slot` is free again when the stream is dropped.
fn vitals(subscription: Subscription, slot: Slot) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((subscription, slot), |(mut subscription, slot)| async move {
        let json = subscription.next().await?;
        Some((Ok(Event::default().event("vitals").data(json)), (subscription, slot)))
    })
}

fn samples(tail: Tail) -> impl Stream<Item = Result<Event, Infallible>> {
    let samples = stream::unfold(tail, |mut tail| async move {
        let sample = tail.next().await?;
        let event = Event::default().event("tail").id(sample.position().to_string());
        Some((event.json_data(sample).ok(), tail))
    });
    samples.filter_map(|event| future::ready(event.map(Ok)))
}
