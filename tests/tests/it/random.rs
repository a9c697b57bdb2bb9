//! Random values: what senders may send within, at and beyond the limits of the doors. Each run has the
//! same values; one whose length is set with `TRIBUTARY_FUZZ_REQUESTS` or `TRIBUTARY_FUZZ_ROUNDS` has
//! new ones. `TRIBUTARY_FUZZ_SEED` repeats a run.

use anyhow::Result;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};
use tests::from_environment;
use uuid::Uuid;

/// Seed of a run of the usual length.
const SEED: u64 = 1;

/// A source of values.
pub(crate) struct Random {
    runner: TestRunner,
    /// Repeats the run.
    pub(crate) seed: u64,
}

impl Random {
    pub(crate) fn new() -> Result<Self> {
        let any = u64::try_from(Uuid::now_v7().as_u128() & u128::from(u64::MAX))?;
        let lengths = ["TRIBUTARY_FUZZ_REQUESTS", "TRIBUTARY_FUZZ_ROUNDS"];
        let is_set = |name: &&str| std::env::var_os(name).is_some();
        let default = if lengths.iter().any(is_set) { any } else { SEED };
        let seed = from_environment("TRIBUTARY_FUZZ_SEED", default)?;
        let bytes: Vec<u8> = seed.to_be_bytes().repeat(4);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Ok(Self { runner: TestRunner::new_with_rng(Config::default(), rng), seed })
    }

    pub(crate) fn pick<S: Strategy>(&mut self, strategy: &S) -> S::Value {
        strategy.new_tree(&mut self.runner).expect("a value").current()
    }
}

/// A name of a field.
pub(crate) fn name() -> BoxedStrategy<String> {
    const NOTORIOUS: &[&str] = &[
        "",
        ".",
        "a.b",
        "/a/b",
        "temperature ",
        "extra_data",
        "position",
        "type",
        "data",
        "__proto__",
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "e\u{301}",
        "\u{1f600}",
        "\\u0000",
        "co2",
        "load",
    ];
    prop_oneof![
        3 => select(NOTORIOUS).prop_map(str::to_owned),
        3 => "[a-z]{1,8}",
        1 => "\\PC{1,40}",
        1 => "[\\x01-\\x{7f}]{1,40}",
        1 => "[a-z]{195,205}",
    ]
    .boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![4 => "\\PC{0,20}", 1 => "[\\x01-\\x{ff}]{0,300}", 1 => "\\PC{0,2000}"].boxed()
}

fn number() -> BoxedStrategy<Value> {
    const EDGES: &[f64] = &[0.0, -0.0, 1e-10, 3e38, 5e-324, f64::MAX, f64::MIN, 1e15, 0.1];
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(EDGES).prop_map(Value::from),
        (-50..50_i32).prop_map(Value::from),
    ]
    .boxed()
}

/// Any JSON value, nested at most a few levels.
pub(crate) fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        4 => number(),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner, 4),
        ]
    })
    .boxed()
}

fn object(member: impl Strategy<Value = Value>, most: usize) -> impl Strategy<Value = Value> {
    prop::collection::vec((name(), member), 0..=most)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// A value inside of `levels` objects and arrays.
fn nested(levels: std::ops::Range<usize>) -> impl Strategy<Value = Value> {
    (value(), name(), levels).prop_map(|(value, name, levels)| {
        (0..levels).fold(value, |value, level| {
            if level % 2 == 0 { json!([value]) } else { json!({(name.clone()): value}) }
        })
    })
}

fn merged(mut base: Value, more: Vec<(String, Value)>) -> Value {
    if let Some(members) = base.as_object_mut() {
        for (name, value) in more {
            members.entry(name).or_insert(value);
        }
    }
    base
}

/// Times within four weeks, at both ends of the default window, and beyond it.
fn time() -> BoxedStrategy<Value> {
    const TIMES: &[&str] = &[
        "2000-01-01T00:00:00Z",
        "2026-03-04T12:00:00.123456789+02:00",
        "2026-03-04T11:59:60Z",
        "1999-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
    ];
    prop_oneof![
        2 => Just(Value::Null),
        2 => select(TIMES).prop_map(Value::from),
        3 => (1_772_000_000_000..1_774_000_000_000_i64).prop_map(Value::from),
    ]
    .boxed()
}

/// A reading as it is sent over HTTP.
pub(crate) fn reading() -> BoxedStrategy<Value> {
    // Each limit is exceeded now and then, some far.
    let extra = prop_oneof![16 => value(), 2 => nested(1..34), 1 => nested(110..126)];
    let name = prop_oneof![40 => name(), 1 => "[a-zA-Z0-9]{4000}"];
    let known = (select(&["u1", "u2"][..]), 0..6_u8, any::<i64>(), time());
    let measured = (prop::option::of(number()), prop::option::of(any::<i32>()), "[a-z0-9]{0,64}");
    (known, measured, prop::collection::vec((name, extra), 0..10))
        .prop_map(|((user, device, sequence, time), (temperature, battery, boot), extra)| {
            let reading = json!({
                "user_id": user, "device_id": format!("d{device}"), "sequence_id": sequence,
                "time": time, "boot_id": boot, "temperature": temperature, "battery": battery,
            });
            merged(reading, extra)
        })
        .boxed()
}

fn rule() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        select(&["temperature", "battery", "co2", "a.b", "/a/b"][..]).prop_map(str::to_owned),
        name()
    ];
    let condition = prop_oneof![
        (select(&[">", "<", ">=", "<=", "==", "!="][..]), number())
            .prop_map(|(operator, number)| (operator, Some(number))),
        (select(&["==", "!="][..]), text())
            .prop_map(|(operator, text)| (operator, Some(text.into()))),
        (select(&["between", "outside"][..]), -9..9_i32, 0..9_i32)
            .prop_map(|(operator, low, more)| (operator, Some(json!([low, low + more])))),
        Just(("is_missing", None)),
    ];
    let more = (select(vec![Value::Null, json!("0ms"), json!("1s"), json!(86_400)]), 1..3_u32);
    (key, condition, more, "\\PC{0,60}", select(&["minor", "major", "critical"][..])).prop_map(
        |(key, (operator, threshold), (held, times), message, severity)| {
            let mut rule = json!({"key": key, "operator": operator, "times": times,
                "message": message, "severity": severity});
            if let Some(threshold) = threshold {
                rule["threshold"] = threshold;
            }
            if !held.is_null() {
                rule["for"] = held;
            }
            rule
        },
    )
}

