//! `tributary health`: whether the process on this machine is ready, for the health checks of
//! containers. It needs no shell and no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::outcome::Failure;
use super::output;
use gateway::config::Span;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// IP address and port where the process serves health without a token, as for `serve`; without
    /// it, --listen and --port
    #[arg(long, env = "METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// IP address on which the process serves the API, as for `serve`
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: IpAddr,
    /// Port on which the process serves the API, as for `serve`
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Longest wait for the response, with a unit
    #[arg(long, env = "HEALTH_TIMEOUT", value_name = "TIME", default_value = "4s")]
    timeout: Span,
}

impl Args {
    /// Returns the address that reaches the process: one that means every address of the machine is
    /// that of the loopback interface.
    fn address(&self) -> SocketAddr {
        let mut address =
            self.metrics_listen.unwrap_or_else(|| SocketAddr::new(self.listen, self.port));
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        address
    }
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    check(&args).await?;
    output::line("ready")
}

async fn check(args: &Args) -> anyhow::Result<()> {
    let url = format!("http://{}/readyz", args.address());
    let client = client::plain_http()?.no_proxy().timeout(args.timeout.0).build()?;
    let response = client.get(&url).send().await;
    let response = response.map_err(reqwest::Error::without_url).with_context(|| {
        format!("no response from {url}; check --metrics-listen, or --listen and --port")
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let problem: Value = response.json().await.unwrap_or_default();
    match reasons(&problem) {
        reasons if reasons.is_empty() => bail!("not ready: {url} answered {status}"),
        reasons => Err(anyhow!("not ready: {}", reasons.join("; "))),
    }
}

/// Returns why the process is not ready: it drains, or a server that it requires is down.
fn reasons(problem: &Value) -> Vec<String> {
    let draining = (problem["reason"] == "draining").then(|| "draining".to_owned());
    let down = problem["dependencies"].as_array().into_iter().flatten().filter_map(|dependency| {
        let required = dependency["required"] == true && dependency["status"] == "down";
        let reason = dependency["reason"].as_str().unwrap_or("down");
        required.then(|| format!("{}: {reason}", dependency["name"].as_str().unwrap_or_default()))
    });
    draining.into_iter().chain(down).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_address_is_that_of_the_process_on_this_machine() {
        for (args, address) in [
            (&["--port=9000"] as &[_], "127.0.0.1:9000"),
            (&["--listen=0.0.0.0"], "127.0.0.1:8080"),
            (&["--listen=10.0.0.1", "--metrics-listen=[::]:9464"], "[::1]:9464"),
            (&["--metrics-listen=10.0.0.1:9464"], "10.0.0.1:9464"),
        ] {
            let args = ["tributary"].iter().chain(args);
            assert_eq!(Cli::parse_from(args).args.address().to_string(), address);
        }
    }
}
