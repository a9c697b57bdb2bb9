//! The wire format of MQTT 3.1.1: the packets that a client without `QoS` 2 writes and reads.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::{Error, FixedHeader, PacketType, check, qos};
use rumqttc::{
    ConnAck, Connect, ConnectAuth, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck,
    SubscribeReasonCode, UnsubAck, UnsubAckReason,
};

/// Protocol level of 3.1.1 in CONNECT.
const LEVEL: u8 = 4;
/// Largest Remaining Length: four digits of seven bits.
const MAX_BODY: usize = 268_435_455;

pub(crate) fn write(packet: &Packet, buffer: &mut BytesMut) -> Result<(), Error> {
    let mut body = BytesMut::new();
    let first = match packet {
        Packet::Connect(hello, None, auth) => {
            connect(hello, auth, &mut body)?;
            0x10
        }
        Packet::Publish(publish) => {
            text(&publish.topic, &mut body)?;
            if publish.qos != QoS::AtMostOnce {
                body.put_u16(publish.pkid);
            }
            body.put_slice(&publish.payload);
            let flags = [(publish.dup, 8), (publish.retain, 1)];
            let flags: u8 = flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum();
            0x30 | flags | (publish.qos as u8) << 1
        }
        Packet::PubAck(ack) => {
            body.put_u16(ack.pkid);
            0x40
        }
        Packet::Subscribe(subscribe) => {
            body.put_u16(subscribe.pkid);
            for filter in &subscribe.filters {
                text(filter.path.as_bytes(), &mut body)?;
                body.put_u8(filter.qos as u8);
            }
            0x82
        }
        Packet::Unsubscribe(unsubscribe) => {
            body.put_u16(unsubscribe.pkid);
            for filter in &unsubscribe.filters {
                text(filter.as_bytes(), &mut body)?;
            }
            0xa2
        }
        Packet::PingReq => 0xc0,
        Packet::Disconnect(_) => 0xe0,
        _ => return Err(Error::IncorrectPacketFormat),
    };
    if body.len() > MAX_BODY {
        return Err(Error::PayloadTooLong);
    }
    buffer.put_u8(first);
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).unwrap_or_default();
        rest /= 128;
        buffer.put_u8(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    buffer.unsplit(body);
    Ok(())
}

fn connect(connect: &Connect, auth: &ConnectAuth, body: &mut BytesMut) -> Result<(), Error> {
    // Only MQTT 5 allows a password without a name; here the name is empty.
    let (username, password) = match auth {
        ConnectAuth::None => (None, None),
        ConnectAuth::Username { username } => (Some(username.as_str()), None),
        ConnectAuth::Password { password } => (Some(""), Some(password)),
        ConnectAuth::UsernamePassword { username, password } => {
            (Some(username.as_str()), Some(password))
        }
    };
    text(b"MQTT", body)?;
    body.put_u8(LEVEL);
    let flags =
        [(username.is_some(), 0x80), (password.is_some(), 0x40), (connect.clean_start, 0x02)];
    body.put_u8(flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
    body.put_u16(connect.keep_alive);
    text(connect.client_id.as_bytes(), body)?;
    for field in [username.map(str::as_bytes), password.map(|password| &password[..])] {
        field.map_or(Ok(()), |field| text(field, body))?;
    }
    Ok(())
}

/// Appends a string, or binary data, with its length in front.
fn text(bytes: &[u8], body: &mut BytesMut) -> Result<(), Error> {
    body.put_u16(u16::try_from(bytes.len()).map_err(|_too_long| Error::PayloadTooLong)?);
    body.put_slice(bytes);
    Ok(())
}

pub(crate) fn read(buffer: &mut BytesMut, max: u32) -> Result<Packet, Error> {
    let header = check(buffer.iter(), Some(max))?;
    let packet_type = header.packet_type()?;
    let mut bytes = buffer.split_to(header.frame_length()).freeze();
    if packet_type == PacketType::Publish {
        return message(header, bytes).map(Packet::Publish);
    }
    skip_header(&mut bytes);
    let packet = match packet_type {
        PacketType::ConnAck => {
            let session_present = byte(&mut bytes)? & 1 == 1;
            let code = connect_code(byte(&mut bytes)?)?;
            Packet::ConnAck(ConnAck { session_present, code, properties: None })
        }
        PacketType::PubAck => Packet::PubAck(PubAck::new(packet_id(&mut bytes)?, None)),
        PacketType::SubAck => {
            let pkid = packet_id(&mut bytes)?;
            let return_codes = bytes.iter().map(|&code| granted(code)).collect::<Result<_, _>>()?;
            Packet::SubAck(SubAck { pkid, return_codes, properties: None })
        }
        PacketType::UnsubAck => {
            let (pkid, reasons) = (packet_id(&mut bytes)?, vec![UnsubAckReason::Success]);
            Packet::UnsubAck(UnsubAck { pkid, reasons, properties: None })
        }
        PacketType::PingResp => Packet::PingResp,
        _ => return Err(Error::ProtocolError),
    };
    Ok(packet)
}

pub(crate) fn message(header: FixedHeader, mut bytes: Bytes) -> Result<Publish, Error> {
    skip_header(&mut bytes);
    let flags = header.flags();
    let qos = qos((flags >> 1) & 3)?;
    let length = usize::from(short(&mut bytes)?);
    if bytes.len() < length {
        return Err(Error::MalformedPacket);
    }
    let topic = bytes.split_to(length);
    let pkid = if qos == QoS::AtMostOnce { 0 } else { packet_id(&mut bytes)? };
    let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
    Ok(Publish { dup, qos, retain, topic, pkid, payload: bytes, properties: None })
}

/// Returns the code of a CONNACK in 3.1.1, which is shorter than any of MQTT 5: the answer of a
/// broker that supports no other version.
pub(crate) fn is_connack(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [0x20, 2, _, code, ..] => Some(*code),
        _ => None,
    }
}

