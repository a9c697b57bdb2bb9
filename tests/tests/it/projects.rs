//! Projects and tasks: who may see and change them, and which commands are refused.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Caller, System, successful};
use uuid::Uuid;

pub(crate) const PROJECTS: &str = "/api/v1/projects";
pub(crate) const TASKS: &str = "/api/v1/tasks";

pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) caller: Caller,
}

/// A registered user with this role. A process must serve HTTP.
pub(crate) async fn person(system: &System, role: &str) -> Result<Person> {
    let admin = system.caller(&system.token);
    let email = format!("{}@example.org", Uuid::now_v7());
    let user = json!({"email": email, "password": "correct horse battery", "full_name": "A"});
    let user = successful(admin.post("/api/v1/users", &user)).await?;
    let id = user["id"].as_str().unwrap_or_default().to_owned();
    if role != "user" {
        let change = admin.request(Method::PUT, &format!("/api/v1/users/{id}/role"));
        successful(change.json(&json!({"role": role}))).await?;
    }
    let caller = system.caller(system.token_for(&id, role).await?);
    Ok(Person { id, caller })
}

impl Person {
    /// Sends a command that must succeed. Returns the response once the read model shows its
    /// effect.
    pub(crate) async fn tell(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        self.caller.command(method, path, &body).await
    }

    /// Returns status and code of a problem; only the status of a success.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<(u16, String)> {
        self.refused(self.caller.request(method, path).json(&body)).await
    }

    pub(crate) async fn refused(&self, request: reqwest::RequestBuilder) -> Result<(u16, String)> {
        let answer = request.send().await?;
        let (status, body) = (answer.status().as_u16(), answer.text().await?);
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
    }

    pub(crate) async fn create(&self, path: &str, body: Value) -> Result<String> {
        let row = self.tell(Method::POST, path, body).await?;
        Ok(format!("{path}/{}", row["id"].as_str().unwrap_or_default()))
    }

    pub(crate) async fn project(&self, name: &str) -> Result<String> {
        self.create(PROJECTS, json!({"name": name})).await
    }

    pub(crate) async fn task(&self, project: &str, title: &str) -> Result<String> {
        self.create(TASKS, json!({"project_id": id_of(project), "title": title})).await
    }

    pub(crate) async fn admit(&self, project: &str, member: &Self) -> Result<()> {
        self.tell(Method::PUT, &format!("{project}/members/{}", member.id), json!({})).await?;
        Ok(())
    }

    /// Returns one field of every item of a list.
    pub(crate) async fn listed(&self, path: &str, member: &str) -> Result<Vec<String>> {
        let page = self.caller.json(path).await?;
        let items = page["items"].as_array().expect("a list").iter();
        Ok(items.map(|item| item[member].as_str().unwrap_or_default().to_owned()).collect())
    }
}

pub(crate) fn id_of(location: &str) -> &str {
    location.rsplit('/').next().unwrap_or_default()
}

