//! The devices of the demo: what they measure, and the rules that raise alerts.
//!
//! Each value swings around its mean. Two fields of each device have an alarm: from time to time the
//! value leaves the usual range for a while, so that an alert is raised and cleared.

use std::f64::consts::{PI, TAU};

use chrono::{DateTime, Utc};
use domain::alerts::Config;
use serde_json::{Map, Value, json};

/// Time in which a value swings around its mean once, in milliseconds.
const SWING_MILLISECONDS: i64 = 20 * 60 * 1000;
/// Difference of phase between one device and the next, in radians.
const PHASE: f64 = 1.3;
/// Noise of a value, as a part of its swing.
const NOISE: f64 = 0.05;
/// Decimal places of a value, as a factor.
const ROUNDING: f64 = 10.0;

/// Number of fields of each device that have an alarm.
pub(super) const ALARMS: usize = 2;

/// A device.
pub(super) struct Device {
    /// User id of the device, as in its topics.
    pub(super) user_id: &'static str,
    /// Device id.
    pub(super) id: &'static str,
    fields: &'static [Field],
}

/// A value that a device measures.
struct Field {
    name: &'static str,
    mean: f64,
    /// How far the value moves from its mean.
    swing: f64,
    alarm: Option<Alarm>,
}

/// The rule on a field, and the value at the height of an alarm.
struct Alarm {
    peak: f64,
    operator: &'static str,
    threshold: f64,
    severity: &'static str,
    message: &'static str,
}

/// An alarm in progress.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Excursion {
    /// Which of the device's alarms, from 0.
    pub(super) alarm: usize,
    /// Progress, from 0 to 1.
    pub(super) progress: f64,
}

const fn field(name: &'static str, mean: f64, swing: f64) -> Field {
    Field { name, mean, swing, alarm: None }
}

const fn above(threshold: f64, peak: f64, severity: &'static str, message: &'static str) -> Alarm {
    Alarm { peak, operator: ">", threshold, severity, message }
}

const fn below(threshold: f64, peak: f64, severity: &'static str, message: &'static str) -> Alarm {
    Alarm { peak, operator: "<", threshold, severity, message }
}

impl Field {
    const fn alarm(self, alarm: Alarm) -> Self {
        Self { alarm: Some(alarm), ..self }
    }
}

/// The devices. °C, % of relative humidity and of battery charge, ppm of CO₂, W, lx, mm/s, dB, m/s, hPa.
pub(super) const DEVICES: [Device; 6] = [
    Device {
        user_id: "ada",
        id: "kitchen",
        fields: &[
            field("temperature", 21.0, 1.0),
            field("humidity", 48.0, 6.0).alarm(above(70.0, 85.0, "warning", "Damp air")),
            field("co2", 650.0, 120.0).alarm(above(1200.0, 1600.0, "minor", "Open a window")),
        ],
    },
    Device {
        user_id: "ada",
        id: "freezer",
        fields: &[
            field("temperature", -18.0, 0.8).alarm(above(
                -12.0,
                -6.0,
                "critical",
                "The freezer is too warm: close its door",
            )),
            field("power", 95.0, 20.0).alarm(above(300.0, 420.0, "minor", "High consumption")),
        ],
    },
    Device {
        user_id: "ada",
        id: "greenhouse",
        fields: &[
            field("temperature", 24.0, 3.0).alarm(above(35.0, 41.0, "major", "Open the roof")),
            field("humidity", 62.0, 6.0).alarm(below(40.0, 25.0, "warning", "Water the plants")),
            field("light", 420.0, 180.0),
        ],
    },
    Device {
        user_id: "grace",
        id: "server-room",
        fields: &[
            field("temperature", 24.0, 1.2).alarm(above(
                32.0,
                38.0,
                "critical",
                "Cooling has failed",
            )),
            field("humidity", 40.0, 3.0),
            field("power", 2400.0, 150.0).alarm(above(
                3500.0,
                4200.0,
                "major",
                "Close to the limit of the fuse",
            )),
        ],
    },
    Device {
        user_id: "grace",
        id: "workshop",
        fields: &[
            field("temperature", 19.0, 1.0),
            field("vibration", 1.5, 0.5).alarm(above(6.0, 9.0, "major", "High vibration")),
            field("noise", 58.0, 6.0).alarm(above(85.0, 102.0, "minor", "Wear ear protection")),
        ],
    },
    Device {
        user_id: "grace",
        id: "weather-station",
        fields: &[
            field("temperature", 11.0, 5.0),
            field("wind", 5.0, 3.0).alarm(above(17.0, 24.0, "major", "Gale: take in the awning")),
            field("pressure", 1013.0, 4.0).alarm(below(985.0, 968.0, "info", "A storm is near")),
            field("battery", 91.0, 2.0),
        ],
    },
];

