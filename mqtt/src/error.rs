//! Why a connection cannot be attempted, or failed.

use std::io;

use rumqttc::mqttbytes;
use rumqttc::{ConnectReturnCode, DisconnectReasonCode, PubAckReason};

use super::refusal::Refusal;
use super::tls::TlsError;
use super::version::Version;

/// Why no connection can be attempted with these options. Retries do not help.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Not shown: it may hold a password.
    #[error("the broker's address is not of the form mqtt[s]://[user:password@]host[:port]")]
    Address,
    /// The client id is empty or too long.
    #[error("the MQTT client id must be 1 to 65535 bytes long")]
    ClientId,
    /// A window of no messages.
    #[error("the receive maximum and the publish window must be 1 or more")]
    Window,
    /// A topic filter that MQTT does not allow.
    #[error("`{0}` is not a valid MQTT topic filter")]
    TopicFilter(String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
}

/// Why a connection could not be made, or ended. `Display` includes the cause. All variants are
/// worth a retry with backoff; see [`Dialer::wait`](super::Dialer::wait).
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Reading from or writing to the socket failed.
    #[error("network error on the connection to the broker: {0}")]
    Io(io::Error),
    /// The broker did not complete the handshake, or sent nothing for 1.5 times the keep-alive.
    #[error("the broker did not answer in time")]
    Timeout,
    /// The TLS handshake failed: an untrusted certificate, or a listener without TLS.
    #[error("TLS handshake with the broker failed: {0}")]
    Tls(io::Error),
    /// The broker closed the connection without a reason. Mosquitto 2.0.11 does so when another
    /// client takes over the client id, and every broker of MQTT 3.1.1 does.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker sent DISCONNECT.
    #[error("the broker sent DISCONNECT: {0:?}")]
    Disconnected(DisconnectReasonCode),
    /// CONNACK with a failure code.
    #[error("the broker refused the connection: {0:?}")]
    Refused(ConnectReturnCode),
    /// SUBACK with a failure code, or with a lower `QoS` than required.
    #[error("the broker refused the subscription to `{filter}`: {reason}")]
    Subscription {
        /// The topic filter.
        filter: String,
        /// The code in SUBACK.
        reason: String,
    },
    /// PUBACK with a failure code.
    #[error("the broker refused a message published to `{topic}`: {reason:?}")]
    Publish {
        /// The topic.
        topic: String,
        /// The code in PUBACK.
        reason: PubAckReason,
    },
    /// [`Client::publish`](super::Client::publish) was called without room in the window.
    #[error("the publish window is full")]
    WindowFull,
    /// The broker sent a packet that MQTT does not allow.
    #[error("the broker violated the MQTT protocol: {0}")]
    Protocol(mqttbytes::Error),
    /// The answer to CONNECT is not a CONNACK.
    #[error("the broker answered CONNECT with something other than MQTT: {0}")]
    Handshake(mqttbytes::Error),
    /// The broker does not support the protocol version.
    #[error("the broker does not support {0}")]
    Version(Version),
}

impl ConnectionError {
    /// The error for a packet that must not arrive in this state.
    pub fn unexpected_packet() -> Self {
        Self::Protocol(mqttbytes::Error::ProtocolError)
    }

    /// Whether the broker is reachable and the connection was refused. Frequent retries do not help.
    pub fn is_refusal(&self) -> bool {
        self.refusal().is_some()
    }

    /// The kind of refusal; `None` for network errors and brokers that are temporarily unavailable.
    pub fn refusal(&self) -> Option<Refusal> {
        use ConnectReturnCode as Connect;
        match self {
            Self::Refused(code) => match code {
                Connect::ServerBusy
                | Connect::ServerUnavailable
                | Connect::ServiceUnavailable
                | Connect::ConnectionRateExceeded => None,
                Connect::BadUserNamePassword | Connect::NotAuthorized | Connect::Banned => {
                    Some(Refusal::Credentials)
                }
                _ => Some(Refusal::Other),
            },
            Self::Disconnected(code) => match code {
                DisconnectReasonCode::NotAuthorized => Some(Refusal::Credentials),
                DisconnectReasonCode::SessionTakenOver => Some(Refusal::TakenOver),
                DisconnectReasonCode::AdministrativeAction => Some(Refusal::Other),
                _ => None,
            },
            Self::Subscription { .. } | Self::Publish { .. } => Some(Refusal::Permission),
            Self::Tls(_) => Some(Refusal::Tls),
            Self::Handshake(_) | Self::Version(_) => Some(Refusal::Protocol),
            Self::Io(_) | Self::Timeout | Self::Closed | Self::WindowFull | Self::Protocol(_) => {
                None
            }
        }
    }
}

// No `#[from]`: `Display` already includes the cause, and a source would be printed twice.
impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<mqttbytes::Error> for ConnectionError {
    fn from(error: mqttbytes::Error) -> Self {
        Self::Protocol(error)
    }
}