pub(crate) fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_project_is_worked_on_from_its_first_task_to_the_last() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (owner, member) = (person(&system, "user").await?, person(&system, "user").await?);
    let body = json!({"name": "Move", "description": "To the hills"});
    let created = owner.tell(Method::POST, PROJECTS, body).await?;
    let project = format!("{PROJECTS}/{}", created["id"].as_str().unwrap_or_default());
    let shown = owner.caller.json(&project).await?;
    for name in ["id", "name", "description", "owner_id", "members", "archived"] {
        assert_eq!(created[name], shown[name], "{name}");
    }
    assert_eq!(shown["owner_id"], owner.id);
    owner.admit(&project, &member).await?;
    assert_eq!(member.caller.json(&project).await?["members"], json!([member.id]));
    let task = member
        .create(TASKS, json!({
            "project_id": id_of(&project), "title": "Pack", "due_at": "2030-01-02T03:04:05.1234567+01:00",
        }))
        .await?;
    for change in [
        json!({"assignee_id": member.id, "description": "All of it"}),
        json!({"status": "InProgress"}),
        json!({"status": "Done", "title": "Pack the counters"}),
        json!({"status": "InProgress", "due_at": null, "assignee_id": null, "description": null}),
        json!({}),
    ] {
        assert_eq!(member.tell(Method::PATCH, &task, change).await?, Value::Null);
    }
    let row = owner.caller.json(&task).await?;
    let expected = json!({
        "id": id_of(&task), "project_id": id_of(&project), "title": "Pack the counters",
        "description": null, "assignee_id": null, "status": "InProgress", "due_at": null,
        "archived": false,
        "created_at": row["created_at"], "updated_at": row["updated_at"],
    });
    assert_eq!(row, expected);
    let stream = system.json(&format!("/api/v1/streams/task-{}", id_of(&task))).await?;
    let types: Vec<_> = stream["items"].as_array().expect("a list").iter().collect();
    let types: Vec<_> = types.iter().map(|event| event["type"].as_str().unwrap_or("")).collect();
    assert_eq!(
        types,
        [
            "task_created",
            "task_changed",
            "task_assigned",
            "task_status_changed",
            "task_changed",
            "task_status_changed",
            "task_changed",
            "task_assigned",
            "task_status_changed",
        ]
    );
    assert_eq!(stream["items"][0]["data"]["due_at"], "2030-01-02T02:04:05.123456Z");
    owner.tell(Method::DELETE, &task, json!({})).await?;
    owner.tell(Method::DELETE, &task, json!({})).await?;
    assert_eq!(owner.ask(Method::GET, &task, json!({})).await?, code(404, "not_found"));
    assert_eq!(owner.ask(Method::PATCH, &task, json!({})).await?, code(404, "task_not_found"));
    assert!(owner.listed(TASKS, "id").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn members_owners_and_operators_have_their_permissions() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let [owner, member, stranger] = [0; 3].map(|_| person(&system, "user"));
    let (owner, member, stranger) = (owner.await?, member.await?, stranger.await?);
    let (operator, admin) = (person(&system, "operator").await?, person(&system, "admin").await?);
    let project = owner.project("Move").await?;
    owner.admit(&project, &member).await?;
    let task = owner.task(&project, "Pack").await?;
    let someone = format!("{project}/members/{}", stranger.id);
    let new_task = json!({"project_id": id_of(&project), "title": "Unpack"});
    let ruling = [
        (Method::PATCH, &project, json!({"name": "Stay"})),
        (Method::PUT, &someone, json!({})),
        (Method::DELETE, &someone, json!({})),
        (Method::DELETE, &project, json!({})),
    ];
    for (method, path, body) in ruling.clone() {
        for (who, refused) in [
            (&stranger, code(404, "project_not_found")),
            (&member, code(403, "not_the_owner")),
            (&operator, code(403, "not_the_owner")),
        ] {
            let asked = who.ask(method.clone(), path, body.clone()).await?;
            assert_eq!(asked, refused, "{method} {path}");
        }
        // A guessed version does not reveal that the object exists.
        let request =
            stranger.caller.request(method, path).header("If-Match", "\"77\"").json(&body);
        assert_eq!(stranger.refused(request).await?, code(404, "project_not_found"));
    }
    for (method, path, body, unseen) in [
        (Method::POST, TASKS, new_task, "project_not_found"),
        (Method::PATCH, &task, json!({"status": "InProgress"}), "task_not_found"),
        (Method::PATCH, &task, json!({"assignee_id": owner.id}), "task_not_found"),
        (Method::DELETE, &task, json!({}), "task_not_found"),
    ] {
        let asked = stranger.ask(method.clone(), path, body.clone()).await?;
        assert_eq!(asked, code(404, unseen), "{method} {path}");
        let asked = operator.ask(method.clone(), path, body.clone()).await?;
        assert_eq!(asked, code(403, "not_a_member"), "{method} {path}");
        let asked = member.ask(method.clone(), path, body).await?;
        assert!(asked.0 < 300, "{method} {path}: {asked:?}");
    }
    let task = member.task(&project, "Load").await?;
    for path in [&project, &task] {
        assert_eq!(stranger.ask(Method::GET, path, json!({})).await?.0, 404);
        for who in [&owner, &member, &operator, &admin] {
            assert_eq!(who.ask(Method::GET, path, json!({})).await?.0, 200);
        }
    }
    for (list, least) in [(PROJECTS, 1), (TASKS, 2)] {
        assert!(stranger.listed(list, "id").await?.is_empty());
        for who in [&owner, &member, &operator, &admin] {
            assert_eq!(who.listed(list, "id").await?.len(), least, "{list}");
        }
    }
    // A program may read, but cannot own a project.
    let program = system.caller(system.token_for("janitor", "admin").await?);
    assert_eq!(program.json(&project).await?["name"], "Move");
    let refused = program.post(PROJECTS, &json!({"name": "x"})).send().await?;
    assert_eq!(refused.status(), 403);
    for (method, path, body) in ruling {
        admin.tell(method, path, body).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_archived_project_is_read_only() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (owner, member) = (person(&system, "user").await?, person(&system, "user").await?);
    let project = owner.project("Move").await?;
    owner.admit(&project, &member).await?;
    let task = owner.task(&project, "Pack").await?;
    let other = owner.project("Stay").await?;
    owner.tell(Method::DELETE, &project, json!({})).await?;
    owner.tell(Method::DELETE, &project, json!({})).await?;
    let membership = format!("{project}/members/{}", member.id);
    for (method, path, body) in [
        (Method::PATCH, project.as_str(), json!({"name": "Stay"})),
        (Method::PUT, &membership, json!({})),
        (Method::DELETE, &membership, json!({})),
        (Method::POST, TASKS, json!({"project_id": id_of(&project), "title": "Unpack"})),
        (Method::PATCH, &task, json!({"status": "InProgress"})),
        (Method::DELETE, &task, json!({})),
    ] {
        let asked = owner.ask(method.clone(), path, body).await?;
        assert_eq!(asked, code(409, "project_archived"), "{method} {path}");
    }
    assert_eq!(member.caller.json(&project).await?["archived"], true);
    assert_eq!(member.caller.json(&task).await?["status"], "ToDo");
    assert_eq!(owner.listed(PROJECTS, "id").await?, [id_of(&other)]);
    let all = owner.listed(&format!("{PROJECTS}?archived=true"), "id").await?;
    assert_eq!(all, [id_of(&other), id_of(&project)]);
    Ok(())
}

#[tokio::test]
async fn invalid_input_is_refused_with_pointers() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let owner = person(&system, "user").await?;
    let stranger = Uuid::now_v7();
    let project = owner.project("Move").await?;
    let task = owner.task(&project, "Pack").await?;
    let long = "é".repeat(201);
    let new = |title: &str| json!({"project_id": id_of(&project), "title": title});
    for (method, path, body, status, code, pointer) in [
        (Method::POST, PROJECTS, json!({"name": ""}), 422, "invalid_body", "/name"),
        (Method::POST, PROJECTS, json!({"name": long}), 422, "invalid_body", "/name"),
        (Method::POST, PROJECTS, json!({"name": "a\0"}), 422, "invalid_body", "/name"),
        (Method::POST, PROJECTS, json!({}), 422, "invalid_body", ""),
        (Method::PATCH, &project, json!({"name": null}), 422, "invalid_body", "/name"),
        (Method::PATCH, &project, json!({"owner_id": stranger}), 422, "invalid_body", "/owner_id"),
        (Method::POST, TASKS, new(""), 422, "invalid_body", "/title"),
        (Method::PATCH, &task, json!({"status": "Doing"}), 422, "invalid_body", "/status"),
        (Method::PATCH, &task, json!({"status": null}), 422, "invalid_body", "/status"),
        (Method::PATCH, &task, json!({"due_at": "soon"}), 422, "invalid_body", "/due_at"),
        (
            Method::PATCH,
            &task,
            json!({"due_at": "+12026-01-01T00:00:00Z"}),
            422,
            "invalid_body",
            "/due_at",
        ),
        (
            Method::PATCH,
            &task,
            json!({"assignee_id": stranger}),
            422,
            "assignee_not_a_member",
            "/assignee_id",
        ),
        (
            Method::PATCH,
            &task,
            json!({"title": "x", "status": "Done"}),
            409,
            "status_move_refused",
            "/status",
        ),
    ] {
        let answer = owner.caller.request(method, path).json(&body).send().await?;
        let problem: Value = answer.json().await?;
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&json!(status), &json!(code)),
            "{body}"
        );
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    let himself = format!("{project}/members/{}", owner.id);
    assert_eq!(owner.ask(Method::DELETE, &himself, json!({})).await?, code(409, "owner_stays"));
    assert_eq!(owner.ask(Method::PUT, &himself, json!({})).await?.0, 204);
    // Refused commands had no effect.
    assert_eq!(owner.caller.json(&task).await?["title"], "Pack");
    let sql =
        "select count(*) from log.event where stream_id ^@ 'project-' or stream_id ^@ 'task-'";
    assert_eq!(system.number(sql).await?, 2);
    Ok(())
}

