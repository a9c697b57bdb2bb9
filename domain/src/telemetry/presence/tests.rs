//! Presence in sentences, and against every order of events there is.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{DeviceId, DeviceRef, Event as DeviceEvent, UserId};
use super::*;
use eventsourcing::event::{decode, encode};
use eventsourcing::given::given;

/// What stands in the log of one device, in short.
#[derive(Debug, Clone, PartialEq)]
enum Says {
    Birth(&'static str, i64),
    Will(&'static str, i64),
    Reading,
    Decided(Decision),
}
use Says::{Birth, Decided, Reading, Will};

fn ids() -> (UserId, DeviceId) {
    (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap())
}

fn connection(boot_id: &str, session_seq: i64) -> Connection {
    let (user_id, device_id) = ids();
    let boot_id = boot_id.to_owned();
    Connection { user_id, device_id, session_seq, boot_id, reason: None, rests_on: None }
}

/// The first event of a log has position 1, and comes a second after none.
fn add(presence: &mut Presence, index: usize, says: &Says) {
    let position = Position(i64::try_from(index).unwrap() + 1);
    let at = DateTime::from_timestamp(position.0, 0).unwrap();
    match says {
        Birth(boot, seq) => presence.connected(&connection(boot, *seq), position, at),
        Will(boot, seq) => presence.disconnected(&connection(boot, *seq), position, at),
        Reading => presence.record_reading(position),
        Decided(Decision { event, .. }) => match event {
            DeviceEvent::DeviceConnected(connection) => {
                presence.connected(connection, position, at)
            }
            DeviceEvent::DeviceDisconnected(connection) => {
                presence.disconnected(connection, position, at)
            }
            DeviceEvent::ReadingRecorded(_) | DeviceEvent::MessageRejected(_) => {
                panic!("not a decision")
            }
        },
    }
}

fn fold(log: &[Says]) -> Presence {
    let mut presence = Presence::default();
    log.iter().enumerate().for_each(|(index, says)| add(&mut presence, index, says));
    presence
}

/// What one who has seen `log` would say.
fn decide(log: &[Says]) -> Option<Says> {
    let (user_id, device_id) = ids();
    let device = DeviceRef { user_id: &user_id, device_id: &device_id };
    Decision::on(device, &fold(log)).map(Decided)
}

fn reason(log: &[Says]) -> Option<StatusReason> {
    fold(log).status.map(|status| status.reason)
}

/// `ThingsBoard` #7909: the broker notices late that the old connection is gone.
#[test]
fn the_will_of_an_old_session_is_ignored_and_that_of_the_new_one_is_not() {
    let log = [Birth("", 1), Birth("", 2), Will("", 1)];
    assert_eq!(reason(&log), Some(StatusReason::Birth));
    assert!(fold(&log).is_online());
    assert_eq!(reason(&[&log[..], &[Will("", 2)]].concat()), Some(StatusReason::Will));
}

#[test]
fn a_will_ends_its_session_whichever_comes_first() {
    assert_eq!(reason(&[Birth("", 7), Will("", 7)]), Some(StatusReason::Will));
    assert_eq!(reason(&[Will("", 7), Birth("", 7)]), Some(StatusReason::Will));
    assert_eq!(reason(&[Will("", 7), Birth("", 6)]), Some(StatusReason::Will));
    assert_eq!(reason(&[Will("", 7), Birth("", 8)]), Some(StatusReason::Birth));
    // A session nobody announced.
    assert_eq!(reason(&[Birth("", 7), Will("", 8)]), Some(StatusReason::Will));
}

#[test]
fn a_boot_that_is_not_the_known_one_is_newer_with_a_birth_and_older_with_a_will() {
    assert_eq!(reason(&[Birth("a", 7), Will("a", 7), Birth("b", 1)]), Some(StatusReason::Birth));
    assert_eq!(reason(&[Birth("a", 7), Birth("b", 1), Will("a", 7)]), Some(StatusReason::Birth));
    assert_eq!(reason(&[Birth("a", 7), Birth("b", 1), Will("b", 1)]), Some(StatusReason::Will));
    assert_eq!(reason(&[Birth("", 7), Birth("b", 1)]), Some(StatusReason::Birth));
}

#[test]
fn a_counter_that_starts_again_unsaid_is_followed_by_readings() {
    let mut log = vec![Birth("", 7), Will("", 7), Birth("", 1)];
    assert_eq!(
        reason(&log),
        Some(StatusReason::Will),
        "an older session, as far as anybody can tell"
    );
    log.push(Reading);
    log.push(decide(&log).unwrap());
    assert_eq!(reason(&log), Some(StatusReason::Heard));
    log.push(Will("", 1));
    assert_eq!(reason(&log), Some(StatusReason::Heard));
    log.push(decide(&log).unwrap());
    assert_eq!(reason(&log), Some(StatusReason::Inactive));
}

#[test]
fn a_device_that_never_announced_itself_is_there_once_it_is_heard() {
    assert_eq!(decide(&[]), None);
    assert_eq!(reason(&[Reading]), None);
    let log = [Reading, decide(&[Reading]).unwrap()];
    assert_eq!(reason(&log), Some(StatusReason::Heard));
    assert_eq!(fold(&log).session, None);
}

#[test]
fn since_is_when_it_became_what_it_is() {
    let since = |log: &[Says]| fold(log).status.unwrap().since.timestamp();
    assert_eq!(since(&[Birth("", 1), Birth("", 2)]), 1);
    assert_eq!(since(&[Birth("", 1), Will("", 1), Will("", 2), Birth("", 1)]), 2);
}

#[test]
fn a_decision_is_overtaken_by_what_came_before_it() {
    let online = [Birth("", 1)];
    let inactive = decide(&online).unwrap();
    for between in [Reading, Birth("", 2)] {
        let log = [&online[..], &[between, inactive.clone()]].concat();
        assert!(fold(&log).is_online(), "{log:?}");
    }
    // What says nothing overtakes nothing.
    let log = [&online[..], &[Will("", 0), inactive.clone()]].concat();
    assert_eq!(reason(&log), Some(StatusReason::Inactive));
    let heard = decide(&[&log[..], &[Reading]].concat()).unwrap();
    let confirmed = [&log[..], &[Reading, Reading, Reading, heard.clone()]].concat();
    assert_eq!(reason(&confirmed), Some(StatusReason::Heard));
    let gone = [&log[..], &[Reading, Will("", 1), heard]].concat();
    assert_eq!(reason(&gone), Some(StatusReason::Will));
}

#[test]
fn two_who_watch_say_the_same_once() {
    let id = |log: &[Says]| match decide(log) {
        Some(Decided(decision)) => decision.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(id(&[Birth("", 1)]), id(&[Birth("", 1), Will("", 0)]));
    assert_ne!(id(&[Birth("", 1)]), id(&[Birth("", 1), Reading]));
    assert_eq!(id(&[Will("", 1), Reading]), id(&[Will("", 1), Reading, Reading]));
    assert_eq!(id(&[Reading]), id(&[Reading, Reading]));
    assert_ne!(id(&[Will("", 1), Reading]), id(&[Will("", 1), Will("", 2), Reading]));
    // Ids stand in logs: this one never changes.
    assert_eq!(id(&[Birth("", 1)]).to_string(), "00000000-0001-84f7-a4ef-47af6007272f");
}

/// What stood in logs before there were decisions, and what stands in them now.
#[test]
fn decisions_are_the_events_they_were_with_more_to_say() {
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
fn a_setting_is_an_event_when_it_changes() {
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

/// One step of a log that is to be: what devices and brokers say, or a decision of somebody who has
/// seen only the part of the log that is given, in per cent.
#[derive(Debug, Clone)]
enum Step {
    Says(Says),
    Decides { seen: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let boot = || prop_oneof![Just(""), Just("a"), Just("b")];
    let step = prop_oneof![
        2 => (boot(), 0..5_i64).prop_map(|(boot, seq)| Step::Says(Birth(boot, seq))),
        2 => (boot(), 0..5_i64).prop_map(|(boot, seq)| Step::Says(Will(boot, seq))),
        3 => Just(Step::Says(Reading)),
        3 => (0..=100_usize).prop_map(|seen| Step::Decides { seen }),
        2 => Just(Step::Decides { seen: 100 }),
    ];
    prop::collection::vec(step, 0..40)
}

/// Adds a decision as the log does: the same id is the same event.
fn append(log: &mut Vec<Says>, known: &mut HashSet<uuid::Uuid>, decided: Option<Says>) {
    if let Some(Decided(decision)) = decided
        && known.insert(decision.id)
    {
        log.push(Decided(decision));
    }
}

fn written(steps: &[Step]) -> (Vec<Says>, HashSet<uuid::Uuid>) {
    let (mut log, mut known) = (Vec::new(), HashSet::new());
    for step in steps {
        match step {
            Step::Says(says) => log.push(says.clone()),
            Step::Decides { seen } => {
                let decided = decide(&log[..log.len() * seen / 100]);
                append(&mut log, &mut known, decided);
            }
        }
    }
    (log, known)
}

proptest! {
    /// Births and wills of one counter, in any order and any number of times.
    #[test]
    fn the_highest_session_speaks_for_the_device(
        messages in prop::collection::vec((any::<bool>(), 0..6_i64), 1..30)
    ) {
        let log: Vec<_> = messages
            .iter()
            .map(|(online, seq)| if *online { Birth("", *seq) } else { Will("", *seq) })
            .collect();
        let highest = messages.iter().map(|(_, seq)| *seq).max().unwrap();
        let ended = messages.contains(&(false, highest));
        prop_assert_eq!(fold(&log).is_online(), !ended);
    }

    /// Whatever happened, and whoever decided what on however old a view: a device that spoke is
    /// online once somebody looks, and offline once it was silent and somebody looks again.
    #[test]
    fn nobody_stays_gone_who_speaks_nor_there_who_is_silent(steps in steps()) {
        let (mut log, mut known) = written(&steps);
        log.push(Reading);
        let decided = decide(&log).filter(|_| !fold(&log).is_online());
        append(&mut log, &mut known, decided);
        prop_assert!(fold(&log).is_online(), "{:?}", log);
        let decided = decide(&log);
        append(&mut log, &mut known, decided);
        prop_assert!(!fold(&log).is_online(), "{:?}", log);
    }

    /// No decision says a device offline that has spoken since what the decision rests on.
    #[test]
    fn a_late_decision_takes_nobody_offline_who_has_spoken(steps in steps()) {
        let (log, _) = written(&steps);
        for (index, says) in log.iter().enumerate() {
            let Decided(Decision { event: DeviceEvent::DeviceDisconnected(connection), .. }) = says else {
                continue;
            };
            let (before, after) = (fold(&log[..index]), fold(&log[..=index]));
            let rests_on = usize::try_from(connection.rests_on.unwrap().0).unwrap();
            if log[rests_on..index].contains(&Reading) {
                prop_assert_eq!(before, after);
            }
        }
    }

    /// A transition is said once: a decision that has effect changes what is shown.
    #[test]
    fn decisions_alternate(steps in steps()) {
        let (log, _) = written(&steps);
        for (index, says) in log.iter().enumerate() {
            let (before, after) = (fold(&log[..index]), fold(&log[..=index]));
            if matches!(says, Decided(_)) && before != after {
                prop_assert_ne!(before.is_online(), after.is_online());
            }
        }
    }
}
