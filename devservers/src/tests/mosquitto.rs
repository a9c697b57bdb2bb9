//! Mosquitto keeps retained messages over a restart and refuses anonymous clients if configured.

use super::Scratch;
use crate::mosquitto::{Mosquitto, Options};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS};

fn client(mosquitto: &Mosquitto, id: &str) -> (AsyncClient, EventLoop) {
    let options = MqttOptions::new(id, ("127.0.0.1", mosquitto.port()));
    AsyncClient::builder(options).capacity(10).build()
}

async fn retain(mosquitto: &Mosquitto, payload: &'static [u8]) {
    let (client, mut events) = client(mosquitto, "publisher");
    let options = PublishOptions::new(QoS::AtLeastOnce).retain(true);
    client.publish("kept", payload, options).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
}

async fn retained(mosquitto: &Mosquitto) -> Vec<u8> {
    let (client, mut events) = client(mosquitto, "subscriber");
    client.subscribe("kept", QoS::AtLeastOnce).await.unwrap();
    loop {
        if let Event::Incoming(Packet::Publish(message)) = events.poll().await.unwrap() {
            return message.payload.to_vec();
        }
    }
}

#[tokio::test]
async fn messages_survive_a_restart() {
    let scratch = Scratch::new();
    let mut mosquitto = Mosquitto::start(scratch.path(), Options::default()).await.unwrap();
    let url = mosquitto.url();
    retain(&mosquitto, b"before").await;
    mosquitto.restart().await.unwrap();
    assert_eq!(retained(&mosquitto).await, b"before");
    mosquitto.kill().await;
    mosquitto.restart().await.unwrap();
    assert_eq!(mosquitto.url(), url);
    retain(&mosquitto, b"after").await;
    assert_eq!(retained(&mosquitto).await, b"after");
}

#[tokio::test]
async fn anonymous_clients_are_refused_if_configured() {
    let scratch = Scratch::new();
    let options = Options { anonymous: false, ..Options::default() };
    let mosquitto = Mosquitto::start(scratch.path(), options).await.unwrap();
    let (_client, mut events) = client(&mosquitto, "stranger");
    assert!(events.poll().await.is_err());
}
