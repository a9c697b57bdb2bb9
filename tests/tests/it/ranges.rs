//! Numbers in parameters, outside of the range that the OpenAPI document states.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::System;

use crate::nul::filled;

#[tokio::test]
async fn a_number_outside_its_documented_range_is_refused_on_every_endpoint() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let document = system.json("/openapi.json").await?;
    let (mut requests, mut wrong) = (0, Vec::new());
    for (path, item) in document["paths"].as_object().context("paths")? {
        for method in ["get", "put", "post", "patch", "delete"] {
            for parameter in item[method]["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().context("a name")?;
                let schema = &parameter["schema"];
                let below = schema["minimum"].as_i64().map(|minimum| minimum - 1);
                let above = schema["maximum"].as_i64().map(|maximum| maximum + 1);
                for value in below.into_iter().chain(above).map(|value| value.to_string()) {
                    let within = |name: &str| path.replace(&format!("{{{name}}}"), &value);
                    let url = match parameter["in"].as_str() {
                        Some("path") => filled(&within(name)),
                        Some("query") => format!("{}?{name}={value}", filled(path)),
                        _ => filled(path),
                    };
                    let url = format!("{}{url}", system.url());
                    let mut request = system.http.request(method.to_uppercase().parse()?, &url);
                    if parameter["in"] == "header" {
                        request = request.header(name, &value);
                    }
                    let answer = request.bearer_auth(&system.token).send().await?;
                    requests += 1;
                    let status = answer.status();
                    if status == 404 {
                        continue; // No event and no version has such a number.
                    }
                    if status != 422 {
                        wrong.push(format!("{method} {url} {name}={value}: {status}"));
                        continue;
                    }
                    let problem: Value = answer.json().await?;
                    if problem["code"] != "invalid_parameter" {
                        wrong.push(format!("{method} {url} {name}={value}: {problem}"));
                    }
                }
            }
        }
    }
    assert!(requests > 80, "{requests} requests");
    assert!(wrong.is_empty(), "{} of {requests}:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
