//! The plans of list queries on filled read models: whatever the conditions, a page reads about as many
//! rows as it has, of everybody's rows and deep in the list, too. The lists are those of the OpenAPI
//! document, so that a new one is among them; `auto_explain` shows the plans as they were executed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use tests::{Caller, Options, System};

/// Items of the pages whose plans are checked.
const LIMIT: u32 = 5;
/// Most rows that the scans of a statement return: a page of each status, project and so on.
const MOST_ROWS: f64 = 300.0;
/// Most rows that the filters of a statement discard: a list of buckets of some fields reads the rows of
/// all fields.
const MOST_DISCARDED: f64 = 200.0;

/// Lists that read the log, in its order, and no read model.
const OF_THE_LOG: [&str; 5] = [
    "/api/v1/events",
    "/api/v1/events/stream",
    "/api/v1/streams/{stream_id}",
    "/api/v1/streams/{stream_id}/states",
    "/api/v1/works/{id}/events",
];

/// A value for each parameter of a list, with the list if several use the name; see `list_plans.sql`.
const VALUES: [(&str, &str); 26] = [
    ("acknowledged", "true"),
    ("archived", "true"),
    ("assignee_id", "eeeeeeee-eeee-4eee-beee-eeeeeeeeeeee"),
    ("bucket", "1m"),
    ("created_from", "2026-01-01T00:00:00Z"),
    ("created_to", "2026-01-05T00:00:00Z"),
    ("device_id", "d05999"),
    ("done", "true"),
    ("fields", "temperature,a"),
    ("from", "2026-01-01T00:00:00Z"),
    ("host", "web-1"),
    ("offline_since", "2026-01-05T00:00:00Z"),
    ("online", "true"),
    ("order", "desc"),
    ("/api/v1/page-views/stats order", "asc"),
    ("path", "/wanted"),
    ("project_id", "00000006-0000-4000-8000-00000000176e"),
    ("severity", "critical"),
    ("state", "cleared"),
    ("/api/v1/orders status", "shipped"),
    ("/api/v1/tasks status", "Done"),
    ("/api/v1/works status", "completed"),
    ("to", "2026-01-05T00:00:00Z"),
    ("user_id", CALLER),
    ("wide", "avg"),
    ("work_code", "api-wanted"),
];

/// The user whose rows are the oldest.
const CALLER: &str = "ffffffff-ffff-4fff-bfff-ffffffffffff";
/// The user with few projects: a list of tasks takes a page of each project of the user.
const CALLER_OF_TASKS: &str = "eeeeeeee-eeee-4eee-beee-eeeeeeeeeeee";

fn value(list: &str, parameter: &str) -> Result<&'static str> {
    let of_list = format!("{list} {parameter}");
    let found = VALUES.iter().find(|(name, _)| *name == of_list);
    let found = found.or_else(|| VALUES.iter().find(|(name, _)| *name == parameter));
    let found = found.with_context(|| format!("add a value for `{of_list}` to VALUES"))?;
    Ok(found.1)
}

/// Path and parameters of each list, other than its limit and cursor.
fn lists(document: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let paths = document["paths"].as_object().context("paths")?;
    let lists = paths.iter().filter_map(|(path, item)| {
        let parameters = item["get"]["parameters"].as_array()?.iter();
        let of_query = parameters.filter(|parameter| parameter["in"] == "query");
        let names = of_query.filter_map(|parameter| parameter["name"].as_str());
        let names: Vec<_> = names.map(str::to_owned).collect();
        let is_list = names.iter().any(|name| name == "limit");
        let conditions = names.into_iter().filter(|name| name != "limit" && name != "cursor");
        is_list.then(|| (path.clone(), conditions.collect()))
    });
    Ok(lists.filter(|(path, _)| !OF_THE_LOG.contains(&path.as_str())).collect())
}

/// The log of Postgres, with the plan of each statement.
struct Plans {
    file: PathBuf,
}

impl Plans {
    /// Makes Postgres log the plans of the application's statements, from its next sessions on.
    async fn log(system: &System) -> Result<Self> {
        let settings = [
            "session_preload_libraries = 'auto_explain'",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_analyze = on",
            "auto_explain.log_timing = off",
            "auto_explain.log_format = json",
        ];
        let database = system.admin.connect_options();
        let database = database.get_database().unwrap_or_default();
        for setting in settings {
            let alter = format!("alter role tributary_app in database {database} set {setting}");
            sqlx::query(&alter).execute(&system.admin).await?;
        }
        let postgres = system.postgres.as_ref().context("a Postgres of its own")?;
        Ok(Self { file: postgres.directory().join("log") })
    }

    fn size(&self) -> Result<usize> {
        Ok(usize::try_from(self.file.metadata()?.len())?)
    }

    /// The plans logged after the first `size` bytes.
    fn since(&self, size: usize) -> Result<Vec<Value>> {
        let text = std::fs::read(&self.file)?;
        let text = String::from_utf8_lossy(&text[size..]);
        let plans = text.split("  plan:\n").skip(1).map(|plan| {
            let lines = plan.lines().take_while(|line| line.starts_with('\t'));
            Ok(serde_json::from_str(&lines.collect::<String>())?)
        });
        plans.collect()
    }
}