/// Returns what the device at `index` of [`DEVICES`] measures at `at`.
pub(super) fn measured(
    index: usize,
    at: DateTime<Utc>,
    excursion: Option<Excursion>,
) -> Map<String, Value> {
    let mut alarms = 0;
    let values = DEVICES[index].fields.iter().map(|field| {
        let mut value = field.usual(index, at);
        if let Some(alarm) = &field.alarm {
            if let Some(Excursion { progress, .. }) = excursion.filter(|it| it.alarm == alarms) {
                value += (alarm.peak - value) * (PI * progress).sin();
            }
            alarms += 1;
        }
        (field.name.to_owned(), json!((value * ROUNDING).round() / ROUNDING))
    });
    values.collect()
}

impl Field {
    /// The value without an alarm, with some noise.
    fn usual(&self, device: usize, at: DateTime<Utc>) -> f64 {
        let part = at.timestamp_millis().rem_euclid(SWING_MILLISECONDS);
        let swings = f64::from(i32::try_from(part).unwrap_or_default())
            / f64::from(i32::try_from(SWING_MILLISECONDS).unwrap_or(i32::MAX));
        let phase = PHASE * f64::from(u32::try_from(device).unwrap_or_default());
        let noise = rand::random_range(-NOISE..NOISE);
        self.mean + self.swing * ((TAU * swings + phase).sin() + noise)
    }
}

/// Returns the rules on the devices of a user. Each needs two readings in a row.
pub(super) fn rules(user_id: &str) -> anyhow::Result<Config> {
    let devices = DEVICES.iter().filter(|device| device.user_id == user_id);
    let rules = devices.flat_map(|device| {
        device.fields.iter().filter_map(|field| {
            let Alarm { operator, threshold, severity, message, .. } = field.alarm.as_ref()?;
            Some(json!({
                "key": field.name, "operator": operator, "threshold": threshold, "times": 2,
                "severity": severity, "message": message, "device_id": device.id,
            }))
        })
    });
    let config = serde_json::to_vec(&json!({"rules": rules.collect::<Vec<_>>()}))?;
    let faults = |faults: Vec<domain::alerts::Fault>| anyhow::anyhow!("{faults:?}");
    Config::parse(&config).map_err(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cross_their_thresholds_in_an_excursion_only() {
        for (index, device) in DEVICES.iter().enumerate() {
            let alarms: Vec<_> =
                device.fields.iter().filter(|field| field.alarm.is_some()).collect();
            assert_eq!(alarms.len(), ALARMS, "{}", device.id);
            for minute in 0..40 {
                let at = DateTime::from_timestamp(minute * 60, 0).unwrap();
                for (alarm, field) in alarms.iter().enumerate() {
                    let Alarm { operator, threshold, .. } = field.alarm.as_ref().unwrap();
                    let breaches = |progress| {
                        let excursion = Some(Excursion { alarm, progress });
                        let value = measured(index, at, excursion)[field.name].as_f64().unwrap();
                        if *operator == ">" { value > *threshold } else { value < *threshold }
                    };
                    let name = (device.id, field.name);
                    assert!(!breaches(0.0) && !breaches(1.0), "{name:?} at rest");
                    for progress in [0.35, 0.5, 0.65] {
                        assert!(breaches(progress), "{name:?} at {progress}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_rules_are_valid() {
        assert_eq!(rules("ada").unwrap().rules.len(), 3 * ALARMS);
        assert_eq!(rules("grace").unwrap().rules.len(), 3 * ALARMS);
    }
}