#[tokio::test]
async fn what_is_named_exists_and_what_is_archived_is_marked() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (owner, stranger) = (person(&system, "user").await?, person(&system, "user").await?);
    let project = owner.project("Move").await?;
    let task = owner.task(&project, "Pack").await?;
    // A member must be registered; who may not add members does not learn who is.
    let unknown = format!("{project}/members/{}", Uuid::now_v7());
    assert_eq!(owner.ask(Method::PUT, &unknown, json!({})).await?, code(404, "user_not_found"));
    assert_eq!(
        stranger.ask(Method::PUT, &unknown, json!({})).await?,
        code(404, "project_not_found")
    );
    assert_eq!(owner.ask(Method::DELETE, &unknown, json!({})).await?.0, 204, "nothing to remove");
    // A name can be seen, in projects and tasks.
    for name in ["", ".", "..", "  ", "\u{200b}", "a\u{0}b", "a\nb", "\u{1b}[2J"] {
        for (method, path, body, pointer) in [
            (Method::POST, PROJECTS, json!({"name": name}), "/name"),
            (Method::PATCH, &project, json!({"name": name}), "/name"),
            (Method::PATCH, &task, json!({"title": name}), "/title"),
        ] {
            let answer = owner.caller.request(method, path).json(&body).send().await?;
            assert_eq!(answer.status(), 422, "{body}");
            let problem: Value = answer.json().await?;
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
        }
    }
    for (user, device) in [("..", "d"), (owner.id.as_str(), "."), (owner.id.as_str(), "..")] {
        let reading = json!([{"user_id": user, "device_id": device, "sequence_id": 1}]);
        let operator = system.caller(&system.token);
        let verdicts = operator.command(Method::POST, "/api/v1/telemetry", &reading).await?;
        let verdict = &verdicts["items"][0];
        assert_eq!(verdict["verdict"], "rejected", "{verdict}");
    }
    let dry_run = json!({"device_id": "attic", "rules": []});
    let answer = owner.caller.post("/api/v1/alerts/dry-run", &dry_run).send().await?;
    assert_eq!(answer.json::<Value>().await?["errors"][0]["pointer"], "/device_id");
    // An empty description is none.
    owner.tell(Method::PATCH, &project, json!({"description": "To the hills"})).await?;
    owner.tell(Method::PATCH, &project, json!({"description": ""})).await?;
    assert_eq!(owner.caller.json(&project).await?["description"], Value::Null);

    let archived = async |path: &str| -> Result<Value> {
        let shown = owner.caller.json(path).await?;
        Ok(shown.get("items").map_or(&shown, |items| &items[0])["archived"].clone())
    };
    let by_project = format!("{TASKS}?project_id={}", id_of(&project));
    for expected in [false, true] {
        for path in [project.as_str(), task.as_str(), TASKS, by_project.as_str()] {
            assert_eq!(archived(path).await?, expected, "{path}");
        }
        owner.tell(Method::DELETE, &project, json!({})).await?;
    }
    Ok(())
}

