//! Sessions of the console: a refresh token in a cookie, requests that another site caused, one-time codes,
//! signing out everywhere, and the list of one's own sessions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway::app::App;
use gateway::config::{Config, ProcessRole};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tests::{Caller, System, successful};
use uuid::Uuid;

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";
const SESSION: &str = "/api/v1/auth/session";
const REFRESH: &str = "/api/v1/auth/session/refresh";
const LIST: &str = "/api/v1/users/me/sessions";
const CODE: &str = "/api/v1/auth/session/code";
const SHOP: &str = "https://shop.example.org";

async fn register(system: &System, url: &str) -> Result<Uuid> {
    let body = json!({"email": EMAIL, "password": PASSWORD, "full_name": "Ada"});
    let answer = system.http.post(format!("{url}/api/v1/users")).json(&body).send().await?;
    let user: Value = answer.error_for_status()?.json().await?;
    Ok(user["id"].as_str().context("an id")?.parse()?)
}

/// A request as a page of the console sends it.
fn request(system: &System, method: Method, path: &str) -> RequestBuilder {
    let request = system.http.request(method, format!("{}{path}", system.url()));
    request.header("Tributary-Console", "1").header("Sec-Fetch-Site", "same-origin")
}

async fn begin(system: &System) -> Result<Response> {
    let credentials = json!({"username": EMAIL, "password": PASSWORD});
    Ok(request(system, Method::POST, SESSION).json(&credentials).send().await?)
}

async fn refresh(system: &System, cookie: &str) -> Result<Response> {
    Ok(request(system, Method::POST, REFRESH).header("Cookie", cookie).send().await?)
}

/// Signs in; returns the cookie of the session and a caller with its access token.
async fn sign_in(system: &System) -> Result<(String, Caller)> {
    let answer = begin(system).await?.error_for_status()?;
    let cookie = cookie(&answer)?;
    let shown: Value = answer.json().await?;
    Ok((cookie, system.caller(shown["access_token"].as_str().unwrap_or_default())))
}

/// The sessions of the caller at the head of the log.
async fn sessions(system: &System, caller: &Caller) -> Result<Vec<Value>> {
    let list = caller.get(LIST).header("Tributary-Min-Position", system.head().await?);
    let page = successful(list.header("Prefer", "wait=20")).await?;
    Ok(page["items"].as_array().context("items")?.clone())
}

/// Which of the sessions is the caller's.
fn current(sessions: &[Value]) -> Vec<bool> {
    sessions.iter().map(|session| session["current"] == true).collect()
}

/// The parts of the only `Set-Cookie`: name and value, and the attributes.
fn set_cookie(answer: &Response) -> Result<Vec<String>> {
    let mut lines = answer.headers().get_all("set-cookie").iter();
    let (first, second) = (lines.next(), lines.next());
    ensure!(second.is_none(), "one cookie");
    let text = first.context("a cookie")?.to_str()?;
    Ok(text.split("; ").map(str::to_owned).collect())
}

/// The pair that a browser sends back.
fn cookie(answer: &Response) -> Result<String> {
    Ok(set_cookie(answer)?.remove(0))
}

async fn refused(answer: Response, status: u16, code: &str) -> Result<()> {
    let answered = answer.status();
    let problem: Value = answer.json().await?;
    ensure!(answered == status && problem["code"] == code, "{answered}: {problem}");
    Ok(())
}

