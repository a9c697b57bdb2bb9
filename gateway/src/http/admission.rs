//! Admission: what a client may do per minute and at a time. A request that is over a limit is
//! refused before any work is done for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::page_views::PageView;

use super::client_address;
use super::page_view_names::Names;
use super::problem::Problem;
use super::rate_limiter::{RateLimiter, Remaining, count_refusal};
use super::slots::{Full, Slot, Slots};
use crate::backpressure::Backpressure;
use crate::config::{self, Network};

/// The limits on clients of the API.
#[derive(Debug)]
pub struct Admission {
    /// Proxies that name the client and its scheme.
    pub(super) trusted: Arc<[Network]>,
    principal: RateLimiter,
    address: RateLimiter,
    registrations: RateLimiter,
    sign_ins_address: RateLimiter,
    sign_ins_account: RateLimiter,
    event_tickets: RateLimiter,
    page_views: RateLimiter,
    page_view_names: Names,
    /// How long before its receipt a page view may lie.
    pub(super) page_view_max_age: Duration,
    requests: Slots,
    streams: Slots,
    backpressure: Backpressure,
}

impl Admission {
    /// The limits that the options set.
    pub fn new(
        http: &config::Http,
        limits: &config::ClientLimits,
        backpressure: Backpressure,
    ) -> Self {
        let (requests, connections) = (http.http_requests as usize, http.http_connections as usize);
        let limiter = RateLimiter::new;
        Self {
            trusted: limits.trusted_proxies.as_slice().into(),
            principal: limiter("principal", "requests of this caller", limits.rate_limit_principal),
            address: limiter(
                "address",
                "requests without a valid token from this address",
                limits.rate_limit_address,
            ),
            registrations: limiter(
                "registrations",
                "registrations from this address",
                limits.rate_limit_registrations,
            ),
            sign_ins_address: limiter(
                "sign_ins_address",
                "attempts to sign in from this address",
                limits.rate_limit_sign_ins_address,
            ),
            sign_ins_account: limiter(
                "sign_ins_account",
                "attempts to sign in as this account",
                limits.rate_limit_sign_ins_account,
            ),
            event_tickets: limiter(
                "event_tickets",
                "tickets for event streams of this caller",
                limits.rate_limit_event_tickets,
            ),
            page_views: limiter(
                "page_views",
                "page views from this address",
                limits.rate_limit_page_views,
            ),
            page_view_names: Names::new(limits.page_view_paths, limits.page_view_sessions),
            page_view_max_age: limits.page_view_max_age.0,
            requests: Slots::new(requests, requests / 2),
            streams: Slots::new(connections, http.http_streams as usize),
            backpressure,
        }
    }

    /// Executes a request of `subject`, or refuses it.
    pub(super) async fn principal(&self, subject: &str, request: Request, next: Next) -> Response {
        let remaining = self.principal.take(subject, 1);
        self.run(remaining, subject, request, next).await
    }

    /// Returns `refusal` of a request whose token is missing or invalid, or 429.
    pub(super) fn unauthenticated(&self, request: &Request, refusal: Problem) -> Problem {
        let address = client_address::of(request, &self.trusted);
        self.address.take(address, 1).err().unwrap_or(refusal)
    }

    async fn run(
        &self,
        remaining: Result<Remaining, Problem>,
        client: &str,
        request: Request,
        next: Next,
    ) -> Response {
        let admitted = remaining.and_then(|remaining| Ok((remaining, self.request_slot(client)?)));
        let (remaining, _slot) = match admitted {
            Ok(admitted) => admitted,
            Err(problem) => return problem.into_response(),
        };
        let mut response = next.run(request).await;
        remaining.write(response.headers_mut());
        response
    }

    fn request_slot(&self, client: &str) -> Result<Slot, Problem> {
        self.requests.take(client).map_err(|full| {
            count_refusal("requests");
            match full {
                Full::Client => {
                    let each = self.requests.each();
                    let detail = format!("{each} requests of this client are in progress; retry");
                    Problem::too_many("too_many_requests", detail, RETRY)
                }
                Full::All => Problem::unavailable(
                    "overloaded",
                    "this process is busy with other requests; retry later",
                ),
            }
        })
    }

    /// Takes a slot for an event stream of `subject`; 429 if it has as many as it may have.
    pub(super) fn stream(&self, subject: &str) -> Result<Slot, Problem> {
        self.streams.take(subject).map_err(|_full| {
            count_refusal("streams");
            let each = self.streams.each();
            let detail = format!("this caller has {each} event streams already; close one of them");
            Problem::too_many("too_many_streams", detail, RETRY)
        })
    }

    /// Admits a registration from `address`.
    pub(super) fn registration(&self, address: ClientAddress) -> Result<Remaining, Problem> {
        self.registrations.take(address.0, 1)
    }

    /// Admits an attempt to sign in as `account` from `address`.
    pub(super) fn sign_in(&self, address: ClientAddress, account: &str) -> Result<(), Problem> {
        self.sign_ins_address.take(address.0, 1)?;
        self.sign_ins_account.take(account.trim().to_lowercase(), 1)?;
        Ok(())
    }

    /// Admits an attempt to sign in with a one-time code from `address`.
    pub(super) fn one_time_code(&self, address: ClientAddress) -> Result<(), Problem> {
        self.sign_ins_address.take(address.0, 1)?;
        Ok(())
    }

    /// Admits a request of `subject` for a ticket.
    pub(super) fn event_ticket(&self, subject: &str) -> Result<Remaining, Problem> {
        self.event_tickets.take(subject, 1)
    }

    /// Admits facts, such as readings; 503 while a consumer falls too far behind.
    pub(super) fn facts(&self) -> Result<(), Problem> {
        if !self.backpressure.is_paused() {
            return Ok(());
        }
        count_refusal("lag");
        let detail = "this system is too far behind to take readings and page views; retry later";
        Err(Problem::unavailable("intake_paused", detail))
    }

    /// Admits page views from `address`, received at `now`.
    pub(super) fn page_views(
        &self,
        address: ClientAddress,
        views: &[PageView],
        now: DateTime<Utc>,
    ) -> Result<Remaining, Problem> {
        self.facts()?;
        let remaining = self.page_views.take(address.0, views.len())?;
        self.page_view_names.admit(views, now)?;
        Ok(remaining)
    }
}

/// `Retry-After` of a client that waits for its own requests or streams.
const RETRY: Duration = Duration::from_secs(1);

/// Refuses requests of an address that is over its rate. For routes without a token.
pub(super) async fn anonymous(
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = client_address::of(&request, &admission.trusted);
    request.extensions_mut().insert(ClientAddress(address));
    let remaining = admission.address.take(address, 1);
    admission.run(remaining, &address.to_string(), request, next).await
}

/// The address under which a client of a route without a token is limited.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddress(IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || {
            let detail = "the route is not behind the layer that determines the client's address";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
        };
        parts.extensions.get::<Self>().copied().ok_or_else(missing)
    }
}
