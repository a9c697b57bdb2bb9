//! [`Request`]: what is sent, and how often.

use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::response::{self, Received, Response};
use super::{Client, Error};

/// Wait before the first retry; doubles with each further one.
const BACKOFF: Duration = Duration::from_millis(100);

/// A request that has not been sent yet.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'a> {
    pub(crate) client: &'a Client,
    pub(crate) builder: RequestBuilder,
    /// `Idempotency-Key` of a command.
    key: Option<String>,
    /// Whether sending it again does no harm.
    repeatable: bool,
}

impl Client {
    /// Starts a query. `path` begins with `/`, may contain a query string, and is sent as it is;
    /// encode user-chosen ids with [`segment`](crate::segment).
    pub fn get(&self, path: &str) -> Request<'_> {
        self.request(Method::GET, path)
    }

    /// Starts a command that creates or acts.
    pub fn post(&self, path: &str) -> Request<'_> {
        self.request(Method::POST, path)
    }

    /// Starts a command that replaces.
    pub fn put(&self, path: &str) -> Request<'_> {
        self.request(Method::PUT, path)
    }

    /// Starts a command that changes some members.
    pub fn patch(&self, path: &str) -> Request<'_> {
        self.request(Method::PATCH, path)
    }

    /// Starts a command that deletes.
    pub fn delete(&self, path: &str) -> Request<'_> {
        self.request(Method::DELETE, path)
    }

    fn request(&self, method: Method, path: &str) -> Request<'_> {
        let changes = method != Method::GET;
        let builder = self.http.request(method, format!("{}{path}", self.base));
        let builder = match &self.token {
            Some(token) => builder.bearer_auth(token),
            None => builder,
        };
        Request::new(self, builder, changes)
    }
}

impl<'a> Request<'a> {
    pub(crate) fn new(client: &'a Client, builder: RequestBuilder, changes: bool) -> Self {
        let key = changes.then(|| Uuid::now_v7().to_string());
        Self { client, builder, key, repeatable: true }
    }

    /// Adds query parameters: a struct, or a slice of pairs.
    pub fn query(mut self, parameters: &(impl Serialize + ?Sized)) -> Self {
        self.builder = self.builder.query(parameters);
        self
    }

    /// Sends `body` as JSON.
    pub fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        self.builder = self.builder.json(body);
        self
    }

    /// Sends `body` as a form.
    pub fn form(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        self.builder = self.builder.form(body);
        self
    }

    /// Adds a header, such as `If-Match`.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// Waits at most `seconds` (20 at most) at the server: a command, until its effect is visible;
    /// a query, for its [`min_position`](Self::min_position).
    pub fn wait(self, seconds: u8) -> Self {
        self.header("Prefer", &format!("wait={seconds}"))
    }

    /// Reads from a read model that includes `position`, which a [`Response`] named; without one,
    /// from the read model as it is.
    pub fn min_position(self, position: Option<i64>) -> Self {
        match position {
            Some(position) => self.header("Tributary-Min-Position", &position.to_string()),
            None => self,
        }
    }

    /// Sends `key` instead of a random `Idempotency-Key`: 1 to 200 printable characters without
    /// spaces, so that the command is executed once even if the program restarts in between.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Sends the request once, without an `Idempotency-Key`: for endpoints that take none.
    pub fn once(self) -> Self {
        Self { key: None, repeatable: false, ..self }
    }

    /// Sends the request and reads the response as a `T`. A response without a body reads as `()`,
    /// as `None` and as JSON's `null`.
    pub async fn send<T: DeserializeOwned>(self) -> Result<Response<T>, Error> {
        response::read(self.receive().await?)
    }

    /// Sends the request and returns the items of this page and of all that follow. Ends at the
    /// first page without items, because a feed has a next page for ever.
    pub async fn all<T: DeserializeOwned>(self) -> Result<Vec<T>, Error> {
        let client = self.client;
        let mut items = Vec::new();
        let mut page: Response<response::Page<T>> = self.send().await?;
        loop {
            let ended = page.body.items.is_empty();
            items.append(&mut page.body.items);
            match page.next.take().filter(|_| !ended) {
                Some(next) => page = client.get(&next).send().await?,
                None => return Ok(items),
            }
        }
    }

    async fn receive(self) -> Result<Received, Error> {
        let Self { client, mut builder, key, repeatable } = self;
        if let Some(key) = key {
            builder = builder.header("Idempotency-Key", key);
        }
        let request = builder.build().map_err(Error::InvalidRequest)?;
        let deadline = Instant::now() + client.timeout;
        let mut retries = if repeatable { client.retries } else { 0 };
        let mut backoff = BACKOFF;
        loop {
            // A body that cannot be sent twice does not exist here: all of them are in memory.
            let attempt = request.try_clone();
            let outcome = match attempt {
                Some(attempt) => attempt_until(client, attempt, deadline).await,
                None => return Err(Error::Interrupted { server: client.server(), source: None }),
            };
            let wait = match &outcome {
                Ok(received) if is_temporary(received.status) => retry_after(received),
                Ok(_) => return outcome,
                Err(_) => None,
            };
            let wait = wait.unwrap_or(backoff);
            if retries == 0 || Instant::now() + wait >= deadline {
                return outcome;
            }
            retries -= 1;
            backoff *= 2;
            tokio::time::sleep(wait).await;
        }
    }
}

async fn attempt_until(
    client: &Client,
    mut request: reqwest::Request,
    deadline: Instant,
) -> Result<Received, Error> {
    *request.timeout_mut() = Some(deadline.saturating_duration_since(Instant::now()));
    let failed = |error| Error::sending(client.server(), error);
    let response = client.http.execute(request).await.map_err(failed)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.map_err(failed)?.into();
    Ok(Received { status, headers, body })
}

fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn retry_after(received: &Received) -> Option<Duration> {
    let seconds = received.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
