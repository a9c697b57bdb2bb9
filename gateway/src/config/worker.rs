//! Options of the worker and of orders.

use clap::Args;
use domain::works::RetryPolicy;
use serde::Serialize;

use super::Span;

/// Orders.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Orders")]
pub struct Orders {
    /// Time after which a pending order is cancelled, with a unit
    #[arg(long, env = "ORDER_TTL", value_name = "TIME", default_value = "15m")]
    pub order_ttl: Span,
}

/// Execution of works.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Worker")]
pub struct Worker {
    /// Name of this worker, recorded in the events of the works that it executes
    #[arg(long, env = "WORKER_NAME", value_name = "NAME", default_value = "worker")]
    pub worker_name: String,
    /// Time after which another worker may claim a claimed work, with a unit
    #[arg(long, env = "WORKER_LEASE", value_name = "TIME", default_value = "60s")]
    pub worker_lease: Span,
    /// Time after which an attempt fails, with a unit; must be shorter than the lease
    #[arg(long, env = "WORKER_TIME_LIMIT", value_name = "TIME", default_value = "30s")]
    pub worker_time_limit: Span,
    /// Number of attempts before a work is given up, 1 to 100
    #[arg(long, env = "WORKER_MAX_ATTEMPTS", value_name = "COUNT", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub worker_max_attempts: u32,
    /// Wait before the second attempt, with a unit; doubles with each further one
    #[arg(long, env = "WORKER_BACKOFF", value_name = "TIME", default_value = "1s")]
    pub worker_backoff: Span,
    /// Number of works executed concurrently, 1 to 256
    // More than processors: a small work mostly waits for its commits.
    #[arg(long, env = "WORKER_CONCURRENCY", value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub worker_concurrency: u16,
}

impl Worker {
    /// Returns the options in the terms of `commands`.
    pub fn options(&self) -> commands::works::Options {
        commands::works::Options {
            name: self.worker_name.clone(),
            lease: self.worker_lease.0,
            time_limit: self.worker_time_limit.0,
            retry: RetryPolicy {
                max_attempts: self.worker_max_attempts,
                backoff: self.worker_backoff.0,
            },
        }
    }
}
