//! Specifications of presence, and property tests over random orders of events.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{DeviceId, DeviceRef, Event as DeviceEvent, UserId};
use super::*;
use eventsourcing::event::{decode, encode};
use eventsourcing::given::given;

/// An event of one device, abbreviated.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Birth(&'static str, i64),
    Will(&'static str, i64),
    Reading,
    Decided(Decision),
}
use Entry::{Birth, Decided, Reading, Will};

fn ids() -> (UserId, DeviceId) {
    (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap())
}

fn connection(boot_id: &str, session_seq: i64) -> Connection {
    let (user_id, device_id) = ids();
    let boot_id = boot_id.to_owned();
    Connection { user_id, device_id, session_seq, boot_id, reason: None, rests_on: None }
}

/// Applies entry `index` of a log: its position is `index + 1`, its time that many seconds.
fn add(presence: &mut Presence, index: usize, entry: &Entry) {
    let position = Position(i64::try_from(index).unwrap() + 1);
    let at = DateTime::from_timestamp(position.0, 0).unwrap();
    match entry {
        Birth(boot, seq) => presence.connected(&connection(boot, *seq), position, at),
        Will(boot, seq) => presence.disconnected(&connection(boot, *seq), position, at),
        Reading => presence.record_reading(position),
        Decided(Decision { event, .. }) => match event {
            DeviceEvent::DeviceConnected(connection) => {
                presence.connected(connection, position, at);
            }
            DeviceEvent::DeviceDisconnected(connection) => {
                presence.disconnected(connection, position, at);
            }
            DeviceEvent::ReadingRecorded(_) | DeviceEvent::MessageRejected(_) => {
                panic!("not a decision")
            }
        },
    }
}

fn fold(log: &[Entry]) -> Presence {
    let mut presence = Presence::default();
    log.iter().enumerate().for_each(|(index, entry)| add(&mut presence, index, entry));
    presence
}

/// Returns the decision of a watcher that has read `log`.
fn decide(log: &[Entry]) -> Option<Entry> {
    let (user_id, device_id) = ids();
    let device = DeviceRef { user_id: &user_id, device_id: &device_id };
    Decision::on(device, &fold(log)).map(Decided)
}

fn reason(log: &[Entry]) -> Option<StatusReason> {
    fold(log).status.map(|status| status.reason)
}

/// `ThingsBoard` #7909: the broker detects late that the old connection is closed.
#[test]
fn the_will_of_an_old_session_is_ignored_and_that_of_the_new_one_is_not() {
    let log = [Birth("", 1), Birth("", 2), Will("", 1)];
    assert_eq!(reason(&log), Some(StatusReason::Birth));
    assert!(fold(&log).is_online());
    assert_eq!(reason(&[&log[..], &[Will("", 2)]].concat()), Some(StatusReason::Will));
}

#[test]
fn a_birth_is_always_accepted_and_a_will_unless_it_precedes_the_last_birth() {
    let expected = |log: &[Entry], reason_| assert_eq!(reason(log), Some(reason_), "{log:?}");
    expected(&[Birth("", 7), Will("", 7)], StatusReason::Will);
    expected(&[Birth("", 7), Will("", 6)], StatusReason::Birth);
    // A session without a birth.
    expected(&[Birth("", 7), Will("", 8)], StatusReason::Will);
    for seq in [6, 7, 8] {
        expected(&[Will("", 7), Birth("", seq)], StatusReason::Birth);
    }
    // A counter that wraps, as Sparkplug's bdSeq, and one that restarts without a boot id.
    for (last, first) in [(255, 0), (7, 1)] {
        let log = [Birth("", last), Will("", last), Birth("", first)];
        expected(&log, StatusReason::Birth);
        expected(&[&log[..], &[Will("", last)]].concat(), StatusReason::Birth);
        expected(&[&log[..], &[Will("", first)]].concat(), StatusReason::Will);
        let again = [&log[..], &[Birth("", first), Will("", last)]].concat();
        expected(&again, StatusReason::Birth);
    }
}

#[test]
fn a_session_of_another_boot_is_newer_with_a_birth_and_older_with_a_will() {
    assert_eq!(reason(&[Birth("a", 7), Will("a", 7), Birth("b", 1)]), Some(StatusReason::Birth));
    assert_eq!(reason(&[Birth("a", 7), Birth("b", 1), Will("a", 7)]), Some(StatusReason::Birth));
    assert_eq!(reason(&[Birth("a", 7), Birth("b", 1), Will("b", 1)]), Some(StatusReason::Will));
    assert_eq!(reason(&[Birth("", 7), Birth("b", 1)]), Some(StatusReason::Birth));
}

