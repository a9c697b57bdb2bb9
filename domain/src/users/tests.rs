//! Specifications of users, e-mail addresses and sessions.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::session::{self, Reason};
use super::*;
use crate::actor::{Actor, Role};
use eventsourcing::given::given;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

mod users {
    use super::super::user::{Command, Event, Rejection};
    use super::*;

    fn personal() -> Personal {
        Personal {
            email: "ada@example.org".parse().unwrap(),
            full_name: "Ada Lovelace".parse().unwrap(),
        }
    }

    fn hash(text: &str) -> PasswordHash {
        PasswordHash::new(text.into())
    }

    fn registered(role: Role) -> Event {
        Event::Registered {
            personal: personal(),
            password_hash: hash("one"),
            role,
            registered_at: at(0),
        }
    }

    fn change_role(role: Role, by: u128, as_role: Role) -> Command {
        let by = Authority { actor: Actor { id: id(by), role: as_role }, registered: true };
        Command::ChangeRole { id: id(1), role, by }
    }

    #[test]
    fn a_user_registers_once() {
        let register = || Command::Register {
            personal: personal(),
            password_hash: hash("one"),
            role: Role::User,
            now: at(0),
        };
        given::<User>([]).when(register()).then([registered(Role::User)]);
        given::<User>([registered(Role::User)])
            .when(register())
            .then_rejected(Rejection::AlreadyRegistered);
    }

    #[test]
    fn an_administrator_changes_the_role_of_others() {
        let promoted = || Event::RoleChanged { role: Role::Operator };
        let promote = || change_role(Role::Operator, 2, Role::Admin);
        given::<User>([registered(Role::User)]).when(promote()).then([promoted()]);
        given::<User>([registered(Role::User), promoted()]).when(promote()).then_nothing();
        given::<User>([]).when(promote()).then_rejected(Rejection::NotRegistered);
    }

    #[test]
    fn only_administrators_change_roles_and_never_their_own() {
        for role in [Role::User, Role::Operator] {
            given::<User>([registered(Role::User)])
                .when(change_role(Role::Admin, 2, role))
                .then_rejected(Rejection::NotAdministrator);
            given::<User>([])
                .when(change_role(Role::Admin, 2, role))
                .then_rejected(Rejection::NotAdministrator);
        }
        given::<User>([registered(Role::Admin)])
            .when(change_role(Role::User, 1, Role::Admin))
            .then_rejected(Rejection::OwnRole);
    }

    #[test]
    fn a_token_gives_no_more_than_the_log() {
        let token = Actor { id: id(2), role: Role::Admin };
        let demoted =
            User::fold(&[registered(Role::Admin), Event::RoleChanged { role: Role::User }]);
        let actor = Actor { role: Role::User, ..token };
        assert_eq!(Authority::of(token, &demoted), Authority { actor, registered: true });
        let promoted = User::fold(&[registered(Role::Admin)]);
        assert_eq!(Authority::of(actor, &promoted), Authority { actor, registered: true });
        assert_eq!(
            Authority::of(token, &User::Nobody),
            Authority { actor: token, registered: false }
        );
    }

    #[test]
    fn only_an_administrator_gives_a_namespace() {
        let ada = || Some(Namespace::try_from(Box::from("ada")).unwrap());
        let change = |namespace, role| {
            let by = Authority { actor: Actor { id: id(2), role }, registered: false };
            Command::ChangeNamespace { namespace, by }
        };
        let changed = |namespace| Event::NamespaceChanged { namespace };
        let user = || registered(Role::User);
        given::<User>([user()]).when(change(ada(), Role::Admin)).then([changed(ada())]);
        for role in [Role::User, Role::Operator] {
            given::<User>([user()])
                .when(change(ada(), role))
                .then_rejected(Rejection::NotAdministrator);
        }
        given::<User>([user(), changed(ada())]).when(change(ada(), Role::Admin)).then_nothing();
        given::<User>([user(), changed(ada())])
            .when(change(None, Role::Admin))
            .then([changed(None)]);
        given::<User>([]).when(change(ada(), Role::Admin)).then_rejected(Rejection::NotRegistered);
    }

    #[test]
    fn only_a_registered_administrator_demotes_an_administrator() {
        let change = |role| {
            let by = Authority { actor: Actor { id: id(2), role: Role::Admin }, registered: false };
            Command::ChangeRole { id: id(1), role, by }
        };
        given::<User>([registered(Role::Admin)])
            .when(change(Role::User))
            .then_rejected(Rejection::NotRegisteredAdministrator);
        given::<User>([registered(Role::Admin)]).when(change(Role::Admin)).then_nothing();
        given::<User>([registered(Role::User)])
            .when(change(Role::Admin))
            .then([Event::RoleChanged { role: Role::Admin }]);
    }

