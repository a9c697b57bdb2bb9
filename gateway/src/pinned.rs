//! Literal values of what is stored or visible from outside and must survive every rename in the
//! code: words, names, claims. A value here never changes.

use clap::ValueEnum;
use domain::Role as UserRole;
use eventsourcing::{Position, Version};
use serde_json::json;
use uuid::Uuid;

use crate::bridge::{self, Accounting, FILTERS, State};
use crate::config::ProcessRole;
use crate::config::{Config, LogFormat, MqttVersion};
use crate::{consumer_names, lag_metrics, metrics, tokens};

#[test]
fn names_of_consumers() {
    assert_eq!([bridge::ALERTS_OUT, eventstore::Relay::NAME], ["alert_mqtt", "relay"]);
    for name in ["alert_mqtt", "alert_watch", "fulfilment", "relay", "telemetry", "works"] {
        assert!(consumer_names().contains(&name), "{name}");
    }
}

#[test]
fn words() {
    let roles = ["http", "mqtt", "relay", "projector", "worker"];
    assert_eq!(ProcessRole::ALL.map(|role| role.to_string()), roles);
    assert_eq!(json!(ProcessRole::ALL), json!(roles));
    assert_eq!(json!(LogFormat::value_variants()), json!(["text", "json"]));
    assert_eq!(json!(MqttVersion::value_variants()), json!(["auto", "5", "3.1.1"]));
    assert_eq!(
        mqtt::Refusal::ALL.map(mqtt::Refusal::as_str),
        ["credentials", "permission", "taken_over", "tls", "protocol", "other"]
    );
    use State::{Connected, Connecting, Refused, Starting, Stopped, Unreachable};
    assert_eq!(
        [Starting, Connecting, Connected, Unreachable, Refused, Stopped].map(|s| s.to_string()),
        ["starting", "connecting", "connected", "unreachable", "refused", "stopped"]
    );
    assert_eq!(
        FILTERS,
        [
            "users/+/devices/+/telemetry",
            "users/+/devices/+/status",
            "users/+/config",
            "hosts/+/metrics"
        ]
    );
}

#[test]
fn claims_of_tokens() {
    assert_eq!(
        [tokens::ISSUER, tokens::AUDIENCE, tokens::REFRESH_AUDIENCE],
        ["tributary", "tributary", "tributary-refresh"]
    );
    let claims = tokens::Claims {
        iss: "i".into(),
        aud: "a".into(),
        sub: "s".into(),
        role: UserRole::Admin,
        sid: Some(Uuid::from_u128(7)),
        iat: 1,
        nbf: 2,
        exp: 3,
    };
    let sid = "00000000-0000-0000-0000-000000000007";
    assert_eq!(
        json!(claims),
        json!({"iss": "i", "aud": "a", "sub": "s", "role": "admin", "sid": sid,
            "iat": 1, "nbf": 2, "exp": 3})
    );
    let claims = tokens::RefreshClaims {
        iss: "i".into(),
        aud: "a".into(),
        sub: Uuid::from_u128(7),
        sid: Uuid::from_u128(7),
        generation: 4,
        iat: 1,
        nbf: 2,
        exp: 3,
    };
    assert_eq!(
        json!(claims),
        json!({"iss": "i", "aud": "a", "sub": sid, "sid": sid, "generation": 4,
            "iat": 1, "nbf": 2, "exp": 3})
    );
}

/// `tributary config --json`.
#[test]
fn names_in_the_configuration() {
    let config =
        Config::private("postgres://u@h/d", "nats://h", "mqtt://h", "key".as_ref()).unwrap();
    let shown = json!(config);
    for (group, names) in [
        (
            "bus",
            "nats_ca_file nats_cert_file nats_creds_file nats_inbox_prefix nats_key_file \
             nats_password nats_require_tls nats_token nats_url nats_username",
        ),
        (
            "database",
            "clock_tolerance database_ca_file database_cert_file database_client_check_interval \
             database_connections database_key_file database_password \
             database_idle_in_transaction_timeout database_lock_timeout \
             database_statement_timeout database_tcp_timeout database_url",
        ),
        ("http", "http_body_limit http_timeout listen port"),
        ("orders", "order_ttl"),
        ("read_database", "database_read_url"),
        (
            "streams",
            "nats_commands_max_age nats_commands_max_bytes nats_max_age nats_max_bytes \
             nats_replicas nats_take_over",
        ),
        ("presence", "device_inactive_after presence_tick"),
        ("tokens", "accepted_key_file access_token_ttl signing_key_file"),
        (
            "readings",
            "reading_earliest_time reading_max_age reading_max_ahead reading_max_depth reading_max_fields reading_max_name reading_restart_silence",
        ),
        (
            "worker",
            "worker_backoff worker_concurrency worker_lease worker_max_attempts worker_name worker_time_limit",
        ),
        (
            "mqtt",
            "mqtt_allow_anonymous mqtt_ca_file mqtt_client_id mqtt_filter mqtt_password \
             mqtt_receive_maximum mqtt_session_expiry mqtt_share mqtt_url mqtt_username mqtt_version",
        ),
    ] {
        for name in names.split_whitespace() {
            assert!(shown[group].get(name).is_some(), "{group}.{name}: {shown}");
        }
    }
}

