//! Recording page views.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use commands::Done;
use domain::page_views::{Event, PageView, stream};
use eventsourcing::Version;
use eventstore::{Append, AppendError, Appended, ExpectedVersion, NewEvent};
use projections::page_views::PageViews;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;
use utoipa::PartialSchema;
use utoipa::openapi::{ArrayBuilder, OneOfBuilder, Ref, RefOr, Schema};

use super::super::admission::ClientAddress;
use super::super::clock::now;
use super::super::command_context::OpenCommandContext;
use super::super::extract::{self, RawJson};
use super::super::prelude::*;
use super::super::problem::INVALID_BODY;
use super::super::text;

/// `Location` of recorded views: where they are summarized.
const STATS: &str = "/api/v1/page-views/stats";
/// Most faults in one problem.
const MAX_FAULTS: usize = 50;

/// A page view as it is sent. No text may hold NUL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SentPageView)]
struct Sent {
    /// Path of the page; begins with a slash.
    #[schema(min_length = 1, max_length = 2048, pattern = r"^/[^\x00]*$", example = "/pricing")]
    path: String,
    /// The page that linked to this one; an empty text means none, here and below.
    #[serde(default, deserialize_with = "text::optional")]
    #[schema(max_length = 2048, pattern = r"^[^\x00]*$", example = "https://example.org/")]
    referrer: Option<String>,
    /// `User-Agent` of the visitor's browser.
    #[serde(default, deserialize_with = "text::optional")]
    #[schema(max_length = 1024, pattern = r"^[^\x00]*$")]
    user_agent: Option<String>,
    /// The same for all views of one visit. A view without one counts towards no session.
    #[serde(default, deserialize_with = "text::optional")]
    #[schema(max_length = 128, pattern = r"^[^\x00]*$", example = "s-81f3")]
    session_id: Option<String>,
    /// Time of the view (RFC 3339): from seven days before its receipt (by default) to one day
    /// after it. Without it, the time of receipt.
    viewed_at: Option<DateTime<Utc>>,
}

impl Sent {
    fn received(self, at: DateTime<Utc>) -> PageView {
        let Self { path, referrer, user_agent, session_id, viewed_at } = self;
        let viewed_at = viewed_at.unwrap_or(at);
        PageView { path, referrer, user_agent, session_id, viewed_at }
    }
}

/// The body: one view, or an array of views.
#[derive(Debug)]
struct SentPageViews;

impl ToSchema for SentPageViews {
    fn name() -> Cow<'static, str> {
        "SentPageViews".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Sent::name().into(), Sent::schema()));
        Sent::schemas(schemas);
    }
}

impl PartialSchema for SentPageViews {
    fn schema() -> RefOr<Schema> {
        let one = || Ref::from_schema_name(Sent::name());
        let many = ArrayBuilder::new()
            .items(one())
            .min_items(Some(1))
            .max_items(Some(PageView::MAX_ITEMS));
        OneOfBuilder::new().item(one()).item(many).into()
    }
}

/// The bytes of a body whose content type is JSON, or text that holds JSON: browsers send beacons as
/// `text/plain`, which needs no preflight request.
pub(super) struct Beacon(Bytes);

impl<S: Send + Sync> FromRequest<S> for Beacon {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if extract::essence(request.headers()).as_deref() == Some("text/plain") {
            return extract::body(request, state).await.map(Self);
        }
        RawJson::from_request(request, state).await.map(|RawJson(bytes)| Self(bytes))
    }
}

/// The views of a body, and what is refused of it.
#[derive(Debug)]
struct Parsed {
    views: Vec<PageView>,
    refused: Vec<Refused>,
}

/// Parses the views in a body, received at `now`. An invalid view does not affect the others; if all are
/// invalid, the problem lists up to [`MAX_FAULTS`] faults.
fn parse(body: &[u8], now: DateTime<Utc>, max_age: Duration) -> Result<Parsed, Problem> {
    let is_array = body.trim_ascii_start().starts_with(b"[");
    let items: Vec<&RawValue> = if is_array {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|item| vec![item])
    }
    .map_err(|error| extract::malformed(&error))?;
    if !(1..=PageView::MAX_ITEMS).contains(&items.len()) {
        let detail = format!("must be 1 to {} page views", PageView::MAX_ITEMS);
        return Err(Problem::member_at("", detail));
    }
    let (mut views, mut refused) = (Vec::with_capacity(items.len()), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        let parent = if is_array { format!("/{index}") } else { String::new() };
        let errors: Vec<_> = match extract::read::<Sent>(item.get().as_bytes())? {
            Ok(sent) => {
                let view = sent.received(now);
                let faults = view.faults(now, max_age);
                if faults.is_empty() {
                    views.push(view);
                    continue;
                }
                let at = |member: &str| format!("{parent}/{member}");
                faults
                    .iter()
                    .map(|fault| Fault::at(at(fault.member()), fault.to_string()))
                    .collect()
            }
            Err((pointer, detail)) => vec![Fault::at(parent + &pointer, detail)],
        };
        refused.push(Refused { index, errors });
    }
    if views.is_empty() {
        let faults = refused.into_iter().flat_map(|refused| refused.errors).take(MAX_FAULTS);
        return Err(Problem::invalid("invalid_body", INVALID_BODY).faults(faults));
    }
    Ok(Parsed { views, refused })
}

