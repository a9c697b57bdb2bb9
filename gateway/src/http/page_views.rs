//! Page views over HTTP: visitors' programs send them without a token, and whoever has one may see
//! what they amount to.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use commands::Done;
use domain::page_views::{Event, PageView, stream};
use eventsourcing::Version;
use eventstore::{Append, AppendError, Appended, ExpectedVersion, NewEvent};
use projections::page_views::{self, Asked, Place, Stats};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::{ArrayBuilder, OneOfBuilder, Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{self, Query, RawJson};
use super::page::{self, Cursor, Limit, Page};
use super::problem::{Fault, Problem};
use super::receipt::{Answer, OpenAsked};
use super::wait::{self, QueryHeaders};
use super::{Api, bucket, tags};

/// The projection that answers here.
const PROJECTION: &str = "page_views";
/// Where it is seen what views amount to.
const STATS: &str = "/api/v1/page-views/stats";
/// Most faults told at once.
const MAX_FAULTS: usize = 50;
/// What is looked at when the query does not say, in hours.
const DEFAULT_HOURS: i64 = 24;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(stats))
}

pub(super) fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(record))
}

/// A page view as it is sent. No text holds NUL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SentPageView)]
struct Sent {
    /// Begins with a slash.
    #[schema(min_length = 1, max_length = 2048, pattern = r"^/[^\x00]*$", example = "/pricing")]
    path: String,
    /// Where the visitor came from.
    #[schema(
        min_length = 1,
        max_length = 2048,
        pattern = r"^[^\x00]*$",
        example = "https://example.org/"
    )]
    referrer: Option<String>,
    /// What the visitor's program calls itself.
    #[schema(min_length = 1, max_length = 1024, pattern = r"^[^\x00]*$")]
    user_agent: Option<String>,
    /// The same for all views of one visit; without one a view counts towards no session.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00]*$", example = "s-81f3")]
    session_id: Option<String>,
    /// From the year 2000 to a day ahead; the time of receipt if left out.
    viewed_at: Option<DateTime<Utc>>,
}

impl Sent {
    fn received(self, at: DateTime<Utc>) -> PageView {
        let Self { path, referrer, user_agent, session_id, viewed_at } = self;
        let viewed_at = viewed_at.unwrap_or(at);
        PageView { path, referrer, user_agent, session_id, viewed_at }
    }
}

/// One view, or an array of them: what a body may be.
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

/// The views in a body, or all that is wrong with them.
fn read(body: &[u8], now: DateTime<Utc>) -> Result<Vec<PageView>, Problem> {
    let is_array = body.trim_ascii_start().starts_with(b"[");
    let items: Vec<&RawValue> = if is_array {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|item| vec![item])
    }
    .map_err(|error| extract::malformed(&error))?;
    if !(1..=PageView::MAX_ITEMS).contains(&items.len()) {
        let detail = format!("1 to {} page views", PageView::MAX_ITEMS);
        return Err(Problem::member_at("", detail));
    }
    let (mut views, mut faults) = (Vec::with_capacity(items.len()), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        let place = if is_array { format!("/{index}") } else { String::new() };
        match extract::read::<Sent>(item.get().as_bytes())? {
            Ok(sent) => {
                let view = sent.received(now);
                faults.extend(view.faults(now).into_iter().map(|fault| {
                    Fault::at(format!("{place}/{}", fault.member()), fault.to_string())
                }));
                views.push(view);
            }
            Err((pointer, detail)) => faults.push(Fault::at(place + &pointer, detail)),
        }
        if faults.len() >= MAX_FAULTS {
            break;
        }
    }
    if faults.is_empty() {
        return Ok(views);
    }
    let problem = Problem::invalid("invalid_body", "the body is not what is asked for");
    Err(faults.into_iter().take(MAX_FAULTS).fold(problem, Problem::fault))
}

/// How many views were taken: all that were sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PageViewsAccepted)]
struct Accepted {
    accepted: usize,
}

