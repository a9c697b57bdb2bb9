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

/// Maximum number of bytes discarded: twice the largest limit on bodies, so that one over it can be read, too.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;
/// Maximum duration of the reading.
const MAX_DURATION: Duration = Duration::from_secs(1);

/// The body of a request, which the server still has after the handler has dropped its copy.
#[derive(Debug)]
pub(super) struct SharedBody<B>(Arc<Mutex<Inner<B>>>);

#[derive(Debug)]
struct Inner<B> {
    body: B,
    /// Whether the handler has read some of it, or tried to.
    was_read: bool,
}

impl<B> Clone for SharedBody<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> SharedBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(Inner { body, was_read: false })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes> + Unpin> SharedBody<B> {
    /// Reads and discards what the handler has not read. Returns whether the end was reached; if not, no other request
    /// can follow on the connection.
    ///
    /// With `expects_continue`, the client waits for `100 Continue` before it sends a body. If the handler did not
    /// read, that was never sent, and there is nothing to read.
    pub(super) async fn read_rest(self, expects_continue: bool) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if expects_continue && !self.inner().was_read {
            return false;
        }
        let discard = async move {
            let mut body = pin!(self);
            let mut discarded = 0;
            while discarded <= MAX_DISCARDED {
                match body.frame().await {
                    Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        };
        tokio::time::timeout(MAX_DURATION, discard).await.unwrap_or(false)
    }
}

impl<B: Body + Unpin> Body for SharedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut inner = self.inner();
        inner.was_read = true;
        Pin::new(&mut inner.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().body.size_hint()
    }
}
