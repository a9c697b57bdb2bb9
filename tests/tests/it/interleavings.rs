//! Decisions that interleave: each test brings two requests to their append at the same time, by holding
//! the lock of the log's head, and lets them go in a known order.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::future::{join_all, try_join_all};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use tests::{Caller, Process, System, eventually};
use uuid::Uuid;

use crate::orders::{customer, place, product};

/// Holds the lock of the log's head: every append waits until the transaction ends.
async fn hold_head(system: &System) -> Result<Transaction<'static, Postgres>> {
    let mut held = system.admin.begin().await?;
    sqlx::query("select from log.head for update").execute(&mut *held).await?;
    Ok(held)
}

/// Waits until so many processes wait for the lock of the log's head.
async fn waiting(system: &System, processes: i64) -> Result<()> {
    eventually("appends wait for the head", async || {
        let sql = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'
                     and query ~ 'from log.head for update|update log.head'";
        Ok(system.number(sql).await? == processes)
    })
    .await
}

/// Starts another process that serves HTTP. Returns it with its address.
async fn another_http(system: &System) -> Result<(Process, String)> {
    let mut process = system.serve_with(&["http"], &[("PORT", "0")]).await?;
    let url = format!("http://127.0.0.1:{}", process.http_port().await?);
    Ok((process, url))
}

/// Registers a user with this role. Returns the user's id and a caller with a token of this role.
async fn user(system: &System, role: &str) -> Result<(String, Caller)> {
    let email = format!("{}@example.org", Uuid::now_v7());
    let body = json!({"email": email, "password": "correct horse battery", "full_name": "A"});
    let user = system.post("/api/v1/users", &body).send().await?.error_for_status()?;
    let id = user.json::<Value>().await?["id"].as_str().context("an id")?.to_owned();
    if role != "user" {
        change_role(&system.caller(&system.token), &id, role).await?.error_for_status()?;
    }
    let caller = system.caller(system.token_for(&id, role).await?);
    Ok((id, caller))
}

async fn change_role(by: &Caller, id: &str, role: &str) -> Result<Response> {
    let request = by.request(Method::PUT, &format!("/api/v1/users/{id}/role"));
    Ok(request.json(&json!({"role": role})).send().await?)
}

async fn code(answer: Response) -> Result<(u16, String)> {
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
    Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
}

/// Folds the roles of the log: the number of administrators after each change from the first one on.
async fn administrators(system: &System) -> Result<Vec<usize>> {
    let events: Vec<(String, String)> = sqlx::query_as(
        "select stream_id, data ->> 'role' from log.event
         where stream_id ^@ 'user-' and data ->> 'role' is not null order by position",
    )
    .fetch_all(&system.admin)
    .await?;
    let mut roles = BTreeMap::new();
    let counts = events.into_iter().map(|(user, role)| {
        roles.insert(user, role);
        roles.values().filter(|role| *role == "admin").count()
    });
    Ok(counts.skip_while(|count| *count == 0).collect())
}

#[tokio::test]
async fn of_two_administrators_who_demote_each_other_at_once_one_remains() -> Result<()> {
    let system = System::start().await?;
    let _first = system.serve(&["http"]).await?;
    let (_second, elsewhere) = another_http(&system).await?;
    let (ada, by_ada) = user(&system, "admin").await?;
    let (ben, by_ben) = user(&system, "admin").await?;
    let by_ben = by_ben.at(&elsewhere);
    let held = hold_head(&system).await?;
    let first = async { code(change_role(&by_ada, &ben, "user").await?).await };
    let second = async {
        waiting(&system, 1).await?;
        code(change_role(&by_ben, &ada, "user").await?).await
    };
    let release = async {
        waiting(&system, 2).await?;
        anyhow::Ok(held.rollback().await?)
    };
    let (first, second, released) = tokio::join!(first, second, release);
    released?;
    assert_eq!(first?, (204, String::new()));
    assert_eq!(second?, (403, "forbidden".to_owned()), "the first has demoted the second");
    assert_eq!(administrators(&system).await?.last(), Some(&1));
    Ok(())
}

#[tokio::test]
async fn a_demoted_administrator_changes_no_role_with_an_old_token() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let (ada, by_ada) = user(&system, "admin").await?;
    let (_, by_ben) = user(&system, "admin").await?;
    let (accomplice, _) = user(&system, "user").await?;
    assert_eq!(code(change_role(&by_ben, &ada, "user").await?).await?.0, 204);
    let refused = code(change_role(&by_ada, &accomplice, "admin").await?).await?;
    assert_eq!(refused, (403, "forbidden".to_owned()));
    assert_eq!(administrators(&system).await?.last(), Some(&1));
    // Nor does it admit anyone to the project of another.
    let project = json!({"name": "P"});
    let project = by_ben.post("/api/v1/projects", &project).send().await?.error_for_status()?;
    let project = project.json::<Value>().await?["id"].as_str().context("an id")?.to_owned();
    let path = format!("/api/v1/projects/{project}/members/{accomplice}");
    let refused = code(by_ada.request(Method::PUT, &path).send().await?).await?;
    assert_eq!(refused, (404, "project_not_found".to_owned()));
    assert_eq!(by_ben.request(Method::PUT, &path).send().await?.status(), 204);
    Ok(())
}

