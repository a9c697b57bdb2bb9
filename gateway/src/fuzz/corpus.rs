//! Valid inputs of every kind, and inputs that once broke this or another system.

/// Topics that the bridge may receive.
pub(crate) const TOPICS: &[&str] = &[
    "users/u/devices/d/telemetry",
    "users/u1/devices/d:2/status",
    "users/ada@example.org/config",
    "hosts/web-1.example.org/metrics",
    "users/u/devices/d/telemetry/",
    "/users/u/devices/d/telemetry",
    "$SYS/broker/uptime",
];

/// Topic filters.
pub(crate) const FILTERS: &[&str] =
    &["users/+/devices/+/telemetry", "users/ada/config", "hosts/+/metrics", "#", "$share/g/+/#"];

/// Readings.
pub(crate) const READINGS: &[&str] = &[
    r#"{"sequence_id": 42, "temperature": 21.5, "battery": 87, "gps": {"lat": 1, "lon": [2]}}"#,
    r#"{"sequence_id": 1, "time": "2023-11-14T22:13:20Z", "boot_id": "b7", "co2": 400}"#,
    r#"{"sequence_id": 1, "time": 1700000000000, "boot_id": 7, "user_id": "u", "device_id": "d"}"#,
    r#"{"sequence_id": -9223372036854775808, "a": 1e-10, "b": 3e38, "c": 5e-324, "d": 1.8e308}"#,
    r#"{"sequence_id": 1, "battery": 68.5}"#,
    r#"{"sequence_id": 42.0}"#,
    r#"{"sequence_id": 1, "position": 3, "extra_data": {"extra_data": {}}, "type": "x", "": 0}"#,
    r#"{"sequence_id": 1, "big": 18446744073709551616, "x": {"$serde_json::private::RawValue": 1}}"#,
    r#"{"sequence_id": 1, "time": "2000-01-01T00:00:00Z"}"#,
    r#"{"sequence_id": 1, "time": "2016-12-31T23:59:60.999999999Z", "time": null}"#,
    r#"[{"user_id": "u", "device_id": "d", "sequence_id": 1, "note": "a\\u0000b"}, {}, 7, null]"#,
];

/// Topics of the mappings in `tests/corpus/mappings.json`.
pub(crate) const FOREIGN_TOPICS: &[&str] = &[
    "zigbee2mqtt/hall",
    "tele/plug/SENSOR",
    "esphome/attic/sensor/co2/state",
    "v3/app@ttn/devices/dev-1/up",
    "spBv1.0/plant/DDATA/node/press",
];

/// Messages in the formats of others.
pub(crate) const FOREIGN: &[&str] = &[
    r#"{"temperature": 21.5, "battery": {"v": 3}, "time": 1700000000000, "device": {"a": [1]}}"#,
    r#"{"Time": "2023-11-14T22:13:20", "ENERGY": {"Power": 12, "Total": 0.5}, "user_id": 7}"#,
    r#"{"metrics": [{"name": "a/b", "value": 1e400}, {"name": "c"}], "seq": 255, "timestamp": 1}"#,
    r#"{"uplink_message": {"f_cnt": 4.2e1, "decoded_payload": {"\u0001time": 1, "time": "x"}}}"#,
    "21.5",
    "nan",
    "ON\u{0}",
];

/// Births and wills.
pub(crate) const STATUSES: &[&str] = &[
    r#"{"online": true, "session_seq": 7, "boot_id": "b7", "ip": "::1"}"#,
    r#"{"online": false, "session_seq": -1}"#,
    "offline",
];

/// Alert rules.
pub(crate) const RULES: &[&str] = &[
    r#"{"temperature_max": 80.5, "rules": []}"#,
    r#"{"rules": [{"key": "battery", "operator": "<", "threshold": 20, "message": "Low",
        "severity": "major", "for": "5m", "times": 2, "clear_threshold": 30, "clear_times": 3,
        "device_id": "kitchen-*", "enabled": false}]}"#,
    r#"{"rules": [{"key": "/gps/lat", "operator": "between", "threshold": [1, 2], "for": 60},
        {"key": "a.b.0", "operator": "!=", "threshold": "OFF"},
        {"key": "x", "operator": "is_missing"}]}"#,
    r#"{"rules": [{"key": "x", "operator": "==", "threshold": true, "unknown": 1}]}"#,
];

/// Host samples.
pub(crate) const SAMPLES: &[&str] =
    &[r#"{"time": "2023-11-14T22:13:20Z", "users": 1, "load": [0, 0, 1e308], "host": "web-1",
        "storage": {"total_bytes": 9223372036854775807, "used_bytes": 1, "free_bytes": 1},
        "memory": {"total_bytes": 3, "used_bytes": 1}}"#];

/// Demands over NATS.
pub(crate) const DEMANDS: &[&str] =
    &[r#"{"add_up_to": 2, "done": false}"#, r#"{"add_up_to": 4294967295}"#, r#"{"done": true}"#];

/// The JSON in cursors.
pub(crate) const CURSORS: &[&str] = &[
    r#"[1700000000123456,"a"]"#,
    r#"["2023-11-14T22:13:20Z","0198c0de-0000-7000-8000-000000000000"]"#,
    r#"["2023-11-14T22:13:20.123456Z",7]"#,
    r#"["sku","0198c0de-0000-7000-8000-000000000000"]"#,
    "7",
    "null",
];
