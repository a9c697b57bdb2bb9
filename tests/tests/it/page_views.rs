//! Page views, from a visitor without a token to the statistics.

use anyhow::{Context, Result};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tests::{Process, System};

const VIEWS: &str = "/api/v1/page-views";
/// The path of all requests here.
const DAY: &str = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z";

/// Serves HTTP and the read model. Views of [`DAY`] may be sent at any time.
async fn serve(system: &System) -> Result<Process> {
    system.serve_with(&["http", "projector"], &[("PAGE_VIEW_MAX_AGE", "10000d")]).await
}

/// Sends views without a token, and waits until the read model shows them.
async fn send(system: &System, body: &Value, key: Option<&str>) -> Result<Response> {
    let request = system.http.post(format!("{}{VIEWS}", system.url())).header("Prefer", "wait=20");
    let request = match key {
        None => request,
        Some(key) => request.header("Idempotency-Key", key),
    };
    Ok(request.json(body).send().await?)
}

async fn taken(system: &System, body: &Value) -> Result<()> {
    let answer = send(system, body, None).await?;
    let status = answer.status();
    anyhow::ensure!(status == StatusCode::ACCEPTED, "{status}: {}", answer.text().await?);
    Ok(())
}

fn view(path: &str, session: &str, time: &str) -> Value {
    json!({"path": path, "session_id": session, "viewed_at": format!("2026-03-01T{time}Z")})
}

/// Returns path, time of day, views and sessions of each row.
async fn rows(system: &System, query: &str) -> Result<Vec<(String, String, i64, i64)>> {
    let page = system.json(&format!("{VIEWS}/stats?{DAY}{query}")).await?;
    let items = page["items"].as_array().context("a list")?;
    let rows = items.iter().map(|row| {
        let time = row["time"].as_str().and_then(|time| time.get(11..16)).unwrap_or_default();
        let number = |name: &str| row[name].as_i64().with_context(|| format!("{name} in {row}"));
        let path = row["path"].as_str().context("a path")?.to_owned();
        Ok((path, time.to_owned(), number("views")?, number("unique_sessions")?))
    });
    rows.collect()
}

fn row(path: &str, time: &str, views: i64, sessions: i64) -> (String, String, i64, i64) {
    (path.to_owned(), time.to_owned(), views, sessions)
}

#[tokio::test]
async fn views_add_up_and_a_session_counts_once_across_batches() -> Result<()> {
    let system = System::start().await?;
    let _process = serve(&system).await?;
    let first = json!([
        view("/a", "s1", "10:00:00"),
        view("/a", "s1", "10:01:30"),
        view("/a", "s2", "10:04:59.999999"),
        view("/a", "s3", "10:05:00"),
        view("/b", "s1", "10:00:00"),
    ]);
    let answer = send(&system, &first, None).await?;
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.headers()["location"], "/api/v1/page-views/stats");
    assert!(answer.headers().contains_key("tributary-position"));
    assert!(!answer.headers().contains_key("etag"));
    assert_eq!(answer.json::<Value>().await?, json!({"accepted": 5}));
    // The same sessions again, and one view without a session.
    taken(&system, &json!([view("/a", "s1", "10:02:00"), view("/a", "s2", "10:06:00")])).await?;
    taken(&system, &json!({"path": "/a", "viewed_at": "2026-03-01T11:59:00Z"})).await?;

    assert_eq!(rows(&system, "").await?, [row("/a", "", 7, 3), row("/b", "", 1, 1)]);
    assert_eq!(rows(&system, "&order=asc").await?, [row("/b", "", 1, 1), row("/a", "", 7, 3)]);
    assert_eq!(rows(&system, "&path=/b").await?, [row("/b", "", 1, 1)]);
    assert_eq!(rows(&system, "&path=/c").await?, []);
    let fives = [row("/a", "10:00", 4, 2), row("/a", "10:05", 2, 2), row("/a", "11:55", 1, 0)];
    assert_eq!(rows(&system, "&path=/a&bucket=5m&order=asc").await?, fives);
    let hours = [row("/a", "11:00", 1, 0), row("/a", "10:00", 6, 3), row("/b", "10:00", 1, 1)];
    assert_eq!(rows(&system, "&bucket=1h").await?, hours);
    assert_eq!(rows(&system, "&path=/a&bucket=1d").await?, [row("/a", "00:00", 7, 3)]);
    assert_eq!(rows(&system, "&path=/a&bucket=1m&limit=1").await?, [row("/a", "11:59", 1, 0)]);
    Ok(())
}

