//! [`EventStream`]: server-sent events as they arrive.

use std::time::Duration;

use tokio::time::timeout;

use super::response::{self, Received};
use super::{Error, Request};

/// Longest silence of a stream: several keep-alive comments are missing then.
const MAX_SILENCE: Duration = Duration::from_mins(1);

/// An open stream of server-sent events.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    /// The server's URL without credentials.
    server: String,
    /// What has arrived of the next event.
    arrived: Vec<u8>,
}

impl Request<'_> {
    /// Sends the request once and returns the stream of server-sent events that the response is.
    pub async fn open(self) -> Result<EventStream, Error> {
        let Self { client, builder, .. } = self;
        let request = builder.header("Accept", "text/event-stream").build();
        let request = request.map_err(Error::InvalidRequest)?;
        let server = client.server();
        let failed = |error| Error::sending(server.clone(), error);
        let interrupted = |_elapsed| Error::Interrupted { server: server.clone(), source: None };
        let response = timeout(client.timeout, client.http.execute(request)).await;
        let response = response.map_err(interrupted)?.map_err(failed)?;
        if response.status().is_success() {
            return Ok(EventStream { response, server, arrived: Vec::new() });
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?.into();
        let refused = response::read::<()>(Received { status, headers, body });
        Err(refused.err().unwrap_or(Error::Interrupted { server, source: None }))
    }
}

impl EventStream {
    /// Waits for the next event and returns its data; none if the server has ended the stream.
    ///
    /// Fails if the connection is lost, or if nothing arrives for a minute.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(data) = take_event(&mut self.arrived) {
                return Ok(Some(data));
            }
            let interrupted = |source| Error::Interrupted { server: self.server.clone(), source };
            let chunk = timeout(MAX_SILENCE, self.response.chunk()).await;
            let chunk = chunk.map_err(|_elapsed| interrupted(None))?;
            match chunk.map_err(|error| interrupted(Some(error.without_url())))? {
                Some(chunk) => self.arrived.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Removes events from `arrived` up to the first one with data, and returns that; none if it has not
/// arrived completely. An event ends with an empty line.
fn take_event(arrived: &mut Vec<u8>) -> Option<String> {
    loop {
        let end = arrived.windows(2).position(|pair| pair == b"\n\n")?;
        let event: Vec<u8> = arrived.drain(..end + 2).collect();
        let event = String::from_utf8_lossy(&event);
        let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<_> = data.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        if !data.is_empty() {
            return Some(data.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_taken_once_it_is_complete() {
        let mut arrived =
            b": keep-alive\n\nid: 7\nevent: e\ndata: {\"a\":1}\n\ndata: x\nda".to_vec();
        assert_eq!(take_event(&mut arrived).as_deref(), Some("{\"a\":1}"));
        assert_eq!(take_event(&mut arrived), None);
        arrived.extend_from_slice(b"ta:y\n\n");
        assert_eq!(take_event(&mut arrived).as_deref(), Some("x\ny"));
        assert!(arrived.is_empty());
    }
}
