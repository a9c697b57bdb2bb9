//! Users: registration, sessions, and the detection of a reused refresh token.

use anyhow::{Result, ensure};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tests::{Caller, DEADLINE, System};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

const PASSWORD: &str = "correct horse battery";

/// A name that occurs nowhere else in the log.
const NAME: &str = "Augusta Ada Byron-Lovelace";

fn body(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "full_name": NAME})
}

async fn register(system: &System, email: &str) -> Result<Response> {
    Ok(system.http.post(format!("{}/api/v1/users", system.url())).json(&body(email)).send().await?)
}

async fn registered(system: &System, email: &str) -> Result<Value> {
    Ok(register(system, email).await?.error_for_status()?.json().await?)
}

async fn log_in(system: &System, email: &str, password: &str) -> Result<Response> {
    let url = format!("{}/api/v1/auth/login/access-token", system.url());
    let form = [("grant_type", "password"), ("username", email), ("password", password)];
    Ok(system.http.post(url).form(&form).send().await?)
}

async fn tokens(system: &System, email: &str) -> Result<Value> {
    Ok(log_in(system, email, PASSWORD).await?.error_for_status()?.json().await?)
}

async fn refresh(system: &System, token: &Value) -> Result<Response> {
    let url = format!("{}/api/v1/auth/refresh", system.url());
    Ok(system.http.post(url).json(&json!({"refresh_token": token})).send().await?)
}

fn with(system: &System, tokens: &Value) -> Caller {
    system.caller(tokens["access_token"].as_str().unwrap_or_default())
}

async fn refused(answer: Response, status: u16, code: &str) -> Result<Value> {
    let answered = answer.status();
    let kind = answer.headers().get("content-type").cloned();
    let challenge = answer.headers().contains_key("www-authenticate");
    let problem: Value = answer.json().await?;
    ensure!(answered == status && problem["code"] == code, "{answered}: {problem}");
    ensure!(kind.is_some_and(|kind| kind == "application/problem+json"), "not a problem");
    ensure!(challenge == (status == 401), "a challenge goes with a 401");
    Ok(problem)
}

#[tokio::test]
async fn a_registered_user_can_sign_in_at_once() -> Result<()> {
    let system = System::start().await?;
    // There is no projector: signing in does not need a read model.
    let _process = system.serve(&["http"]).await?;
    let answer = register(&system, "Ada@Example.org").await?;
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str()?.to_owned();
    assert_eq!(answer.headers()["etag"], "\"1\"");
    let user: Value = answer.json().await?;
    assert_eq!(location, format!("/api/v1/users/{}", user["id"].as_str().unwrap_or_default()));
    assert_eq!((&user["email"], &user["role"]), (&json!("Ada@Example.org"), &json!("user")));
    assert_eq!(user.as_object().map(serde_json::Map::len), Some(6), "{user}");

    let answer = log_in(&system, "ada@example.ORG", PASSWORD).await?;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let tokens: Value = answer.json().await?;
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("bearer"), &json!(900)));
    let me = with(&system, &tokens);
    assert_eq!(me.json("/api/v1/users/me").await?, user);

    for (email, password) in
        [("ada@example.org", "wrong horse battery"), ("nobody@example.org", PASSWORD), ("", "")]
    {
        refused(log_in(&system, email, password).await?, 401, "invalid_credentials").await?;
    }
    let url = format!("{}/api/v1/auth/login/access-token", system.url());
    let no_form = system.http.post(&url).json(&json!({"username": "a", "password": "b"}));
    refused(no_form.send().await?, 415, "unsupported_media_type").await?;
    let response = system.get("/api/v1/users/me").send().await?;
    refused(response, 404, "not_found").await?;
    Ok(())
}

