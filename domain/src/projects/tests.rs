//! Specifications of projects and tasks.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::*;
use super::{MAX_MEMBERS, project};
use crate::{Actor, Role};
use eventsourcing::Reject;
use eventsourcing::given::given;

const OWNER: Uuid = Uuid::from_u128(1);
const MEMBER: Uuid = Uuid::from_u128(2);
const STRANGER: Uuid = Uuid::from_u128(3);
const HOUSE: Uuid = Uuid::from_u128(9);

fn user(id: Uuid) -> Actor {
    Actor { id, role: Role::User }
}

fn staff(role: Role) -> Actor {
    Actor { id: Uuid::from_u128(7), role }
}

fn name(text: &str) -> Name {
    text.to_owned().try_into().unwrap()
}

fn created() -> project::Event {
    project::Event::ProjectCreated { name: "Move".into(), description: None, owner_id: OWNER }
}

fn joined() -> project::Event {
    project::Event::MemberAdded { user_id: MEMBER }
}

mod projects {
    use super::project::{Act, Command, Event};
    use super::*;

    fn archived() -> Event {
        Event::ProjectArchived {}
    }

    fn by(by: Actor, act: Act) -> Command {
        Command { by, act }
    }

    fn rename(to: &str) -> Act {
        Act::Change { name: Some(name(to)), description: Change::Same }
    }

    #[test]
    fn the_user_who_creates_a_project_owns_it() {
        let create = || by(user(OWNER), Act::Create { name: name("Move"), description: None });
        given::<Project>([]).when(create()).then([created()]);
        given::<Project>([created()])
            .when(create())
            .then_rejected(Rejection::ProjectAlreadyCreated);
        given::<Project>([])
            .when(by(staff(Role::Admin), Act::Archive))
            .then_rejected(Rejection::ProjectNotFound);
    }

    #[test]
    fn a_change_holds_only_different_values() {
        let change = |name, description| by(user(OWNER), Act::Change { name, description });
        let text = || Description::try_from("To the hills".to_owned()).unwrap();
        given::<Project>([created()])
            .when(change(Some(name("Move")), Change::To(Some(text()))))
            .then([Event::ProjectChanged {
                name: None,
                description: Change::To(Some("To the hills".into())),
            }]);
        let described = Event::ProjectChanged {
            name: Some("Stay".into()),
            description: Change::To(Some("To the hills".into())),
        };
        given::<Project>([created(), described.clone()])
            .when(change(Some(name("Stay")), Change::To(None)))
            .then([Event::ProjectChanged { name: None, description: Change::To(None) }]);
        given::<Project>([created(), described])
            .when(change(Some(name("Stay")), Change::To(Some(text()))))
            .then_nothing();
    }

    #[test]
    fn a_member_is_added_once_and_removed_once() {
        let add = |id| by(user(OWNER), Act::AddMember(id));
        let remove = |id| by(user(OWNER), Act::RemoveMember(id));
        let left = Event::MemberRemoved { user_id: MEMBER };
        given::<Project>([created()]).when(add(MEMBER)).then([joined()]);
        given::<Project>([created(), joined()]).when(add(MEMBER)).then_nothing();
        given::<Project>([created(), joined()]).when(remove(MEMBER)).then([left.clone()]);
        given::<Project>([created(), joined(), left.clone()]).when(remove(MEMBER)).then_nothing();
        given::<Project>([created(), joined(), left]).when(add(MEMBER)).then([joined()]);
    }

    #[test]
    fn the_owner_cannot_be_added_or_removed_as_a_member() {
        given::<Project>([created()]).when(by(user(OWNER), Act::AddMember(OWNER))).then_nothing();
        given::<Project>([created()])
            .when(by(user(OWNER), Act::RemoveMember(OWNER)))
            .then_rejected(Rejection::OwnerStays);
    }

    #[test]
    fn the_number_of_members_is_limited() {
        let member = |n: usize| Uuid::from_u128(1_000 + n as u128);
        let mut history = vec![created()];
        history.extend((0..MAX_MEMBERS).map(|n| Event::MemberAdded { user_id: member(n) }));
        given::<Project>(history.clone())
            .when(by(user(OWNER), Act::AddMember(MEMBER)))
            .then_rejected(Rejection::TooManyMembers);
        given::<Project>(history).when(by(user(OWNER), Act::AddMember(member(0)))).then_nothing();
    }