/// The subject of `tributary token` may promote, and demotes no administrator.
#[tokio::test]
async fn the_last_administrator_is_demoted_by_no_one() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let (ada, by_ada) = user(&system, "admin").await?;
    let by_key = system.caller(&system.token);
    let refused = code(change_role(&by_key, &ada, "user").await?).await?;
    assert_eq!(refused, (403, "not_a_registered_administrator".to_owned()));
    let refused = code(change_role(&by_ada, &ada, "user").await?).await?;
    assert_eq!(refused, (403, "own_role".to_owned()));
    Ok(())
}

#[tokio::test]
async fn an_administrator_remains_at_every_position() -> Result<()> {
    const ADMINISTRATORS: usize = 6;
    let system = System::start().await?;
    let _first = system.serve(&["http"]).await?;
    let (_second, elsewhere) = another_http(&system).await?;
    let users = join_all((0..ADMINISTRATORS).map(|_| user(&system, "admin"))).await;
    let users = users.into_iter().collect::<Result<Vec<_>>>()?;
    // Everyone demotes everyone else, at once and in two processes.
    let requests = (0..ADMINISTRATORS * ADMINISTRATORS).filter_map(|n| {
        let (by, target) = (n % ADMINISTRATORS, n / ADMINISTRATORS);
        let caller = &users[by].1;
        let caller = if n % 2 == 0 { caller.clone() } else { caller.at(&elsewhere) };
        let id = users[target].0.clone();
        (by != target)
            .then_some(async move { code(change_role(&caller, &id, "user").await?).await })
    });
    let answers = try_join_all(requests).await?;
    let known = |(status, _): &(u16, String)| [204, 403, 503].contains(status);
    assert!(answers.iter().all(known), "{answers:?}");
    let counts = administrators(&system).await?;
    assert!(counts.iter().all(|count| *count >= 1), "{counts:?}");
    assert_eq!(counts.last(), Some(&1));
    Ok(())
}

#[tokio::test]
async fn a_document_is_valid_against_the_schema_that_is_current_when_it_is_recorded() -> Result<()>
{
    let system = System::start().await?;
    let _first = system.serve(&["http"]).await?;
    let (_second, elsewhere) = another_http(&system).await?;
    let operator = system.caller(system.token_for("op", "operator").await?);
    let register = async |member: &str| -> Result<u16> {
        let request = operator.request(Method::PUT, "/api/v1/schemas/s");
        Ok(request.json(&json!({"required": [member]})).send().await?.status().as_u16())
    };
    assert_eq!(register("a").await?, 201);
    for (member, document, expected) in [
        ("b", json!({"a": 1}), (422, json!("schema_violation"), Value::Null)),
        ("c", json!({"b": 1, "c": 1}), (201, Value::Null, json!(3))),
    ] {
        let held = hold_head(&system).await?;
        let author = system.token_for(&Uuid::now_v7().to_string(), "user").await?;
        let author = system.caller(author).at(&elsewhere);
        let recording = async {
            waiting(&system, 1).await?;
            let answer = author.post("/data?schema=s", &document).send().await?;
            let status = answer.status().as_u16();
            let body: Value = answer.json().await?;
            anyhow::Ok((status, body["code"].clone(), body["schema"]["version"].clone()))
        };
        let release = async {
            waiting(&system, 2).await?;
            anyhow::Ok(held.rollback().await?)
        };
        let (registered, recorded, released) = tokio::join!(register(member), recording, release);
        released?;
        assert_eq!((registered?, recorded?), (204, expected), "{member}");
    }
    Ok(())
}

#[tokio::test]
async fn of_two_carts_over_the_same_two_pieces_one_is_confirmed() -> Result<()> {
    const PAIRS: usize = 20;
    let system = System::start().await?;
    let _front = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(&system.token);
    let customer = customer(&system).await?;
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let one = product(&operator, &format!("A-{pair}"), "1.00", 1).await?;
        let other = product(&operator, &format!("B-{pair}"), "1.00", 1).await?;
        let first = place(&customer, &[(&one, 1), (&other, 1)]).await?;
        let second = place(&customer, &[(&other, 1), (&one, 1)]).await?;
        pairs.push([first, second]);
    }
    let _worker = system.serve(&["worker"]).await?;
    eventually("all orders are decided", async || {
        let sql = "select count(*) from order_list.purchase where status <> 'pending'";
        Ok(system.number(sql).await? == i64::try_from(2 * PAIRS)?)
    })
    .await?;
    for orders in pairs {
        let mut statuses = Vec::new();
        for order in orders {
            statuses.push(customer.json(&order).await?["status"].as_str().map(str::to_owned));
        }
        statuses.sort();
        assert_eq!(statuses, [Some("cancelled".to_owned()), Some("confirmed".to_owned())]);
    }
    Ok(())
}
