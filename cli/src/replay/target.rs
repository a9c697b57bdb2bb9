//! Where events are told again.

use std::io::{StdoutLock, Write};
use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use eventstore::{RawEvent, replay_message};
use tokio::sync::watch;

use crate::events;
use crate::outcome::Failure;
use gateway::config;
use gateway::http::event_view;

/// How long the bus may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Subjects begin with these where something happens to what is published there.
const TAKEN: [&str; 3] = ["events", "commands", "log"];

/// Tokens in front of what a subject would be else.
#[derive(Debug, Clone)]
pub(super) struct Prefix(String);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |token: &str| {
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"*>".contains(&byte);
            !token.is_empty() && token.bytes().all(plain)
        };
        let first = text.split('.').next().unwrap_or_default();
        if !text.split('.').all(fits) || first.starts_with(['$', '_']) {
            return Err("not a subject one may publish on".into());
        }
        if TAKEN.contains(&first) {
            return Err(format!(
                "`{first}` is not for replays: what is published there is acted on"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

pub(super) enum Target<'a> {
    /// It is only counted.
    Nowhere,
    Stdout(StdoutLock<'a>),
    Subject(Box<Subject>),
}

pub(super) struct Subject {
    bus: eventstore::Bus,
    connected: watch::Receiver<bool>,
    prefix: String,
    run: String,
}

impl Target<'_> {
    /// Publishes under `prefix`, in a run of this name.
    pub(super) async fn subject(
        bus: &config::Bus,
        Prefix(prefix): &Prefix,
        run: &str,
    ) -> Result<Self, Failure> {
        let bus = eventstore::Bus::connect(bus.nats_url.expose()).await;
        let bus = bus.map_err(anyhow::Error::from)?;
        let mut connected = bus.connected();
        // It has then seen the connection; whatever it sees later is a loss.
        let there = async { connected.wait_for(|up| *up).await.is_ok() };
        let up = tokio::time::timeout(PATIENCE, there).await.unwrap_or(false);
        if !up {
            return Err(Failure::not_reachable(anyhow!("NATS is not there")));
        }
        let (prefix, run) = (prefix.clone(), run.to_owned());
        Ok(Self::Subject(Box::new(Subject { bus, connected, prefix, run })))
    }

    /// Tells `event`; false if nobody listens any more.
    pub(super) async fn publish(&mut self, event: RawEvent) -> Result<bool, Failure> {
        match self {
            Self::Nowhere => Ok(true),
            Self::Stdout(out) => Ok(events::write(out, &event).is_ok()),
            Self::Subject(subject) => {
                let context = domain::context_of(event.stream.category());
                let context = context.map_or("unknown", |context| context.name);
                let Some(event) = event_view::shown(event) else {
                    return Ok(true);
                };
                let client = subject.bus.client();
                let most = client.max_payload();
                let message = replay_message(event, context, &subject.prefix, &subject.run, most);
                let sent = client
                    .publish_with_headers(message.subject, message.headers, message.body)
                    .await;
                sent.map_err(Failure::not_reachable)?;
                Ok(true)
            }
        }
    }

    /// Waits until all that was told has arrived.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout(out) => {
                drop(out.flush());
                Ok(())
            }
            Self::Subject(subject) => {
                subject.bus.client().flush().await.map_err(Failure::not_reachable)?;
                // Even if it is back: what was under way may be lost.
                if subject.connected.has_changed().unwrap_or(true) {
                    let lost = anyhow!("the connection to NATS was lost; go on from where it was");
                    return Err(Failure::not_reachable(lost));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_where_it_is_acted_on() {
        assert!("again.monday".parse::<Prefix>().is_ok());
        for text in ["events", "events.x", "commands.works", "log", "$JS.API", "a..b", "", "a.>"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
