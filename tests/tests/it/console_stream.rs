//! The stream of the console: vitals and samples of the newest events; the lag of the last hour, and the
//! states of a stream.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::{Caller, DEADLINE, System, eventually};
use tokio::time::timeout;

use crate::orders::{customer, place, product, until};

const STREAM: &str = "/api/v1/console/stream";

/// A server-sent event: its type, its id and its data.
type Sent = (String, Option<i64>, Value);

/// An open console.
pub(crate) struct Console {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    text: String,
}

impl Console {
    pub(crate) async fn open(caller: &Caller, query: &str) -> Result<Self> {
        let answer = caller.get(&format!("{STREAM}?{query}")).send().await?.error_for_status()?;
        Ok(Self::of(answer))
    }

    fn of(answer: Response) -> Self {
        let bytes = answer.bytes_stream().map(|part| part.map(|part| part.to_vec())).boxed();
        Self { bytes, text: String::new() }
    }

    /// The next event; none at the end of the stream.
    async fn next(&mut self) -> Result<Option<Sent>> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let sent = match (field("event: "), field("data: ")) {
                    (Some(kind), Some(data)) => {
                        let id = field("id: ").map(str::parse).transpose()?;
                        Some((kind.to_owned(), id, serde_json::from_str(data)?))
                    }
                    _ => None,
                };
                self.text = rest.into();
                if sent.is_some() {
                    return Ok(sent);
                }
            }
            match timeout(DEADLINE, self.bytes.next()).await? {
                Some(part) => self.text.push_str(std::str::from_utf8(&part?)?),
                None => return Ok(None),
            }
        }
    }

    async fn next_of(&mut self, kind: &str) -> Result<(Option<i64>, Value)> {
        loop {
            let (sent, id, data) = self.next().await?.context("the stream goes on")?;
            if sent == kind {
                return Ok((id, data));
            }
        }
    }

    /// Waits for vitals that `are` as expected, and returns them.
    async fn vitals(&mut self, what: &str, are: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waiting = async {
            loop {
                last = self.next_of("vitals").await?.1;
                if are(&last) {
                    return Ok::<_, anyhow::Error>(());
                }
            }
        };
        let done = timeout(DEADLINE, waiting).await;
        done.with_context(|| format!("{what}: the last vitals are {last:#}"))??;
        Ok(last)
    }
}

/// The element of a list in the vitals whose member `name` is `value`.
fn of<'v>(vitals: &'v Value, list: &str, name: &str, value: &str) -> &'v Value {
    let found = vitals[list].as_array().into_iter().flatten().find(|item| item[name] == value);
    found.unwrap_or(&Value::Null)
}

fn is_positive(number: &Value) -> bool {
    number.as_f64().is_some_and(|number| number > 0.0)
}

async fn demand(system: &System, count: usize) -> Result<()> {
    for _ in 0..count {
        let demand = system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?;
        demand.error_for_status()?;
    }
    Ok(())
}

async fn post_readings(system: &System, first: i64, count: i64) -> Result<()> {
    let readings: Vec<_> = (first..first + count)
        .map(|n| json!({"user_id": "u", "device_id": "d", "temperature": 1, "sequence_id": n}))
        .collect();
    system.post("/api/v1/telemetry", &json!(readings)).send().await?.error_for_status()?;
    Ok(())
}