#[tokio::test]
async fn a_list_continues_after_its_page() -> Result<()> {
    let system = System::start().await?;
    let _process = serve(&system).await?;
    let views: Vec<_> = (0..30)
        .map(|n| view(&format!("/{}", n % 3), "s", &format!("10:{:02}:00", n / 3)))
        .collect();
    taken(&system, &Value::Array(views)).await?;
    for query in ["&bucket=1m&order=asc", "&bucket=1m", "&order=asc", ""] {
        let whole = rows(&system, query).await?;
        let mut path = format!("{VIEWS}/stats?{DAY}{query}&limit=2");
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let answer = system.get(&path).send().await?.error_for_status()?;
            let next = answer.headers().get("link").map(|link| link.to_str().map(str::to_owned));
            let page: Value = answer.json().await?;
            let items = page["items"].as_array().context("a list")?;
            seen.extend(items.iter().map(|item| (item["path"].clone(), item["time"].clone())));
            pages += 1;
            assert!(pages < 20, "{query} does not end");
            let Some(next) = next.transpose()? else { break };
            next.split(['<', '>']).nth(1).context("a link")?.clone_into(&mut path);
        }
        assert_eq!(seen.len(), whole.len(), "{query}");
        let paths: Vec<_> = whole.iter().map(|(path, ..)| json!(path)).collect();
        assert_eq!(seen.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), paths, "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn invalid_views_are_named_and_lose_no_other() -> Result<()> {
    let system = System::start().await?;
    let _process = serve(&system).await?;
    let mut sent = json!([
        {"path": "/fine", "referrer": "", "user_agent": "", "session_id": ""},
        {"path": "no slash", "session_id": "\u{0}"},
        {"path": 7},
        {"path": "/", "colour": "red"},
        {"path": "/", "referrer": "a\u{0}b"},
        {"path": "/", "viewed_at": "1999-12-31T23:59:59Z"},
        {"path": "/", "viewed_at": "yesterday"},
        {},
        ["/"],
    ]);
    let answer = send(&system, &sent, None).await?;
    assert_eq!(answer.status(), 202);
    let answer: Value = answer.json().await?;
    assert_eq!(answer["accepted"], 1);
    let refused = answer["refused"].as_array().context("refused")?;
    let indices: Vec<_> = refused.iter().filter_map(|item| item["index"].as_u64()).collect();
    assert_eq!(indices, (1..=8).collect::<Vec<_>>());
    let faults: Vec<_> =
        refused.iter().filter_map(|item| item["errors"].as_array()).flatten().collect();
    let pointers: Vec<_> = faults.iter().map(|fault| fault["pointer"].clone()).collect();
    let expected = [
        "/1/session_id",
        "/1/path",
        "/2/path",
        "/3/colour",
        "/4/referrer",
        "/5/viewed_at",
        "/6/viewed_at",
        "/7",
        "/8",
    ];
    assert_eq!(pointers, expected, "{answer}");
    let sql = "select count(*) from log.event where data::jsonb = jsonb_build_object(
                 'path', '/fine', 'viewed_at', data::jsonb -> 'viewed_at')";
    assert_eq!(system.number(sql).await?, 1, "an empty text is none");

    // A request that is invalid as a whole is a problem.
    sent.as_array_mut().context("an array")?.remove(0);
    let answer = send(&system, &sent, None).await?;
    assert_eq!(answer.status(), 422);
    let problem: Value = answer.json().await?;
    assert_eq!(problem["errors"][0]["pointer"], "/0/session_id", "{problem}");

    let problem: Value = send(&system, &json!({"path": "x"}), None).await?.json().await?;
    assert_eq!(problem["errors"][0]["pointer"], "/path");
    let problem: Value = send(&system, &json!(vec![json!({}); 60]), None).await?.json().await?;
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(50));
    let many = json!(vec![json!({"path": "/"}); 1_001]);
    for body in [many, json!([]), json!("x"), json!(null)] {
        let answer = send(&system, &body, None).await?;
        assert_eq!(answer.status(), 422, "{:.40}", body.to_string());
    }
    for (body, status) in [
        ("", 400),
        ("[{\"path\": \"/\"}", 400),
        ("[{\"path\": \"\\ud800\"}]", 422),
        ("[{\"path\": \"/\", \"path\": \"/\"}]", 422),
    ] {
        let request = system.http.post(format!("{}{VIEWS}", system.url()));
        let request = request.header("Content-Type", "application/json").body(body);
        assert_eq!(request.send().await?.status(), status, "{body}");
    }
    assert_eq!(system.number("select count(*) from log.event").await?, 1);
    taken(&system, &json!(vec![json!({"path": "/"}); 1_000])).await?;
    assert_eq!(system.number("select count(*) from log.event").await?, 1_001);
    Ok(())
}

