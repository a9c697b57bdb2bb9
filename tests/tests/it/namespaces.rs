//! Device namespaces: the same person over MQTT and HTTP.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Caller, System, eventually};

/// Registers a user. Returns the id and a caller.
async fn user(system: &System, name: &str) -> Result<(String, Caller)> {
    let body = json!({"email": format!("{name}@example.org"), "password": "correct horse battery", "full_name": name});
    let user = system.caller("").command(Method::POST, "/api/v1/users", &body).await?;
    let id = user["id"].as_str().context("an id")?.to_owned();
    let caller = system.caller(system.token_for(&id, "user").await?);
    Ok((id, caller))
}

/// Gives a namespace as the administrator. Returns status and problem code.
async fn give(system: &System, id: &str, namespace: Value) -> Result<(u16, String)> {
    let admin = system.caller(&system.token);
    let request = admin.request(Method::PUT, &format!("/api/v1/users/{id}/namespace"));
    let request = request.header("Prefer", "wait=20");
    let answer = request.json(&json!({"namespace": namespace})).send().await?;
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
    Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
}

async fn status(caller: &Caller, path: &str) -> Result<StatusCode> {
    Ok(caller.get(path).send().await?.status())
}

/// Every device of a list, page by page, one on a page.
async fn devices(caller: &Caller) -> Result<Vec<String>> {
    let (mut found, mut path) = (Vec::new(), "/api/v1/devices?limit=1".to_owned());
    loop {
        let answer = caller.get(&path).send().await?.error_for_status()?;
        let link = answer.headers().get("link").and_then(|link| link.to_str().ok());
        let next =
            link.and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()));
        let page: Value = answer.json().await?;
        let items = page["items"].as_array().context("items")?;
        found.extend(
            items
                .iter()
                .map(|item| format!("{} {}", item["user_id"], item["device_id"]).replace('"', "")),
        );
        match next {
            Some(next) => path = next,
            None => return Ok(found),
        }
    }
}

#[tokio::test]
async fn a_user_sees_and_sets_what_belongs_to_the_namespace_and_nothing_else() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let (ada, by_ada) = user(&system, "ada").await?;
    let (ben, by_ben) = user(&system, "ben").await?;
    let reading = br#"{"sequence_id": 1, "temperature": 90}"#;
    system.publish("users/ada/devices/kitchen/telemetry", reading).await?;
    system.publish("users/eve/devices/kitchen/telemetry", reading).await?;
    let own = json!([{"user_id": ada, "device_id": "attic", "sequence_id": 1}]);
    by_ada.command(Method::POST, "/api/v1/telemetry", &own).await?;
    eventually("the devices are there", async || {
        Ok(system.number("select count(*) from telemetry.device").await? == 3)
    })
    .await?;
    let paths = [
        "/api/v1/users/ada/devices/kitchen",
        "/api/v1/users/ada/devices/kitchen/readings",
        "/api/v1/users/ada/config",
        "/api/v1/users/ada/presence",
    ];
    for path in paths {
        assert_eq!(status(&by_ada, path).await?, 404, "{path}");
    }
    assert_eq!(devices(&by_ada).await?, [format!("{ada} attic")]);

    assert_eq!(give(&system, &ada, json!("ada")).await?, (204, String::new()));
    assert_eq!(system.json(&format!("/api/v1/users/{ada}")).await?["namespace"], "ada");
    assert_eq!(by_ada.json("/api/v1/users/me").await?["namespace"], "ada");
    for path in paths {
        assert_eq!(status(&by_ada, path).await?, 200, "{path}");
        assert_eq!(status(&by_ben, path).await?, 404, "{path}");
    }
    assert_eq!(devices(&by_ada).await?, [format!("{ada} attic"), "ada kitchen".to_owned()]);
    assert_eq!(status(&by_ada, "/api/v1/users/eve/devices/kitchen").await?, 404);

    // Rules, readings over HTTP, and alerts.
    let rules = json!({"temperature_max": 80});
    by_ada.command(Method::PUT, "/api/v1/users/ada/config", &rules).await?;
    let reading = |user: &str| json!({"user_id": user, "device_id": "kitchen", "sequence_id": 2, "temperature": 91});
    let both = json!([reading("ada"), reading("eve")]);
    let verdicts = by_ada.command(Method::POST, "/api/v1/telemetry", &both).await?;
    let verdict = |index: usize| verdicts["items"][index]["verdict"].clone();
    assert_eq!((verdict(0), verdict(1)), (json!("accepted"), json!("rejected")));
    eventually("an alert is raised", async || {
        let alerts = by_ada.json("/api/v1/alerts").await?;
        Ok(alerts["items"][0]["user_id"] == "ada")
    })
    .await?;
    let alert = by_ada.json("/api/v1/alerts").await?["items"][0]["id"].clone();
    let alert = format!("/api/v1/alerts/{}", alert.as_str().context("an id")?);
    assert_eq!(
        (status(&by_ada, &alert).await?, status(&by_ben, &alert).await?),
        (StatusCode::OK, StatusCode::NOT_FOUND)
    );
    assert_eq!(by_ben.json("/api/v1/alerts").await?["items"], json!([]));

    // A namespace has one user, and is in effect and out of effect at once.
    assert_eq!(give(&system, &ben, json!("ada")).await?, (409, "namespace_taken".to_owned()));
    for invalid in [json!(ben), json!("a/b"), json!("")] {
        assert_eq!(give(&system, &ada, invalid.clone()).await?.0, 422, "{invalid}");
    }
    let unknown = "0190f3f0-7f4e-7cc0-a9d5-4ba4d7a1c001";
    assert_eq!(give(&system, unknown, json!("x")).await?, (404, "user_not_found".to_owned()));
    let changes = "select count(*) from log.event where event_type like 'namespace\\_%'";
    let before = system.number(changes).await?;
    assert_eq!(give(&system, &ada, json!("ada")).await?.0, 204);
    assert_eq!(system.number(changes).await?, before, "the same again is no event");
    let by_ada_herself = by_ada.request(Method::PUT, &format!("/api/v1/users/{ada}/namespace"));
    let refused = by_ada_herself.json(&json!({"namespace": "eve"})).send().await?;
    assert_eq!(refused.status(), 403);
    system.run(&["users", "set-namespace", &ada, "--none"]).await?;
    assert_eq!(status(&by_ada, paths[0]).await?, 404);
    system.run(&["users", "set-namespace", &ben, "ada"]).await?;
    assert_eq!(status(&by_ben, paths[0]).await?, 200);
    Ok(())
}

#[tokio::test]
async fn of_two_users_who_get_one_namespace_at_once_one_has_it() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (ada, by_ada) = user(&system, "ada").await?;
    let (ben, by_ben) = user(&system, "ben").await?;
    for round in 0..5 {
        let name = json!(format!("home-{round}"));
        let (first, second) =
            tokio::join!(give(&system, &ada, name.clone()), give(&system, &ben, name.clone()));
        let mut statuses = [first?.0, second?.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409]);
        let mut held = Vec::new();
        for caller in [&by_ada, &by_ben] {
            held.push(caller.json("/api/v1/users/me").await?["namespace"].clone());
        }
        ensure!(held.iter().filter(|held| **held == name).count() == 1, "{held:?}");
    }
    let claims = "select count(*) from log.event where event_type = 'namespace_claimed'";
    let released = "select count(*) from log.event where event_type = 'namespace_released'";
    let (claims, released) = (system.number(claims).await?, system.number(released).await?);
    ensure!(claims == 5 && released <= 4, "{claims} claims, {released} releases");
    Ok(())
}