#[tokio::test]
async fn an_invalid_registration_is_refused_with_pointers() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let good = body("ada@example.org");
    for (member, value) in [
        ("email", json!("ada")),
        ("email", json!(format!("{}@example.org", "a".repeat(65)))),
        ("email", json!("a\0@example.org")),
        ("password", json!("short")),
        ("password", json!("x".repeat(129))),
        ("full_name", json!("")),
        ("full_name", json!(" ")),
        ("full_name", json!("\u{200b}\u{2800}")),
        ("full_name", json!("a\u{1b}[2Jb")),
        ("full_name", json!("..")),
        ("full_name", json!("a\0b")),
        ("full_name", json!("ä".repeat(201))),
        ("role", json!("admin")),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let answer = system.http.post(format!("{}/api/v1/users", system.url())).json(&body);
        let problem = refused(answer.send().await?, 422, "invalid_body").await?;
        assert_eq!(problem["errors"][0]["pointer"], format!("/{member}"), "{problem}");
    }
    assert_eq!(system.head().await?, 0);
    Ok(())
}

#[tokio::test]
async fn of_two_registrations_with_one_address_one_succeeds() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    for n in 0..8 {
        let (lower, upper) = (format!("ada{n}@example.org"), format!("ADA{n}@example.org"));
        let (one, two) = tokio::join!(register(&system, &lower), register(&system, &upper));
        let (won, lost) = match (one?, two?) {
            (one, two) if one.status() == StatusCode::CREATED => (one, two),
            (one, two) => (two, one),
        };
        assert_eq!(won.status(), 201);
        refused(lost, 409, "email_taken").await?;
    }
    assert_eq!(system.number("select count(*) from log.event").await?, 16);
    Ok(())
}

#[tokio::test]
async fn a_repeated_registration_returns_the_same_response() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let send = async |key: &str, body: Value| -> Result<(u16, Option<String>, Value)> {
        let request = system.http.post(format!("{}/api/v1/users", system.url())).json(&body);
        let answer = request.header("Idempotency-Key", key).send().await?;
        let location = answer.headers().get("location").and_then(|text| text.to_str().ok());
        Ok((answer.status().as_u16(), location.map(str::to_owned), answer.json().await?))
    };
    let ada = || body("ada@example.org");
    let (one, two) = tokio::join!(send("a", ada()), send("a", ada()));
    let one = one?;
    assert_eq!((one.0, &one), (201, &two?));
    assert_eq!(send("a", ada()).await?, one);
    for (member, other) in
        [("email", "grace@example.org"), ("full_name", "Grace"), ("password", "another horse")]
    {
        let mut body = ada();
        body[member] = other.into();
        let (status, _, problem) = send("a", body).await?;
        assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")), "{member}");
    }
    assert_eq!(send("b", ada()).await?.0, 409);
    assert_eq!(system.number("select count(*) from log.event").await?, 2);
    let kept: String = sqlx::query_scalar("select string_agg(r::text, ' ') from log.receipt r")
        .fetch_one(&system.admin)
        .await?;
    assert!(!kept.contains("example.org") && !kept.contains(NAME), "{kept}");
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_works_once_without_a_grace_period() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("REFRESH_GRACE", "0s")]).await?;
    registered(&system, "ada@example.org").await?;
    let first = tokens(&system, "ada@example.org").await?;
    let other = tokens(&system, "ada@example.org").await?;
    let second: Value = refresh(&system, &first["refresh_token"]).await?.json().await?;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    with(&system, &second).json("/api/v1/users/me").await?;
    let third: Value = refresh(&system, &second["refresh_token"]).await?.json().await?;
    // A used token is presented again: the session is revoked for everyone.
    refused(refresh(&system, &second["refresh_token"]).await?, 401, "session_ended").await?;
    refused(refresh(&system, &third["refresh_token"]).await?, 401, "session_ended").await?;
    let reasons = "select count(*) from log.event where data ->> 'reason' = 'reuse'";
    assert_eq!(system.number(reasons).await?, 1);
    assert_eq!(refresh(&system, &other["refresh_token"]).await?.status(), 200, "another session");

    let last = tokens(&system, "ada@example.org").await?;
    let both = tokio::join!(
        refresh(&system, &last["refresh_token"]),
        refresh(&system, &last["refresh_token"])
    );
    let went_on = [both.0?, both.1?].into_iter().filter(|answer| answer.status() == 200).count();
    assert!(went_on <= 1, "one token began two lines");
    Ok(())
}

