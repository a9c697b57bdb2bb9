//! The two versions of MQTT that brokers speak. Packets have one shape in here, that of MQTT 5; how
//! they look on the wire is decided in this file and in [`super::v3`].

use std::fmt;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{Error, FixedHeader};
use rumqttc::{Packet, Publish};

use super::v3;

/// What is spoken on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1. It knows no Receive Maximum, no session expiry, no reasons, no No Local: each is
    /// dropped in writing, and taken for what it is by default in reading.
    V3,
    /// MQTT 5.
    V5,
}

impl Version {
    /// Adds `packet` to `buffer`.
    pub fn write(self, packet: &Packet, buffer: &mut BytesMut) -> Result<(), Error> {
        match self {
            Self::V3 => v3::write(packet, buffer),
            Self::V5 => packet.write(buffer, None).map(drop),
        }
    }

    /// Takes the packet that `buffer` begins with.
    pub fn read(self, buffer: &mut BytesMut, most: u32) -> Result<Packet, Error> {
        match self {
            Self::V3 => v3::read(buffer, most),
            Self::V5 => Packet::read(buffer, Some(most)),
        }
    }

    /// A message, of which `bytes` may be the beginning only.
    pub fn message(self, header: FixedHeader, bytes: Bytes) -> Result<Publish, Error> {
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