#[tokio::test]
async fn projects_and_tasks_are_worked_on_from_the_command_line() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (owner, member) = (person(&system, "user").await?, person(&system, "user").await?);
    let run = async |arguments: &[&str]| -> Result<String> {
        system.run(&[arguments, &["--token", &owner.caller.token]].concat()).await
    };
    let id = async |arguments: &[&str]| -> Result<String> {
        let row: Value = serde_json::from_str(&run(&[arguments, &["--json"]].concat()).await?)?;
        Ok(row["id"].as_str().unwrap_or_default().to_owned())
    };
    let project = id(&["projects", "create", "Move", "--description", "To the hills"]).await?;
    run(&["projects", "add-member", &project, &member.id]).await?;
    let due = "2030-01-02T03:04:05Z";
    let task = id(&["tasks", "create", "Pack", "--project", &project, "--due", due]).await?;
    assert!(run(&["tasks", "assign", &task, &member.id]).await?.contains(&member.id));
    assert!(run(&["tasks", "move", &task, "InProgress"]).await?.contains("InProgress"));
    let list = run(&["tasks", "list", "--status", "InProgress", "--project", &project]).await?;
    assert!(list.contains("STATUS") && list.contains(&task) && list.contains(due), "{list}");
    run(&["projects", "remove-member", &project, &member.id]).await?;
    run(&["tasks", "assign", &task]).await?;
    let shown: Value = serde_json::from_str(&run(&["tasks", "show", &task, "--json"]).await?)?;
    assert_eq!(shown["assignee_id"], Value::Null);
    run(&["tasks", "delete", &task]).await?;
    let gone = run(&["tasks", "show", &task]).await.expect_err("it is deleted");
    assert!(gone.to_string().contains("404"), "{gone}");
    assert!(run(&["projects", "archive", &project]).await?.contains("true"));
    assert!(!run(&["projects", "list"]).await?.contains(&project));
    assert!(run(&["projects", "list", "--archived"]).await?.contains(&project));
    assert!(run(&["projects", "show", &project]).await?.contains("Move"));
    Ok(())
}
