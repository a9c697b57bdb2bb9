//! The protocol versions. Packets have one type in this crate, that of MQTT 5; this file and
//! [`super::v3`] translate them to and from the wire.

use std::fmt;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{Error, FixedHeader};
use rumqttc::{Packet, Publish};

use super::v3;

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1. It lacks Receive Maximum, session expiry, reason codes and No Local: they are
    /// omitted when writing and have their defaults when reading.
    V3,
    /// MQTT 5.
    V5,
}

impl Version {
    /// Appends `packet` to `buffer`.
    pub(crate) fn write(self, packet: &Packet, buffer: &mut BytesMut) -> Result<(), Error> {
        match self {
            Self::V3 => v3::write(packet, buffer),
            Self::V5 => packet.write(buffer, None).map(drop),
        }
    }

    /// Takes the packet at the front of `buffer`, of at most `max` bytes.
    pub(crate) fn read(self, buffer: &mut BytesMut, max: u32) -> Result<Packet, Error> {
        match self {
            Self::V3 => v3::read(buffer, max),
            Self::V5 => Packet::read(buffer, Some(max)),
        }
    }

    /// Decodes a PUBLISH, of which `bytes` may be only the beginning.
    pub(crate) fn message(self, header: FixedHeader, bytes: Bytes) -> Result<Publish, Error> {
        match self {
            Self::V3 => v3::message(header, bytes),
            Self::V5 => Publish::read(header, bytes),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        })
    }
}