#[tokio::test]
async fn the_refresh_token_is_in_a_cookie_for_this_server_and_no_script() -> Result<()> {
    let system = System::start().await?;
    let proxy = [("TRUSTED_PROXIES", "127.0.0.1")];
    let _process = system.serve_with(&["http"], &proxy).await?;
    register(&system, &system.url()).await?;
    let answer = begin(&system).await?.error_for_status()?;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let parts = set_cookie(&answer)?;
    ensure!(parts[0].starts_with("tributary_refresh=ey"), "{parts:?}");
    let age: u64 = parts[2].strip_prefix("Max-Age=").context("an age")?.parse()?;
    ensure!((2_591_000..=2_592_000).contains(&age), "30 days, not {age} s");
    assert_eq!(parts[1], "Path=/api/v1/auth");
    assert_eq!(parts[3..], ["HttpOnly", "SameSite=Strict"]);
    let shown: Value = answer.json().await?;
    let members: Vec<_> = shown.as_object().context("an object")?.keys().collect();
    assert_eq!(members, ["access_token", "expires_in", "token_type"]);
    assert_eq!((&shown["token_type"], &shown["expires_in"]), (&json!("bearer"), &json!(900)));
    let caller = system.caller(shown["access_token"].as_str().unwrap_or_default());
    assert_eq!(caller.json("/api/v1/users/me").await?["email"], EMAIL);

    // Each refresh replaces the cookie; over TLS it is sent over TLS only.
    let first = parts[0].clone();
    let with = format!("theme=dark; {first}");
    let tls = request(&system, Method::POST, REFRESH).header("X-Forwarded-Proto", "https");
    let answer = tls.header("Cookie", with).send().await?.error_for_status()?;
    let second = cookie(&answer)?;
    ensure!(second != first && set_cookie(&answer)?.contains(&"Secure".to_owned()), "{second}");
    refresh(&system, &second).await?.error_for_status()?;
    // The first one was replaced twice: its use ends the session, and removes the cookie.
    let ended = refresh(&system, &first).await?;
    assert_eq!(set_cookie(&ended)?[..3], ["tributary_refresh=", "Path=/api/v1/auth", "Max-Age=0"]);
    refused(ended, 401, "session_ended").await?;
    for wrong in ["tributary_refresh=nonsense", "other=1", ""] {
        refused(refresh(&system, wrong).await?, 401, "session_ended").await?;
    }
    let wrong = json!({"username": EMAIL, "password": "wrong horse battery"});
    let answer = request(&system, Method::POST, SESSION).json(&wrong).send().await?;
    ensure!(set_cookie(&answer).is_err(), "no cookie for a wrong password");
    refused(answer, 401, "invalid_credentials").await?;

    let session = cookie(&begin(&system).await?.error_for_status()?)?;
    for _ in 0..2 {
        let end = request(&system, Method::DELETE, SESSION).header("Cookie", &session);
        let answer = end.send().await?;
        assert_eq!((answer.status().as_u16(), &*set_cookie(&answer)?[2]), (204, "Max-Age=0"));
    }
    refused(refresh(&system, &session).await?, 401, "session_ended").await?;
    Ok(())
}

/// Requests to all operations on the cookie, with the cookie, and without what a page of the console adds.
fn from_elsewhere(system: &System, cookie: &str) -> Vec<RequestBuilder> {
    let request = |method, path| {
        let url = format!("{}{path}", system.url());
        system.http.request(method, url).header("Cookie", cookie)
    };
    let credentials = json!({"username": EMAIL, "password": PASSWORD});
    vec![
        request(Method::POST, SESSION).json(&credentials),
        request(Method::POST, CODE).json(&json!({"code": "x"})),
        request(Method::POST, REFRESH),
        request(Method::DELETE, SESSION),
    ]
}

#[tokio::test]
async fn a_request_that_another_site_caused_is_refused_and_changes_nothing() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("CORS_ORIGINS", SHOP)]).await?;
    register(&system, &system.url()).await?;
    let cookie = cookie(&begin(&system).await?.error_for_status()?)?;
    let head = system.head().await?;
    // A form, or a script of another site or of another subdomain.
    let cases: [&[(&str, &str)]; 6] = [
        &[],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Tributary-Console", "0")],
        &[("Tributary-Console", "1"), ("Sec-Fetch-Site", "cross-site"), ("Origin", SHOP)],
        &[("Tributary-Console", "1"), ("Sec-Fetch-Site", "same-site")],
        &[("Tributary-Console", "1"), ("Sec-Fetch-Site", "")],
    ];
    for headers in cases {
        for request in from_elsewhere(&system, &cookie) {
            let add = |request: RequestBuilder, (name, value): &(&str, &str)| {
                request.header(*name, *value)
            };
            let answer = headers.iter().fold(request, add).send().await?;
            ensure!(set_cookie(&answer).is_err(), "{headers:?}: the cookie stays");
            refused(answer, 403, "cross_site_request").await?;
        }
    }
    assert_eq!(system.head().await?, head);
    // A listed origin may call the API, but not with the header that these routes need.
    for (path, allowed) in [(SESSION, ""), (REFRESH, ""), (CODE, ""), ("/api/v1/works", SHOP)] {
        let preflight = system.http.request(Method::OPTIONS, format!("{}{path}", system.url()));
        let preflight = preflight.header("Origin", SHOP).header("Sec-Fetch-Site", "cross-site");
        let preflight = preflight.header("Access-Control-Request-Method", "POST");
        let preflight = preflight.header("Access-Control-Request-Headers", "tributary-console");
        let answer = preflight.send().await?;
        let given = answer.headers().get("access-control-allow-origin");
        assert_eq!(given.map_or("", |value| value.to_str().unwrap_or("?")), allowed, "{path}");
    }
    // A client that is no browser of today sends no `Sec-Fetch-Site`.
    let refresh = system.http.post(format!("{}{REFRESH}", system.url()));
    let refresh = refresh.header("Tributary-Console", "1").header("Cookie", &cookie);
    refresh.send().await?.error_for_status()?;
    Ok(())
}

