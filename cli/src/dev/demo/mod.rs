//! The demo of `tributary dev`: people, devices and visitors that use the system through its public
//! doors, so that there is something to look at. Devices publish over MQTT, a program demands works
//! over NATS, and everything else goes over HTTP.
//!
//! Each part acts at a fixed rate, one action at a time. An action that fails is logged and not
//! repeated; the next one is due as usual.

mod alerts;
mod devices;
mod documents;
mod orders;
mod page_views;
mod tasks;
mod works;

use std::str::FromStr;
use std::time::Duration;

use client::Client;
use eventstore::BusAccess;
use gateway::app::App;
use gateway::tokens::Keys;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::people::{People, Person};

/// Events a second of all parts at speed 1, about: for people.
pub(super) const EVENTS_PER_SECOND: f64 = 6.0;
/// Time from one alarm to the next at speed 1.
pub(super) const ALARM_EVERY: Duration = Duration::from_secs(75);

/// Lifetime of a token; each action has its own.
const TOKEN_LIFETIME: Duration = Duration::from_mins(1);
/// Longest time of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a command waits for its effect to be visible, in seconds.
const WAIT_SECONDS: u8 = 5;

/// How many times faster than usual the demo is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed(pub(super) f64);

impl Speed {
    /// Slowest and fastest speed.
    const RANGE: std::ops::RangeInclusive<f64> = 0.1..=100.0;

    fn of(self, usual: Duration) -> Duration {
        usual.div_f64(self.0)
    }
}

impl FromStr for Speed {
    type Err = InvalidSpeed;

    fn from_str(text: &str) -> Result<Self, InvalidSpeed> {
        let speed = text.parse().ok().filter(|speed| Self::RANGE.contains(speed));
        speed.map(Self).ok_or(InvalidSpeed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a speed is a number from 0.1 to 100")]
pub(super) struct InvalidSpeed;

/// What the parts of the demo share.
pub(super) struct Demo {
    /// The HTTP API, without a token.
    pub(super) api: Client,
    /// Signs the tokens of the people.
    pub(super) keys: Keys,
    pub(super) people: People,
    pub(super) broker: mqtt::Options,
    pub(super) bus: BusAccess,
    pub(super) speed: Speed,
}

/// Runs the demo until `app` stops.
pub(super) fn start(app: &App, demo: Demo) {
    let api = demo.api.clone().with_retries(0).with_timeout(REQUEST_TIMEOUT);
    let demo = Demo { api, ..demo };
    app.spawn("demo", async move |shutdown| {
        let people = async {
            tokio::join!(
                orders::run(&demo),
                works::run(&demo),
                page_views::run(&demo),
                documents::run(&demo),
                tasks::run(&demo),
                alerts::run(&demo),
            );
        };
        tokio::join!(devices::run(&demo, &shutdown), shutdown.run_until_cancelled(people));
    });
}

impl Demo {
    /// Returns the API as `person`.
    fn api(&self, person: Person) -> anyhow::Result<Client> {
        let token = self.keys.sign(&person.id.to_string(), person.role, TOKEN_LIFETIME)?;
        Ok(self.api.clone().with_token(token))
    }

    /// Returns the pace of a part that acts once in `every` at speed 1.
    fn pace(&self, part: &'static str, every: Duration) -> Pace {
        let mut ticks = interval(self.speed.of(every));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pace { part, ticks, failure: None }
    }
}

/// The pace of a part of the demo.
struct Pace {
    part: &'static str,
    ticks: Interval,
    /// The last failure, which is logged once.
    failure: Option<String>,
}

impl Pace {
    /// Waits until the next action is due.
    async fn next(&mut self) {
        self.ticks.tick().await;
    }

    /// Logs why an action failed, unless the last one failed for the same reason.
    fn note(&mut self, outcome: anyhow::Result<()>) {
        let failure = outcome.err().map(|error| format!("{error:#}"));
        if let Some(error) = failure.as_ref().filter(|_| failure != self.failure) {
            tracing::warn!(part = self.part, error, "an action of the demo failed");
        }
        self.failure = failure;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_factor_with_limits() {
        for (text, speed) in [("1", 1.0), ("0.1", 0.1), ("100", 100.0), ("2.5", 2.5)] {
            assert_eq!(text.parse(), Ok(Speed(speed)), "{text}");
        }
        for text in ["", "0", "-1", "101", "inf", "NaN", "1s"] {
            assert_eq!(text.parse::<Speed>(), Err(InvalidSpeed), "{text}");
        }
        assert_eq!(Speed(10.0).of(Duration::from_secs(5)), Duration::from_millis(500));
    }
}
