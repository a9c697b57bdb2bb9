//! The host that the system runs on, and samples of hosts that agents publish.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{Process, System, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SAMPLES: &str = "/api/v1/host/samples";

/// Starts an agent for `host` that takes a sample every `every`.
fn agent(system: &System, host: &str, every: &str, more: &[&str]) -> Result<Process> {
    let arguments = [&["agent", "--host-name", host, "--every", every], more].concat();
    Process::start(&arguments, &system.environment)
}

async fn items(system: &System, path: &str) -> Result<Vec<Value>> {
    let page = system.json(path).await?;
    page["items"].as_array().cloned().context("a list")
}

/// Waits until `host` has more than `count` samples. Returns their number.
async fn sampled(system: &System, host: &str, count: usize) -> Result<usize> {
    let path = format!("{SAMPLES}?host={host}");
    eventually("there are samples", async || Ok(items(system, &path).await?.len() > count)).await?;
    Ok(items(system, &path).await?.len())
}

#[tokio::test]
async fn users_and_storage_match_passwd_and_df() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let user = system.caller(system.token_for("anybody", "user").await?);

    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let people = accounts.lines().filter(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let id = fields.get(2).and_then(|id| id.parse::<u32>().ok());
        id == Some(0) || (id >= Some(1000) && fields[0] != "nobody")
    });
    let users = user.json("/users").await?;
    assert_eq!(users, json!({"total_users": people.count()}));

    let mut df = std::process::Command::new("df");
    let df = df.args(["-B1", "--output=size,used,avail", "/"]).output()?;
    let figures: Vec<f64> = String::from_utf8(df.stdout)?
        .lines()
        .last()
        .context("no output of df")?
        .split_whitespace()
        .map(|figure| figure.parse().expect("a number of bytes"))
        .collect();
    let [total, used, free] = figures[..] else { panic!("three figures: {figures:?}") };
    let storage = user.json("/storage").await?;
    // Other processes may write up to a gigabyte meanwhile.
    for (name, bytes, tolerance) in
        [("total_gb", total, 0.051), ("used_gb", used, 1.051), ("free_gb", free, 1.051)]
    {
        let said = storage[name].as_f64().context("a number")?;
        assert!((said - bytes / 1e9).abs() < tolerance, "{name}: {said}, by df {bytes}");
        assert!((said * 10.0 - (said * 10.0).round()).abs() < 1e-6, "{name} has one decimal");
    }
    let percent = storage["percent_used"].as_f64().context("a number")?;
    assert!((percent - used * 100.0 / (used + free)).abs() < 2.0, "{percent}, by df {figures:?}");
    assert_eq!(storage.as_object().map(serde_json::Map::len), Some(4));

    for path in ["/users", "/storage"] {
        assert_eq!(system.http.get(format!("{}{path}", system.url())).send().await?.status(), 401);
    }
    assert_eq!(user.get(SAMPLES).send().await?.status(), 403);
    Ok(())
}

#[tokio::test]
async fn samples_of_an_agent_that_starts_before_its_broker_are_stored() -> Result<()> {
    let mut system = System::start().await?;
    system.mosquitto.kill().await;
    let mut agent = agent(&system, "web-1.example.org", "200ms", &[])?;
    agent.logs("MQTT connection failed").await?;
    system.mosquitto.restart().await?;
    // Samples published before the bridge has subscribed are not lost.
    agent.logs("no subscriber for samples").await?;
    let _process = system.serve(&[]).await?;
    sampled(&system, "web-1.example.org", 3).await?;

    let samples = items(&system, &format!("{SAMPLES}?host=web-1.example.org")).await?;
    let storage = &samples[0]["storage"];
    assert!(storage["total_bytes"].as_u64() > storage["used_bytes"].as_u64(), "{samples:?}");
    assert!(samples[0]["memory"]["used_bytes"].as_u64() > Some(0));
    assert_eq!(samples[0]["load"].as_array().map(Vec::len), Some(3));
    assert_eq!(json!({"total_users": samples[0]["users"]}), system.json("/users").await?);
    let times: Vec<_> = samples.iter().map(|sample| sample["time"].as_str()).collect();
    assert!(times.is_sorted_by(|newer, older| newer > older), "newest first: {times:?}");

    let mut line = system.subscribe("hosts/#").await?;
    assert!(line.next().await?.starts_with("hosts/web-1.example.org/metrics {"));
    assert_eq!(agent.terminate().await?, Some(0));
    let counters = system.bridge().await?;
    assert_eq!((counters.rejected, counters.duplicate), (0, 0));
    Ok(())
}