#[tokio::test]
async fn a_one_time_code_signs_in_once() -> Result<()> {
    let system = System::start().await?;
    let variable = |name: &str| {
        let mut pairs = system.environment.iter();
        let found = pairs.find_map(|(known, value)| (known == name).then_some(value.as_str()));
        found.context("a variable of the system")
    };
    let key = variable("TRIBUTARY_SIGNING_KEY_FILE")?;
    let [database, nats, mqtt] = ["DATABASE_URL", "NATS_URL", "MQTT_URL"].map(variable);
    let config = Config::private(database?, nats?, mqtt?, key.as_ref())?;
    // Codes are in the memory of the process, and nothing but `dev` issues them.
    let app = App::start(config, &[ProcessRole::Http]).await?;
    let url = format!("http://{}", app.address().context("an address")?);
    let id = register(&system, &url).await?;
    let send = async |code: &str| {
        let request = system.http.post(format!("{url}{CODE}")).header("Tributary-Console", "1");
        request.json(&json!({"code": code})).send().await
    };
    let codes = &app.parts().one_time_codes;
    let code = codes.issue(id, Duration::from_mins(10));
    let answer = send(&code).await?.error_for_status()?;
    ensure!(cookie(&answer)?.starts_with("tributary_refresh=ey"), "a session");
    let shown: Value = answer.json().await?;
    let caller = system.caller(shown["access_token"].as_str().unwrap_or_default()).at(&url);
    assert_eq!(caller.json("/api/v1/users/me").await?["id"], id.to_string());

    let expired = codes.issue(id, Duration::ZERO);
    for wrong in [&*code, &*expired, "", "nonsense", &"x".repeat(10_000)] {
        let answer = send(wrong).await?;
        ensure!(answer.headers().contains_key("www-authenticate"), "a challenge");
        refused(answer, 401, "invalid_code").await?;
    }
    app.stop().await;
    Ok(())
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_sessions_and_new_ones_begin() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let id = register(&system, &system.url()).await?;
    let cookies = [cookie(&begin(&system).await?)?, cookie(&begin(&system).await?)?];
    let form = [("username", EMAIL), ("password", PASSWORD)];
    let login = format!("{}/api/v1/auth/login/access-token", system.url());
    let tokens: Value = system.http.post(login).form(&form).send().await?.json().await?;
    let caller = system.caller(tokens["access_token"].as_str().unwrap_or_default());
    let everywhere = "/api/v1/auth/logout-everywhere";
    assert_eq!(caller.request(Method::POST, everywhere).send().await?.status(), 204);
    for cookie in &cookies {
        refused(refresh(&system, cookie).await?, 401, "session_ended").await?;
    }
    let body = json!({"refresh_token": tokens["refresh_token"]});
    let url = format!("{}/api/v1/auth/refresh", system.url());
    refused(system.http.post(url).json(&body).send().await?, 401, "session_ended").await?;
    // Later sessions are not concerned.
    let next = cookie(&begin(&system).await?)?;
    refresh(&system, &next).await?.error_for_status()?;
    // A program has no sessions.
    let program = system.caller(system.token_for("sampler", "user").await?);
    let program = program.request(Method::POST, everywhere).send().await?;
    refused(program, 403, "not_a_user").await?;
    let stranger = system.caller(system.token_for(&Uuid::now_v7().to_string(), "user").await?);
    let stranger = stranger.request(Method::POST, everywhere).send().await?;
    refused(stranger, 404, "user_not_found").await?;
    system.caught_up().await?;
    let shown = &system.json("/api/v1/users").await?["items"][0];
    assert_eq!(shown["id"], json!(id), "the read model follows");
    Ok(())
}