/// Numbers of rows returned by the scans of a plan, and discarded by its filters.
fn rows(plan: &Value) -> (f64, f64) {
    let number = |name: &str| plan[name].as_f64().unwrap_or_default();
    let loops = number("Actual Loops");
    let mut returned = 0.0;
    if plan["Relation Name"].is_string() {
        returned += number("Actual Rows") * loops;
    }
    let removed = plan.as_object().into_iter().flatten();
    let removed = removed.filter(|(name, _)| name.starts_with("Rows Removed by"));
    let mut discarded = removed.filter_map(|(_, rows)| rows.as_f64()).sum::<f64>() * loops;
    for part in plan["Plans"].as_array().into_iter().flatten() {
        let of_part = rows(part);
        returned += of_part.0;
        discarded += of_part.1;
    }
    (returned, discarded)
}

/// What is wrong with the plans of `what`.
fn findings(plans: &[Value], what: &str) -> Vec<String> {
    let wrong = plans.iter().filter_map(|plan| {
        let (returned, discarded) = rows(&plan["Plan"]);
        (returned > MOST_ROWS || discarded > MOST_DISCARDED).then(|| {
            let text = plan["Query Text"].as_str().unwrap_or_default();
            format!("{what}\n  {returned} rows read, {discarded} discarded by\n  {text}")
        })
    });
    wrong.collect()
}

/// The path and query of the page after this one, by its `Link`.
async fn next(caller: &Caller, path: &str) -> Result<Option<String>> {
    let response = caller.get(path).send().await?.error_for_status()?;
    let link = response.headers().get("link").map(|link| link.to_str()).transpose()?;
    Ok(link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned())))
}

/// The pages to check of a list with these conditions: the first one, and one after two long ones.
async fn pages(caller: &Caller, path: &str) -> Result<Vec<String>> {
    let mut pages = vec![format!("{path}limit={LIMIT}")];
    let mut deep = None;
    let mut following = Some(format!("{path}limit=400"));
    for _ in 0..2 {
        let Some(page) = following else { break };
        following = next(caller, &page).await?;
        deep = following.clone().or(deep);
    }
    pages.extend(deep.map(|page| page.replace("limit=400", &format!("limit={LIMIT}"))));
    Ok(pages)
}

#[tokio::test]
async fn a_page_of_a_list_reads_few_rows() -> Result<()> {
    let system = System::start_with(Options { own_postgres: true }).await?;
    system.skip_end_check(); // The read models are not those of the log.
    sqlx::raw_sql(include_str!("list_plans.sql")).execute(&system.admin).await?;
    let plans = Plans::log(&system).await?;
    let _process = system.serve(&["http"]).await?;
    let document = system.json("/openapi.json").await?;
    let lists = lists(&document)?;
    ensure!(lists.len() >= 12, "{lists:?}");
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (list, conditions) in &lists {
        let user = if list == "/api/v1/tasks" { CALLER_OF_TASKS } else { CALLER };
        let user = system.caller(system.token_for(user, "user").await?);
        let path = list.replace("{user_id}", CALLER).replace("{device_id}", "d05999");
        ensure!(!path.contains('{'), "replace the parameters of {path}");
        for caller in [system.caller(&system.token), user] {
            for subset in 0..1_u32 << conditions.len() {
                let chosen = (0..).zip(conditions).filter(|(index, _)| subset >> index & 1 == 1);
                let mut path = format!("{path}?");
                for (_, name) in chosen {
                    path.extend([name, "=", value(list, name)?, "&"]);
                }
                let first = caller.get(&format!("{path}limit={LIMIT}")).send().await?;
                if [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&first.status()) {
                    break; // Not for users, or not for programs.
                }
                for page in pages(&caller, &path).await? {
                    let size = plans.size()?;
                    caller.json(&page).await?;
                    let plans = plans.since(size)?;
                    ensure!(!plans.is_empty(), "no plan is logged for {page}");
                    wrong.extend(findings(&plans, &page));
                    checked += 1;
                }
            }
        }
    }
    eprintln!("{checked} pages of {} lists checked", lists.len());
    ensure!(wrong.is_empty(), "{} statements:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// The lists that a worker reads, and the versions of a schema, which are not in the document.
#[tokio::test]
async fn a_list_of_a_worker_reads_few_rows() -> Result<()> {
    let system = System::start_with(Options { own_postgres: true }).await?;
    system.skip_end_check();
    sqlx::raw_sql(include_str!("list_plans.sql")).execute(&system.admin).await?;
    sqlx::raw_sql(
        "update works.work set due_at = created_at where not done;
         update works.work set due_at = '2100-01-01', status = 'failed'
         where id in (select id from works.work where not done order by id limit 10);
         analyze works.work",
    )
    .execute(&system.admin)
    .await?;
    let plans = Plans::log(&system).await?;
    let url = system.environment.iter().find(|(name, _)| name == "DATABASE_URL");
    let options: PgConnectOptions = url.context("a database")?.1.parse()?;
    let pool = eventstore::pool(options, 1);
    let now = chrono::DateTime::from_timestamp(4_000_000_000, 0).context("a time")?;
    let limit = LIMIT.into();
    let size = plans.size()?;
    ensure!(projections::works::claimable(&pool, now, limit).await?.1.is_some());
    ensure!(projections::documents::schema(&pool, "invoice", None).await?.is_some());
    ensure!(projections::documents::schema(&pool, "invoice", Some(7)).await?.is_some());
    let correlation = uuid::Uuid::nil();
    ensure!(projections::causation::by_correlation(&pool, correlation, limit).await?.is_empty());
    let plans = plans.since(size)?;
    ensure!(plans.len() >= 5, "{plans:#?}");
    let wrong = findings(&plans, "a worker");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
