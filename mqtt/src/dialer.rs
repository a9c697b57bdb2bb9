//! Connects, and paces reconnects.

use std::time::Duration;

use rumqttc::tokio_rustls::TlsConnector;

use super::address::Broker;
use super::backoff::Backoff;
use super::client::Client;
use super::connect::{self, Connection};
use super::error::{ConnectionError, OptionsError};
use super::options::Options;
use super::tls;
use super::version::Version;

/// First and longest delay while the broker is not reachable.
const UNREACHABLE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// First and longest delay while the broker refuses the connection.
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// After a connection that lasted so long, delays start over.
const STABLE: Duration = Duration::from_secs(10);

/// Makes the connections to one broker, one after the other.
pub struct Dialer {
    options: Options,
    broker: Broker,
    tls: Option<TlsConnector>,
    unreachable: Backoff,
    refused: Backoff,
}

impl Dialer {
    /// Checks the options and loads the certificates. Does not connect.
    pub async fn new(options: Options) -> Result<Self, OptionsError> {
        let broker = options.check()?;
        let tls =
            if broker.tls { Some(tls::connector(options.ca_file.as_deref()).await?) } else { None };
        Ok(Self {
            options,
            broker,
            tls,
            unreachable: Backoff::new(UNREACHABLE.0, UNREACHABLE.1),
            refused: Backoff::new(REFUSED.0, REFUSED.1),
        })
    }

    /// The options of every connection.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Connects once, within 10 s. Without a configured version, MQTT 5 is tried first and 3.1.1 with
    /// a broker that does not support it; anew each time, because brokers are upgraded.
    pub async fn connect<T>(&self) -> Result<Client<T>, ConnectionError> {
        let first = self.handshake(self.options.version.unwrap_or(Version::V5)).await;
        let (connection, resumed) = match first {
            Err(ConnectionError::Version(_)) if self.options.version.is_none() => {
                self.handshake(Version::V3).await?
            }
            outcome => outcome?,
        };
        tracing::info!(broker = %self.broker, client_id = %self.options.client_id,
            version = %connection.version, resumed, "MQTT client connected");
        Ok(Client::new(connection, &self.options))
    }

    async fn handshake(&self, version: Version) -> Result<(Connection, bool), ConnectionError> {
        connect::connect(&self.options, &self.broker, self.tls.as_ref(), version).await
    }

    /// Logs why there is no connection, and returns the delay before the next attempt. `lasted` is
    /// the duration of the last attempt, with the connection it led to.
    pub fn wait(&mut self, error: &ConnectionError, lasted: Duration) -> Duration {
        if lasted > STABLE {
            self.unreachable.reset();
            self.refused.reset();
        }
        let (broker, client_id) = (&self.broker, &self.options.client_id);
        if error.is_refusal() {
            tracing::error!(%broker, %client_id, %error, "MQTT broker refused the connection");
            self.refused.next_delay()
        } else {
            tracing::warn!(%broker, %client_id, %error, "MQTT connection failed, retrying");
            self.unreachable.next_delay()
        }
    }
}