#[tokio::test]
async fn a_user_lists_own_sessions_and_ends_one() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    register(&system, &system.url()).await?;
    let (cookie_of_first, first) = sign_in(&system).await?;
    let (_, second) = sign_in(&system).await?;
    let shown = sessions(&system, &second).await?;
    assert_eq!(current(&shown), [true, false], "newest first");
    assert_eq!(current(&sessions(&system, &first).await?), [false, true]);
    let names: Vec<_> = shown[1].as_object().context("an object")?.keys().collect();
    assert_eq!(names, ["created_at", "current", "expires_at", "id", "refreshed_at"]);
    assert_eq!(shown[1]["refreshed_at"], Value::Null);
    let answer = refresh(&system, &cookie_of_first).await?.error_for_status()?;
    let cookie_of_first = cookie(&answer)?;
    let refreshed = &sessions(&system, &second).await?[1];
    ensure!(refreshed["refreshed_at"].as_str() > refreshed["created_at"].as_str(), "{refreshed}");

    // Sessions of others cannot be ended, with any role, and a program has none.
    let path = format!("{LIST}/{}", refreshed["id"].as_str().context("an id")?);
    let delete =
        async |caller: &Caller, path: &str| caller.request(Method::DELETE, path).send().await;
    let administrator = system.token_for(&Uuid::now_v7().to_string(), "admin").await?;
    let administrator = system.caller(administrator);
    refused(delete(&administrator, &path).await?, 404, "session_not_found").await?;
    let unknown = format!("{LIST}/{}", Uuid::now_v7());
    refused(delete(&second, &unknown).await?, 404, "session_not_found").await?;
    let program = system.caller(system.token_for("sampler", "user").await?);
    refused(delete(&program, &path).await?, 404, "not_found").await?;
    refused(program.get(LIST).send().await?, 404, "not_found").await?;
    assert_eq!(sessions(&system, &second).await?.len(), 2);

    let ended = delete(&second, &path).await?;
    assert_eq!(ended.status(), 204);
    let position = ended.headers()["tributary-position"].to_str()?.parse::<i64>()?;
    assert_eq!(position, system.head().await?);
    assert_eq!(current(&sessions(&system, &second).await?), [true]);
    refused(refresh(&system, &cookie_of_first).await?, 401, "session_ended").await?;
    refused(delete(&second, &path).await?, 404, "session_not_found").await?;
    Ok(())
}

#[tokio::test]
async fn a_new_password_and_signing_out_everywhere_empty_the_list() -> Result<()> {
    const NEW: &str = "another horse battery";
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    register(&system, &system.url()).await?;
    let (_, before) = sign_in(&system).await?;
    for (current, new) in [(PASSWORD, NEW), (NEW, PASSWORD)] {
        let body = json!({"current_password": current, "new_password": new});
        before.command(Method::PUT, "/api/v1/users/me/password", &body).await?;
    }
    let (_, after) = sign_in(&system).await?;
    // The projector applies all of it in one batch. The earlier access token is still valid.
    let _projector = system.serve(&["projector"]).await?;
    assert_eq!(current(&sessions(&system, &before).await?), [false]);
    assert_eq!(current(&sessions(&system, &after).await?), [true]);

    before
        .request(Method::POST, "/api/v1/auth/logout-everywhere")
        .send()
        .await?
        .error_for_status()?;
    ensure!(sessions(&system, &after).await?.is_empty(), "no session is left");
    let (_, later) = sign_in(&system).await?;
    assert_eq!(current(&sessions(&system, &later).await?), [true]);
    Ok(())
}

#[tokio::test]
async fn an_expired_session_is_not_listed_and_its_row_goes_at_the_next_sign_in() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // The read model is not that of the log.
    let _process = system.serve(&["http", "projector"]).await?;
    register(&system, &system.url()).await?;
    let (_, ada) = sign_in(&system).await?;
    assert_eq!(sessions(&system, &ada).await?.len(), 1);
    let expire = "update users.session set expires_at = now() - interval '1 second'";
    sqlx::query(expire).execute(&system.admin).await?;
    ensure!(sessions(&system, &ada).await?.is_empty(), "it has expired");
    let rows = "select count(*) from users.session";
    assert_eq!(system.number(rows).await?, 1);
    let (_, next) = sign_in(&system).await?;
    assert_eq!(current(&sessions(&system, &next).await?), [true]);
    assert_eq!(system.number(rows).await?, 1);
    Ok(())
}

#[tokio::test]
async fn attempts_to_begin_a_session_are_limited() -> Result<()> {
    let system = System::start().await?;
    let limits = [("RATE_LIMIT_SIGN_INS_ADDRESS", "3"), ("RATE_LIMIT_SIGN_INS_ACCOUNT", "2")];
    let _process = system.serve_with(&["http"], &limits).await?;
    let wrong = json!({"username": EMAIL, "password": "wrong horse battery"});
    let guess = || request(&system, Method::POST, SESSION).json(&wrong).send();
    for _ in 0..2 {
        refused(guess().await?, 401, "invalid_credentials").await?;
    }
    refused(guess().await?, 429, "too_many_requests").await?;
    let code = request(&system, Method::POST, CODE).json(&json!({"code": "x"})).send().await?;
    refused(code, 429, "too_many_requests").await?;
    Ok(())
}
