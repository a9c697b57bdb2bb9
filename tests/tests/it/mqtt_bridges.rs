//! Several bridges at one broker: each with topics of its own, or sharing them.

use anyhow::Result;
use tests::{Bridge, Process, System, eventually, free_port};

/// One of several bridges. It serves HTTP too, for the sake of its figures.
struct Member<'a> {
    system: &'a System,
    told: Vec<(&'a str, String)>,
    url: String,
    process: Process,
}

impl<'a> Member<'a> {
    async fn start(system: &'a System, name: &str, more: (&'a str, &str)) -> Result<Self> {
        let port = free_port()?;
        let told = vec![
            ("PORT", port.to_string()),
            ("MQTT_CLIENT_ID", name.to_owned()),
            (more.0, more.1.to_owned()),
        ];
        let process = start(system, &told)?;
        let member = Self { system, told, url: format!("http://127.0.0.1:{port}"), process };
        member.listens().await?;
        Ok(member)
    }

    async fn kill(self) -> Result<Absent<'a>> {
        self.process.kill().await?;
        Ok(Absent { system: self.system, told: self.told, url: self.url })
    }

    async fn listens(&self) -> Result<()> {
        eventually("the bridge listens", async || {
            let answer = self.system.http.get(format!("{}/readyz", self.url)).send().await;
            let Ok(answer) = answer else { return Ok(false) };
            Ok(answer.text().await?.contains(r#""name":"mqtt","status":"up""#))
        })
        .await
    }

    /// Its books, which balance.
    async fn books(&self) -> Result<Bridge> {
        let books = self.system.bridge_at(&self.url).await?;
        assert_eq!(books.received, books.settled() + books.in_flight, "{books:?}");
        Ok(books)
    }
}

/// One that was killed. Its session waits for it.
struct Absent<'a> {
    system: &'a System,
    told: Vec<(&'a str, String)>,
    url: String,
}

impl<'a> Absent<'a> {
    async fn come_back(self) -> Result<Member<'a>> {
        let Self { system, told, url } = self;
        let member = Member { system, process: start(system, &told)?, told, url };
        member.listens().await?;
        Ok(member)
    }
}

fn start(system: &System, told: &[(&str, String)]) -> Result<Process> {
    let mut environment = system.environment.clone();
    environment.extend(told.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Process::start(&["serve", "mqtt", "http"], &environment)
}

fn lines(sequence: std::ops::Range<i64>) -> String {
    sequence.map(|n| format!("{{\"sequence_id\":{n},\"temperature\":1.5}}\n")).collect()
}

async fn recorded(system: &System) -> Result<i64> {
    system.number("select count(*) from log.event where event_type = 'reading_recorded'").await
}

/// Readings that stand in the log behind a later one of their device.
async fn out_of_order(system: &System) -> Result<i64> {
    let sql = "select count(*) from (
                 select n, max(n) over (partition by stream_id order by position) as latest
                 from (select stream_id, position, (data::jsonb ->> 'sequence_id')::bigint as n
                       from log.event where event_type = 'reading_recorded') reading) late
               where n < latest";
    system.number(sql).await
}

/// Each reading of these devices is there, once.
async fn all_there_once(system: &System, readings: i64) -> Result<()> {
    eventually("all are there", async || Ok(recorded(system).await? >= readings)).await?;
    let sql = "select count(distinct (stream_id, data::jsonb ->> 'sequence_id')) from log.event
               where event_type = 'reading_recorded'";
    assert_eq!((recorded(system).await?, system.number(sql).await?), (readings, readings));
    system.log_is_sound().await
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
        let before = rest.books().await?.settled();
        eventually("the other goes on", async || Ok(rest.books().await?.settled() > before))
            .await?;
        absent.come_back().await
    };
    let ((), (), ada) = tokio::try_join!(publish("ada"), publish("grace"), kill)?;
    all_there_once(&system, 10_000).await?;
    eventually("nothing is under way", async || Ok(ada.books().await?.in_flight == 0)).await?;
    let books = rest.books().await?;
    assert_eq!((books.appended, books.duplicate), (5_000, 0), "only what is its own");
    assert_eq!(out_of_order(&system).await?, 0);
    Ok(())
}