/// Checks the packets on the wire, without a broker.
#[tokio::test]
async fn an_agent_subscribes_with_no_local_and_disconnects() -> Result<()> {
    let broker = TcpListener::bind("127.0.0.1:0").await?;
    let environment = [("MQTT_URL".to_owned(), format!("mqtt://{}", broker.local_addr()?))];
    let arguments = ["agent", "--host-name", "h", "--every", "1h"];
    let mut agent = Process::start(&arguments, &environment)?;
    let (mut socket, _) = broker.accept().await?;
    // An empty CONNACK, then SUBACK for packet 1 at QoS 1.
    socket.write_all(b"\x20\x03\0\0\0\x90\x04\0\x01\0\x01").await?;
    agent.logs("agent subscribed").await?;
    let mut sent = Vec::new();
    let (code, read) = tokio::join!(agent.terminate(), socket.read_to_end(&mut sent));
    read?;
    assert_eq!(code?, Some(0));
    let subscription = b"test/topic";
    let found = sent.windows(subscription.len()).position(|window| window == subscription);
    let options = sent[found.context("no subscription")? + subscription.len()];
    assert_eq!(options & 0b111, 0b101, "No Local, at QoS 1");
    assert!(sent.ends_with(b"\xe0\0"), "DISCONNECT is the last packet: {sent:?}");
    Ok(())
}

