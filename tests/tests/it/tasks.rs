//! Tasks: versions and idempotency keys, pages and filters, concurrent changes.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::System;

use crate::projects::{PROJECTS, TASKS, code, id_of, person};

#[tokio::test]
async fn an_outdated_version_is_refused_and_a_key_identifies_one_request() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let owner = person(&system, "user").await?;
    let project = owner.project("Move").await?;
    let task = owner.task(&project, "Pack").await?;
    for (path, body) in [(&project, json!({"name": "Stay"})), (&task, json!({"title": "Sit"}))] {
        let tag = |answer: &reqwest::Response| answer.headers()["etag"].clone();
        let shown = owner.caller.get(path).send().await?;
        assert_eq!(tag(&shown), "\"1\"");
        let patch = |body: &Value| owner.caller.request(Method::PATCH, path).json(body);
        let changed = patch(&body).header("If-Match", tag(&shown)).send().await?;
        assert_eq!((changed.status().as_u16(), tag(&changed).to_str()?), (204, "\"2\""));
        for method in [Method::PATCH, Method::DELETE] {
            let late = owner.caller.request(method, path).header("If-Match", tag(&shown));
            assert_eq!(owner.refused(late.json(&body)).await?, code(412, "precondition_failed"));
        }
    }
    let other = owner.task(&project, "Load").await?;
    let delete = |path| owner.caller.request(Method::DELETE, path).header("Idempotency-Key", "k");
    let first = delete(&task).send().await?;
    let again = delete(&task).send().await?;
    assert_eq!((first.status().as_u16(), again.status().as_u16()), (204, 204));
    assert_eq!(first.headers()["tributary-position"], again.headers()["tributary-position"]);
    assert_eq!(owner.refused(delete(&other)).await?, code(422, "idempotency_key_reused"));
    assert_eq!(owner.caller.json(&other).await?["title"], "Load");
    let twice = async || {
        let body = json!({"project_id": id_of(&project), "title": "Once"});
        let request = owner.caller.post(TASKS, &body).header("Idempotency-Key", "once");
        let answer = request.send().await?.error_for_status()?;
        Ok::<Value, anyhow::Error>(answer.json().await?)
    };
    let (one, two) = tokio::join!(twice(), twice());
    assert_eq!(one?, two?);
    Ok(())
}

#[tokio::test]
async fn lists_are_paged_and_filtered() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (owner, other) = (person(&system, "user").await?, person(&system, "user").await?);
    let (house, garden) = (owner.project("House").await?, owner.project("Garden").await?);
    let foreign = other.project("Elsewhere").await?;
    other.task(&foreign, "not seen").await?;
    owner.admit(&house, &other).await?;
    let mut newest_first = Vec::new();
    for n in 0..7 {
        let project = if n % 2 == 0 { &house } else { &garden };
        newest_first.insert(0, owner.task(project, &format!("t{n}")).await?);
    }
    for n in [0, 2] {
        owner.tell(Method::PATCH, &newest_first[n], json!({"assignee_id": other.id})).await?;
    }
    owner.tell(Method::PATCH, &newest_first[2], json!({"status": "InProgress"})).await?;
    let mut pages: Vec<Vec<String>> = Vec::new();
    let mut next = Some(format!("{TASKS}?limit=3"));
    while let Some(path) = next {
        let answer = owner.caller.get(&path).send().await?.error_for_status()?;
        let link = answer.headers().get("link").map(|link| link.to_str().map(str::to_owned));
        next = link.transpose()?.and_then(|link| Some(link.split(['<', '>']).nth(1)?.to_owned()));
        let page: Value = answer.json().await?;
        let titles = page["items"].as_array().expect("a list").iter();
        pages.push(titles.map(|task| task["title"].as_str().unwrap_or("").to_owned()).collect());
    }
    let expected: [&[&str]; 3] = [&["t6", "t5", "t4"], &["t3", "t2", "t1"], &["t0"]];
    assert_eq!(
        pages,
        expected.map(|page| page.iter().map(ToString::to_string).collect::<Vec<_>>())
    );
    for (query, expected) in [
        (format!("project_id={}", id_of(&house)), &["t6", "t4", "t2", "t0"][..]),
        (format!("project_id={}", id_of(&foreign)), &[]),
        (format!("assignee_id={}", other.id), &["t6", "t4"]),
        (format!("assignee_id={}&status=InProgress", other.id), &["t4"]),
        (format!("status=ToDo&project_id={}", id_of(&garden)), &["t5", "t3", "t1"]),
        ("status=Done".to_owned(), &[]),
    ] {
        assert_eq!(owner.listed(&format!("{TASKS}?{query}"), "title").await?, expected, "{query}");
    }
    assert_eq!(owner.listed(PROJECTS, "name").await?, ["Garden", "House"]);
    assert_eq!(other.listed(PROJECTS, "name").await?, ["Elsewhere", "House"]);
    assert_eq!(other.listed(TASKS, "title").await?, ["t6", "t4", "t2", "t0", "not seen"]);
    for query in ["status=Doing", "project_id=x", "limit=0", "cursor=x", "nonsense=1"] {
        let asked = owner.ask(Method::GET, &format!("{TASKS}?{query}"), json!({})).await?;
        assert_eq!(asked, code(422, "invalid_parameter"), "{query}");
    }
    Ok(())
}