/// Record page views
///
/// Anybody may: one, or an array of at most 1,000. All of them are taken, or none; `errors` names
/// up to 50 faults. Sent again they count again, unless an `Idempotency-Key` says that it is the
/// same request.
#[utoipa::path(
    post, path = "/api/v1/page-views", tag = tags::PAGE_VIEWS, request_body = SentPageViews,
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 200, description = "Names this request: sent again with the same key it is done once, and answered the same. 1 to 200 printable characters without spaces; remembered for 7 days. All who call share their keys: draw it at random"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer once the read model shows them, after at most N seconds"),
    ),
    security(()),
    responses((status = 202, description = "Taken", body = Accepted)),
)]
async fn record(
    State(api): State<Arc<Api>>,
    OpenAsked(asked): OpenAsked,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let now = Utc::now().trunc_subsecs(6);
    let views = read(&bytes, now)?;
    let accepted = Accepted { accepted: views.len() };
    let answer = Answer::new(StatusCode::ACCEPTED, STATS.into(), Version::NONE, &accepted)?;
    let envelope = asked.envelope(&bytes, &answer)?;
    let events = views.into_iter().map(|view| NewEvent::new(&Event::PageViewed(view)));
    let events = events.collect::<Result<_, _>>().map_err(AppendError::from)?;
    let request = Append::to(stream(now), ExpectedVersion::Any, events)
        .metadata(envelope.metadata)
        .receipt(envelope.receipt);
    // The version of a day's stream says nothing of these views: there is no ETag.
    let version = Version::NONE;
    let done = match api.store.append(request).await? {
        Appended::New { position, .. } | Appended::Duplicate { position } => {
            Done { position, version, replayed: None }
        }
        Appended::Replayed(receipt) => {
            Done { position: receipt.position, version, replayed: Some(receipt) }
        }
    };
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    #[default]
    Desc,
}

/// Which views, and how they are added up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatsQuery {
    /// Only this page.
    #[param(example = "/pricing")]
    path: Option<String>,
    /// Viewed then or later (RFC 3339); a day before `to` if left out. Widened to whole minutes, or
    /// whole buckets.
    from: Option<DateTime<Utc>>,
    /// Viewed before then (RFC 3339); now if left out. Widened likewise.
    to: Option<DateTime<Utc>>,
    /// Width of the buckets: `1m`, `1h`, `1d` or a multiple. The range as a whole if left out.
    #[param(example = "5m")]
    bucket: Option<String>,
    /// Latest first unless `asc`; without buckets, most viewed first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

impl StatsQuery {
    fn asked(self, now: DateTime<Utc>) -> Result<Asked, Problem> {
        let to = self.to.unwrap_or(now);
        let a_day_before = to.checked_sub_signed(TimeDelta::hours(DEFAULT_HOURS));
        let after = self.cursor.as_ref().map(Cursor::read::<Place>).transpose()?;
        // No list of ours ends there, and Postgres could not compare with it.
        let made_up = |place: &Place| place.rank == i64::MIN || place.path.contains('\0');
        if after.as_ref().is_some_and(made_up) {
            return Err(Problem::parameter("cursor", "not a cursor of this list"));
        }
        Ok(Asked {
            path: self.path,
            from: self.from.or(a_day_before).unwrap_or(to),
            to,
            width: self.bucket.as_deref().map(bucket::width).transpose()?,
            descending: self.order == Order::Desc,
            limit: self.limit.into(),
            after,
        })
    }
}

/// Show what page views amount to
///
/// Views and unique sessions by page: for each bucket of time, or for the range as a whole. A
/// session is counted once in each row, however many views and batches it came with. By buckets the
/// pages of the list fit together; the most viewed can change places between two pages of it.
#[utoipa::path(
    get, path = "/api/v1/page-views/stats", tag = tags::PAGE_VIEWS,
    params(StatsQuery, QueryHeaders),
    responses((status = 200, description = "A page of them", body = Page<Stats>)),
)]
async fn stats(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Query(query): Query<StatsQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let limit = query.limit;
    let rows = page_views::stats(api.store.pool(), &query.asked(Utc::now())?).await?;
    page::full(&uri, rows, limit, position, Stats::place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_view_or_up_to_a_thousand() {
        let many = |count: usize| format!("[{}]", vec![r#"{"path": "/"}"#; count].join(","));
        let count = |body: &str| read(body.as_bytes(), Utc::now()).map(|views| views.len()).ok();
        assert_eq!(count(r#" {"path": "/"}"#), Some(1));
        assert_eq!(count(&many(1)), Some(1));
        assert_eq!(count(&many(1_000)), Some(1_000));
        for body in ["[]", "", "7", r#"[["/"]]"#, "[{}", "{} {}", &many(1_001)] {
            assert_eq!(count(body), None, "{body:.20}");
        }
    }

    #[test]
    fn a_cursor_that_was_made_up_is_refused() {
        let query = |rank, path: &str| StatsQuery {
            path: None,
            from: None,
            to: Some(DateTime::<Utc>::MIN_UTC),
            bucket: None,
            order: Order::Desc,
            limit: Limit::default(),
            cursor: Cursor::to(&Place { rank, path: path.into() }).ok(),
        };
        assert!(query(1, "/").asked(Utc::now()).is_ok());
        assert!(query(i64::MIN, "/").asked(Utc::now()).is_err());
        assert!(query(1, "/\0").asked(Utc::now()).is_err());
    }
}
