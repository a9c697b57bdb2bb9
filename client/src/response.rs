//! [`Response`]: the body, and what the headers add to it.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Problem};

/// A response that has arrived completely.
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A successful response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response<T> {
    /// The body.
    pub body: T,
    /// `Tributary-Position`. Of a command: the position of its last event in the log. Of a query:
    /// the position that the read model includes.
    pub position: Option<i64>,
    /// `ETag`, for `If-Match` of a later command.
    pub etag: Option<String>,
    /// Path and query of the next page, from `Link: <…>; rel="next"`.
    pub next: Option<String>,
}

/// The body of a list.
#[derive(Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
}

pub(crate) fn read<T: DeserializeOwned>(received: Received) -> Result<Response<T>, Error> {
    let Received { status, headers, body } = received;
    let body = if body.is_empty() { b"null".to_vec() } else { body };
    let invalid = |source| Error::InvalidResponse { status: status.as_u16(), source };
    if status.is_redirection() {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.unwrap_or("an address that it does not name").to_owned();
        return Err(Error::Redirected { location });
    }
    if !status.is_success() {
        let problem: Problem = serde_json::from_slice(&body).map_err(invalid)?;
        return Err(Error::Problem(Box::new(problem)));
    }
    let header = |name| headers.get(name)?.to_str().ok();
    Ok(Response {
        position: header("tributary-position").and_then(|position| position.parse().ok()),
        etag: header("etag").map(str::to_owned),
        next: header("link").and_then(next).map(str::to_owned),
        body: serde_json::from_slice(&body).map_err(invalid)?,
    })
}

/// The target of the link to the next page. Only a path: a token is never sent to another server.
fn next(links: &str) -> Option<&str> {
    let links = links.split(", <").map(|link| link.trim_start_matches('<').split_once('>'));
    let (target, _) =
        links.flatten().find(|(_, parameters)| parameters.contains("rel=\"next\""))?;
    (target.starts_with('/') && !target.starts_with("//")).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_a_path_of_the_same_server() {
        assert_eq!(next("</a?cursor=x,y>; rel=\"next\""), Some("/a?cursor=x,y"));
        assert_eq!(next("</a>; rel=\"prev\", </b>; rel=\"next\""), Some("/b"));
        for links in [
            "",
            "</a>",
            "</a>; rel=\"prev\"",
            "<https://example.org/a>; rel=\"next\"",
            "<//example.org/a>; rel=\"next\"",
        ] {
            assert_eq!(next(links), None, "{links}");
        }
    }
}