    #[test]
    fn only_the_owner_and_administrators_change_a_project_and_others_do_not_see_it() {
        for act in
            [rename("Stay"), Act::Archive, Act::AddMember(STRANGER), Act::RemoveMember(OWNER)]
        {
            let history = || [created(), joined()];
            for (actor, refused) in [
                (user(STRANGER), Rejection::ProjectNotFound),
                (user(MEMBER), Rejection::NotTheOwner),
                (staff(Role::Operator), Rejection::NotTheOwner),
            ] {
                given::<Project>(history()).when(by(actor, act.clone())).then_rejected(refused);
            }
        }
        given::<Project>([created()]).when(by(staff(Role::Admin), Act::Archive)).then([archived()]);
    }

    #[test]
    fn an_archived_project_is_read_only() {
        for act in [rename("Stay"), Act::AddMember(STRANGER), Act::RemoveMember(MEMBER)] {
            given::<Project>([created(), joined(), archived()])
                .when(by(user(OWNER), act))
                .then_rejected(Rejection::ProjectArchived);
        }
        given::<Project>([created(), archived()])
            .when(by(user(OWNER), Act::Archive))
            .then_nothing();
        given::<Project>([created(), archived()])
            .when(by(user(STRANGER), Act::Archive))
            .then_rejected(Rejection::ProjectNotFound);
    }
}

mod tasks {
    use super::task::{Act, Changes, Command, Event, New};
    use super::*;
    use eventsourcing::Decider;

    fn house(events: &[project::Event]) -> Arc<Project> {
        Arc::new(Project::fold([&created(), &joined()].into_iter().chain(events)))
    }

    fn within(by: Actor, act: Act) -> Command {
        Command { by, within: house(&[]), act }
    }

    fn assigned(assignee_id: Option<Uuid>) -> Event {
        Event::TaskAssigned { assignee_id }
    }

    fn moved(from: Status, to: Status) -> Event {
        Event::TaskStatusChanged { from, to }
    }

    fn pack(assignee_id: Option<Uuid>) -> Event {
        Event::TaskCreated {
            project_id: HOUSE,
            title: "Pack".into(),
            description: None,
            assignee_id,
            due_at: None,
        }
    }

    fn to_pack(assignee_id: Option<Uuid>) -> Act {
        let title = name("Pack");
        Act::Create(New { project_id: HOUSE, title, description: None, assignee_id, due_at: None })
    }

    fn assign(assignee_id: Option<Uuid>) -> Act {
        Act::Change(Changes { assignee_id: Change::To(assignee_id), ..Changes::default() })
    }

