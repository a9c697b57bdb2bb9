//! Establishes a connection: TCP or TLS, CONNECT, SUBSCRIBE.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::rustls::{self, pki_types::ServerName};
use rumqttc::{
    Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, Packet, QoS, RetainForwardRule,
    Subscribe, SubscribeFilter, Unsubscribe,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::Broker;
use super::error::ConnectionError;
use super::frames::Frames;
use super::options::Options;
use super::version::Version;

/// Time for the whole handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Packet ids that no message gets.
const SUBSCRIBE_ID: u16 = u16::MAX;
const UNSUBSCRIBE_ID: u16 = u16::MAX - 1;

/// What MQTT runs on: a TCP or TLS stream, or any other ordered stream of bytes.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Socket for S {}
/// A socket of any kind.
pub type BoxedSocket = Box<dyn Socket>;

/// A connection that the broker has accepted, with the subscriptions sent.
pub(crate) struct Connection {
    pub(crate) frames: Frames<ReadHalf<BoxedSocket>>,
    pub(crate) write: WriteHalf<BoxedSocket>,
    pub(crate) version: Version,
    pub(crate) keep_alive: Duration,
    /// The broker's Receive Maximum: messages we may have sent and it not yet acknowledged.
    pub(crate) receive_maximum: u16,
}

/// Performs the handshake. Also returns whether the broker resumed the session.
pub(crate) async fn connect(
    options: &Options,
    broker: &Broker,
    tls: Option<&TlsConnector>,
    version: Version,
) -> Result<(Connection, bool), ConnectionError> {
    timeout(CONNECT_TIMEOUT, async {
        let socket = dial(broker, tls).await?;
        let (read, mut write) = tokio::io::split(socket);
        let mut frames = Frames::new(read, version, options.max_packet_bytes);
        let mut buffer = BytesMut::new();
        version.write(&connect_packet(options, broker), &mut buffer)?;
        write.write_all(&buffer).await?;
        let connack = frames.connack().await?;
        match connack.code {
            ConnectReturnCode::Success => {}
            ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion => {
                return Err(ConnectionError::Version(version));
            }
            code => return Err(ConnectionError::Refused(code)),
        }
        let properties = connack.properties.as_ref();
        let keep_alive = properties
            .and_then(|properties| properties.server_keep_alive)
            .map_or(options.keep_alive, |seconds| Duration::from_secs(seconds.into()));
        let receive_maximum =
            properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX);
        buffer.clear();
        if !options.topic_filters.is_empty() {
            version.write(&subscribe_packet(options), &mut buffer)?;
        }
        if let Some(unsubscribe) = unsubscribe_packet(options) {
            version.write(&unsubscribe, &mut buffer)?;
        }
        write.write_all(&buffer).await?;
        let connection = Connection { frames, write, version, keep_alive, receive_maximum };
        Ok((connection, connack.session_present))
    })
    .await
    .unwrap_or_else(|_elapsed| Err(ConnectionError::Timeout))
}

async fn dial(broker: &Broker, tls: Option<&TlsConnector>) -> Result<BoxedSocket, ConnectionError> {
    let socket = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
    socket.set_nodelay(true)?; // We batch writes; the kernel need not.
    let Some(tls) = tls else {
        return Ok(Box::new(socket));
    };
    let name = ServerName::try_from(broker.host.clone())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connected = tls.connect(name, socket).await.map_err(|error| {
        let from_tls =
            error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        if from_tls { ConnectionError::Tls(error) } else { ConnectionError::Io(error) }
    });
    Ok(Box::new(connected?))
}

/// CONNECT: resumes the session, or starts one that outlives the connection.
fn connect_packet(options: &Options, broker: &Broker) -> Packet {
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

/// SUBSCRIBE, sent on every connection, resumed or not: the list may have grown since the last one.
/// Retained messages come with a new subscription only, not with each reconnect.
fn subscribe_packet(options: &Options) -> Packet {
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

/// UNSUBSCRIBE: a session keeps its subscriptions until they are removed. Sent after SUBSCRIBE, so
/// that no message is missed between the two.
fn unsubscribe_packet(options: &Options) -> Option<Packet> {
    let (first, others) = options.unsubscribe_filters.split_first()?;
    let mut unsubscribe = Unsubscribe::new(first, None);
    unsubscribe.filters.extend_from_slice(others);
    unsubscribe.pkid = UNSUBSCRIBE_ID;
    Some(Packet::Unsubscribe(unsubscribe))
}
