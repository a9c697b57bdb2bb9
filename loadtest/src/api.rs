//! The queries of a load test to the HTTP API.

use client::Error;
use serde::Deserialize;

use super::settings::Api;

/// Queries the HTTP API, each once: what fails is counted, not retried.
#[derive(Debug)]
pub(crate) struct Client(client::Client);

/// A page of devices.
#[derive(Deserialize)]
struct Devices {
    items: Vec<Device>,
}

/// A device as the API shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct Device {
    pub(crate) device_id: String,
    /// Number of readings in the read model.
    pub(crate) readings: u32,
}

/// How far a projection lags behind the log.
#[derive(Debug, Deserialize)]
pub(crate) struct Lag {
    #[serde(rename = "events_behind")]
    pub(crate) events: i64,
    #[serde(rename = "seconds_behind")]
    pub(crate) seconds: f64,
}

impl Client {
    pub(crate) fn new(api: &Api) -> Result<Self, Error> {
        let client = client::Client::trusting(&api.url, api.ca.as_deref())?;
        Ok(Self(client.with_token(&api.token).with_retries(0)))
    }

    /// The devices of a user, or of all users, at most `limit`.
    pub(crate) async fn devices(
        &self,
        user_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Device>, Error> {
        let limit = limit.to_string();
        let mut parameters = vec![("limit", limit.as_str())];
        parameters.extend(user_id.map(|user_id| ("user_id", user_id)));
        let page = self.0.get("/api/v1/devices").query(&parameters).send::<Devices>().await?;
        Ok(page.body.items)
    }

    /// The lag of the projection `telemetry`.
    pub(crate) async fn lag(&self) -> Result<Lag, Error> {
        Ok(self.0.get("/api/v1/projections/telemetry").send().await?.body)
    }
}