/// The result of recording page views.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PageViewsAccepted)]
struct Accepted {
    /// Number of views recorded.
    accepted: usize,
    /// The views that are invalid and not recorded; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    refused: Vec<Refused>,
}

/// A page view that is not recorded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefusedPageView)]
struct Refused {
    /// Index of the view in the request, from 0.
    index: usize,
    /// What is invalid in it; the pointers begin with the index.
    errors: Vec<Fault>,
}

/// Record page views
///
/// Without a token. One view, or an array of at most 1,000. An invalid view does not affect the others:
/// `refused` lists such views. If all are invalid, the response is 422 with up to 50 faults. The content
/// type may be `text/plain`, as `navigator.sendBeacon` sends a text, which then is JSON, too. A
/// repetition counts again unless it has the same `Idempotency-Key`. Views per address and minute, and distinct paths and sessions per hour, are
/// limited: 429 `too_many_requests` or `too_many_names`.
#[utoipa::path(
    post, path = "/api/v1/page-views", tag = tags::PAGE_VIEWS,
    request_body(content((SentPageViews = "application/json"), (String = "text/plain"))),
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 200, description = "Makes the request safe to repeat: a second request with the same key is not executed again and returns the first response. It must have the same query and body: 422 `idempotency_key_reused` otherwise. 1 to 200 printable ASCII characters without spaces; kept for 7 days. All callers share one space of keys, so use random ones"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: respond once the read model shows the views, after at most N seconds (at most 20)"),
    ),
    security(()),
    responses((status = 202, description = "The valid views are recorded", body = Accepted)),
)]
pub(super) async fn record(
    OpenCommandContext(context): OpenCommandContext,
    address: ClientAddress,
    Beacon(bytes): Beacon,
) -> Result<Response, Problem> {
    let now = now();
    let admission = &context.api.admission;
    let Parsed { views, refused } = parse(&bytes, now, admission.page_view_max_age)?;
    let remaining = admission.page_views(address, &views, now)?;
    let accepted = Accepted { accepted: views.len(), refused };
    let response =
        StoredResponse::new(StatusCode::ACCEPTED, STATS.into(), Version::NONE, &accepted)?;
    let envelope = context.envelope(&response)?;
    let events = views.into_iter().map(|view| NewEvent::new(&Event::PageViewed(view)));
    let events = events.collect::<Result<_, _>>().map_err(AppendError::from)?;
    let request = Append::to(stream(now), ExpectedVersion::Any, events)
        .metadata(envelope.metadata)
        .receipt(envelope.receipt);
    let done = done(context.api.store.append(request).await?);
    let mut response = context.respond(PageViews::NAME, response, &done).await?;
    remaining.write(response.headers_mut());
    Ok(response)
}

/// Without a version, and so without an `ETag`: the version of a day's stream is that of all views
/// of the day.
fn done(appended: Appended) -> Done {
    match appended {
        Appended::New { position, .. } | Appended::Duplicate { position } => {
            Done::nothing_new(position, Version::NONE)
        }
        Appended::Replayed(receipt) => {
            let done = Done::nothing_new(receipt.position, Version::NONE);
            Done { replayed: Some(receipt), ..done }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_view_or_up_to_a_thousand() {
        let many = |count: usize| format!("[{}]", vec![r#"{"path": "/"}"#; count].join(","));
        let count = |body: &str| {
            let views = parse(body.as_bytes(), Utc::now(), Duration::from_hours(1));
            views.map(|parsed| parsed.views.len()).ok()
        };
        assert_eq!(count(r#" {"path": "/"}"#), Some(1));
        assert_eq!(count(&many(1)), Some(1));
        assert_eq!(count(&many(1_000)), Some(1_000));
        for body in ["[]", "", "7", r#"[["/"]]"#, "[{}", "{} {}", &many(1_001)] {
            assert_eq!(count(body), None, "{body:.20}");
        }
    }
}
