//! Several bridges at one broker: each with topics of its own, or with a shared subscription.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tests::{BridgeCounters, Process, System, eventually};

/// One of several bridges. It also serves HTTP, for its metrics.
struct Member<'a> {
    system: &'a System,
    environment: Vec<(String, String)>,
    url: String,
    process: Process,
}

impl<'a> Member<'a> {
    async fn start(system: &'a System, name: &str, more: (&str, &str)) -> Result<Self> {
        let mut environment = system.environment.clone();
        for (name, value) in [("PORT", "0"), ("MQTT_CLIENT_ID", name), more] {
            environment.push((name.to_owned(), value.to_owned()));
        }
        Self::start_in(system, environment).await
    }

    async fn start_in(system: &'a System, environment: Vec<(String, String)>) -> Result<Self> {
        let mut process = Process::start(&["serve", "mqtt", "http"], &environment)?;
        let url = format!("http://127.0.0.1:{}", process.http_port().await?);
        let member = Self { system, environment, url, process };
        member.is_connected().await?;
        Ok(member)
    }

    async fn kill(self) -> Result<Absent<'a>> {
        self.process.kill().await?;
        Ok(Absent { system: self.system, environment: self.environment })
    }

    async fn is_connected(&self) -> Result<()> {
        eventually("the bridge is connected", async || {
            let answer = self.system.http.get(format!("{}/readyz", self.url)).send().await;
            let Ok(answer) = answer else { return Ok(false) };
            Ok(answer.text().await?.contains(r#""name":"mqtt","status":"up""#))
        })
        .await
    }

    /// Reads its counters, which balance.
    async fn counters(&self) -> Result<BridgeCounters> {
        let counters = self.system.bridge_at(&self.url).await?;
        assert_eq!(counters.received, counters.settled() + counters.in_flight, "{counters:?}");
        Ok(counters)
    }

    async fn has_none_in_flight(&self) -> Result<()> {
        eventually("no message is in flight", async || Ok(self.counters().await?.in_flight == 0))
            .await
    }
}

/// A bridge that was killed. The broker keeps its session.
struct Absent<'a> {
    system: &'a System,
    environment: Vec<(String, String)>,
}

impl<'a> Absent<'a> {
    async fn restart(self) -> Result<Member<'a>> {
        Member::start_in(self.system, self.environment).await
    }
}

fn lines(sequence: std::ops::Range<i64>) -> String {
    sequence.map(|n| format!("{{\"sequence_id\":{n},\"temperature\":1.5}}\n")).collect()
}

async fn recorded(system: &System) -> Result<i64> {
    system.number("select count(*) from log.event where event_type = 'reading_recorded'").await
}

/// Returns the number of readings that follow a later reading of their device in the log.
async fn out_of_order(system: &System) -> Result<i64> {
    let sql = "select count(*) from (
                 select n, max(n) over (partition by stream_id order by position) as latest
                 from (select stream_id, position, (data::jsonb ->> 'sequence_id')::bigint as n
                       from log.event where event_type = 'reading_recorded') reading) late
               where n < latest";
    system.number(sql).await
}

/// Waits until `readings` readings are stored, and checks that each is stored once.
async fn all_there_once(system: &System, readings: i64) -> Result<()> {
    eventually("all are stored", async || Ok(recorded(system).await? >= readings)).await?;
    let sql = "select count(distinct (stream_id, data::jsonb ->> 'sequence_id')) from log.event
               where event_type = 'reading_recorded'";
    assert_eq!((recorded(system).await?, system.number(sql).await?), (readings, readings));
    Ok(())
}

