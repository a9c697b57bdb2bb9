//! Brokers that restart, start late, refuse the connection or have another certificate.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use devservers::{mosquitto, testing};
use gateway::bridge::{Error, Mappings, State};
use mqtt::{Options, OptionsError};

use crate::system::{System, TELEMETRY, readings};

#[tokio::test]
async fn a_bridge_resumes_its_session_after_a_restart_of_the_broker() {
    let mut system = System::start().await;
    let mut bridge = system.bridge().await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    bridge.until(|counters| counters.received == 5).await;
    system.mosquitto.stop().await;
    bridge.until(|counters| counters.state == State::Unreachable).await;
    system.mosquitto.restart().await.unwrap();
    bridge.until(|counters| counters.connects == 2 && counters.received == 10).await;
    lock.release().await;
    system.publish(TELEMETRY, 1, readings(5..10)).await;
    let counters =
        bridge.until(|counters| counters.received == 15 && counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.duplicate, counters.state), (10, 5, State::Connected));
}

#[tokio::test]
async fn a_restarted_bridge_receives_messages_published_meanwhile() {
    let system = System::start().await;
    system.bridge().await.stop().await.unwrap();
    system.publish(TELEMETRY, 1, readings(0..100)).await;
    // Its subscriptions may have grown.
    let mut options = system.options();
    options.topic_filters.push("elsewhere/#".into());
    let mut bridge = system.bridge_with(options);
    bridge.until(|counters| counters.appended == 100).await;
    system.publish("elsewhere/x", 1, ["hello".to_owned()]).await;
    bridge.until(|counters| counters.rejected == 1).await;
}

#[tokio::test]
async fn a_bridge_waits_for_a_broker_that_starts_late() {
    let mut system = System::start().await;
    system.mosquitto.stop().await;
    let mut bridge = system.bridge_with(system.options());
    bridge.until(|counters| counters.state == State::Unreachable).await;
    system.mosquitto.restart().await.unwrap();
    bridge.until(|counters| counters.state == State::Connected).await;
}

#[tokio::test]
async fn wrong_credentials_are_counted_and_logged_without_the_password() {
    let logged = Arc::new(Mutex::new(Vec::new()));
    let _logging = tracing::subscriber::set_default(
        tracing_subscriber::fmt().with_writer(Log(Arc::clone(&logged))).finish(),
    );
    let passwords = testing::directory("passwords").unwrap().join("passwords");
    run(Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["right", "right"]));
    make_readable(&passwords);
    let options = mosquitto::Options {
        anonymous: false,
        password_file: Some(passwords),
        ..mosquitto::Options::default()
    };
    let system = System::start_with(options).await;
    let address = |user, password| {
        let port = system.mosquitto.port();
        gateway::bridge::listen(
            Options::new(format!("mqtt://{user}:{password}@127.0.0.1:{port}"), "bridge"),
            &[],
            None,
            &Mappings::default(),
        )
    };

    let mut bridge = system.bridge_with(address("wrong", "hunter2"));
    let counters = bridge.until(|counters| counters.state == State::Refused).await;
    assert_eq!((counters.refused, counters.connects), (1, 0));
    bridge.stop().await.unwrap();
    let log = String::from_utf8(logged.lock().unwrap().clone()).unwrap();
    assert!(log.contains("NotAuthorized") && log.contains("wrong@127.0.0.1"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");

    let mut bridge = system.bridge_with(address("right", "right"));
    bridge.until(|counters| counters.state == State::Connected).await;
}

#[tokio::test]
async fn a_tls_broker_is_authenticated_by_its_certificate() {
    let directory = testing::directory("certificates").unwrap();
    let at = |name: &str| directory.join(name).display().to_string();
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
    let (key, other) = (at("broker.key"), at("other.pem"));
    make_readable(Path::new(&key));
    let port = testing::free_port().unwrap();
    let more = format!("listener {port} 127.0.0.1\ncertfile {ours}\nkeyfile {key}\n");
    let options = mosquitto::Options { more, ..mosquitto::Options::default() };
    let system = System::start_with(options).await;
    let mut options = gateway::bridge::listen(
        Options::new(format!("mqtts://localhost:{port}"), "bridge"),
        &[],
        None,
        &Mappings::default(),
    );

    options.ca_file = Some(other.into());
    let mut bridge = system.bridge_with(options.clone());
    bridge.until(|counters| counters.state == State::Refused).await;
    let trouble = bridge.accounting.trouble().unwrap();
    assert!(trouble.contains("certificate"), "{trouble}");
    bridge.stop().await.unwrap();

    options.ca_file = Some(ours.into());
    let mut bridge = system.bridge_with(options.clone());
    bridge.until(|counters| counters.state == State::Connected).await;
    bridge.stop().await.unwrap();

    options.ca_file = Some("/nonexistent".into());
    let refused = system.bridge_with(options).stop().await;
    assert!(matches!(refused, Err(Error::Options(OptionsError::Tls(_)))));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// Lets Mosquitto read the file: started by root, it runs as another user.
fn make_readable(file: &Path) {
    fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
}

/// The log lines of one test.
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