/// A member is removed and added repeatedly while tasks are assigned to that member.
#[tokio::test]
async fn a_removed_member_is_never_assigned() -> Result<()> {
    const ROUNDS: usize = 40;
    let system = System::start().await?;
    let process = system.serve(&["http", "projector"]).await?;
    let (owner, member) = (person(&system, "user").await?, person(&system, "user").await?);
    let project = owner.project("Move").await?;
    let membership = format!("{project}/members/{}", member.id);
    let comings_and_goings = async {
        for _ in 0..ROUNDS * 4 {
            assert_eq!(owner.ask(Method::PUT, &membership, json!({})).await?.0, 204);
            assert_eq!(owner.ask(Method::DELETE, &membership, json!({})).await?.0, 204);
        }
        Ok::<_, anyhow::Error>(())
    };
    let assigning = async |n: usize| {
        let new = |to| json!({"project_id": id_of(&project), "title": "new", "assignee_id": to});
        let task = owner.task(&project, &format!("t{n}")).await?;
        let mut answers = HashSet::new();
        for _ in 0..ROUNDS {
            for to in [json!(member.id), Value::Null] {
                answers.insert(owner.ask(Method::PATCH, &task, json!({"assignee_id": to})).await?);
                answers.insert(owner.ask(Method::POST, TASKS, new(to)).await?);
            }
        }
        Ok::<_, anyhow::Error>(answers)
    };
    let assigning = try_join_all((0..4).map(assigning));
    let ((), answers) = tokio::try_join!(comings_and_goings, assigning)?;
    let answers: HashSet<_> = answers.into_iter().flatten().collect();
    let known = [code(201, ""), code(204, ""), code(422, "assignee_not_a_member")];
    assert_eq!(answers, HashSet::from(known));
    assignees_were_members(&system).await?;
    system.caught_up().await?;
    process.terminate().await?;
    rebuilt_equals_live(&system).await
}

/// Checks over the whole log that every assignee is a member at that position.
async fn assignees_were_members(system: &System) -> Result<()> {
    let events: Vec<(i64, String, Value)> = sqlx::query_as(
        "select position, event_type, data::jsonb from log.event
         where stream_id like 'project-%' or stream_id like 'task-%' order by position",
    )
    .fetch_all(&system.admin)
    .await?;
    let mut members = BTreeSet::new();
    let mut assigned = 0;
    for (position, event_type, data) in events {
        let text = |name: &str| data[name].as_str().map(str::to_owned);
        match event_type.as_str() {
            "project_created" => drop(members.insert(text("owner_id"))),
            "member_added" => drop(members.insert(text("user_id"))),
            "member_removed" => drop(members.remove(&text("user_id"))),
            "task_created" | "task_assigned" if !data["assignee_id"].is_null() => {
                assigned += 1;
                ensure!(members.contains(&text("assignee_id")), "no member at {position}: {data}");
            }
            _ => {}
        }
    }
    ensure!(assigned > 0, "no task was assigned");
    Ok(())
}

/// Truncates the read model, and compares it after it is projected again.
async fn rebuilt_equals_live(system: &System) -> Result<()> {
    let dump = async || -> Result<Vec<Value>> {
        let rows = sqlx::query_scalar(
            "select to_jsonb(p) from projects.project p union all select to_jsonb(m) from
             projects.member m union all select to_jsonb(t) from projects.task t order by 1",
        );
        Ok(rows.fetch_all(&system.admin).await?)
    };
    let live = dump().await?;
    for sql in [
        "truncate projects.project, projects.member, projects.task",
        "update log.checkpoint set position = 0 where consumer = 'projects'",
    ] {
        sqlx::query(sql).execute(&system.admin).await?;
    }
    let _process = system.serve(&["projector"]).await?;
    system.caught_up().await?;
    let rebuilt = dump().await?;
    ensure!(
        live.len() > 5 && rebuilt == live,
        "rebuilt {} rows, not {}",
        rebuilt.len(),
        live.len()
    );
    Ok(())
}