#[tokio::test]
async fn bridges_with_topics_of_their_own_keep_the_order_when_one_is_killed() -> Result<()> {
    let system = System::start().await?;
    let ada = ("MQTT_FILTER", "users/ada/devices/+/telemetry,users/ada/devices/+/status");
    let rest = ("MQTT_FILTER", "users/grace/devices/+/telemetry,hosts/+/metrics");
    let ada = Member::start(&system, "ada", ada).await?;
    let rest = Member::start(&system, "rest", rest).await?;
    let publish = async |user: &str| {
        for part in 0..10 {
            let topic = format!("users/{user}/devices/d/telemetry");
            system.publish_lines(&topic, &lines(part * 500..(part + 1) * 500)).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let kill = async {
        eventually("there is load", async || Ok(recorded(&system).await? > 1_000)).await?;
        let absent = ada.kill().await?;
        let before = rest.counters().await?.settled();
        eventually("the other bridge continues", async || {
            Ok(rest.counters().await?.settled() > before)
        })
        .await?;
        absent.restart().await
    };
    let ((), (), ada) = tokio::try_join!(publish("ada"), publish("grace"), kill)?;
    all_there_once(&system, 10_000).await?;
    ada.has_none_in_flight().await?;
    rest.has_none_in_flight().await?;
    let counters = rest.counters().await?;
    assert_eq!((counters.appended, counters.duplicate), (5_000, 0), "only its own messages");
    assert_eq!(out_of_order(&system).await?, 0);
    Ok(())
}

#[tokio::test]
async fn bridges_with_a_shared_subscription_lose_only_the_order() -> Result<()> {
    let system = System::start().await?;
    let share = ("MQTT_SHARE", "bridges");
    let one = Member::start(&system, "one", share).await?;
    let two = Member::start(&system, "two", share).await?;
    let topic = "users/u/devices/d/telemetry";
    system.publish_lines(topic, &lines(0..4_000)).await?;
    all_there_once(&system, 4_000).await?;
    for member in [&one, &two] {
        member.has_none_in_flight().await?;
        let counters = member.counters().await?;
        assert!(counters.appended > 0 && counters.duplicate == 0, "{counters:?}");
    }
    let shuffled = out_of_order(&system).await?;

    // Mosquitto also assigns messages to the session of a stopped member, where they wait until the
    // member is restarted.
    let absent = two.kill().await?;
    system.publish_lines(topic, &lines(4_000..5_000)).await?;
    // Of two more messages, the running member gets one, after all that were assigned to it.
    system.publish_lines("users/u/devices/last/telemetry", &lines(0..2)).await?;
    let last = "select count(*) from log.event where stream_id = 'device-u~last'";
    eventually("the last is stored", async || Ok(system.number(last).await? > 0)).await?;
    one.has_none_in_flight().await?;
    let waiting = 5_002 - recorded(&system).await?;
    assert!(waiting > 0, "no message waits for the stopped member");
    let before = out_of_order(&system).await?;
    let two = absent.restart().await?;
    all_there_once(&system, 5_002).await?;
    two.has_none_in_flight().await?;
    assert_eq!(two.counters().await?.settled(), u64::try_from(waiting)?);
    let late = out_of_order(&system).await? - before;
    assert!(late > 0, "the waiting messages are out of order");
    eprintln!(
        "{shuffled} of 4,000 out of order; {waiting} of 1,002 waited, {late} of them out of order"
    );

    // To leave the group, the member subscribes to an unused topic and drains its queue.
    let mut environment = two.environment.clone();
    environment.push(("MQTT_FILTER".to_owned(), "hosts/nobody/metrics".to_owned()));
    two.process.terminate().await?;
    let two = Member::start_in(&system, environment).await?;
    // The broker may handle these messages before it unsubscribes the member.
    for first in (5_000..15_000).step_by(100) {
        let before = two.counters().await?.received;
        system.publish_lines(topic, &lines(first..first + 100)).await?;
        all_there_once(&system, first + 102).await?;
        if two.counters().await?.received == before {
            return Ok(());
        }
    }
    anyhow::bail!("the member is still in the group")
}

/// A session keeps its subscriptions, so a bridge must unsubscribe from removed topics.
#[tokio::test]
async fn a_bridge_unsubscribes_from_topics_that_are_no_longer_configured() -> Result<()> {
    let system = System::start().await?;
    let all = Member::start(&system, "bridge", ("MQTT_FILTER", "")).await?;
    all.process.terminate().await?;
    let hosts = Member::start(&system, "bridge", ("MQTT_FILTER", "hosts/+/metrics")).await?;
    // The broker handles these messages in order, after the subscription.
    eventually("the other topics are unsubscribed", async || {
        system.publish("users/u/devices/d/telemetry", br#"{"sequence_id": 1}"#).await?;
        let before = hosts.counters().await?.received;
        system.publish("hosts/h/metrics", b"{}").await?;
        eventually("the message is received", async || {
            Ok(hosts.counters().await?.received > before)
        })
        .await?;
        Ok(hosts.counters().await?.received == before + 1)
    })
    .await?;
    // Terminated, not killed, so that no message is redelivered.
    hosts.process.terminate().await?;
    let again =
        Member::start(&system, "bridge", ("MQTT_FILTER", "users/+/devices/+/telemetry")).await?;
    let before = recorded(&system).await?;
    system.publish("hosts/h/metrics", b"{}").await?;
    system.publish("users/u/devices/e/telemetry", br#"{"sequence_id": 1}"#).await?;
    eventually("the message is received", async || Ok(recorded(&system).await? > before)).await?;
    assert_eq!(again.counters().await?.rejected, 0, "hosts are unsubscribed");
    Ok(())
}

#[tokio::test]
async fn a_shared_subscription_with_rules_is_warned_of_and_late_readings_are_counted() -> Result<()>
{
    let system = System::start().await?;
    let share = [("MQTT_SHARE", "bridges")];
    let mut process = system.serve_with(&["http", "mqtt", "projector", "worker"], &share).await?;
    let rules = json!({"rules": [{"key": "temperature", "operator": ">", "threshold": 50}]});
    let operator = system.caller(system.token.clone());
    operator.command(Method::PUT, "/api/v1/users/u/config", &rules).await?;
    process.logs("--mqtt-share loses the order of a device's readings").await?;
    for (sequence, minute) in [(1, 1), (3, 3), (2, 2), (4, 4)] {
        let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": sequence,
                              "temperature": 20, "time": format!("2026-01-01T00:0{minute}:00Z")}]);
        operator.command(Method::POST, "/api/v1/telemetry", &reading).await?;
    }
    eventually("one of them is counted", async || {
        let metrics = system.get("/metrics").send().await?.text().await?;
        Ok(metrics.lines().any(|line| line == "tributary_alert_readings_late_total 1"))
    })
    .await
}