    #[test]
    fn the_second_of_two_concurrent_password_changes_is_refused() {
        let change = |number| Command::ChangePassword { number, password_hash: hash("two") };
        let changed = || Event::PasswordChanged { password_hash: hash("two") };
        given::<User>([registered(Role::User)]).when(change(1)).then([changed()]);
        given::<User>([registered(Role::User), changed()])
            .when(change(1))
            .then_rejected(Rejection::PasswordChanged);
        given::<User>([registered(Role::User), changed()]).when(change(2)).then([changed()]);
        given::<User>([]).when(change(1)).then_rejected(Rejection::NotRegistered);
    }

    #[test]
    fn a_user_signs_out_everywhere_any_number_of_times() {
        let signed_out = || Event::SignedOutEverywhere {};
        let user = || registered(Role::User);
        given::<User>([user()]).when(Command::SignOutEverywhere).then([signed_out()]);
        given::<User>([user(), signed_out()]).when(Command::SignOutEverywhere).then([signed_out()]);
        given::<User>([]).when(Command::SignOutEverywhere).then_rejected(Rejection::NotRegistered);
        let account = User::fold(&[user(), signed_out(), signed_out()]).account().unwrap();
        assert_eq!((account.sign_outs, account.password_number), (2, 1));
    }

    #[test]
    fn debug_hides_the_person_and_the_password() {
        let state = User::default().evolve(&registered(Role::User));
        let shown = format!("{state:?} {:?}", registered(Role::User));
        let shown = shown.replace("None", "");
        for secret in ["ada", "Lovelace", "one"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn an_address_belongs_to_one_user() {
    use email_claim::{Command, Event, Rejection};
    let claimed = || Event::EmailClaimed { user_id: id(1) };
    given::<EmailClaim>([]).when(Command::Claim { user_id: id(1) }).then([claimed()]);
    given::<EmailClaim>([claimed()]).when(Command::Claim { user_id: id(1) }).then_nothing();
    given::<EmailClaim>([claimed()])
        .when(Command::Claim { user_id: id(2) })
        .then_rejected(Rejection::Taken);
}

#[test]
fn a_namespace_belongs_to_one_user_until_it_is_released() {
    use namespace::{Command, Event, Rejection};
    let claimed = || Event::NamespaceClaimed { user_id: id(1) };
    let released = || Event::NamespaceReleased { user_id: id(1) };
    let claim = |user| Command::Claim { user_id: id(user) };
    let release = |user| Command::Release { user_id: id(user) };
    given::<NamespaceClaim>([]).when(claim(1)).then([claimed()]);
    given::<NamespaceClaim>([claimed()]).when(claim(1)).then_nothing();
    given::<NamespaceClaim>([claimed()]).when(claim(2)).then_rejected(Rejection::Taken);
    given::<NamespaceClaim>([claimed()]).when(release(2)).then_nothing();
    given::<NamespaceClaim>([claimed()]).when(release(1)).then([released()]);
    let again = Event::NamespaceClaimed { user_id: id(2) };
    given::<NamespaceClaim>([claimed(), released()]).when(claim(2)).then([again]);
}

#[test]
fn a_namespace_is_a_user_id_of_devices_and_not_of_another_user() {
    let named = |text: &str| Namespace::try_from(Box::<str>::from(text));
    for text in ["ada", "ada@example.org", "home-1_x:y.z"] {
        assert_eq!(named(text).unwrap().as_str(), text);
    }
    let uuid = "0190f3f0-7f4e-7cc0-a9d5-4ba4d7a1c001";
    for text in [uuid, &uuid.to_uppercase(), &uuid.replace('-', "")] {
        assert_eq!(named(text), Err(InvalidNamespace::Uuid), "{text}");
    }
    for text in ["", "a/b", "a~b", "a b", "+", &"x".repeat(65)] {
        assert!(named(text).is_err(), "{text}");
    }
}

mod sessions {
    use std::time::Duration;

    use super::session::{Command, Event, LIFETIME, Rejection};
    use super::*;

    fn logged_in() -> Event {
        logged_in_after(0)
    }

    fn logged_in_after(sign_outs: u32) -> Event {
        let expires_at = at(0) + LIFETIME;
        Event::LoggedIn { user_id: id(1), password_number: 1, sign_outs, expires_at }
    }

    fn refreshed(generation: u32) -> Event {
        Event::SessionRefreshed { generation, at: Some(at(60)) }
    }

    fn revoked(reason: Reason) -> Event {
        Event::SessionRevoked { reason }
    }

    fn refresh(generation: u32) -> Command {
        refresh_at(60, generation)
    }

    fn refresh_at(seconds: i64, generation: u32) -> Command {
        let grace = Duration::from_secs(10);
        Command::Refresh { generation, password_number: 1, sign_outs: 0, now: at(seconds), grace }
    }

    #[test]
    fn a_session_begins_with_a_password() {
        let begin = Command::Begin { user_id: id(1), password_number: 1, sign_outs: 0, now: at(0) };
        given::<Session>([]).when(begin).then([logged_in()]);
        given::<Session>([logged_in()]).when(begin).then_rejected(Rejection::AlreadyBegun);
    }

    #[test]
    fn each_refresh_starts_a_new_generation() {
        given::<Session>([logged_in()]).when(refresh(0)).then([refreshed(1)]);
        given::<Session>([logged_in(), refreshed(1)]).when(refresh(1)).then([refreshed(2)]);
        given::<Session>([logged_in()]).when(refresh(1)).then_rejected(Rejection::Unknown);
        given::<Session>([]).when(refresh(0)).then_rejected(Rejection::Unknown);
    }

    #[test]
    fn a_token_that_was_just_replaced_gets_the_current_generation_again() {
        for seconds in [60, 69] {
            given::<Session>([logged_in(), refreshed(1)])
                .when(refresh_at(seconds, 0))
                .then_nothing();
        }
    }

    #[test]
    fn a_refresh_token_used_after_its_grace_ends_the_session() {
        let reused = || revoked(Reason::Reuse);
        let once = || [logged_in(), refreshed(1)];
        given::<Session>(once()).when(refresh_at(70, 0)).then([reused()]);
        given::<Session>([logged_in(), refreshed(1), refreshed(2)])
            .when(refresh(0))
            .then([reused()]);
        let before_grace = Event::SessionRefreshed { generation: 1, at: None };
        given::<Session>([logged_in(), before_grace]).when(refresh(0)).then([reused()]);
        given::<Session>([logged_in(), refreshed(1), reused()])
            .when(refresh(1))
            .then_rejected(Rejection::Ended);
    }

    #[test]
    fn without_a_grace_period_a_token_is_good_once_also_for_a_request_that_came_first() {
        let Command::Refresh { password_number, sign_outs, .. } = refresh(0) else { panic!() };
        for seconds in [59, 60, 61] {
            let (now, grace) = (at(seconds), Duration::ZERO);
            let late = Command::Refresh { generation: 0, password_number, sign_outs, now, grace };
            given::<Session>([logged_in(), refreshed(1)]).when(late).then([revoked(Reason::Reuse)]);
        }
    }

    #[test]
    fn a_password_change_ends_earlier_sessions() {
        given::<Session>([logged_in()])
            .when(Command::Refresh {
                generation: 0,
                password_number: 2,
                sign_outs: 0,
                now: at(60),
                grace: Duration::ZERO,
            })
            .then([revoked(Reason::PasswordChanged)]);
    }

    #[test]
    fn signing_out_everywhere_ends_earlier_sessions() {
        let refresh = Command::Refresh {
            generation: 0,
            password_number: 1,
            sign_outs: 1,
            now: at(60),
            grace: Duration::ZERO,
        };
        given::<Session>([logged_in()]).when(refresh).then([revoked(Reason::Logout)]);
        given::<Session>([logged_in_after(1)])
            .when(refresh)
            .then([Event::SessionRefreshed { generation: 1, at: Some(at(60)) }]);
    }

    #[test]
    fn a_session_cannot_be_refreshed_after_its_lifetime() {
        given::<Session>([logged_in()])
            .when(Command::Refresh {
                generation: 0,
                password_number: 1,
                sign_outs: 0,
                now: at(0) + LIFETIME,
                grace: Duration::ZERO,
            })
            .then_rejected(Rejection::Ended);
    }

    #[test]
    fn logging_out_twice_is_harmless() {
        let logout = Command::Revoke { reason: Reason::Logout };
        given::<Session>([logged_in()]).when(logout).then([revoked(Reason::Logout)]);
        given::<Session>([logged_in(), revoked(Reason::Logout)]).when(logout).then_nothing();
        given::<Session>([]).when(logout).then_nothing();
    }

    #[test]
    fn a_user_ends_own_live_sessions_only() {
        let end = |user| Command::End { user_id: id(user) };
        given::<Session>([logged_in()]).when(end(1)).then([revoked(Reason::Logout)]);
        given::<Session>([logged_in()]).when(end(2)).then_rejected(Rejection::Unknown);
        given::<Session>([logged_in(), revoked(Reason::Reuse)])
            .when(end(1))
            .then_rejected(Rejection::Unknown);
        given::<Session>([]).when(end(1)).then_rejected(Rejection::Unknown);
    }
}