#[tokio::test]
async fn bridges_that_share_lose_nothing_but_the_order() -> Result<()> {
    let system = System::start().await?;
    let share = ("MQTT_SHARE", "bridges");
    let one = Member::start(&system, "one", share).await?;
    let two = Member::start(&system, "two", share).await?;
    let topic = "users/u/devices/d/telemetry";
    system.publish_lines(topic, &lines(0..4_000)).await?;
    all_there_once(&system, 4_000).await?;
    for member in [&one, &two] {
        let books = member.books().await?;
        assert!(books.appended > 0 && books.duplicate == 0, "{books:?}");
    }
    let shuffled = out_of_order(&system).await?;

    // Mosquitto deals to the session of an absent member too: what it holds is stranded until the
    // member comes back.
    let absent = two.kill().await?;
    system.publish_lines(topic, &lines(4_000..5_000)).await?;
    // Of two more, one comes to the member that is there, behind all that was dealt to it.
    system.publish_lines("users/u/devices/last/telemetry", &lines(0..2)).await?;
    let last = "select count(*) from log.event where stream_id = 'device-u~last'";
    eventually("the last is there", async || Ok(system.number(last).await? > 0)).await?;
    let stranded = 5_002 - recorded(&system).await?;
    assert!(stranded > 0, "the absent member is dealt to");
    let before = out_of_order(&system).await?;
    let two = absent.come_back().await?;
    all_there_once(&system, 5_002).await?;
    eventually("nothing is under way", async || Ok(two.books().await?.in_flight == 0)).await?;
    assert_eq!(two.books().await?.settled(), u64::try_from(stranded)?);
    let late = out_of_order(&system).await? - before;
    assert!(late > 0, "what was stranded is late");
    eprintln!(
        "{shuffled} of 4,000 out of order; {stranded} of 1,002 stranded, {late} of them late"
    );

    // It goes for good: with topics that nobody uses, it leaves the group's and empties its queue.
    let mut told = two.told.clone();
    told.push(("MQTT_FILTER", "hosts/nobody/metrics".to_owned()));
    two.process.terminate().await?;
    let two = Absent { system: &system, told, url: two.url }.come_back().await?;
    let before = two.books().await?.received;
    system.publish_lines(topic, &lines(5_000..5_100)).await?;
    all_there_once(&system, 5_102).await?;
    assert_eq!(two.books().await?.received, before);
    Ok(())
}

/// A session keeps its subscriptions: without its leaving the others, narrowing would do nothing.
#[tokio::test]
async fn a_bridge_leaves_the_topics_it_is_no_longer_told_of() -> Result<()> {
    let system = System::start().await?;
    let all = Member::start(&system, "bridge", ("MQTT_FILTER", "")).await?;
    all.process.terminate().await?;
    let hosts = Member::start(&system, "bridge", ("MQTT_FILTER", "hosts/+/metrics")).await?;
    // Said after it listens, and answered in order: the broker has heard both.
    eventually("the other topics are left", async || {
        system.publish("users/u/devices/d/telemetry", br#"{"sequence_id": 1}"#).await?;
        let before = hosts.books().await?.received;
        system.publish("hosts/h/metrics", b"{}").await?;
        eventually("it is heard", async || Ok(hosts.books().await?.received > before)).await?;
        Ok(hosts.books().await?.received == before + 1)
    })
    .await?;
    // Not killed: the last of theirs may not be acknowledged yet, and would come again.
    hosts.process.terminate().await?;
    let again =
        Member::start(&system, "bridge", ("MQTT_FILTER", "users/+/devices/+/telemetry")).await?;
    let before = recorded(&system).await?;
    system.publish("hosts/h/metrics", b"{}").await?;
    system.publish("users/u/devices/e/telemetry", br#"{"sequence_id": 1}"#).await?;
    eventually("it is heard", async || Ok(recorded(&system).await? > before)).await?;
    assert_eq!(again.books().await?.rejected, 0, "hosts are left");
    Ok(())
}
