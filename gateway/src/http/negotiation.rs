//! Content negotiation (RFC 9110, 12.5.1): the media type of a response, by the quality that the
//! caller's `Accept` gives to each. One place for all routes that have more than one media type.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use headers_accept::Accept;
use mediatype::names::{APPLICATION, CHARSET, CSV, HTML, JSON, TEXT};
use mediatype::values::UTF_8;
use mediatype::{MediaType, Name};

const APPLICATION_JSON: MediaType<'_> = MediaType::new(APPLICATION, JSON);
const TEXT_HTML: MediaType<'_> = MediaType::new(TEXT, HTML);
const TEXT_CSV: MediaType<'_> = MediaType::new(TEXT, CSV);
/// With the parameter that responses have, for callers that send it in `Accept`.
const TEXT_CSV_UTF_8: MediaType<'_> = MediaType::from_parts(TEXT, CSV, None, &[(CHARSET, UTF_8)]);
const PROBLEM_JSON: MediaType<'_> =
    MediaType::from_parts(APPLICATION, Name::new_unchecked("problem"), Some(JSON), &[]);

/// `Vary` of every response whose media type is negotiated.
pub(super) const VARY: (HeaderName, HeaderValue) =
    (header::VARY, HeaderValue::from_static("accept"));

/// The media type of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/json`: also if the caller accepts neither, or has no valid `Accept`.
    Json,
    /// `text/csv`.
    Csv,
}

impl Format {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let available = [APPLICATION_JSON, TEXT_CSV, TEXT_CSV_UTF_8];
        match accept(headers).as_ref().and_then(|accept| accept.negotiate(&available)) {
            Some(chosen) if chosen.subty == CSV => Self::Csv,
            _ => Self::Json,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Format {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// Whether the caller wants an error as `application/json` rather than `application/problem+json`.
pub(super) fn prefers_plain_json(headers: &HeaderMap) -> bool {
    let available = [PROBLEM_JSON, APPLICATION_JSON];
    let accept = accept(headers);
    let chosen = accept.as_ref().and_then(|accept| accept.negotiate(&available));
    chosen.is_some_and(|chosen| *chosen == APPLICATION_JSON)
}

/// Whether the caller wants a page rather than JSON, as a browser does that opens a link.
pub(super) fn prefers_html(headers: &HeaderMap) -> bool {
    let available = [APPLICATION_JSON, TEXT_HTML];
    let accept = accept(headers);
    let chosen = accept.as_ref().and_then(|accept| accept.negotiate(&available));
    chosen.is_some_and(|chosen| *chosen == TEXT_HTML)
}

/// `Accept`, its lines joined; none if it is missing or malformed. In upper case, as [`UTF_8`] is: case
/// does not matter in media types and in the names of character sets.
fn accept(headers: &HeaderMap) -> Option<Accept> {
    let lines = headers.get_all(header::ACCEPT).iter().map(|line| line.to_str().ok());
    lines.collect::<Option<Vec<_>>>()?.join(",").to_ascii_uppercase().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_of_the_highest_quality() {
        let format = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT, line.parse().unwrap());
            }
            Format::of(&headers)
        };
        for lines in [
            &["text/csv"][..],
            &["Text/CSV"],
            &["text/csv; charset=utf-8"],
            &["text/csv;q=0.5"],
            &["text/csv, */*;q=0.1"],
            &["application/json;q=0.5, text/csv;q=0.6"],
            &["application/json;q=0.5", "text/csv"],
            &["text/*"],
        ] {
            assert_eq!(format(lines), Format::Csv, "{lines:?}");
        }
        for lines in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["text/csv;q=0"],
            &["text/csv;Q=0.000, */*"],
            &["text/csv;q=0.2, application/*;q=0.9"],
            &["application/json, text/csv"],
            &["text/html"],
            &["nonsense"],
        ] {
            assert_eq!(format(lines), Format::Json, "{lines:?}");
        }
    }

    #[test]
    fn an_error_is_plain_json_for_callers_that_ask_for_it() {
        for (text, plain) in [
            ("application/json", true),
            ("application/json, text/plain, */*", true),
            ("*/*", false),
            ("application/problem+json, application/json;q=0.9", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, text.parse().unwrap())]);
            assert_eq!(prefers_plain_json(&headers), plain, "{text}");
        }
        assert!(!prefers_plain_json(&HeaderMap::new()));
    }

    #[test]
    fn a_page_is_for_browsers() {
        for (text, page) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html", true),
            ("application/json, text/html;q=0.9", false),
            ("application/json", false),
            ("*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, text.parse().unwrap())]);
            assert_eq!(prefers_html(&headers), page, "{text}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