#[tokio::test]
async fn vitals_move_when_works_are_demanded_and_devices_send() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let mut console = Console::open(&operator, "tail=false").await?;
    let first = console
        .vitals("servers are connected", |vitals| {
            vitals["nats"]["connected"] == true && vitals["broker"]["connected"] == true
        })
        .await?;
    assert_eq!((&first["head"], &first["postgres"]), (&json!(0), &json!({"connected": true})));
    assert_eq!(first["head_recorded_at"], Value::Null);
    assert_eq!((&first["rejected"]["today"], &first["parked_streams"]), (&json!(0), &json!(0)));
    for unknown in ["commit_ms", "visible_ms"] {
        assert_eq!(first[unknown], Value::Null, "nothing has happened yet");
    }
    let listed = system.json("/api/v1/projections").await?;
    let names = |list: &Value| -> BTreeSet<String> {
        let names = list.as_array().into_iter().flatten().filter_map(|of| of["name"].as_str());
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(&first["consumers"]), names(&listed["items"]));

    demand(&system, 5).await?;
    let moving = console
        .vitals("works move", |vitals| {
            let http = of(vitals, "doors", "door", "http");
            is_positive(&vitals["events_per_second"])
                && is_positive(&of(vitals, "contexts", "context", "works")["events_per_second"])
                && is_positive(&http["events_per_second"])
                && is_positive(&http["detail"]["commands_per_second"])
        })
        .await?;
    ensure!(is_positive(&moving["commit_ms"]["p50"]), "{moving:#}");
    assert_eq!(of(&moving, "doors", "door", "mqtt")["events_per_second"], 0.0);
    let orders = of(&moving, "contexts", "context", "orders");
    assert_eq!(orders["events_per_second"], 0.0);

    let reading = br#"{"temperature": 21.5, "sequence_id": 1}"#;
    system.publish("users/u/devices/d/telemetry", reading).await?;
    let day = chrono::Utc::now().date_naive();
    system.publish("users/u/devices/d/telemetry", b"nonsense").await?;
    let sent = console
        .vitals("the bridge has received both", |vitals| {
            is_positive(&of(vitals, "doors", "door", "mqtt")["events_per_second"])
                && is_positive(&vitals["rejected"]["per_second"])
                && vitals["bridge"]["received"] == 2
                && vitals["bridge"]["in_flight"] == 0
        })
        .await?;
    let bridge = &sent["bridge"];
    assert_eq!((&bridge["appended"], &bridge["rejected"]), (&json!(1), &json!(1)), "{sent:#}");
    console
        .vitals("the refused message is counted, unless the day has ended", |now| {
            now["rejected"]["today"] == 1 || chrono::Utc::now().date_naive() != day
        })
        .await?;

    // The relay publishes all of it, and every sequence is a position here.
    let relayed = console
        .vitals("the relay has caught up", |vitals| {
            is_positive(&vitals["head"]) && vitals["relay"]["position"] == vitals["head"]
        })
        .await?;
    let relay = &relayed["relay"];
    assert_eq!((&relay["offset"], &relay["stream_sequence"]), (&json!(0), &relayed["head"]));
    assert_eq!(of(&relayed, "consumers", "name", "relay")["kind"], "relay");

    // An event is measured until the projections have it.
    let mut sequence = 2;
    loop {
        post_readings(&system, sequence, 1).await?;
        sequence += 1;
        if is_positive(&console.next_of("vitals").await?.1["visible_ms"]["p99"]) {
            return Ok(());
        }
        ensure!(sequence < 60, "no event was measured");
    }
}