#[tokio::test]
async fn an_agent_survives_restarts_of_its_broker() -> Result<()> {
    let mut system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let _agent = agent(&system, "h", "100ms", &[])?;
    let before = sampled(&system, "h", 2).await?;
    for _ in 0..2 {
        system.mosquitto.kill().await;
        system.mosquitto.restart().await?;
        let after = sampled(&system, "h", before + 3).await?;
        assert!(after > before);
    }
    eventually("samples taken meanwhile are stored", async || {
        let gap = system
            .number(
                "select coalesce(max(extract(milliseconds from gap)), 0)::bigint from (
                   select time - lag(time) over (order by time) as gap from host.sample) gaps",
            )
            .await?;
        Ok(gap < 10_000)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_message_on_the_test_topic_is_echoed_once() -> Result<()> {
    let system = System::start().await?;
    let mut agent = agent(&system, "h", "1h", &[])?;
    agent.logs("agent subscribed").await?;
    let mut line = system.subscribe("test/#").await?;
    let greeting = r#"{"hello":  "wörld", "n": 1.50}"#;
    system.publish("test/topic", b"hello, world").await?;
    system.publish("test/topic/echo", b"{\"nobody\":\"asked\"}").await?;
    system.publish("test/topic/other", b"1").await?;
    system.publish("test/topic", greeting.as_bytes()).await?;
    system.publish("test/topic", b"[\"last\"]").await?;
    let mut received = Vec::new();
    while received.last().is_none_or(|last| last != "test/topic/echo [\"last\"]") {
        received.push(line.next().await?);
    }
    received.sort();
    let mut expected = vec![
        "test/topic hello, world".to_owned(),
        "test/topic [\"last\"]".to_owned(),
        format!("test/topic {greeting}"),
        "test/topic/echo [\"last\"]".to_owned(),
        "test/topic/echo {\"nobody\":\"asked\"}".to_owned(),
        format!("test/topic/echo {greeting}"),
        "test/topic/other 1".to_owned(),
    ];
    expected.sort();
    assert_eq!(received, expected, "each JSON message has one echo, and nothing else has");
    assert_eq!(agent.terminate().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn an_agent_does_not_echo_its_own_messages() -> Result<()> {
    let system = System::start().await?;
    let mut line = system.subscribe("test/#").await?;
    let mut agent = agent(&system, "h", "1h", &["--hello"])?;
    agent.logs("message published").await?;
    let hello = line.next().await?;
    assert!(hello.starts_with("test/topic {") && hello.contains("\"agent-h\""), "{hello}");
    // Echoes have the order of the messages: an echo of its own greeting would come first.
    system.publish("test/topic", b"1").await?;
    assert_eq!(line.next().await?, "test/topic 1");
    assert_eq!(line.next().await?, "test/topic/echo 1");
    // Two agents echo each other's greetings, and no echo.
    let mut other = self::agent(&system, "other", "1h", &["--hello"])?;
    other.logs("message published").await?;
    let hello = line.next().await?;
    let answer = hello.replacen("test/topic ", "test/topic/echo ", 1);
    assert!(hello.contains("\"agent-other\""), "{hello}");
    assert_eq!(line.next().await?, answer);
    system.publish("test/topic", b"2").await?;
    let mut last = [line.next().await?, line.next().await?, line.next().await?];
    last.sort();
    assert_eq!(last, ["test/topic 2", "test/topic/echo 2", "test/topic/echo 2"]);
    Ok(())
}

#[tokio::test]
async fn a_thousand_messages_are_echoed() -> Result<()> {
    const COUNT: usize = 1_000;
    let system = System::start().await?;
    let mut agent = agent(&system, "h", "1h", &["--hello"])?;
    agent.logs("message published").await?;
    let mut line = system.subscribe("test/topic/echo").await?;
    let lines: String = (0..COUNT).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    system.publish_lines("test/topic", &lines).await?;
    for n in 0..COUNT {
        assert_eq!(line.next().await?, format!("test/topic/echo {{\"n\":{n}}}"));
    }
    Ok(())
}

#[tokio::test]
async fn a_repeated_sample_is_a_duplicate_and_an_invalid_one_is_rejected() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let sample = |second: u32, users: i64| {
        json!({
            "time": format!("2026-01-01T00:00:{second:02}.123456Z"), "users": users,
            "storage": {"total_bytes": 100, "used_bytes": 30, "free_bytes": 60},
            "memory": {"total_bytes": 10, "used_bytes": 4}, "load": [0.5, 0.25, 0.0],
        })
        .to_string()
    };
    for _ in 0..2 {
        system.publish("hosts/a/metrics", sample(1, 5).as_bytes()).await?;
        system.publish("hosts/b/metrics", sample(1, 6).as_bytes()).await?;
    }
    system.publish("hosts/a/metrics", sample(2, 7).as_bytes()).await?;
    system.publish("hosts/a/metrics", sample(3, -1).as_bytes()).await?;
    system.publish("hosts/a/metrics", b"offline").await?;
    system.publish("hosts/a b/metrics", sample(4, 1).as_bytes()).await?;
    eventually("all are settled", async || {
        let counters = system.bridge().await?;
        Ok((counters.appended, counters.duplicate, counters.rejected, counters.in_flight)
            == (3, 2, 3, 0))
    })
    .await?;
    let rejected = items(&system, "/api/v1/events?type=message_rejected").await?;
    let topics: Vec<_> = rejected.iter().map(|event| &event["data"]["topic"]).collect();
    assert_eq!(topics, ["hosts/a/metrics", "hosts/a/metrics", "hosts/a b/metrics"]);
    assert!(rejected[1]["data"]["reason"].as_str().is_some_and(|text| text.contains("sample")));
    let events = items(&system, "/api/v1/events?context=host").await?;
    assert_eq!((events.len(), &events[0]["stream_id"]), (3, &json!("host-a")));

    system.caught_up().await?;
    let who = |items: &[Value]| -> Vec<(String, i64)> {
        let of = |item: &Value| {
            let host = item["host"].as_str().unwrap_or_default().to_owned();
            (host, item["users"].as_i64().unwrap_or_default())
        };
        items.iter().map(of).collect()
    };
    let pair = |host: &str, users: i64| (host.to_owned(), users);
    let all = items(&system, SAMPLES).await?;
    assert_eq!(who(&all), [pair("a", 7), pair("b", 6), pair("a", 5)]);
    assert_eq!(all[2]["time"], "2026-01-01T00:00:01.123456Z");
    assert_eq!(all[2]["storage"], json!({"total_bytes": 100, "used_bytes": 30, "free_bytes": 60}));
    assert_eq!(all[2]["load"], json!([0.5, 0.25, 0.0]));
    let some = items(&system, &format!("{SAMPLES}?host=a&to=2026-01-01T00:00:02Z")).await?;
    assert_eq!(who(&some), [pair("a", 5)]);
    let some = items(&system, &format!("{SAMPLES}?from=2026-01-01T00:00:02Z")).await?;
    assert_eq!(who(&some), [pair("a", 7)]);

    let mut path = format!("{SAMPLES}?limit=1");
    let mut paged = Vec::new();
    loop {
        let answer = system.get(&path).send().await?;
        let link = answer.headers().get("link").map(|link| link.to_str().map(str::to_owned));
        paged
            .extend(answer.json::<Value>().await?["items"].as_array().cloned().unwrap_or_default());
        let Some(link) = link.transpose()? else { break };
        let next = link.trim_start_matches('<').split('>').next().map(str::to_owned);
        path = next.context("a link")?;
    }
    assert_eq!(paged, all);
    for query in [
        "host=",
        "host=a%2Fb",
        "from=yesterday",
        "from=-9999-01-01T00:00:00Z",
        "cursor=x",
        "limit=0",
        "x=1",
    ] {
        let answer = system.get(&format!("{SAMPLES}?{query}")).send().await?;
        assert_eq!(answer.status(), 422, "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn devices_are_shown_on_the_command_line() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    for n in 0..3 {
        let reading = format!(
            r#"{{"sequence_id": {n}, "temperature": 2{n}.5, "time": "2026-01-01T00:00:0{n}Z"}}"#
        );
        system.publish("users/ada/devices/kitchen/telemetry", reading.as_bytes()).await?;
    }
    eventually("they are there", async || {
        Ok(system.number("select count(*) from telemetry.reading").await? == 3)
    })
    .await?;
    let list = system.run(&["devices", "list", "--user-id", "ada"]).await?;
    assert!(list.starts_with("USER_ID") && list.contains("kitchen"), "{list}");
    let device = system.run(&["devices", "show", "ada", "kitchen", "--json"]).await?;
    assert_eq!(serde_json::from_str::<Value>(&device)?["readings"], 3);
    let readings = ["devices", "readings", "ada", "kitchen", "--from", "2026-01-01T00:00:00Z"];
    let range = ["--to", "2026-01-02T00:00:00Z", "--json"];
    let shown = system.run(&[&readings[..], &range].concat()).await?;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!((&shown[0]["sequence_id"], &shown[2]["sequence_id"]), (&json!(2), &json!(0)));
    let buckets = system.run(&[&readings[..], &range[..2], &["--bucket", "1m"]].concat()).await?;
    assert!(buckets.contains("FIRST") && buckets.contains("22.5"), "{buckets}");
    assert!(system.run(&["devices", "show", "ada", "none"]).await.is_err());
    Ok(())
}
