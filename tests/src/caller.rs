//! A client of the HTTP API with a token of its own.

use anyhow::{Result, ensure};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// A caller of the API.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub token: String,
}

impl Caller {
    /// Returns the same caller at another server.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// Returns the same caller with another client of HTTP.
    #[must_use]
    pub fn with(self, http: reqwest::Client) -> Self {
        Self { http, ..self }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    /// Sends a command that must succeed. Returns the response once the read model shows its
    /// effect.
    pub async fn command(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        successful(self.request(method, path).header("Prefer", "wait=20").json(body)).await
    }

    /// Sends a GET that must succeed. Returns the JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        successful(self.get(path)).await
    }
}

/// Sends a request that must succeed. Returns the JSON of the response; null if it has no body.
pub async fn successful(request: RequestBuilder) -> Result<Value> {
    let response = request.send().await?;
    let (url, status) = (response.url().clone(), response.status());
    let body = response.text().await?;
    ensure!(status.is_success(), "{url}: {status}: {body}");
    if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&body)?) }
}
