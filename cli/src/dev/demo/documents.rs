//! Reports of inspections: documents that are valid against a schema.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::super::sensors::DEVICES;
use super::Demo;

/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(20);
/// Of so many inspections, one finds a fault.
const FAULTY: u32 = 6;

pub(super) async fn run(demo: &Demo) {
    let mut pace = demo.pace("documents", REPORT_EVERY);
    let mut registered = false;
    for number in 0_usize.. {
        pace.next().await;
        let outcome = if registered { Ok(()) } else { register(demo).await };
        registered |= outcome.is_ok();
        pace.note(match outcome {
            Ok(()) => report(demo, number).await,
            failed => failed,
        });
    }
}

/// Registers the schema; the same one again changes nothing.
async fn register(demo: &Demo) -> anyhow::Result<()> {
    let schema = json!({
        "type": "object", "required": ["device", "passed", "battery_volts"],
        "properties": {
            "device": {"type": "string"}, "passed": {"type": "boolean"},
            "battery_volts": {"type": "number", "minimum": 0}, "remark": {"type": "string"},
        },
    });
    let operator = demo.api(demo.people.lin)?;
    let register = operator.put("/api/v1/schemas/inspection").json(&schema).once();
    register.send::<Value>().await.context("cannot register a schema")?;
    Ok(())
}

async fn report(demo: &Demo, number: usize) -> anyhow::Result<()> {
    let device = &DEVICES[number % DEVICES.len()];
    let inspector = if device.user_id == "ada" { demo.people.ada } else { demo.people.grace };
    let passed = rand::random_range(0..FAULTY) > 0;
    let volts = f64::from(rand::random_range(36_u8..42)) / 10.0;
    let mut report = json!({
        "device": device.id, "passed": passed, "battery_volts": volts,
    });
    if !passed {
        report["remark"] = json!("Seal is worn, replace it");
    }
    let api = demo.api(inspector)?;
    let record = api.post("/data?schema=inspection").json(&report).once();
    record.send::<Value>().await.context("cannot record a document")?;
    Ok(())
}
