//! Specifications of works.

use super::*;
use eventsourcing::given::given;

const RETRY: RetryPolicy = RetryPolicy { max_attempts: 2, backoff: Duration::from_secs(1) };
const LEASE: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn demanded() -> Event {
    Event::WorkDemanded { work_code: "api-x".into(), add_up_to: 4 }
}

fn claimed(attempt: u32, lease_until: i64) -> Event {
    Event::WorkClaimed { worker: "w".into(), attempt, lease_until: at(lease_until) }
}

fn claim(now: i64) -> Command {
    Command::Claim { worker: "w".into(), now: at(now), lease: LEASE, retry: RETRY }
}

fn failed(attempt: u32, retry_at: i64) -> Event {
    Event::WorkFailed { attempt, reason: "slow".into(), retry_at: at(retry_at) }
}

#[test]
fn a_work_is_demanded_once() {
    let demand = || Command::Demand { work_code: "api-x".into(), add_up_to: 4 };
    given::<Work>([]).when(demand()).then([demanded()]);
    given::<Work>([demanded()]).when(demand()).then_nothing();
    given::<Work>([demanded(), claimed(1, 30)])
        .when(demand())
        .then_rejected(Rejection::AlreadyDemanded);
}

#[test]
fn a_lease_excludes_other_workers_until_it_ends() {
    given::<Work>([demanded()]).when(claim(0)).then([claimed(1, 30)]);
    given::<Work>([demanded(), claimed(1, 30)]).when(claim(29)).then_rejected(Rejection::Leased);
    given::<Work>([demanded(), claimed(1, 30)]).when(claim(30)).then([claimed(2, 60)]);
}

#[test]
fn a_late_result_of_a_superseded_attempt_is_refused() {
    given::<Work>([demanded(), claimed(1, 30), claimed(2, 60)])
        .when(Command::Complete { attempt: 1, result: 10 })
        .then_rejected(Rejection::Superseded);
}

#[test]
fn a_work_is_completed_once() {
    let done = Event::WorkCompleted { attempt: 1, result: 10 };
    let complete = || Command::Complete { attempt: 1, result: 10 };
    let started = Event::WorkStarted { attempt: 1 };
    given::<Work>([demanded(), claimed(1, 30)])
        .when(Command::Start { attempt: 1 })
        .then([started.clone()]);
    given::<Work>([demanded(), claimed(1, 30), started]).when(complete()).then([done.clone()]);
    given::<Work>([demanded(), claimed(1, 30), done.clone()]).when(complete()).then_nothing();
    given::<Work>([demanded(), claimed(1, 30), done])
        .when(claim(99))
        .then_rejected(Rejection::Finished);
}

#[test]
fn a_failure_is_retried_with_backoff_and_given_up_after_the_limit() {
    let fail =
        |attempt, now| Command::Fail { attempt, reason: "slow".into(), now: at(now), retry: RETRY };
    given::<Work>([demanded(), claimed(1, 30)]).when(fail(1, 5)).then([failed(1, 6)]);
    given::<Work>([demanded(), claimed(1, 30), failed(1, 6)])
        .when(claim(5))
        .then_rejected(Rejection::NotDue);
    given::<Work>([demanded(), claimed(1, 30), failed(1, 6), claimed(2, 60)])
        .when(fail(2, 50))
        .then([failed(2, 52), Event::WorkGivenUp { attempts: 2, reason: "slow".into() }]);
    given::<Work>([demanded(), claimed(1, 30), claimed(2, 60)]).when(claim(60)).then([
        Event::WorkGivenUp {
            attempts: 2,
            reason: "the lease of the last attempt ended without an answer".into(),
        },
    ]);
}

#[test]
fn the_sum_includes_the_bound() {
    assert_eq!(add_up_to(0, &mut || false), Some(0));
    assert_eq!(add_up_to(4, &mut || false), Some(10));
    assert_eq!(add_up_to(u32::MAX, &mut || false), Some(9_223_372_034_707_292_160));
    assert_eq!(add_up_to(4, &mut || true), None);
}