#[tokio::test]
async fn two_tabs_refresh_at_once_and_a_lost_answer_is_repeated() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("REFRESH_GRACE", "5m")]).await?;
    registered(&system, "ada@example.org").await?;
    let first = tokens(&system, "ada@example.org").await?;
    let token = &first["refresh_token"];
    let both = tokio::join!(refresh(&system, token), refresh(&system, token));
    let (one, two): (Value, Value) =
        (both.0?.error_for_status()?.json().await?, both.1?.error_for_status()?.json().await?);
    for tokens in [&one, &two] {
        with(&system, tokens).json("/api/v1/users/me").await?;
    }
    let refreshed = "select count(*) from log.event where event_type = 'session_refreshed'";
    assert_eq!(system.number(refreshed).await?, 1, "both have the same generation");
    // A retry after a lost answer, and then the next refresh of either tab.
    refresh(&system, token).await?.error_for_status()?;
    let next: Value = refresh(&system, &two["refresh_token"]).await?.json().await?;
    refresh(&system, &one["refresh_token"]).await?.error_for_status()?;
    // The first token is two generations back by now: a copy.
    refused(refresh(&system, token).await?, 401, "session_ended").await?;
    refused(refresh(&system, &next["refresh_token"]).await?, 401, "session_ended").await?;
    Ok(())
}

#[tokio::test]
async fn the_token_endpoint_takes_what_oauth_libraries_send() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    registered(&system, "ada@example.org").await?;
    let url = format!("{}/api/v1/auth/login/access-token", system.url());
    let post = |form: &[(&str, &str)]| system.http.post(&url).form(form);
    let good = [("username", "ada@example.org"), ("password", PASSWORD)];
    for more in [
        [("grant_type", "password"), ("scope", "a b")],
        [("grant_type", ""), ("audience", "https://example.org")],
        [("client_id", "app"), ("client_secret", "s3cret")],
        [("device_name", "phone"), ("device_name", "twice")],
    ] {
        let form = [&good[..], &more].concat();
        let answer = post(&form).basic_auth("client", Some("secret")).send().await?;
        assert_eq!(answer.status(), 200, "{more:?}: {}", answer.text().await?);
    }
    for (form, status, error) in [
        (vec![("username", "a")], 400, "invalid_request"),
        (vec![], 400, "invalid_request"),
        ([&good[..], &good[..]].concat(), 400, "invalid_request"),
        (
            [&good[..], &[("grant_type", "client_credentials")]].concat(),
            400,
            "unsupported_grant_type",
        ),
        (vec![("username", "a@b.c"), ("password", "wrong")], 401, "invalid_grant"),
    ] {
        let answer = post(&form).header("Accept", "application/json").send().await?;
        let kind = answer.headers()["content-type"].clone();
        let answered = answer.status().as_u16();
        let body: Value = answer.json().await?;
        assert_eq!((answered, &body["error"]), (status, &json!(error)), "{form:?}: {body}");
        assert_eq!(kind, "application/json", "as the caller asks");
        assert!(body["error_description"].is_string() && body["trace_id"].is_string(), "{body}");
    }
    let json = system.http.post(&url).json(&json!({})).send().await?;
    assert_eq!(json.status(), 415);
    assert_eq!(json.headers()["content-type"], "application/problem+json", "by default");
    assert_eq!(json.json::<Value>().await?["error"], "invalid_request");
    Ok(())
}

