//! Connecting again and again: how the broker is reached, and how long to wait after a failure.

use std::time::Duration;

use rumqttc::tokio_rustls::TlsConnector;

use super::backoff::Backoff;
use super::connection::{self, Connection, Lost};
use super::options::{Broker, Error, Options};
use super::tls;
use super::version::Version;

/// Waits between connections while the broker is not reachable.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Waits between connections while the broker does not want us.
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// A connection that lasted so long was a good one: the next failure is a new one.
const LASTED: Duration = Duration::from_secs(10);

/// The way to one broker.
pub struct Dialer {
    options: Options,
    broker: Broker,
    tls: Option<TlsConnector>,
    unreachable: Backoff,
    refused: Backoff,
}

impl Dialer {
    pub async fn new(options: Options) -> Result<Self, Error> {
        let broker = options.check()?;
        let tls =
            if broker.tls { Some(tls::connector(options.ca_file.as_deref()).await?) } else { None };
        Ok(Self {
            options,
            broker,
            tls,
            unreachable: Backoff::new(RECONNECT.0, RECONNECT.1),
            refused: Backoff::new(REFUSED.0, REFUSED.1),
        })
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Connects, once. Unless it was told what to speak, it tries MQTT 5, and 3.1.1 with a broker
    /// that says it knows no other; with each connection anew, for brokers are brought up to date.
    pub async fn connect(&self) -> Result<Connection, Lost> {
        let first = self.speak(self.options.version.unwrap_or(Version::V5)).await;
        let connection = match first {
            Err(Lost::Version(_)) if self.options.version.is_none() => {
                self.speak(Version::V3).await?
            }
            outcome => outcome?,
        };
        tracing::info!(broker = %self.broker, client_id = %self.options.client_id,
            version = %connection.version, resumed = connection.resumed,
            "connected to the MQTT broker");
        Ok(connection)
    }

    async fn speak(&self, version: Version) -> Result<Connection, Lost> {
        connection::connect(&self.options, &self.broker, self.tls.as_ref(), version).await
    }

    /// Says why there is no connection any more, and how long to wait before the next, when the
    /// last one `lasted` so long.
    pub fn wait(&mut self, lost: &Lost, lasted: Duration) -> Duration {
        if lasted > LASTED {
            self.unreachable.reset();
            self.refused.reset();
        }
        let (broker, client_id) = (&self.broker, &self.options.client_id);
        if lost.is_refusal() {
            tracing::error!(%broker, %client_id, reason = %lost, "the MQTT broker does not want us");
            self.refused.next()
        } else {
            tracing::warn!(%broker, %client_id, reason = %lost, "no connection to the MQTT broker");
            self.unreachable.next()
        }
    }
}
