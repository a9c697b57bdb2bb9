//! The requests of a load test to the HTTP API.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::error::RequestError;
use super::settings::Api;

/// Longest wait for a response.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Queries the HTTP API.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    api: Api,
}

/// How far a projection lags behind the log.
#[derive(Debug)]
pub(crate) struct Lag {
    pub(crate) events: i64,
    pub(crate) seconds: f64,
}

impl Client {
    pub(crate) fn new(api: Api) -> Result<Self, RequestError> {
        Ok(Self { http: reqwest::Client::builder().timeout(TIMEOUT).build()?, api })
    }

    /// The devices of a user, or of all users, at most `limit`.
    pub(crate) async fn devices(
        &self,
        user_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Value>, RequestError> {
        const PATH: &str = "/api/v1/devices";
        let mut query = vec![("limit", limit.to_string())];
        query.extend(user_id.map(|user_id| ("user_id", user_id.to_owned())));
        match self.get(PATH, &query).await?.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(RequestError::Unexpected(PATH)),
        }
    }

    /// The lag of the projection `telemetry`.
    pub(crate) async fn lag(&self) -> Result<Lag, RequestError> {
        const PATH: &str = "/api/v1/projections/telemetry";
        let status = self.get(PATH, &()).await?;
        let lag = status["events_behind"].as_i64().zip(status["seconds_behind"].as_f64());
        let (events, seconds) = lag.ok_or(RequestError::Unexpected(PATH))?;
        Ok(Lag { events, seconds })
    }

    async fn get(&self, path: &str, query: &impl Serialize) -> Result<Value, RequestError> {
        let url = format!("{}{path}", self.api.url.trim_end_matches('/'));
        let request = self.http.get(url).bearer_auth(&self.api.token).query(query);
        let response = request.send().await?;
        let status = response.status();
        let body: Value = response.json().await?;
        if status.is_success() {
            return Ok(body);
        }
        let detail = body["detail"].as_str().unwrap_or("no detail given").to_owned();
        Err(RequestError::Status { status, detail })
    }
}