#[test]
fn a_reading_corrects_the_will_of_a_session_before_the_counter_wrapped() {
    let mut log = vec![Birth("", 254), Birth("", 255), Birth("", 0), Will("", 254)];
    assert_eq!(reason(&log), Some(StatusReason::Will), "254 may be a later session than 0");
    log.push(Reading);
    log.push(decide(&log).unwrap());
    assert_eq!(reason(&log), Some(StatusReason::Heard));
}

#[test]
fn a_device_without_a_birth_is_online_after_a_reading() {
    assert_eq!(decide(&[]), None);
    assert_eq!(reason(&[Reading]), None);
    let log = [Reading, decide(&[Reading]).unwrap()];
    assert_eq!(reason(&log), Some(StatusReason::Heard));
    assert_eq!(fold(&log).session, None);
}

#[test]
fn since_is_the_time_of_the_last_change() {
    let since = |log: &[Entry]| fold(log).status.unwrap().since.timestamp();
    assert_eq!(since(&[Birth("", 1), Birth("", 2)]), 1);
    assert_eq!(since(&[Birth("", 1), Will("", 1), Will("", 2), Will("", 1)]), 2);
    assert_eq!(since(&[Birth("", 1), Will("", 1), Will("", 2), Birth("", 1)]), 4);
}

#[test]
fn a_decision_is_invalidated_by_events_it_does_not_know() {
    let online = [Birth("", 1)];
    let inactive = decide(&online).unwrap();
    for between in [Reading, Birth("", 2)] {
        let log = [&online[..], &[between, inactive.clone()]].concat();
        assert!(fold(&log).is_online(), "{log:?}");
    }
    // An ignored will does not invalidate the decision.
    let log = [&online[..], &[Will("", 0), inactive.clone()]].concat();
    assert_eq!(reason(&log), Some(StatusReason::Inactive));
    let heard = decide(&[&log[..], &[Reading]].concat()).unwrap();
    let confirmed = [&log[..], &[Reading, Reading, Reading, heard.clone()]].concat();
    assert_eq!(reason(&confirmed), Some(StatusReason::Heard));
    let gone = [&log[..], &[Reading, Will("", 1), heard]].concat();
    assert_eq!(reason(&gone), Some(StatusReason::Will));
}