/// Alert rules.
pub(crate) fn rules() -> BoxedStrategy<Value> {
    (prop::option::of(number()), prop::collection::vec(rule(), 0..4))
        .prop_map(|(max, rules)| json!({"temperature_max": max, "rules": rules}))
        .boxed()
}

/// A document.
pub(crate) fn document() -> BoxedStrategy<Value> {
    prop_oneof![
        3 => object(value(), 8),
        1 => (name(), nested(1..110)).prop_map(|(name, value)| json!({(name): value})),
    ]
    .boxed()
}

/// A page view.
pub(crate) fn page_view() -> BoxedStrategy<Value> {
    let path = prop_oneof![3 => "/[a-z]{0,20}", 1 => "/\\PC{0,2047}"];
    let text = || prop::option::of("\\PC{1,128}");
    (path, text(), text(), text(), time())
        .prop_map(|(path, referrer, agent, session, at)| {
            let at = if at.is_string() { at } else { Value::Null };
            json!({"path": path, "referrer": referrer, "user_agent": agent,
                "session_id": session, "viewed_at": at})
        })
        .boxed()
}

/// A host sample.
pub(crate) fn sample() -> BoxedStrategy<Value> {
    let sizes = (0..=i64::MAX as u64, 0..=100_u64, 0..=100_u64);
    (0..30 * 86_400_i64, any::<u32>(), sizes, prop::array::uniform3(number()))
        .prop_map(|(second, users, (total, used, free), load)| {
            let time = chrono::DateTime::from_timestamp(1_772_000_000 + second, 0);
            json!({"time": time, "users": users, "load": load,
                "storage": {"total_bytes": total, "used_bytes": used, "free_bytes": free},
                "memory": {"total_bytes": total, "used_bytes": used}})
        })
        .boxed()
}

/// A birth or a will.
pub(crate) fn status() -> BoxedStrategy<Value> {
    (any::<bool>(), any::<i64>(), "[a-z0-9]{0,66}")
        .prop_map(
            |(online, seq, boot)| json!({"online": online, "session_seq": seq, "boot_id": boot}),
        )
        .boxed()
}

/// A product; its price has up to nine digits before the point.
pub(crate) fn product() -> BoxedStrategy<Value> {
    let euro = ("[0-9]{1,9}(\\.[0-9]{1,2})?", Just("EUR".to_owned()));
    let any = ("[0-9]{1,9}(\\.[0-9]{1,4})?", "[A-Z]{3}");
    ("[A-Za-z0-9._-]{1,64}", "\\PC{1,200}", prop_oneof![3 => euro, 1 => any])
        .prop_map(|(sku, name, (price, currency))| {
            json!({"sku": sku, "name": name, "price": price, "currency": currency})
        })
        .boxed()
}

/// The number of pieces of an order or a delivery.
pub(crate) fn quantity() -> BoxedStrategy<Value> {
    prop_oneof![3 => (1..10_u32).prop_map(Value::from), 1 => number()].boxed()
}

/// Members of an object of any kind, as text.
pub(crate) fn words() -> BoxedStrategy<Map<String, Value>> {
    prop::collection::vec((name(), text().prop_map(Value::from)), 0..3)
        .prop_map(|members| members.into_iter().collect())
        .boxed()
}
