//! The files of web pages that the executable holds: the console and Swagger UI. `build.rs` compresses
//! them, so no build needs Node, and no request costs a compression.

use std::io::Read;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

use super::problem::Problem;

/// A file of a web page.
#[derive(Debug)]
pub(super) struct Asset {
    /// Path below the route of the page.
    pub(super) path: &'static str,
    media_type: &'static str,
    /// Weak entity tag: the digest of the content, whatever its encoding.
    tag: &'static str,
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at `path` of a list, which is in the order of its paths.
pub(super) fn find(list: &'static [Asset], path: &str) -> Option<&'static Asset> {
    list.binary_search_by(|asset| asset.path.cmp(path)).ok().map(|index| &list[index])
}

impl Asset {
    /// The response, compressed if the caller accepts that. The layer of entity tags turns it into 304 if
    /// the caller has the file.
    pub(super) fn response(
        &self,
        request: &HeaderMap,
        cache: &'static str,
        policy: &'static str,
    ) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.media_type),
            (header::ETAG, self.tag),
            (header::CACHE_CONTROL, cache),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::VARY, "accept-encoding"),
        ];
        if accepts_gzip(request) {
            let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return (headers, [encoding], self.gzip).into_response();
        }
        let mut content = Vec::new();
        match GzDecoder::new(self.gzip).read_to_end(&mut content) {
            Ok(_) => (headers, content).into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

/// Whether the caller accepts gzip. Without `Accept-Encoding` it may not be able to decode anything.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).any(|element| {
        let (name, parameter) = element.split_once(';').unwrap_or((element, ""));
        let quality = parameter.trim().strip_prefix("q=").map(str::parse::<f32>);
        let refused = matches!(quality, Some(Ok(quality)) if quality <= 0.0);
        let name = name.trim();
        !refused && ["gzip", "x-gzip"].iter().any(|gzip| name.eq_ignore_ascii_case(gzip))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_callers_that_accept_it() {
        for (text, accepted) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip, deflate, br, zstd", true),
            ("gzip;q=0, br", false),
            ("gzip; q=0.000", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, text.parse().unwrap())]);
            assert_eq!(accepts_gzip(&headers), accepted, "{text}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn every_file_is_found_by_its_path() {
        for list in [CONSOLE, SWAGGER] {
            for asset in list {
                assert_eq!(find(list, asset.path).map(|found| found.tag), Some(asset.tag));
            }
            assert!(find(list, "index.html").is_some() && find(list, "missing").is_none());
        }
    }
}
