//! Brokers that go, come back, refuse, or are somebody else.

use std::process::Command;
use std::sync::{Arc, Mutex};

use gateway::bridge::{Error, State};
use mqtt::{Options, OptionsError};

use crate::servers::{Directory, Mosquitto, run};
use crate::system::{System, TELEMETRY, readings};

#[tokio::test]
async fn a_broker_that_restarts_is_found_again_with_the_session_of_before() {
    let mut system = System::start().await;
    let mut bridge = system.bridge().await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    bridge.until(|books| books.received == 5).await;
    system.mosquitto.stop();
    bridge.until(|books| books.state == State::Unreachable).await;
    system.mosquitto.start_again();
    bridge.until(|books| books.connects == 2 && books.received == 10).await;
    stall.end().await;
    system.publish(TELEMETRY, 1, readings(5..10)).await;
    let books = bridge.until(|books| books.received == 15 && books.in_flight == 0).await;
    assert_eq!((books.appended, books.duplicate, books.state), (10, 5, State::Connected));
}

#[tokio::test]
async fn a_bridge_that_comes_back_gets_what_was_sent_meanwhile() {
    let system = System::start().await;
    system.bridge().await.stop().await.unwrap();
    system.publish(TELEMETRY, 1, readings(0..100)).await;
    // It may also listen to more than it did before.
    let mut options = system.options();
    options.topic_filters.push("elsewhere/#".into());
    let mut bridge = system.bridge_with(options);
    bridge.until(|books| books.appended == 100).await;
    system.publish("elsewhere/x", 1, ["hello".to_owned()]).await;
    bridge.until(|books| books.rejected == 1).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let mut system = System::start().await;
    system.mosquitto.stop();
    let mut bridge = system.bridge_with(system.options());
    bridge.until(|books| books.state == State::Unreachable).await;
    system.mosquitto.start_again();
    bridge.until(|books| books.state == State::Connected).await;
}

#[tokio::test]
async fn wrong_credentials_are_counted_and_logged_without_the_password() {
    let logged = Arc::new(Mutex::new(Vec::new()));
    let _logging = tracing::subscriber::set_default(
        tracing_subscriber::fmt().with_writer(Log(Arc::clone(&logged))).finish(),
    );
    let directory = Directory::new();
    let passwords = directory.path().join("passwords");
    run(Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["right", "right"]));
    let settings = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let system = System::start_with(Mosquitto::start_with(directory, &settings)).await;
    let address = |user, password| {
        let port = system.mosquitto.port;
        gateway::bridge::listen(
            Options::new(format!("mqtt://{user}:{password}@127.0.0.1:{port}"), "bridge"),
            &[],
            None,
        )
    };

    let mut bridge = system.bridge_with(address("wrong", "hunter2"));
    let books = bridge.until(|books| books.state == State::Refused).await;
    assert_eq!((books.refused, books.connects), (1, 0));
    bridge.stop().await.unwrap();
    let log = String::from_utf8(logged.lock().unwrap().clone()).unwrap();
    assert!(log.contains("NotAuthorized") && log.contains("wrong@127.0.0.1"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");

    let mut bridge = system.bridge_with(address("right", "right"));
    bridge.until(|books| books.state == State::Connected).await;
}

#[tokio::test]
async fn a_broker_behind_tls_is_trusted_by_its_certificate() {
    let directory = Directory::new();
    let at = |name: &str| directory.path().join(name).display().to_string();
    for name in ["broker", "other"] {
        run(Command::new("openssl").args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &at(&format!("{name}.key")),
            "-out",
            &at(&format!("{name}.pem")),
        ]));
    }
    let ours = at("broker.pem");
    let (certificate, key, other) = (ours.clone(), at("broker.key"), at("other.pem"));
    let settings = format!("allow_anonymous true\ncertfile {certificate}\nkeyfile {key}");
    let system = System::start_with(Mosquitto::start_with(directory, &settings)).await;
    let mut options = gateway::bridge::listen(
        Options::new(format!("mqtts://localhost:{}", system.mosquitto.port), "bridge"),
        &[],
        None,
    );

    options.ca_file = Some(other.into());
    let mut bridge = system.bridge_with(options.clone());
    bridge.until(|books| books.state == State::Refused).await;
    let trouble = bridge.accounting.trouble().unwrap();
    assert!(trouble.contains("certificate"), "{trouble}");
    bridge.stop().await.unwrap();

    options.ca_file = Some(ours.into());
    let mut bridge = system.bridge_with(options.clone());
    bridge.until(|books| books.state == State::Connected).await;
    bridge.stop().await.unwrap();

    options.ca_file = Some("/nonexistent".into());
    let refused = system.bridge_with(options).stop().await;
    assert!(matches!(refused, Err(Error::Options(OptionsError::Tls(_)))));
}

#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