#[test]
fn two_watchers_derive_the_same_id() {
    let id = |log: &[Entry]| match decide(log) {
        Some(Decided(decision)) => decision.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(id(&[Birth("", 1)]), id(&[Birth("", 1), Will("", 0)]));
    assert_ne!(id(&[Birth("", 1)]), id(&[Birth("", 1), Reading]));
    assert_eq!(id(&[Will("", 1), Reading]), id(&[Will("", 1), Reading, Reading]));
    assert_eq!(id(&[Reading]), id(&[Reading, Reading]));
    assert_ne!(id(&[Will("", 1), Reading]), id(&[Will("", 1), Will("", 2), Reading]));
    // Ids are stored: this one must never change.
    assert_eq!(id(&[Birth("", 1)]).to_string(), "00000000-0001-84f7-a4ef-47af6007272f");
}

/// Events recorded before decisions existed, and events of decisions.
#[test]
fn births_wills_and_decisions_keep_their_stored_form() {
    for (event_type, text) in [
        ("device_connected", include_str!("../../../golden/telemetry/device_connected.v1.json")),
        ("device_connected", r#"{"user_id":"u","device_id":"d","session_seq":1,"boot_id":"b7"}"#),
        (
            "device_connected",
            r#"{"user_id":"u","device_id":"d","session_seq":0,"reason":"heard","rests_on":41}"#,
        ),
        (
            "device_disconnected",
            r#"{"user_id":"u","device_id":"d","session_seq":7,"boot_id":"b7","reason":"inactive","rests_on":41}"#,
        ),
    ] {
        let event: DeviceEvent = decode(event_type, 1, text.trim()).unwrap();
        assert_eq!(&*encode(&event).unwrap().data, text.trim());
    }
}

#[test]
fn a_setting_is_recorded_only_when_it_changes() {
    let (user_id, _) = ids();
    let minute = InactiveAfter::try_from(Duration::from_mins(1)).unwrap();
    let configure =
        |inactive_after| Command::Configure { user_id: user_id.clone(), inactive_after };
    let configured = |inactive_after_ms| Event::PresenceConfigured {
        user_id: user_id.clone(),
        inactive_after_ms,
    };
    given::<Setting>([]).when(configure(None)).then_nothing();
    given::<Setting>([]).when(configure(Some(minute))).then([configured(Some(60_000))]);
    given::<Setting>([configured(Some(60_000))]).when(configure(Some(minute))).then_nothing();
    given::<Setting>([configured(Some(60_000))]).when(configure(None)).then([configured(None)]);
    for (span, fits) in [(999, false), (1_000, true), (604_800_000, true), (604_800_001, false)] {
        let read = InactiveAfter::try_from(Duration::from_millis(span));
        assert_eq!(read.is_ok(), fits, "{span} ms");
    }
}

/// A step that extends a log: a birth, will or reading, or the decision of a watcher that has read
/// the given percentage of the log.
#[derive(Debug, Clone)]
enum Step {
    Received(Entry),
    Decides { seen: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let boot = || prop_oneof![Just(""), Just("a"), Just("b")];
    let step = prop_oneof![
        2 => (boot(), 0..5_i64).prop_map(|(boot, seq)| Step::Received(Birth(boot, seq))),
        2 => (boot(), 0..5_i64).prop_map(|(boot, seq)| Step::Received(Will(boot, seq))),
        3 => Just(Step::Received(Reading)),
        3 => (0..=100_usize).prop_map(|seen| Step::Decides { seen }),
        2 => Just(Step::Decides { seen: 100 }),
    ];
    prop::collection::vec(step, 0..40)
}

/// Appends a decision as the event store does: a known id is a duplicate.
fn append(log: &mut Vec<Entry>, known: &mut HashSet<uuid::Uuid>, decided: Option<Entry>) {
    if let Some(Decided(decision)) = decided
        && known.insert(decision.id)
    {
        log.push(Decided(decision));
    }
}

fn written(steps: &[Step]) -> (Vec<Entry>, HashSet<uuid::Uuid>) {
    let (mut log, mut known) = (Vec::new(), HashSet::new());
    for step in steps {
        match step {
            Step::Received(entry) => log.push(entry.clone()),
            Step::Decides { seen } => {
                let decided = decide(&log[..log.len() * seen / 100]);
                append(&mut log, &mut known, decided);
            }
        }
    }
    (log, known)
}

proptest! {
    /// Births and wills in any order and with duplicates: a device is online after each of its births,
    /// and a will takes it offline unless it precedes the last birth.
    #[test]
    fn the_last_birth_and_later_wills_decide(
        messages in prop::collection::vec((any::<bool>(), 0..6_i64), 1..30)
    ) {
        let (mut log, mut last_birth) = (Vec::new(), None);
        for (online, seq) in messages {
            let before = fold(&log);
            log.push(if online { Birth("", seq) } else { Will("", seq) });
            let after = fold(&log);
            match last_birth {
                _ if online => prop_assert!(after.is_online()),
                Some(birth) if seq < birth => prop_assert_eq!(before, after),
                Some(birth) if seq == birth => prop_assert!(!after.is_online()),
                Some(_) => {}
                None => prop_assert!(!after.is_online()),
            }
            last_birth = if online { Some(seq) } else { last_birth };
        }
    }

    /// After any log, with decisions on stale views: a device that sends a reading is online after the
    /// next decision, and offline after the decision that follows its silence.
    #[test]
    fn presence_follows_readings_and_silence(steps in steps()) {
        let (mut log, mut known) = written(&steps);
        log.push(Reading);
        let decided = decide(&log).filter(|_| !fold(&log).is_online());
        append(&mut log, &mut known, decided);
        prop_assert!(fold(&log).is_online(), "{:?}", log);
        let decided = decide(&log);
        append(&mut log, &mut known, decided);
        prop_assert!(!fold(&log).is_online(), "{:?}", log);
    }

    /// A decision does not take a device offline that sent a reading the decision does not know.
    #[test]
    fn a_stale_decision_does_not_take_a_sending_device_offline(steps in steps()) {
        let (log, _) = written(&steps);
        for (index, entry) in log.iter().enumerate() {
            let Decided(Decision { event: DeviceEvent::DeviceDisconnected(connection), .. }) = entry else {
                continue;
            };
            let (before, after) = (fold(&log[..index]), fold(&log[..=index]));
            let rests_on = usize::try_from(connection.rests_on.unwrap().0).unwrap();
            if log[rests_on..index].contains(&Reading) {
                prop_assert_eq!(before, after);
            }
        }
    }

    /// Every decision that takes effect changes whether the device is online.
    #[test]
    fn decisions_alternate(steps in steps()) {
        let (log, _) = written(&steps);
        for (index, entry) in log.iter().enumerate() {
            let (before, after) = (fold(&log[..index]), fold(&log[..=index]));
            if matches!(entry, Decided(_)) && before != after {
                prop_assert_ne!(before.is_online(), after.is_online());
            }
        }
    }
}
