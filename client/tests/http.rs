//! The client against a server of this test, which answers what each test prescribes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests are tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Client, Error};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Serves one response per connection, in order, then closes; returns the requests received.
async fn serve(responses: Vec<String>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&requests);
    tokio::task::spawn(async move {
        for response in responses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !complete(&request) {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0, "an early end");
            }
            received.lock().unwrap().push(String::from_utf8(request).unwrap());
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    (Client::new(&format!("http://{address}")).unwrap().with_token("secret"), requests)
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

fn respond(head: &str, body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn a_command_is_retried_with_the_same_idempotency_key() {
    let (client, requests) = serve(vec![
        String::new(), // The connection ends without a response.
        respond("503 Service Unavailable\r\nretry-after: 0", &json!({})),
        respond("202 Accepted\r\ntributary-position: 7", &json!({"id": 1})),
    ])
    .await;
    let created = client.post("/works").json(&json!({"n": 4})).send::<Value>().await.unwrap();
    assert_eq!((created.position, &created.body["id"]), (Some(7), &json!(1)));
    let requests = requests.lock().unwrap();
    let keys: Vec<_> = requests.iter().map(|request| header(request, "idempotency-key")).collect();
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(header(&requests[2], "authorization"), Some("Bearer secret"));
    assert!(requests[2].ends_with(r#"{"n":4}"#), "{}", requests[2]);
}

#[tokio::test]
async fn a_request_that_must_not_be_repeated_is_sent_once() {
    let problem = json!({
        "type": "urn:tributary:problem:not_ready", "title": "Service Unavailable", "status": 503,
        "detail": "not yet", "code": "not_ready", "errors": [], "trace_id": "t",
    });
    let (client, requests) = serve(vec![respond("503 Service Unavailable", &problem)]).await;
    let error = client.post("/skip").once().send::<Value>().await.unwrap_err();
    assert!(matches!(&error, Error::Problem(problem) if problem.code == "not_ready"), "{error}");
    assert_eq!(header(&requests.lock().unwrap()[0], "idempotency-key"), None);
}

#[tokio::test]
async fn a_problem_is_typed_and_readable() {
    let problem = json!({
        "type": "urn:tributary:problem:invalid_body", "title": "Unprocessable Entity",
        "status": 422, "detail": "the body is invalid", "code": "invalid_body",
        "errors": [{"pointer": "/name", "detail": "is missing"}], "trace_id": "abc", "more": 1,
    });
    let (client, _requests) = serve(vec![respond("422 Unprocessable Entity", &problem)]).await;
    let error = client.post("/projects").json(&json!({})).send::<()>().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "422 Unprocessable Entity: the body is invalid (code invalid_body, trace id abc)\n  \
         /name: is missing"
    );
}

#[tokio::test]
async fn pages_are_followed_until_one_is_empty() {
    let page = |next: &str, items: Value| {
        let link = format!("200 OK\r\nlink: <{next}>; rel=\"next\"");
        respond(&link, &json!({"items": items}))
    };
    let (client, requests) = serve(vec![
        page("/list?cursor=a", json!([1, 2])),
        page("/list?cursor=b", json!([3])),
        page("/list?cursor=c", json!([])),
    ])
    .await;
    let items: Vec<u32> = client.get("/list").query(&[("limit", 2)]).all().await.unwrap();
    assert_eq!(items, [1, 2, 3]);
    let requests = requests.lock().unwrap();
    let lines: Vec<_> = requests.iter().filter_map(|request| request.lines().next()).collect();
    assert_eq!(
        lines,
        [
            "GET /list?limit=2 HTTP/1.1",
            "GET /list?cursor=a HTTP/1.1",
            "GET /list?cursor=b HTTP/1.1"
        ]
    );
}

#[tokio::test]
async fn a_query_names_the_position_it_needs_and_how_long_it_waits() {
    let (client, requests) = serve(vec![respond("200 OK", &Value::Null)]).await;
    client.get("/x").min_position(Some(7)).wait(5).send::<()>().await.unwrap();
    let requests = requests.lock().unwrap();
    assert_eq!(header(&requests[0], "tributary-min-position"), Some("7"));
    assert_eq!(header(&requests[0], "prefer"), Some("wait=5"));
}

#[tokio::test]
async fn a_response_that_is_not_json_names_its_status() {
    let html = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>";
    let (client, _requests) = serve(vec![html.into()]).await;
    let error = client.get("/").send::<Value>().await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse { status: 404, .. }), "{error}");
}

/// The body of a sign-in is a password: it goes to no other address.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["301 Moved Permanently", "307 Temporary Redirect"] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = format!("http://{}/elsewhere", elsewhere.local_addr().unwrap());
        let head = format!("{status}\r\nlocation: {location}");
        let (client, _) = serve(vec![respond(&head, &Value::Null)]).await;
        let error = client.sign_in("ada@example.org", "hunter2").await.unwrap_err();
        assert!(matches!(&error, Error::Redirected { location: to } if *to == location), "{error}");
        let reached = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
        assert!(reached.is_err(), "it was sent to the other address");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_not_reachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(&format!("http://ada:hunter2@{address}")).unwrap().with_retries(1);
    let error = client.get("/x").send::<Value>().await.unwrap_err();
    assert!(matches!(error, Error::NotReachable { .. }), "{error}");
    assert_eq!(error.to_string(), format!("cannot reach the server at http://{address}"));
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(!cause.contains("hunter2"), "{cause}");
}

#[tokio::test]
async fn a_server_that_does_not_respond_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let timeout = Duration::from_millis(100);
    let client = Client::new(&format!("http://{address}")).unwrap().with_timeout(timeout);
    let begun = Instant::now();
    let error = client.get("/x").send::<Value>().await.unwrap_err();
    assert!(matches!(error, Error::NotReachable { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
