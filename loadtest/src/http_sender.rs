//! Sends over HTTP: a connection for each user, which sends what is due of all its devices, batch after
//! batch.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use domain::telemetry::Batch;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::controls::Controls;
use super::error::Error;
use super::plan::Plan;
use super::queue::{Queue, Sent};
use super::reading;
use super::settings::Api;
use super::stats::Start;

/// Shortest time between two requests of a user.
const EVERY: Duration = Duration::from_millis(50);
/// Longest delay after a request that failed.
const RETRY: Duration = Duration::from_millis(500);
/// Longest wait for a response; then the batch is sent again.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends the plan. Returns when everything is acknowledged or given up.
pub(crate) async fn run(plan: Arc<Plan>, api: Api, controls: Controls) -> Result<Vec<Sent>, Error> {
    let url = format!("{}/api/v1/telemetry", api.url.trim_end_matches('/'));
    let http = client::http(api.ca.as_deref())?.timeout(TIMEOUT).tcp_nodelay(true).build();
    let http = http.map_err(client::Error::InvalidRequest)?;
    let start = controls.stats.start();
    let tasks = TaskTracker::new();
    #[expect(clippy::disallowed_methods, reason = "every handle is awaited")]
    let running = (0..plan.users).map(|user| {
        let devices = plan.devices_of(user);
        let queues = devices.clone().map(|device| Queue::new(Arc::clone(&plan), device)).collect();
        let sender = User {
            plan: Arc::clone(&plan),
            devices,
            queues,
            start,
            controls: controls.clone(),
            http: http.clone(),
            url: url.clone(),
            token: api.token.clone(),
        };
        tasks.spawn(sender.run(user))
    });
    let mut sent = Vec::new();
    for user in running.collect::<Vec<_>>() {
        sent.extend(user.await?);
    }
    Ok(sent)
}

/// The sender of one user.
struct User {
    plan: Arc<Plan>,
    devices: Range<u32>,
    queues: Vec<Queue>,
    start: Start,
    controls: Controls,
    http: reqwest::Client,
    url: String,
    token: String,
}

/// The messages of a request: index of the user's device, and number.
type Items = Vec<(usize, u32)>;

#[derive(Deserialize)]
struct Answer {
    items: Vec<Verdict>,
}

#[derive(Deserialize)]
struct Verdict {
    verdict: Kind,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Accepted,
    Duplicate,
    Rejected,
}

impl User {
    async fn run(mut self, user: u32) -> Vec<Sent> {
        let Controls { give_up, stop, .. } = self.controls.clone();
        // Spread over the first interval.
        let first = self.start.at + EVERY.mul_f64(f64::from(user) / f64::from(self.plan.users));
        let sending = async {
            let mut next = first;
            let mut ended = false;
            while !self.queues.iter().all(Queue::is_done) {
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = stop.cancelled(), if !ended => {
                        ended = true;
                        let elapsed = self.start.at.elapsed();
                        self.queues.iter_mut().for_each(|queue| queue.end(elapsed));
                        continue;
                    }
                }
                next = Instant::now() + EVERY;
                if let Some((items, body)) = self.batch() {
                    self.send(items, body).await;
                }
            }
        };
        give_up.run_until_cancelled(sending).await;
        self.queues.into_iter().map(Queue::into_sent).collect()
    }

    /// The messages that are due, as many as fit into a request.
    fn batch(&mut self) -> Option<(Items, String)> {
        let elapsed = self.start.at.elapsed();
        let (mut items, mut body) = (Items::new(), String::new());
        for ((index, queue), device) in self.queues.iter_mut().enumerate().zip(self.devices.clone())
        {
            let head = format!(
                r#"{{"user_id":"{}","device_id":"{}","#,
                self.plan.user_id(self.plan.user_of(device)),
                self.plan.device_id(device)
            );
            while items.len() < Batch::MAX_ITEMS
                && let Some(taken) = queue.take(elapsed)
            {
                let before = if items.is_empty() { '[' } else { ',' };
                write!(body, "{before}{head}").expect("writing to a string does not fail");
                reading::write(&mut body, &self.plan, self.start.wall, (device, taken.sequence));
                body.push('}');
                items.push((index, taken.sequence));
                self.controls.stats.sent(taken.again);
            }
        }
        body.push(']');
        (!items.is_empty()).then_some((items, body))
    }

    async fn send(&mut self, items: Items, body: String) {
        match self.post(body).await {
            Ok(Answer { items: verdicts }) if verdicts.len() == items.len() => {
                self.answered(&items, verdicts);
            }
            Ok(_) => {
                self.unacknowledged(items, "a response without a verdict for each reading".into())
                    .await;
            }
            Err(error) => self.unacknowledged(items, error).await,
        }
    }

    async fn post(&self, body: String) -> Result<Answer, String> {
        let request = self.http.post(&self.url).bearer_auth(&self.token);
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        // Without the address, which makes every message the same failure.
        let text = |error: reqwest::Error| error.without_url().to_string();
        let answer = request.send().await.map_err(text)?;
        if !answer.status().is_success() {
            return Err(format!("the server answered {}", answer.status()));
        }
        answer.json().await.map_err(text)
    }

    fn answered(&mut self, items: &Items, verdicts: Vec<Verdict>) {
        let elapsed = self.start.at.elapsed();
        let mut waited = Vec::with_capacity(items.len());
        for ((index, sequence), verdict) in items.iter().zip(verdicts) {
            let queue = &mut self.queues[*index];
            match verdict.verdict {
                Kind::Accepted | Kind::Duplicate => {
                    let due = queue.acknowledged(*sequence);
                    waited.extend(due.map(|due| elapsed.saturating_sub(due)));
                }
                Kind::Rejected => {
                    queue.refused();
                    let reason = verdict.reason.unwrap_or_default();
                    self.controls.stats.refused(format!("reading rejected: {reason}"));
                }
            }
        }
        self.controls.stats.acknowledged(&waited);
    }

    /// The outcome is unknown: the readings are sent again.
    async fn unacknowledged(&mut self, items: Items, why: String) {
        self.controls.stats.trouble(why);
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let of_device = items.iter().filter(|(of, _)| *of == index);
            queue.unacknowledged(of_device.map(|(_, sequence)| *sequence).collect());
        }
        sleep(RETRY.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}