#[tokio::test]
async fn both_spellings_of_a_character_sign_in() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let (composed, decomposed) = ("p\u{e4}ssw\u{f6}rd", "pa\u{308}sswo\u{308}rd");
    for (email, password) in [("a@example.org", composed), ("b@example.org", decomposed)] {
        let mut user = body(email);
        user["password"] = password.into();
        let url = format!("{}/api/v1/users", system.url());
        system.http.post(url).json(&user).send().await?.error_for_status()?;
        for typed in [composed, decomposed] {
            assert_eq!(log_in(&system, email, typed).await?.status(), 200, "{email}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn logging_out_ends_the_session() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    registered(&system, "ada@example.org").await?;
    let tokens = tokens(&system, "ada@example.org").await?;
    let out = async |caller: Caller| -> Result<u16> {
        let answer = caller.request(Method::POST, "/api/v1/auth/logout").send().await?;
        Ok(answer.status().as_u16())
    };
    assert_eq!(out(with(&system, &tokens)).await?, 204);
    assert_eq!(out(with(&system, &tokens)).await?, 204, "twice is harmless");
    refused(refresh(&system, &tokens["refresh_token"]).await?, 401, "session_ended").await?;
    assert_eq!(out(system.caller(&system.token)).await?, 204, "a token without session");
    Ok(())
}

#[tokio::test]
async fn a_new_password_ends_the_sessions_of_the_old_one() -> Result<()> {
    const NEW: &str = "another horse battery";
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    registered(&system, "ada@example.org").await?;
    let before = tokens(&system, "ada@example.org").await?;
    let change = async |current: &str, new: &str| -> Result<Response> {
        let body = json!({"current_password": current, "new_password": new});
        let request = with(&system, &before).request(Method::PUT, "/api/v1/users/me/password");
        Ok(request.json(&body).send().await?)
    };
    let problem = refused(change("wrong", NEW).await?, 422, "wrong_password").await?;
    assert_eq!(problem["errors"][0]["pointer"], "/current_password");
    assert_eq!(change(PASSWORD, NEW).await?.status(), 204);
    assert_eq!(change(PASSWORD, NEW).await?.status(), 204, "sent again it is so already");
    let changes = "select count(*) from log.event where event_type = 'password_changed'";
    assert_eq!(system.number(changes).await?, 1);
    refused(refresh(&system, &before["refresh_token"]).await?, 401, "session_ended").await?;
    refused(log_in(&system, "ada@example.org", PASSWORD).await?, 401, "invalid_credentials")
        .await?;
    assert_eq!(log_in(&system, "ada@example.org", NEW).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_role_given_by_an_administrator_is_in_the_next_access_token() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let ada = registered(&system, "ada@example.org").await?;
    let grace = registered(&system, "grace@example.org").await?;
    let tokens = tokens(&system, "ada@example.org").await?;
    let role = |user: &Value| format!("/api/v1/users/{}/role", user["id"].as_str().unwrap_or(""));
    let put = async |caller: &Caller, path: &str, role: &str| -> Result<Response> {
        Ok(caller.request(Method::PUT, path).json(&json!({"role": role})).send().await?)
    };
    let user = with(&system, &tokens);
    refused(put(&user, &role(&ada), "admin").await?, 403, "forbidden").await?;
    refused(user.get("/api/v1/users").send().await?, 403, "forbidden").await?;
    let other = format!("/api/v1/users/{}", grace["id"].as_str().unwrap_or_default());
    refused(user.get(&other).send().await?, 404, "not_found").await?;

    let admin = system.caller(&system.token);
    let nowhere = json!({"id": Uuid::now_v7()});
    refused(put(&admin, &role(&nowhere), "admin").await?, 404, "user_not_found").await?;
    refused(put(&admin, &role(&ada), "root").await?, 422, "invalid_body").await?;
    admin.command(Method::PUT, &role(&ada), &json!({"role": "admin"})).await?;
    refused(user.get("/api/v1/users").send().await?, 403, "forbidden").await?;
    let next: Value = refresh(&system, &tokens["refresh_token"]).await?.json().await?;
    let promoted = with(&system, &next);
    refused(put(&promoted, &role(&ada), "user").await?, 403, "own_role").await?;

    let page = promoted.json("/api/v1/users?limit=1").await?;
    assert_eq!(page["items"], json!([grace]), "newest first, and as it was answered");
    let answer = promoted.get("/api/v1/users?limit=1").send().await?;
    let link = answer.headers()["link"].to_str()?.to_owned();
    let next = link.trim_start_matches('<').split('>').next().unwrap_or_default();
    let page = promoted.json(next).await?;
    let mut expected = ada.clone();
    expected["role"] = "admin".into();
    assert_eq!(page["items"], json!([expected]));
    assert_eq!(promoted.json("/api/v1/users/me").await?, expected);
    assert_eq!(promoted.json(&other).await?, grace);
    Ok(())
}

#[tokio::test]
async fn personal_data_is_only_in_user_events_and_the_password_nowhere() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let email = "augusta.ada@example.org";
    registered(&system, email).await?;
    let tokens = tokens(&system, email).await?;
    let user = with(&system, &tokens);
    user.command(Method::POST, "/api/v1/works", &json!({"add_up_to": 4})).await?;
    let reading = json!([{"user_id": "ada", "device_id": "d", "sequence_id": 1}]);
    system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    refresh(&system, &tokens["refresh_token"]).await?.error_for_status()?;
    log_in(&system, email, "wrong").await?;
    system.caught_up().await?;

    let events: Vec<(String, String)> =
        sqlx::query_as("select event_type, e::text from log.event e")
            .fetch_all(&system.admin)
            .await?;
    let holds = |what: &str| -> Vec<&str> {
        let found = events.iter().filter(|(_, text)| text.contains(what));
        found.map(|(event_type, _)| event_type.as_str()).collect()
    };
    assert_eq!(holds(email), ["registered"]);
    assert_eq!(holds(NAME), ["registered"]);
    assert_eq!(holds("argon2id"), ["registered"]);
    assert!(holds(PASSWORD).is_empty());
    let others = sqlx::query_scalar::<_, i64>(
        "select (select count(*) from log.receipt r where r::text ~ $1)
              + (select count(*) from log.parked p where p::text ~ $1)",
    );
    assert_eq!(others.bind("augusta").fetch_one(&system.admin).await?, 0);

    // Operators may read the log, but not password hashes.
    let operator = system.caller(system.token_for("op", "operator").await?);
    let feed = operator.json("/api/v1/events?context=users").await?.to_string();
    let stream = feed.split("user-").nth(1).and_then(|rest| rest.split('"').next());
    let stream = format!("/api/v1/streams/user-{}", stream.unwrap_or_default());
    let stream = operator.json(&stream).await?.to_string();
    let mut listened = operator.get("/api/v1/events/stream?after=0&context=users").send().await?;
    let mut received = String::new();
    while !received.contains("logged_in") {
        let chunk = tokio::time::timeout(DEADLINE, listened.chunk()).await??;
        received += &String::from_utf8_lossy(&chunk.unwrap_or_default());
    }
    for (way, text) in [("feed", feed), ("stream", stream), ("subscription", received)] {
        assert!(text.contains("registered") && text.contains(email), "{way}: {text}");
        assert!(!text.contains("argon2id") && !text.contains("password_hash"), "{way}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_first_administrator_is_made_on_the_command_line() -> Result<()> {
    let system = System::start().await?;
    let create = async |password: &str, in_file: bool| -> Result<std::process::Output> {
        let mut command = tokio::process::Command::new(tests::tributary());
        command.args(["users", "create-admin", "--email", "root@example.org"]);
        command.envs(system.environment.iter().map(|(name, value)| (name, value)));
        // As `dev.env` sets it, for another administrator.
        command.env("TRIBUTARY_PASSWORD", "of another administrator");
        if in_file {
            let file = system.folder.join("password");
            std::fs::write(&file, format!("{password}\n"))?;
            command.arg("--password-file").arg(file);
        }
        let piped = std::process::Stdio::piped;
        command.stdin(piped()).stdout(piped()).stderr(piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        if !in_file {
            stdin.write_all(format!("{password}\n").as_bytes()).await?;
        }
        drop(stdin);
        Ok(child.wait_with_output().await?)
    };
    assert_eq!(create("short", true).await?.status.code(), Some(2));
    let made = create(PASSWORD, false).await?;
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let again = create(PASSWORD, true).await?;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("registered"));

    let _process = system.serve(&["http", "projector"]).await?;
    let tokens = tokens(&system, "root@example.org").await?;
    system.caught_up().await?;
    let users = with(&system, &tokens).json("/api/v1/users").await?;
    assert_eq!(users["items"][0]["role"], "admin");
    let id = String::from_utf8(made.stdout)?;
    assert_eq!(users["items"][0]["id"], id.trim());
    Ok(())
}