fn status() -> projections::Status {
    projections::Status {
        name: "works".into(),
        state: projections::State::CatchingUp,
        position: 42,
        events_behind: 1,
        seconds_behind: 2.5,
        events_per_second: 3.5,
        heartbeat_at: Some(chrono::DateTime::UNIX_EPOCH),
        heartbeat_age_seconds: Some(4.5),
        parked: 5,
        clock_ahead_seconds: 0.0,
        rebuild_position: Some(6),
        error: Some("full".into()),
        error_since: None,
        warning: None,
    }
}

#[test]
fn metrics_of_consumers() {
    let text = lag_metrics::render(&[status()]);
    let mut lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.retain(|line| !line.starts_with("# HELP"));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "# TYPE tributary_projection_error gauge",
            "# TYPE tributary_projection_events_behind gauge",
            "# TYPE tributary_projection_events_per_second gauge",
            "# TYPE tributary_projection_heartbeat_age_seconds gauge",
            "# TYPE tributary_projection_parked gauge",
            "# TYPE tributary_projection_position gauge",
            "# TYPE tributary_projection_seconds_behind gauge",
            "# TYPE tributary_projection_state gauge",
            r#"tributary_projection_error{projection="works"} 1"#,
            r#"tributary_projection_events_behind{projection="works"} 1"#,
            r#"tributary_projection_events_per_second{projection="works"} 3.5"#,
            r#"tributary_projection_heartbeat_age_seconds{projection="works"} 4.5"#,
            r#"tributary_projection_parked{projection="works"} 5"#,
            r#"tributary_projection_position{projection="works"} 42"#,
            r#"tributary_projection_seconds_behind{projection="works"} 2.5"#,
            r#"tributary_projection_state{projection="works",state="catching_up"} 1"#,
            r#"tributary_projection_state{projection="works",state="live"} 0"#,
            r#"tributary_projection_state{projection="works",state="never_run"} 0"#,
            r#"tributary_projection_state{projection="works",state="rebuilding"} 0"#,
            r#"tributary_projection_state{projection="works",state="stalled"} 0"#,
            r#"tributary_projection_state{projection="works",state="waiting"} 0"#,
        ]
    );
}

#[test]
fn metrics_of_the_bridge() {
    metrics::install();
    Accounting::new("pinned").export();
    let text = metrics::render();
    for name in [
        "received_total",
        "appended_total",
        "duplicate_total",
        "rejected_total",
        "qos0_total",
        "connects_total",
        "retries_total",
        "in_flight",
        "connected",
    ] {
        let line = format!(r#"tributary_bridge_{name}{{bridge="pinned"}} 0"#);
        assert!(text.contains(&line), "{line}");
    }
    for reason in ["credentials", "permission", "taken_over", "tls", "protocol", "other"] {
        let labels = format!(r#"{{bridge="pinned",reason="{reason}"}} 0"#);
        assert!(text.contains(&format!("tributary_bridge_refused_total{labels}")), "{labels}");
    }
}

/// What `tributary lag`, `rebuild` and `verify` print with `--json`.
#[test]
fn names_in_results() {
    assert_eq!(
        json!(status()),
        json!({"name": "works", "state": "catching_up", "position": 42, "events_behind": 1,
            "seconds_behind": 2.5, "events_per_second": 3.5,
            "heartbeat_at": "1970-01-01T00:00:00Z", "heartbeat_age_seconds": 4.5, "parked": 5,
            "clock_ahead_seconds": 0.0, "rebuild_position": 6, "error": "full", "error_since": null,
            "warning": null})
    );
    let difference = projections::Difference {
        table: "work".into(),
        only_live: 1,
        only_rebuilt: 2,
        live_examples: vec!["a".into()],
        rebuilt_examples: vec!["b".into()],
    };
    let rebuilt = projections::Rebuilt {
        name: "works",
        version: 1,
        resumed_at: 2,
        position: 3,
        events: 4,
        seconds: 0.5,
        events_per_second: 8.0,
        parked: 5,
        differences: vec![difference],
        replaced: false,
    };
    assert_eq!(
        json!(rebuilt),
        json!({"name": "works", "version": 1, "resumed_at": 2, "position": 3, "events": 4,
            "seconds": 0.5, "events_per_second": 8.0, "parked": 5, "replaced": false,
            "differences": [{"table": "work", "only_live": 1, "only_rebuilt": 2,
                "live_examples": ["a"], "rebuilt_examples": ["b"]}]})
    );
    let step = projections::Step {
        phase: projections::Phase::Filling,
        from: 1,
        position: 2,
        target: 3,
        events: 4,
    };
    assert_eq!(
        json!(step),
        json!({"phase": "filling", "from": 1, "position": 2, "target": 3, "events": 4})
    );
    let finding = eventstore::Finding { position: Some(1), what: "missing".into() };
    assert_eq!(json!(finding), json!({"position": 1, "what": "missing"}));
    assert_eq!((json!(Position(1)), json!(Version(1))), (json!(1), json!(1)));
}
