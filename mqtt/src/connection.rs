//! Connecting to the broker: TCP or TLS, CONNECT, SUBSCRIBE. And how a connection ends.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes;
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::rustls::{self, pki_types::ServerName};
use rumqttc::{
    Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, DisconnectReasonCode, Packet,
    PubAckReason, QoS, RetainForwardRule, Subscribe, SubscribeFilter, Unsubscribe,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frames::Frames;
use super::options::{Broker, Options};
use super::refusal::Refusal;
use super::version::Version;

/// How long the broker has to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The packet ids we choose. None of ours is under way yet when they are used.
const SUBSCRIBE_ID: u16 = 1;
const UNSUBSCRIBE_ID: u16 = 2;

pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}
pub type BoxedSocket = Box<dyn Socket>;

/// A connection the broker has accepted, and on which the subscriptions have been asked for.
pub struct Connection {
    pub frames: Frames<ReadHalf<BoxedSocket>>,
    pub write: WriteHalf<BoxedSocket>,
    /// How packets are written on it.
    pub version: Version,
    pub keep_alive: Duration,
    /// How many messages we may have sent and the broker not yet acknowledged.
    pub receive_maximum: u16,
    /// The broker remembered us, and sends what came while we were away.
    pub resumed: bool,
}

/// Why there is no connection (any more). All of it is survived.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("the network failed: {0}")]
    Io(#[from] io::Error),
    #[error("the broker did not answer in time")]
    Timeout,
    /// With a reason in its `Display`: a certificate we do not trust, or no TLS at all.
    #[error("TLS with the broker failed: {0}")]
    Tls(io::Error),
    /// Mosquitto 2.0.11 says no more than that when another client takes our id, and no broker of
    /// 3.1.1 does.
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker says goodbye: {0:?}")]
    Disconnected(DisconnectReasonCode),
    #[error("the broker refuses us: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("the broker refuses the subscription to `{filter}`: {reason}")]
    Subscription { filter: String, reason: String },
    #[error("the broker refuses what is published to `{topic}`: {reason:?}")]
    Publish { topic: String, reason: PubAckReason },
    #[error("the broker sent what is not MQTT: {0}")]
    Protocol(#[from] mqttbytes::Error),
    #[error("the broker answered CONNECT with what is not MQTT: {0}")]
    Handshake(mqttbytes::Error),
    #[error("the broker does not speak {0}")]
    Version(Version),
}

impl Lost {
    /// Whether the broker is there and we do not come together: asking often does not help.
    pub fn is_refusal(&self) -> bool {
        self.refusal().is_some()
    }

    /// What stands in the way, if it is not the network.
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
            Self::Io(_) | Self::Timeout | Self::Closed | Self::Protocol(_) => None,
        }
    }
}

pub(crate) async fn connect(
    options: &Options,
    broker: &Broker,
    tls: Option<&TlsConnector>,
    version: Version,
) -> Result<Connection, Lost> {
    timeout(CONNECT_TIMEOUT, async {
        let socket = dial(broker, tls).await?;
        let (read, mut write) = tokio::io::split(socket);
        let mut frames = Frames::new(read, version, options.max_packet_bytes);
        let mut buffer = BytesMut::new();
        version.write(&hello(options, broker), &mut buffer)?;
        write.write_all(&buffer).await?;
        let connack = frames.connack().await?;
        match connack.code {
            ConnectReturnCode::Success => {}
            ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion => return Err(Lost::Version(version)),
            code => return Err(Lost::Refused(code)),
        }
        let answer = connack.properties.as_ref();
        let asked = answer.and_then(|answer| answer.server_keep_alive);
        let receive_maximum = answer.and_then(|answer| answer.receive_max).unwrap_or(u16::MAX);
        buffer.clear();
        if !options.topic_filters.is_empty() {
            version.write(&subscribe(options), &mut buffer)?;
        }
        if let Some(unsubscribe) = unsubscribe(options) {
            version.write(&unsubscribe, &mut buffer)?;
        }
        write.write_all(&buffer).await?;
        Ok(Connection {
            frames,
            write,
            version,
            keep_alive: asked.map_or(options.keep_alive, |secs| Duration::from_secs(secs.into())),
            receive_maximum,
            resumed: connack.session_present,
        })
    })
    .await
    .unwrap_or_else(|_elapsed| Err(Lost::Timeout))
}

async fn dial(broker: &Broker, tls: Option<&TlsConnector>) -> Result<BoxedSocket, Lost> {
    let socket = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
    socket.set_nodelay(true)?; // Acknowledgements are gathered by us, not by the kernel.
    let Some(tls) = tls else {
        return Ok(Box::new(socket));
    };
    let name = ServerName::try_from(broker.host.clone())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connected = tls.connect(name, socket).await.map_err(|error| {
        let said =
            error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        if said { Lost::Tls(error) } else { Lost::Io(error) }
    });
    Ok(Box::new(connected?))
}

/// Asks for the session of before, or a new one that outlives the connection.
fn hello(options: &Options, broker: &Broker) -> Packet {
    let mut properties = ConnectProperties::new();
    let expiry = options.session_expiry.as_secs();
    properties.session_expiry_interval = Some(u32::try_from(expiry).unwrap_or(u32::MAX));
    properties.receive_maximum = Some(options.receive_maximum);
    let connect = Connect {
        keep_alive: u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX),
        client_id: options.client_id.clone(),
        clean_start: false,
        properties: Some(properties),
    };
    let auth = match (&broker.username, &broker.password) {
        (None, None) => ConnectAuth::None,
        (Some(username), None) => ConnectAuth::Username { username: username.clone() },
        (None, Some(password)) => ConnectAuth::Password { password: password.clone().into() },
        (Some(username), Some(password)) => ConnectAuth::UsernamePassword {
            username: username.clone(),
            password: password.clone().into(),
        },
    };
    Packet::Connect(connect, None, auth)
}

/// Asked for on every connection, resumed or not: the list may have grown since the last one.
/// Retained messages come with a new subscription only, not with each reconnect.
fn subscribe(options: &Options) -> Packet {
    let filters = options.topic_filters.iter().map(|filter| {
        let mut filter = SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce);
        filter.nolocal = options.no_local;
        filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
        filter
    });
    let mut subscribe = Subscribe::new_many(filters, None);
    subscribe.pkid = SUBSCRIBE_ID;
    Packet::Subscribe(subscribe)
}

/// A session keeps what was subscribed to in it. What is not listened to any more has to be said,
/// after what is, so that no message falls between the two.
fn unsubscribe(options: &Options) -> Option<Packet> {
    let (first, others) = options.left_filters.split_first()?;
    let mut unsubscribe = Unsubscribe::new(first, None);
    unsubscribe.filters.extend_from_slice(others);
    unsubscribe.pkid = UNSUBSCRIBE_ID;
    Some(Packet::Unsubscribe(unsubscribe))
}
