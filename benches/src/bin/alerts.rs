//! The cost of alert evaluation per reading, for a million readings of 90 devices with 20 rules;
//! and a proof that it is a fold: batches of random size with random restarts yield the same bytes
//! as one pass.

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chrono::{DateTime, TimeDelta};
use domain::alerts::{Cause, Config, EffectiveRule, Outcome, Reading, Scope, Watch};
use eventsourcing::Position;
use eventsourcing::event::encode;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const READINGS: i64 = 1_000_000;
const DEVICES: i64 = 90;
const RULES: usize = 20;

fn main() -> Result<()> {
    let rules = rules()?;
    let calm = readings(200..300)?;
    let (each, events) = timed(&rules, &calm)?;
    println!("{RULES} rules, few alerts:        {each:?} per reading, {events} alert events");
    ensure!(each < Duration::from_micros(2), "more than 2 µs per reading");
    drop(calm);

    let restless = readings(0..1000)?;
    let (each, events) = timed(&rules, &restless)?;
    println!("{RULES} rules, many alerts:         {each:?} per reading, {events} alert events");
    let expected = digest(&one_pass(&rules, &restless))?;
    println!("one pass:                    sha-256 {expected}");
    for seed in 0..3 {
        let (found, restarts) = interrupted(&rules, &restless, seed)?;
        let digest = digest(&found)?;
        println!("batches, {restarts:>4} restarts (seed {seed}): sha-256 {digest}");
        ensure!(digest == expected, "the events differ");
    }
    Ok(())
}

/// Returns the time per reading, and the number of alert events.
fn timed(rules: &[Arc<[EffectiveRule]>], readings: &[Input]) -> Result<(Duration, usize)> {
    let begun = Instant::now();
    let events = one_pass(rules, readings).len();
    Ok((begun.elapsed() / u32::try_from(READINGS)?, events))
}

/// Rules of every kind, several of them for the same field.
fn rules() -> Result<Vec<Arc<[EffectiveRule]>>> {
    let mut rules = Vec::new();
    for n in 0..RULES {
        let (key, threshold) =
            (["temperature", "battery", "pressure", "engine.rpm"][n % 4], 60 + n);
        let operator = [">", "<", ">=", "<="][n / 5];
        let mut rule = json!({"key": key, "operator": operator, "threshold": threshold});
        match n % 5 {
            1 => rule["for"] = "30s".into(),
            2 => rule["times"] = 3.into(),
            3 => rule["clear_times"] = 2.into(),
            _ => {}
        }
        rules.push(rule);
    }
    let config = json!({ "rules": rules }).to_string();
    let config =
        Config::parse(config.as_bytes()).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    Ok((0..DEVICES)
        .map(|device| {
            let scope = Scope::User("u".into());
            EffectiveRule::select(&[(scope, 1, &config)], &format!("d{device}")).into()
        })
        .collect())
}

type Input = (usize, Cause, Reading);

/// One reading per device and second, with values from `tenths`; one in ten is up to 60 s late.
fn readings(tenths: Range<i32>) -> Result<Vec<Input>> {
    let mut random = StdRng::seed_from_u64(1);
    let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap_or_default();
    let one = |n: i64| {
        let device = n % DEVICES;
        let late = if random.random_ratio(1, 10) { random.random_range(0..60) } else { 0 };
        let recorded_at = start + TimeDelta::seconds(n / DEVICES);
        let mut value = || f64::from(random.random_range(tenths.clone())) / 10.0;
        let reading = json!({"user_id": "u", "device_id": format!("d{device}"),
            "time": recorded_at - TimeDelta::seconds(late), "temperature": value(),
            "battery": value(), "extra_data": {"pressure": value(), "engine": {"rpm": value()}}});
        let id = Uuid::from_u128(u128::try_from(n)? + 1);
        let cause = Cause { position: Position(n + 1), id, recorded_at };
        Ok((usize::try_from(device)?, cause, serde_json::from_value(reading)?))
    };
    (0..READINGS).map(one).collect()
}

fn watches(rules: &[Arc<[EffectiveRule]>]) -> Vec<Watch> {
    let watch = |(n, rules): (usize, &Arc<[EffectiveRule]>)| {
        Watch::new("u", &format!("d{n}"), Arc::clone(rules))
    };
    rules.iter().enumerate().map(watch).collect()
}

fn one_pass(rules: &[Arc<[EffectiveRule]>], readings: &[Input]) -> Vec<Outcome> {
    let mut watches = watches(rules);
    let mut outcomes = Vec::new();
    for (device, cause, reading) in readings {
        watches[*device].evaluate(*cause, reading, &mut outcomes);
    }
    outcomes
}

/// Evaluates in batches. After some it saves the state, after others it restores the saved state,
/// as after a crash. Counts an event once, by its id.
fn interrupted(
    rules: &[Arc<[EffectiveRule]>],
    readings: &[Input],
    seed: u64,
) -> Result<(Vec<Outcome>, usize)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut watches = watches(rules);
    let mut saved: Vec<String> = watches.iter().map(Watch::store).collect();
    let (mut next, mut checkpoint, mut restarts) = (0, 0, 0);
    let (mut log, mut ids) = (Vec::new(), HashSet::new());
    while next < readings.len() {
        let end = (next + random.random_range(1..5_000)).min(readings.len());
        let mut outcomes = Vec::new();
        for (device, cause, reading) in &readings[next..end] {
            watches[*device].evaluate(*cause, reading, &mut outcomes);
        }
        log.extend(outcomes.into_iter().filter(|outcome| ids.insert(outcome.event_id)));
        next = end;
        match random.next_u32() % 4 {
            0 => {
                // Snapshots may be ahead of the checkpoint.
                saved = watches.iter().map(Watch::store).collect();
                if random.random_ratio(2, 3) {
                    checkpoint = next;
                }
            }
            1 => {
                restarts += 1;
                next = checkpoint;
                for (device, state) in saved.iter().enumerate() {
                    let rules = Arc::clone(&rules[device]);
                    watches[device] = Watch::restore("u", &format!("d{device}"), rules, state)?;
                }
            }
            _ => {}
        }
    }
    Ok((log, restarts))
}

fn digest(outcomes: &[Outcome]) -> Result<String> {
    let mut hash = Sha256::new();
    for outcome in outcomes {
        let stored = encode(&outcome.event)?;
        let (alert, event, cause) = (outcome.alert_id, outcome.event_id, outcome.cause);
        hash.update(format!("{alert} {event} {cause} {} {}\n", stored.event_type, stored.data));
    }
    let short =
        hash.finalize().iter().take(16).fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    Ok(format!("{short:032x}"))
}
