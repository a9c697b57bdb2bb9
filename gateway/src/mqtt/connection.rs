//! Connecting to the broker: TCP or TLS, CONNECT, SUBSCRIBE. And how a connection ends.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes;
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::rustls::pki_types::ServerName;
use rumqttc::{
    Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, DisconnectReasonCode, Packet,
    PubAckReason, QoS, RetainForwardRule, Subscribe, SubscribeFilter,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frames::{Frame, Frames};
use super::options::{Broker, Options};

/// How long the broker has to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The one packet id we ever choose.
const SUBSCRIBE_ID: u16 = 1;

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}
pub(crate) type BoxedSocket = Box<dyn Socket>;

/// A connection the broker has accepted, and on which the subscriptions have been asked for.
pub(crate) struct Connection {
    pub(crate) frames: Frames<ReadHalf<BoxedSocket>>,
    pub(crate) write: WriteHalf<BoxedSocket>,
    pub(crate) keep_alive: Duration,
    /// How many messages we may have sent and the broker not yet acknowledged.
    pub(crate) receive_maximum: u16,
    /// The broker remembered us, and sends what came while we were away.
    pub(crate) resumed: bool,
}

/// Why there is no connection (any more). All of it is survived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the network failed: {0}")]
    Io(#[from] io::Error),
    #[error("the broker did not answer in time")]
    Timeout,
    /// Mosquitto 2.0.11 says no more than that when another client takes our id.
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
    #[error("the broker sent what is not MQTT 5: {0}")]
    Protocol(#[from] mqttbytes::Error),
    #[error("the broker answered CONNECT with what is not MQTT 5 (it may know only 3.1.1): {0}")]
    Handshake(mqttbytes::Error),
}

impl Lost {
    /// Whether the broker is there and does not want us: asking often does not help.
    pub(crate) fn is_refusal(&self) -> bool {
        use ConnectReturnCode as Connect;
        match self {
            Self::Refused(code) => !matches!(
                code,
                Connect::ServerBusy
                    | Connect::ServerUnavailable
                    | Connect::ServiceUnavailable
                    | Connect::ConnectionRateExceeded
            ),
            Self::Disconnected(code) => matches!(
                code,
                DisconnectReasonCode::NotAuthorized
                    | DisconnectReasonCode::SessionTakenOver
                    | DisconnectReasonCode::AdministrativeAction
            ),
            Self::Subscription { .. } | Self::Publish { .. } | Self::Handshake(_) => true,
            Self::Io(_) | Self::Timeout | Self::Closed | Self::Protocol(_) => false,
        }
    }
}

pub(super) async fn connect(
    options: &Options,
    broker: &Broker,
    tls: Option<&TlsConnector>,
) -> Result<Connection, Lost> {
    timeout(CONNECT_TIMEOUT, async {
        let socket = dial(broker, tls).await?;
        let (read, mut write) = tokio::io::split(socket);
        let mut frames = Frames::new(read, options.max_packet_bytes);
        let mut buffer = BytesMut::new();
        hello(options, broker).write(&mut buffer, None)?;
        write.write_all(&buffer).await?;
        let connack = match frames.next().await {
            Ok(Frame::Packet(Packet::ConnAck(connack))) => connack,
            Ok(_) => return Err(Lost::Handshake(mqttbytes::Error::ProtocolError)),
            Err(Lost::Protocol(error)) => return Err(Lost::Handshake(error)),
            Err(lost) => return Err(lost),
        };
        if connack.code != ConnectReturnCode::Success {
            return Err(Lost::Refused(connack.code));
        }
        let answer = connack.properties.as_ref();
        let asked = answer.and_then(|answer| answer.server_keep_alive);
        let receive_maximum = answer.and_then(|answer| answer.receive_max).unwrap_or(u16::MAX);
        buffer.clear();
        subscribe(options).write(&mut buffer, None)?;
        write.write_all(&buffer).await?;
        Ok(Connection {
            frames,
            write,
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
    Ok(Box::new(tls.connect(name, socket).await?))
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
