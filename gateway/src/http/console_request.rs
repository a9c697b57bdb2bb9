//! Requests that a page of the console sends with its cookie. A browser adds a cookie to a request by itself,
//! so another site could cause one (CSRF). `SameSite=Strict` prevents that in browsers; independently of it,
//! these requests need a header that a form cannot send, and that CORS lets no other site send here.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use chrono::{DateTime, Utc};
use utoipa::IntoParams;

use super::problem::Problem;
use super::security_headers::OverTls;

/// Path of the routes that read or write the cookie. Pages of other origins cannot call them.
pub(super) const SESSION: &str = "/api/v1/auth/session";
/// Name of the cookie that holds the refresh token.
const COOKIE: &str = "tributary_refresh";
/// The request header and its value.
const HEADER: (&str, &str) = ("tributary-console", "1");

/// Headers of a request for a session with a cookie.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "for the document")]
pub(super) struct ConsoleHeaders {
    /// Always `1`. A form of another site cannot send it.
    #[param(rename = "Tributary-Console", pattern = "^1$", example = "1")]
    console: String,
    /// Set by browsers. If it is present, it must be `same-origin` or `none`.
    #[param(
        rename = "Sec-Fetch-Site",
        required = false,
        pattern = "^(same-origin|none)$",
        example = "same-origin"
    )]
    site: String,
}

/// A request that no other site caused; 403 `cross_site_request` for all others.
#[derive(Debug)]
pub(super) struct ConsoleRequest {
    /// The value of the cookie, if the request has it.
    pub(super) refresh_token: Option<String>,
    over_tls: bool,
}

impl ConsoleRequest {
    /// `Set-Cookie` with the refresh token of a session that ends at `expires_at`.
    pub(super) fn cookie(&self, refresh_token: &str, expires_at: DateTime<Utc>) -> SetCookie {
        let seconds = (expires_at - Utc::now()).num_seconds().max(0);
        self.set(refresh_token, seconds)
    }

    /// `Set-Cookie` that removes the cookie.
    pub(super) fn no_cookie(&self) -> SetCookie {
        self.set("", 0)
    }

    fn set(&self, value: &str, seconds: i64) -> SetCookie {
        let secure = if self.over_tls { "; Secure" } else { "" };
        let text = format!(
            "{COOKIE}={value}; Path=/api/v1/auth; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        );
        SetCookie(text)
    }
}

/// A value of `Set-Cookie`.
pub(super) struct SetCookie(String);

impl SetCookie {
    /// Adds the header to `headers`, marked as secret.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.extend(self.header().map(|value| (header::SET_COOKIE, value)));
    }

    /// Adds the header to `problem`.
    pub(super) fn on(self, problem: Problem) -> Problem {
        match self.header() {
            Some(value) => problem.header(header::SET_COOKIE, value),
            None => problem,
        }
    }

    fn header(self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(self.0).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl<S: Sync> FromRequestParts<S> for ConsoleRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let (name, value) = HEADER;
        let marked = parts.headers.get(name).is_some_and(|given| given == value);
        let site = parts.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if !marked || !matches!(site, None | Some(b"same-origin" | b"none")) {
            let detail = "sessions with a cookie are for pages of this server: send \
                          `Tributary-Console: 1` from there, or sign in at \
                          /api/v1/auth/login/access-token";
            return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site_request", detail));
        }
        let over_tls = parts.extensions.get::<OverTls>().is_some_and(|OverTls(tls)| *tls);
        Ok(Self { refresh_token: cookie(&parts.headers), over_tls })
    }
}

/// The value of the cookie in `Cookie` (RFC 6265, 5.4).
fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, value)| name.trim() == COOKIE && !value.is_empty())?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        for (text, value) in [
            ("tributary_refresh=a.b-c", Some("a.b-c")),
            ("theme=dark; tributary_refresh=x; z=1", Some("x")),
            ("not_tributary_refresh=x", None),
            ("tributary_refresh=", None),
            ("nonsense", None),
        ] {
            let headers = HeaderMap::from_iter([(header::COOKIE, text.parse().unwrap())]);
            assert_eq!(cookie(&headers).as_deref(), value, "{text}");
        }
    }
}