    fn move_to(status: Status) -> Act {
        Act::Change(Changes { status: Some(status), ..Changes::default() })
    }

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 678_000_000).unwrap()
    }

    #[test]
    fn a_task_is_created_by_a_member_for_a_member() {
        for assignee in [None, Some(MEMBER), Some(OWNER)] {
            given::<Task>([]).when(within(user(MEMBER), to_pack(assignee))).then([pack(assignee)]);
        }
        given::<Task>([])
            .when(within(user(OWNER), to_pack(Some(STRANGER))))
            .then_rejected(Rejection::AssigneeNotAMember);
        given::<Task>([pack(None)])
            .when(within(user(OWNER), to_pack(None)))
            .then_rejected(Rejection::TaskAlreadyCreated);
    }

    #[test]
    fn a_command_with_several_changes_returns_one_event_for_each_difference() {
        let changes = Changes {
            title: Some(name("Pack")),
            due_at: Change::To(Some(noon())),
            assignee_id: Change::To(Some(MEMBER)),
            status: Some(Status::InProgress),
            description: Change::To(None),
        };
        let changed = Event::TaskChanged {
            title: None,
            description: Change::Same,
            due_at: Change::To(Some(noon())),
        };
        let (given_to, begun) = (assigned(Some(MEMBER)), moved(Status::ToDo, Status::InProgress));
        given::<Task>([pack(None)])
            .when(within(user(MEMBER), Act::Change(changes.clone())))
            .then([changed.clone(), given_to.clone(), begun.clone()]);
        given::<Task>([pack(None), changed.clone(), given_to, begun])
            .when(within(user(MEMBER), Act::Change(changes)))
            .then_nothing();
        let cleared = Changes { due_at: Change::To(None), ..Changes::default() };
        given::<Task>([pack(None), changed]).when(within(user(MEMBER), Act::Change(cleared))).then(
            [Event::TaskChanged {
                title: None,
                description: Change::Same,
                due_at: Change::To(None),
            }],
        );
    }

    #[test]
    fn a_status_changes_only_along_the_diagram() {
        use Status::{Done, InProgress, ToDo};
        for from in Status::ALL {
            let history = match from {
                ToDo => vec![pack(None)],
                InProgress => vec![pack(None), moved(ToDo, InProgress)],
                Done => vec![pack(None), moved(ToDo, InProgress), moved(InProgress, Done)],
            };
            for to in Status::ALL {
                let when = given::<Task>(history.clone()).when(within(user(MEMBER), move_to(to)));
                match (from, to) {
                    (ToDo, Done) | (Done, ToDo) => {
                        when.then_rejected(Rejection::StatusMoveRefused { from, to });
                    }
                    _ if from == to => when.then_nothing(),
                    _ => when.then([moved(from, to)]),
                }
            }
        }
        assert_eq!(
            Rejection::StatusMoveRefused { from: ToDo, to: Done }.code(),
            "status_move_refused"
        );
    }

    #[test]
    fn a_task_is_assigned_to_members_and_a_former_member_keeps_it() {
        given::<Task>([pack(None)])
            .when(within(user(MEMBER), assign(Some(STRANGER))))
            .then_rejected(Rejection::AssigneeNotAMember);
        given::<Task>([pack(Some(MEMBER))])
            .when(within(user(OWNER), assign(None)))
            .then([assigned(None)]);
        let left = house(&[project::Event::MemberRemoved { user_id: MEMBER }]);
        let by_owner = |act| Command { by: user(OWNER), within: Arc::clone(&left), act };
        given::<Task>([pack(Some(MEMBER))])
            .when(by_owner(move_to(Status::InProgress)))
            .then([moved(Status::ToDo, Status::InProgress)]);
        given::<Task>([pack(Some(MEMBER))]).when(by_owner(assign(Some(MEMBER)))).then_nothing();
        given::<Task>([pack(None)])
            .when(by_owner(assign(Some(MEMBER))))
            .then_rejected(Rejection::AssigneeNotAMember);
    }

    #[test]
    fn a_deleted_task_cannot_be_changed() {
        let history = || [pack(None), Event::TaskDeleted {}];
        given::<Task>([pack(None)])
            .when(within(user(MEMBER), Act::Delete))
            .then([Event::TaskDeleted {}]);
        given::<Task>(history()).when(within(user(MEMBER), Act::Delete)).then_nothing();
        given::<Task>(history())
            .when(within(user(MEMBER), move_to(Status::InProgress)))
            .then_rejected(Rejection::TaskNotFound);
        given::<Task>([])
            .when(within(user(MEMBER), Act::Delete))
            .then_rejected(Rejection::TaskNotFound);
    }

    #[test]
    fn only_members_and_administrators_change_tasks() {
        for act in [move_to(Status::InProgress), assign(None), Act::Delete] {
            for (actor, refused) in [
                (user(STRANGER), Rejection::TaskNotFound),
                (staff(Role::Operator), Rejection::NotAMember),
            ] {
                given::<Task>([pack(Some(MEMBER))])
                    .when(within(actor, act.clone()))
                    .then_rejected(refused);
            }
        }
        given::<Task>([])
            .when(within(user(STRANGER), to_pack(None)))
            .then_rejected(Rejection::ProjectNotFound);
        given::<Task>([]).when(within(staff(Role::Admin), to_pack(None))).then([pack(None)]);
    }

    #[test]
    fn tasks_of_an_archived_project_are_read_only() {
        let archived = house(&[project::Event::ProjectArchived {}]);
        for (actor, refused) in [
            (user(MEMBER), Rejection::ProjectArchived),
            (staff(Role::Admin), Rejection::ProjectArchived),
            (user(STRANGER), Rejection::TaskNotFound),
        ] {
            let command = Command { by: actor, within: Arc::clone(&archived), act: Act::Delete };
            given::<Task>([pack(None)]).when(command).then_rejected(refused);
        }
    }
}

#[test]
fn text_is_counted_in_characters() {
    let text = |text: String| Name::try_from(text).is_ok();
    assert!(text("é".repeat(200)) && !text("é".repeat(201)));
    assert!(!text(String::new()) && !text("a\0b".into()));
    assert!(Description::try_from(String::new()).is_ok());
}