pub(crate) fn connect_code(code: u8) -> Result<ConnectReturnCode, Error> {
    Ok(match code {
        0 => ConnectReturnCode::Success,
        1 => ConnectReturnCode::RefusedProtocolVersion,
        2 => ConnectReturnCode::BadClientId,
        3 => ConnectReturnCode::ServiceUnavailable,
        4 => ConnectReturnCode::BadUserNamePassword,
        5 => ConnectReturnCode::NotAuthorized,
        other => return Err(Error::InvalidConnectReturnCode(other)),
    })
}

fn granted(code: u8) -> Result<SubscribeReasonCode, Error> {
    Ok(match code {
        0..=2 => SubscribeReasonCode::Success(qos(code)?),
        0x80 => SubscribeReasonCode::Unspecified,
        other => return Err(Error::InvalidSubscribeReasonCode(other)),
    })
}

/// Skips the first byte and the Remaining Length, seven bits to a byte.
fn skip_header(bytes: &mut Bytes) {
    let digits = 1 + bytes.iter().skip(1).take_while(|&&byte| byte >= 0x80).count();
    bytes.advance((1 + digits).min(bytes.len()));
}

fn packet_id(bytes: &mut Bytes) -> Result<u16, Error> {
    match short(bytes)? {
        0 => Err(Error::PacketIdZero),
        id => Ok(id),
    }
}

fn short(bytes: &mut Bytes) -> Result<u16, Error> {
    bytes.try_get_u16().map_err(|_short| Error::MalformedPacket)
}

fn byte(bytes: &mut Bytes) -> Result<u8, Error> {
    bytes.try_get_u8().map_err(|_short| Error::MalformedPacket)
}

#[cfg(test)]
mod tests {
    use rumqttc::{Disconnect, DisconnectReasonCode, Subscribe, SubscribeFilter, Unsubscribe};

    use super::*;

    const MAX: u32 = 1_000_000;

