//! The operations of the OpenAPI document, for rules that hold on every endpoint.

use anyhow::{Context, Result};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tests::System;

/// An operation, as the document describes it.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// The path with names in place of values: `/api/v1/works/{id}`.
    pub(crate) template: String,
    pub(crate) described: Value,
}

/// Every operation of `document`.
pub(crate) fn operations(document: &Value) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    for (template, item) in document["paths"].as_object().context("paths")? {
        for (method, described) in item.as_object().context("operations")? {
            let method = method.to_uppercase().parse()?;
            let described = described.clone();
            operations.push(Operation { method, template: template.clone(), described });
        }
    }
    Ok(operations)
}

impl Operation {
    /// The name in lists of tests: `GET /api/v1/works/{id}`.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.template)
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.described["parameters"].as_array().into_iter().flatten()
    }

    /// Whether it has this parameter: in the path, the query or a header.
    pub(crate) fn has(&self, parameter: &str) -> bool {
        self.parameters().any(|described| described["name"] == parameter)
    }

    /// The path with a value for each parameter.
    pub(crate) fn path(&self) -> String {
        filled(&self.template)
    }

    /// A request to `target`, by an administrator.
    pub(crate) fn request(&self, system: &System, target: &str) -> RequestBuilder {
        system.caller(&system.token).request(self.method.clone(), target)
    }
}

/// The path with a value for each parameter.
pub(crate) fn filled(path: &str) -> String {
    path.replace("{id}", "0198c0de-0000-7000-8000-000000000000")
        .replace("{user_id}", "u")
        .replace("{device_id}", "d")
        .replace("{position}", "1")
        .replace("{stream_id}", "device-u~d")
        .replace("{key}", "works:work-1")
        .replace("{name}", "works")
}
