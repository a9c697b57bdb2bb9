//! Documents: returned byte for byte, validated against schemas, shown to their owners.

use anyhow::Result;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::{Caller, System};

const ADA: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const BEN: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

/// Digits, key order and white space that a JSON library would not preserve.
const AWKWARD: &str = "{ \"z\": 123456789012345678901234567890.10, \"a\":1E2, \"big\": 18446744073709551617,\n\t\"é\\/\":\"\\u00e9 \u{1f980}\", \"n\": -0.0, \"empty\": {} }";

async fn send(caller: &Caller, method: Method, path: &str, body: &str) -> Result<Response> {
    let request = caller.request(method, path).header("Prefer", "wait=20");
    let request = request.header("Content-Type", "application/json");
    Ok(request.body(body.to_owned()).send().await?)
}

async fn register(caller: &Caller, name: &str, schema: &Value) -> Result<Response> {
    let path = format!("/api/v1/schemas/{name}");
    send(caller, Method::PUT, &path, &schema.to_string()).await
}

/// Returns pointers and code of a problem.
async fn faults(answer: Response) -> Result<(u16, String, Vec<String>)> {
    let status = answer.status().as_u16();
    let problem: Value = answer.json().await?;
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let pointers = errors.iter().filter_map(|error| error["pointer"].as_str().map(str::to_owned));
    Ok((status, problem["code"].as_str().unwrap_or_default().to_owned(), pointers.collect()))
}

#[tokio::test]
async fn a_document_is_returned_byte_for_byte() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let ada = system.caller(system.token_for(ADA, "user").await?);
    let answer = send(&ada, Method::POST, "/data", AWKWARD).await?;
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str()?.to_owned();
    let recorded = answer.text().await?;
    assert!(recorded.contains(AWKWARD), "{recorded}");
    let shown = ada.get(&location).send().await?;
    assert_eq!(shown.headers()["etag"], "\"1\"");
    assert_eq!(shown.text().await?, recorded, "it is shown as it was answered");
    let listed = ada.get("/data").send().await?.text().await?;
    assert!(listed.contains(AWKWARD), "{listed}");
    let logged = system.get("/api/v1/events?type=document_recorded").send().await?.text().await?;
    assert!(logged.contains(AWKWARD), "{logged}");
    let kept: String = sqlx::query_scalar("select (data->'data')::text from log.event")
        .fetch_one(&system.admin)
        .await?;
    assert_eq!(kept, AWKWARD);
    Ok(())
}