#[tokio::test]
async fn a_repeated_idempotency_key_counts_once() -> Result<()> {
    let system = System::start().await?;
    let _process = serve(&system).await?;
    let body = json!([view("/k", "s", "10:00:00"), view("/k", "t", "10:00:00")]);
    let first = send(&system, &body, Some("key-1")).await?;
    let position = first.headers()["tributary-position"].clone();
    let again = send(&system, &body, Some("key-1")).await?;
    assert_eq!((first.status(), again.status()), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!(again.headers()["tributary-position"], position);
    assert_eq!(again.json::<Value>().await?, json!({"accepted": 2}));
    assert_eq!(rows(&system, "").await?, [row("/k", "", 2, 2)]);

    let other = send(&system, &json!({"path": "/k"}), Some("key-1")).await?;
    assert_eq!(other.status(), 422);
    assert_eq!(other.json::<Value>().await?["code"], "idempotency_key_reused");
    // Without a key, the same views count again.
    taken(&system, &body).await?;
    assert_eq!(rows(&system, "").await?, [row("/k", "", 4, 2)]);
    Ok(())
}

#[tokio::test]
async fn statistics_require_a_token() -> Result<()> {
    let system = System::start().await?;
    let _process = serve(&system).await?;
    // The default time is now, and the default range the last day.
    taken(&system, &json!({"path": "/now"})).await?;
    let url = format!("{}{VIEWS}/stats", system.url());
    assert_eq!(system.http.get(&url).send().await?.status(), 401);
    let shown = system.json(&format!("{VIEWS}/stats")).await?;
    let expected = json!([{"path": "/now", "time": null, "views": 1, "unique_sessions": 0}]);
    assert_eq!(shown["items"], expected);
    for query in ["bucket=90s", "bucket=x", "order=up", "limit=0", "cursor=x", "colour=red"] {
        let answer = system.get(&format!("{VIEWS}/stats?{query}")).send().await?;
        assert_eq!(answer.status(), 422, "{query}");
    }
    // Ranges beyond Postgres' limits or with swapped ends are refused or empty, but no error.
    let far = "from=-250000-01-01T00:00:00Z&to=%2B250000-01-01T00:00:00Z";
    let ends =
        ["to=-250000-01-01T00:00:00Z", far, "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"];
    for query in ends.into_iter().flat_map(|ends| [ends.to_owned(), format!("{ends}&bucket=7m")]) {
        let answer = system.get(&format!("{VIEWS}/stats?{query}")).send().await?;
        assert!([200, 422].contains(&answer.status().as_u16()), "{query}: {}", answer.status());
    }
    Ok(())
}

#[tokio::test]
async fn a_model_from_one_batch_equals_one_from_many() -> Result<()> {
    let system = System::start().await?;
    let process = serve(&system).await?;
    for n in 0..40 {
        let views = (0..20).map(|k| {
            let time = format!("1{}:0{}:00", k % 2, n % 6);
            view(&format!("/{}", k % 3), &format!("s{}", (n * k) % 7), &time)
        });
        taken(&system, &views.collect::<Vec<_>>().into()).await?;
    }
    system.caught_up().await?;
    process.kill().await?;
    sqlx::raw_sql(
        "create table public.rollups as select * from page_views.rollup;
         create table public.visits as select * from page_views.visit;
         truncate page_views.rollup, page_views.visit, page_views.page;
         update log.checkpoint set position = 0 where consumer = 'page_views'",
    )
    .execute(&system.admin)
    .await?;
    let _process = serve(&system).await?;
    system.caught_up().await?;
    let differing = "select count(*) from (
           (table page_views.rollup except table public.rollups)
           union all (table public.rollups except table page_views.rollup)) rollups";
    assert_eq!(system.number(differing).await?, 0);
    let differing = "select count(*) from (
           (table page_views.visit except table public.visits)
           union all (table public.visits except table page_views.visit)) visits";
    assert_eq!(system.number(differing).await?, 0);
    assert!(system.number("select count(*) from page_views.visit").await? > 0);
    Ok(())
}
