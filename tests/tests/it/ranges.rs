//! Numbers in parameters, outside of the range that the OpenAPI document states.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::System;

use crate::openapi::{filled, operations};

#[tokio::test]
async fn a_number_outside_its_documented_range_is_refused_on_every_endpoint() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let document = system.json("/openapi.json").await?;
    let (mut requests, mut wrong) = (0, Vec::new());
    for operation in operations(&document)? {
        for parameter in operation.parameters() {
            let name = parameter["name"].as_str().context("a name")?;
            let schema = &parameter["schema"];
            let below = schema["minimum"].as_i64().map(|minimum| minimum - 1);
            let above = schema["maximum"].as_i64().map(|maximum| maximum + 1);
            for value in below.into_iter().chain(above).map(|value| value.to_string()) {
                let path = operation.path();
                let request = match parameter["in"].as_str() {
                    Some("path") => {
                        let with = operation.template.replace(&format!("{{{name}}}"), &value);
                        operation.request(&system, &filled(&with))
                    }
                    Some("query") => operation.request(&system, &format!("{path}?{name}={value}")),
                    _ => operation.request(&system, &path).header(name, &value),
                };
                let answer = request.send().await?;
                requests += 1;
                let status = answer.status();
                let text = answer.text().await?;
                let problem: Value = serde_json::from_str(&text).unwrap_or_default();
                // No event and no version has such a number.
                if status != 404 && (status != 422 || problem["code"] != "invalid_parameter") {
                    wrong.push(format!("{} {name}={value}: {status} {text}", operation.name()));
                }
            }
        }
    }
    assert!(requests > 80, "{requests} requests");
    assert!(wrong.is_empty(), "{} of {requests}:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
