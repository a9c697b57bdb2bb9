//! OpenTelemetry: the spans of a request and of its effects are in the trace of the caller.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::routing::{get, post};
use devservers::testing::free_port;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use tests::{System, eventually};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::orders::{cart, customer, product, until};
use crate::tls_proxy::Proxy;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Starts a collector. Returns its address, the received spans, and its task, which ends when
/// dropped.
async fn collector() -> Result<(String, watch::Receiver<Vec<Span>>, JoinSet<()>)> {
    let (sender, spans) = watch::channel(Vec::new());
    let take = async move |body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        sender.send_modify(|all: &mut Vec<Span>| all.extend(scopes.flat_map(|scope| scope.spans)));
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let ready = get(async || "");
    let app = axum::Router::new().route("/v1/traces", post(take)).route("/readyz", ready);
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    Ok((url, spans, serving))
}

#[tokio::test]
async fn the_spans_of_a_request_and_its_effects_are_in_the_trace_of_the_caller() -> Result<()> {
    let system = System::start().await?;
    let (url, spans, _serving) = collector().await?;
    // One process per role.
    let collected =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let front = system.serve_with(&["http"], &collected).await?;
    let back = system.serve_with(&["projector"], &collected).await?;
    let worker = system.serve_with(&["worker"], &collected).await?;
    let hat = product(&system.caller(system.token.clone()), "HAT", "10.00", 5).await?;
    let buyer = customer(&system).await?;
    let order = buyer.post("/api/v1/orders", &cart(&[(&hat, 1)]));
    let order = order.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await?;
    ensure!(order.status() == 202, "{}", order.text().await?);
    let order = order.headers()["location"].to_str()?.to_owned();
    until(&buyer, &order, "confirmed").await?;
    system.caught_up().await?;

    let wanted = [
        ("POST /api/v1/orders", ""),
        ("command order", ""),
        ("command order", "fulfilment"),
        ("command stock", "fulfilment"),
        ("project order_list", ""),
        ("project stock_level", ""),
        ("project trace", ""),
    ];
    let actor = |span: &Span| {
        let found = span.attributes.iter().find(|attribute| attribute.key == "actor");
        format!("{:?}", found.and_then(|attribute| attribute.value.as_ref()))
    };
    let ours = || -> Vec<Span> {
        let spans = spans.borrow();
        spans.iter().filter(|span| hex::encode(&span.trace_id) == TRACE).cloned().collect()
    };
    let is = |span: &Span, (name, by): (&str, &str)| span.name == name && actor(span).contains(by);
    let arrived = eventually("the spans are there", async || {
        let ours = ours();
        Ok(wanted.iter().all(|&wanted| ours.iter().any(|span| is(span, wanted))))
    });
    arrived.await.with_context(|| {
        ours().iter().map(|span| format!("{} {}\n", span.name, actor(span))).collect::<String>()
    })?;
    let ours = ours();
    let by_id: HashMap<_, _> = ours.iter().map(|span| (span.span_id.clone(), span)).collect();
    for span in &ours {
        let parent = by_id.get(&span.parent_span_id).map(|parent| parent.name.as_str());
        if span.name == "POST /api/v1/orders" {
            assert_eq!(hex::encode(&span.parent_span_id), CALLER);
            assert_eq!(span.kind(), SpanKind::Server);
        } else {
            assert_eq!(parent, Some("POST /api/v1/orders"), "{} belongs to it", span.name);
        }
    }
    // A request without a trace starts its own, and its effects are not in this one.
    let others = spans.borrow().iter().filter(|span| span.name == "POST /api/v1/products").count();
    assert_eq!(others, 1);
    for process in [front, back, worker] {
        assert_eq!(process.terminate().await?, Some(0));
    }
    Ok(())
}

#[tokio::test]
async fn spans_reach_a_collector_over_https() -> Result<()> {
    let system = System::start().await?;
    let (url, spans, _serving) = collector().await?;
    let port = url.rsplit_once(':').context("a port")?.1.parse()?;
    let proxy = Proxy::start(&system.folder, [port, port]).await?;
    let ca = proxy.ca.display().to_string();
    let collected = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", proxy.https.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("SSL_CERT_FILE", ca.as_str()),
    ];
    let process = system.serve_with(&["http"], &collected).await?;
    eventually("a span has arrived", async || {
        system.get("/api/v1/users/me").send().await?;
        Ok(!spans.borrow().is_empty())
    })
    .await?;
    ensure!(process.terminate().await? == Some(0), "it stops");
    Ok(())
}

#[tokio::test]
async fn an_unreachable_collector_delays_nothing() -> Result<()> {
    let system = System::start().await?;
    let unreachable = format!("http://127.0.0.1:{}", free_port()?);
    let unreachable = [("OTEL_EXPORTER_OTLP_ENDPOINT", unreachable.as_str())];
    let process = system.serve_with(&[], &unreachable).await?;
    // More spans than the exporter buffers.
    for round in 0..30 {
        let many = (0..100).map(|_| system.get("/api/v1/works").send());
        for answer in futures::future::join_all(many).await {
            ensure!(answer?.status() == 200, "in round {round}");
        }
    }
    assert_eq!(process.terminate().await?, Some(0));
    Ok(())
}