#[tokio::test]
async fn invalid_documents_are_refused() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let ada = system.caller(system.token_for(ADA, "user").await?);
    let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024));
    let most = format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024 - 8));
    assert_eq!(most.len(), 256 * 1024);
    let cases: [(&str, u16, Option<&str>); 12] = [
        ("[1]", 422, Some("")),
        ("\"text\"", 422, Some("")),
        ("7", 422, Some("")),
        ("null", 422, Some("")),
        ("{", 400, None),
        ("{} {}", 400, None),
        ("", 400, None),
        (r#"{"a":{"b/c":"x\u0000"}}"#, 422, Some("/a/b~1c")),
        (r#"{"a":"\ud800"}"#, 422, Some("/a")),
        (r#"{"a":1,"a":2}"#, 422, Some("/a")),
        (&deep, 422, None),
        (&large, 413, None),
    ];
    for (body, status, pointer) in cases {
        let answer = send(&ada, Method::POST, "/data", body).await?;
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let (refused, _, pointers) = faults(answer).await?;
        assert_eq!(refused, status, "{body:.60}");
        if let Some(pointer) = pointer {
            assert_eq!(pointers, [pointer], "{body:.60}");
        }
    }
    assert_eq!(send(&ada, Method::POST, "/data", &most).await?.status(), 201);
    assert_eq!(system.head().await?, 1, "what is refused leaves nothing");
    Ok(())
}

#[tokio::test]
async fn a_document_is_validated_against_its_schema() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(system.token_for(BEN, "operator").await?);
    let ada = system.caller(system.token_for(ADA, "user").await?);
    let order = json!({"type": "object", "required": ["id"], "properties": {
        "id": {"type": "integer"}, "lines": {"items": {"properties": {"a/b": {"minimum": 1}}}}}});
    let registered = register(&operator, "order-v1.x", &order).await?;
    assert_eq!(
        (registered.status().as_u16(), &registered.headers()["etag"]),
        (201, &"\"1\"".parse()?)
    );
    assert_eq!(registered.json::<Value>().await?["schema"], order);

    let path = "/data?schema=order-v1.x";
    let valid = r#"{"id": 1234567890123456789, "lines": []}"#;
    let answer = send(&ada, Method::POST, path, valid).await?;
    assert_eq!(answer.status(), 201);
    let first = answer.headers()["location"].to_str()?.to_owned();
    let against = |version| json!({"name": "order-v1.x", "version": version});
    assert_eq!(answer.json::<Value>().await?["schema"], against(1));
    let invalid = r#"{"id": "7", "lines": [{"a/b": 2}, {"a/b": 0}]}"#;
    let (status, code, mut pointers) =
        faults(send(&ada, Method::POST, path, invalid).await?).await?;
    pointers.sort();
    assert_eq!((status, code.as_str()), (422, "schema_violation"));
    assert_eq!(pointers, ["/id", "/lines/1/a~1b"]);
    // A number that would be rounded cannot be judged; without a schema it is kept.
    for number in ["12345678901234567890123", "1e400", "0.30000000000000000001"] {
        let rounded = format!(r#"{{"id": 7, "lines": [{{"n": {number}}}]}}"#);
        let (status, _, pointers) = faults(send(&ada, Method::POST, path, &rounded).await?).await?;
        assert_eq!((status, pointers), (422, vec!["/lines/0/n".to_owned()]), "{number}");
    }
    let unknown = send(&ada, Method::POST, "/data?schema=nothing", "{}").await?;
    assert_eq!(unknown.status(), 422);
    assert_eq!(unknown.json::<Value>().await?["errors"][0]["parameter"], "schema");
    assert_eq!(send(&ada, Method::POST, "/data?schema=No", "{}").await?.status(), 422);

    // The same schema changes nothing; another one is the next version; documents keep theirs.
    let same = register(&operator, "order-v1.x", &order).await?;
    assert_eq!((same.status().as_u16(), &same.headers()["etag"]), (204, &"\"1\"".parse()?));
    let texts = json!({"properties": {"id": {"type": "string"}}});
    let second = register(&operator, "order-v1.x", &texts).await?;
    assert_eq!((second.status().as_u16(), &second.headers()["etag"]), (204, &"\"2\"".parse()?));
    assert_eq!(send(&ada, Method::POST, path, valid).await?.status(), 422);
    let later: Value = send(&ada, Method::POST, path, r#"{"id": "7"}"#).await?.json().await?;
    assert_eq!(later["schema"], against(2));
    assert_eq!(ada.json(&first).await?["schema"], against(1));
    assert_eq!(ada.json("/api/v1/schemas/order-v1.x").await?["version"], 2);
    assert_eq!(ada.json("/api/v1/schemas/order-v1.x?version=1").await?["schema"], order);
    for missing in ["/api/v1/schemas/order-v1.x?version=3", "/api/v1/schemas/nothing"] {
        assert_eq!(ada.get(missing).send().await?.status(), 404, "{missing}");
    }
    Ok(())
}

#[tokio::test]
async fn a_schema_is_checked_before_it_is_registered() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(system.token_for(BEN, "operator").await?);
    let cases = [
        (json!({"properties": {"a": {"type": "thing"}}}), "/properties/a/type"),
        (json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": "x"}), "/minimum"),
        (json!({"$schema": "https://example.com/mine"}), "/$schema"),
        (json!({"properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}), "/properties/a/$ref"),
        (json!({"$ref": "file:///etc/hostname"}), "/$ref"),
        (json!({"pattern": "(?<=a)b"}), "/pattern"),
        (json!({"multipleOf": 0}), "/multipleOf"),
        (json!([]), ""),
    ];
    for (schema, pointer) in cases {
        let refused = faults(register(&operator, "wrong", &schema).await?).await?;
        assert_eq!((refused.0, refused.2), (422, vec![pointer.to_owned()]), "{schema}");
    }
    let large = json!({"description": "x".repeat(64 * 1024)});
    assert_eq!(register(&operator, "wrong", &large).await?.status(), 413);
    assert_eq!(register(&operator, "Wrong", &json!({})).await?.status(), 422);
    let ada = system.caller(system.token_for(ADA, "user").await?);
    assert_eq!(register(&ada, "mine", &json!({})).await?.status(), 403);
    assert_eq!(system.head().await?, 0);

    let (one, other) = (json!({"title": "a"}), json!({"title": "b"}));
    let both = tokio::join!(register(&operator, "race", &one), register(&operator, "race", &other));
    let mut statuses = [both.0?.status().as_u16(), both.1?.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 204], "one of them was the first");
    Ok(())
}

#[tokio::test]
async fn documents_are_shown_to_their_owners() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let ada = system.caller(system.token_for(ADA, "user").await?);
    let ben = system.caller(system.token_for(BEN, "user").await?);
    let operator = system.caller(system.token_for(BEN, "operator").await?);
    let mut ids = Vec::new();
    for n in 0..5 {
        let document = ada.command(Method::POST, "/data", &json!({"n": n})).await?;
        assert_eq!(document["owner_id"], ADA);
        ids.push(document["id"].as_str().unwrap_or_default().to_owned());
    }
    ben.command(Method::POST, "/data", &json!({"n": "ben's"})).await?;
    let path = format!("/data/{}", ids[0]);
    for (caller, status) in [(&ada, 200), (&ben, 404), (&operator, 200)] {
        assert_eq!(caller.get(&path).send().await?.status(), status);
    }
    let count = async |caller: &Caller| -> Result<usize> {
        Ok(caller.json("/data").await?["items"].as_array().map_or(0, Vec::len))
    };
    assert_eq!((count(&ada).await?, count(&ben).await?, count(&operator).await?), (5, 1, 6));

    let mut seen = Vec::new();
    let mut next = Some("/data?limit=2".to_owned());
    while let Some(path) = next {
        let answer = ada.get(&path).send().await?.error_for_status()?;
        next = answer.headers().get("link").and_then(|link| {
            let link = link.to_str().ok()?.strip_prefix('<')?;
            Some(link.split_once('>')?.0.to_owned())
        });
        let page: Value = answer.json().await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()));
    }
    ids.reverse();
    assert_eq!(seen, ids, "newest first, page by page");
    let program = system.caller(system.token_for("importer", "user").await?);
    assert_eq!(program.post("/data", &json!({})).send().await?.status(), 403);
    Ok(())
}

#[tokio::test]
async fn a_page_of_large_documents_is_bounded() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let ada = system.caller(system.token_for(ADA, "user").await?);
    let large = json!({"a": "x".repeat(250 * 1024)});
    for _ in 0..20 {
        ada.command(Method::POST, "/data", &large).await?;
    }
    let answer = ada.get("/data").send().await?;
    assert!(answer.headers().contains_key("link"), "there is more");
    let page: Value = answer.json().await?;
    assert_eq!(
        page["items"].as_array().map(Vec::len),
        Some(17),
        "4 MiB, and the one that is beyond"
    );
    Ok(())
}

#[tokio::test]
async fn a_repeated_idempotency_key_returns_the_same_document_after_a_schema_change() -> Result<()>
{
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(system.token_for(BEN, "operator").await?);
    register(&operator, "s", &json!({"required": ["a"]})).await?.error_for_status()?;
    let record = async |body: &str, path: &str| -> Result<(u16, String)> {
        let request = operator.request(Method::POST, path).header("Idempotency-Key", "k");
        let request = request.header("Content-Type", "application/json").body(body.to_owned());
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };
    let first = record(r#"{"a": 1.10}"#, "/data?schema=s").await?;
    assert_eq!(first.0, 201);
    assert_eq!(record(r#"{"a": 1.10}"#, "/data?schema=s").await?, first);
    assert_eq!(record(r#"{"a": 1.1}"#, "/data?schema=s").await?.0, 422, "another request");
    assert_eq!(record(r#"{"a": 1.10}"#, "/data").await?.0, 422, "another request");
    register(&operator, "s", &json!({"required": ["b"]})).await?.error_for_status()?;
    assert_eq!(record(r#"{"a": 1.10}"#, "/data?schema=s").await?, first);
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from documents.document").await?, 1);
    Ok(())
}