#[tokio::test]
async fn a_stopped_projector_is_stalled_and_live_again_after_its_restart() -> Result<()> {
    let system = System::start().await?;
    let _http = system.serve(&["http"]).await?;
    let projector = system.serve(&["projector"]).await?;
    demand(&system, 1).await?;
    system.caught_up().await?;
    let mut console = Console::open(&system.caller(&system.token), "tail=false").await?;
    let works = |vitals: &Value| of(vitals, "consumers", "name", "works").clone();
    let live = console.vitals("works is live", |now| works(now)["state"] == "live").await?;
    assert_eq!(
        (&works(&live)["kind"], &works(&live)["contexts"]),
        (&json!("projection"), &json!(["works"]))
    );
    for elsewhere in ["bridge", "broker", "visible_ms"] {
        assert_eq!(live[elsewhere], Value::Null, "no process, or another one, counts {elsewhere}");
    }

    projector.kill().await?;
    demand(&system, 3).await?;
    let minute = "update log.checkpoint set heartbeat_at = heartbeat_at - interval '1 minute'";
    sqlx::query(minute).execute(&system.admin).await?;
    let stalled = console
        .vitals("works is stalled", |now| {
            works(now)["state"] == "stalled" && works(now)["events_behind"] == 3
        })
        .await?;
    assert_eq!(works(&stalled)["events_per_second"], 0.0);
    ensure!(works(&stalled)["heartbeat_age_seconds"].as_f64().is_some_and(|age| age >= 60.0));

    let _again = system.serve(&["projector"]).await?;
    console
        .vitals("works is live again", |now| {
            works(now)["state"] == "live" && works(now)["events_behind"] == 0
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn the_tail_samples_a_burst_counts_the_rest_and_resumes_by_position() -> Result<()> {
    const BURST: i64 = 5_000;
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let operator = system.caller(&system.token);
    demand(&system, 2).await?;
    let before = system.head().await?;
    let mut console = Console::open(&operator, "").await?;
    let burst = async {
        for first in (0..BURST).step_by(1_000) {
            post_readings(&system, first, 1_000).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let sampling = async {
        let (mut seen, mut position, mut samples) = (0, before, 0);
        while position < before + BURST {
            let (id, sample) = console.next_of("tail").await?;
            let events = sample["events"].as_array().context("events")?;
            let positions: Vec<_> =
                events.iter().filter_map(|event| event["position"].as_i64()).collect();
            ensure!(positions.is_sorted() && positions.first().is_some_and(|at| *at > position));
            ensure!((1..=40).contains(&positions.len()), "{} events", positions.len());
            position = sample["position"].as_i64().context("a position")?;
            assert_eq!((id, positions.last()), (Some(position), Some(&position)));
            assert_eq!(sample["not_examined"], 0);
            let not_shown = sample["not_shown"].as_i64().context("a number")?;
            seen += i64::try_from(positions.len())? + not_shown;
            samples += 1;
        }
        assert_eq!(seen, BURST, "each event is shown or counted");
        ensure!(samples < BURST / 40, "{samples} samples");
        Ok::<_, anyhow::Error>(position)
    };
    let ((), position) = tokio::try_join!(burst, sampling)?;

    // Resumed: nothing is sent twice.
    demand(&system, 1).await?;
    let mut resumed = Console::open(&operator, &format!("after={position}")).await?;
    let (_, sample) = resumed.next_of("tail").await?;
    assert_eq!((&sample["position"], &sample["not_shown"]), (&json!(position + 1), &json!(0)));
    assert_eq!(sample["events"][0]["type"], "work_demanded");
    // From the start, the newest are shown and the others counted.
    let mut whole = Console::open(&operator, "after=0").await?;
    let (_, sample) = whole.next_of("tail").await?;
    assert_eq!(sample["not_shown"], position + 1 - 40);
    // With a filter, only what matches is counted.
    for filter in ["context=works", "type=work_demanded"] {
        let mut filtered = Console::open(&operator, &format!("after=0&{filter}")).await?;
        let (_, sample) = filtered.next_of("tail").await?;
        let found = sample["events"].as_array().context("events")?;
        let found: Vec<_> = found.iter().map(|event| event["type"].as_str()).collect();
        assert_eq!(found, [Some("work_demanded"); 3], "{filter}");
        assert_eq!((&sample["not_shown"], &sample["not_examined"]), (&json!(0), &json!(0)));
    }
    let stream = "after=0&stream=device-u~d";
    let (_, sample) = Console::open(&operator, stream).await?.next_of("tail").await?;
    assert_eq!(sample["not_shown"], BURST - 40);
    for wrong in ["after=999999", "after=-1", "context=unknown", "stream=x", "unknown=1", "tail=x"]
    {
        let answer = operator.get(&format!("{STREAM}?{wrong}")).send().await?;
        assert_eq!(answer.status(), 422, "{wrong}");
    }
    let other = operator.get(&format!("{STREAM}?epoch=7")).send().await?;
    assert_eq!(other.status(), 409);
    Ok(())
}

#[tokio::test]
async fn the_stream_is_for_operators_and_ends_with_the_token() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let user = customer(&system).await?;
    for path in [STREAM, "/api/v1/console/history", "/api/v1/streams/work-x/states"] {
        assert_eq!(user.get(path).send().await?.status(), 403, "{path}");
    }
    let token = system.run(&["token", "--role", "operator", "--ttl", "3s"]).await?;
    let operator = system.caller(token.trim());
    let mut console = Console::open(&operator, "").await?;
    let mut vitals = 0;
    while let Some((kind, ..)) = console.next().await? {
        vitals += i32::from(kind == "vitals");
    }
    ensure!(vitals > 0, "vitals came before the end");
    ensure!(console.text.is_empty(), "the end is that of an event: {}", console.text);
    assert_eq!(operator.get(STREAM).send().await?.status(), 401);
    Ok(())
}

#[tokio::test]
async fn the_lag_of_the_last_hour_is_sampled_without_an_open_console() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    eventually("there is a sample", async || {
        let history = system.json("/api/v1/console/history").await?;
        let first = &history["samples"][0];
        if first.is_null() {
            return Ok(false);
        }
        assert_eq!(history["interval_seconds"], 10);
        assert_eq!(first["events_per_second"], Value::Null, "no sample before it");
        let lag = first["consumers"]["works"].as_array().context("the lag of works")?;
        assert_eq!(lag.len(), 2, "events and seconds");
        Ok(true)
    })
    .await
}

#[tokio::test]
async fn the_states_of_an_order_are_those_at_each_of_its_positions() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT-1", "9.90", 5).await?;
    let order = place(&customer(&system).await?, &[(&hat, 2)]).await?;
    until(&operator, &order, "confirmed").await?;
    operator.command(Method::POST, &format!("{order}/cancel"), &json!({})).await?;
    until(&operator, &order, "cancelled").await?;
    eventually("the stock is released", async || {
        let released = "select count(*) from log.event where event_type = 'stock_released'";
        Ok(system.number(released).await? == 1)
    })
    .await?;
    let id = order.rsplit('/').next().context("an id")?;
    for stream in [format!("order-{id}"), format!("stock-{hat}")] {
        let path = format!("/api/v1/streams/{stream}");
        let whole = operator.json(&format!("{path}/states")).await?;
        assert_eq!(whole["kind"], "decider");
        let items = whole["items"].as_array().context("items")?;
        ensure!(items.len() >= 3, "{whole:#}");
        for (item, version) in items.iter().zip(1..) {
            let position = &item["event"]["position"];
            let at = operator.json(&format!("{path}?at={position}")).await?;
            assert_eq!(
                (&item["event"]["version"], &at["version"]),
                (&json!(version), &json!(version))
            );
            assert_eq!(item["state"], at["state"], "version {version} of {stream}");
            // One by one, a page begins with the state of what comes before it.
            let page = format!("{path}/states?after={}&limit=1", version - 1);
            let answer = operator.get(&page).send().await?.error_for_status()?;
            let next = answer.headers()["link"].to_str()?.to_owned();
            ensure!(next.contains(&format!("after={version}")), "{next}");
            let page: Value = answer.json().await?;
            assert_eq!(page["items"], json!([item]));
        }
    }
    // Facts have no state.
    post_readings(&system, 1, 3).await?;
    let device = operator.json("/api/v1/streams/device-u~d/states?after=1").await?;
    assert_eq!((&device["kind"], &device["items"][0]["state"]), (&json!("facts"), &Value::Null));
    // The worker may have appended the connection of the device.
    let items = device["items"].as_array().context("items")?.iter();
    let readings = items.filter(|item| item["event"]["type"] == "reading_recorded");
    assert_eq!(readings.count(), 2);
    for (path, status) in
        [("work-unknown/states", 404), ("device-u~d/states?limit=201", 422), ("x/states", 404)]
    {
        let answer = operator.get(&format!("/api/v1/streams/{path}")).send().await?;
        assert_eq!(answer.status(), status, "{path}");
    }
    Ok(())
}