    fn written(packet: &Packet) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        write(packet, &mut buffer).unwrap();
        buffer.to_vec()
    }

    /// The layouts are those of the standard, chapter 3.
    #[test]
    fn packets_have_the_layout_of_the_standard() {
        let connect =
            Connect { keep_alive: 30, client_id: "c".into(), clean_start: false, properties: None };
        let auth = ConnectAuth::UsernamePassword { username: "u".into(), password: "pw".into() };
        assert_eq!(
            written(&Packet::Connect(connect.clone(), None, auth)),
            b"\x10\x14\0\x04MQTT\x04\xc0\0\x1e\0\x01c\0\x01u\0\x02pw"
        );
        let anonymous = Packet::Connect(connect, None, ConnectAuth::None);
        assert_eq!(written(&anonymous), b"\x10\x0d\0\x04MQTT\x04\0\0\x1e\0\x01c");
        let mut subscribe =
            Subscribe::new_many([SubscribeFilter::new("a/+".to_owned(), QoS::AtLeastOnce)], None);
        subscribe.pkid = 1;
        assert_eq!(written(&Packet::Subscribe(subscribe)), b"\x82\x08\0\x01\0\x03a/+\x01");
        let mut unsubscribe = Unsubscribe::new("a/+", None);
        unsubscribe.pkid = 2;
        assert_eq!(written(&Packet::Unsubscribe(unsubscribe)), b"\xa2\x07\0\x02\0\x03a/+");
        assert_eq!(written(&Packet::PubAck(PubAck::new(258, None))), b"\x40\x02\x01\x02");
        assert_eq!(written(&Packet::PingReq), b"\xc0\0");
        let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        assert_eq!(written(&Packet::Disconnect(disconnect)), b"\xe0\0");
    }

    #[test]
    fn a_message_of_any_length_is_read_as_it_was_written() {
        for (length, level) in
            [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (200_000, QoS::AtLeastOnce)]
        {
            let mut publish = Publish::new("a/b", level, vec![b'x'; length], None);
            publish.pkid = if level == QoS::AtMostOnce { 0 } else { 7 };
            publish.dup = level == QoS::AtLeastOnce;
            publish.retain = length == 1;
            let mut buffer = BytesMut::from(&written(&Packet::Publish(publish.clone()))[..]);
            buffer.put_slice(b"\xd0\0");
            assert_eq!(read(&mut buffer, MAX).unwrap(), Packet::Publish(publish));
            assert_eq!(read(&mut buffer, MAX).unwrap(), Packet::PingResp);
        }
    }

    #[test]
    fn answers_of_the_broker_are_read() {
        let read = |bytes: &[u8]| read(&mut BytesMut::from(bytes), MAX);
        let code = ConnectReturnCode::NotAuthorized;
        assert_eq!(
            read(b"\x20\x02\0\x05").unwrap(),
            Packet::ConnAck(ConnAck { session_present: false, code, properties: None })
        );
        let Packet::SubAck(suback) = read(b"\x90\x04\0\x01\x01\x80").unwrap() else {
            panic!("not a SUBACK")
        };
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        assert_eq!(suback.return_codes, [granted, SubscribeReasonCode::Unspecified]);
        assert!(matches!(read(b"\xb0\x02\0\x02"), Ok(Packet::UnsubAck(_))));
        assert!(matches!(read(b"\x40\x02\0\x02"), Ok(Packet::PubAck(_))));
        assert!(matches!(read(b"\x90\x04\0"), Err(Error::InsufficientBytes(3))));
    }

    #[test]
    fn malformed_packets_are_errors() {
        for bytes in [
            &b"\x20\0"[..],
            b"\x20\x01\0",
            b"\x20\x02\0\x06",
            b"\x30\0",
            b"\x30\x03\0\x09a",
            b"\x32\x03\0\x01a",
            b"\x32\x05\0\x01a\0\0",
            b"\x36\x03\0\x01a",
            b"\x40\x02\0\0",
            b"\x90\x03\0\x01\x03",
            b"\xe0\0",
            b"\0\0",
        ] {
            assert!(read(&mut BytesMut::from(bytes), MAX).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_refusal_in_3_1_1_is_distinguished_from_any_answer_in_5() {
        assert_eq!(is_connack(b"\x20\x02\0\x01"), Some(1));
        for bytes in [&b"\x20\x03\0\x84\0"[..], b"\x20\x02\0", b"\x30\x02\0\x01"] {
            assert_eq!(is_connack(bytes), None);
        }
    }
}
