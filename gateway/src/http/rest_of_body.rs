//! The rest of a request's body is read before its response is sent, within limits. Otherwise a request that was
//! refused early, such as one over a rate limit, may find its connection closed while it still sends, and its client
//! never reads why.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};

/// Most bytes that are read and discarded.
const MOST: usize = 1024 * 1024;
/// Longest time that this takes.
const LONGEST: Duration = Duration::from_secs(1);

/// The body of a request, which the server still has after the handler has dropped its copy.
#[derive(Debug)]
pub(super) struct SharedBody<B>(Arc<Mutex<B>>);

impl<B> Clone for SharedBody<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> SharedBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    fn body(&self) -> MutexGuard<'_, B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes> + Unpin> SharedBody<B> {
    /// Reads and discards what the handler has not read.
    pub(super) async fn read_rest(self) {
        let discard = async move {
            let mut body = pin!(self);
            let mut read = 0;
            while read <= MOST
                && let Some(Ok(frame)) = body.frame().await
            {
                read += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // The response is sent anyway.
        let _elapsed = tokio::time::timeout(LONGEST, discard).await;
    }
}

impl<B: Body + Unpin> Body for SharedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}
