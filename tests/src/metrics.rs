//! The counters of a bridge, read from `/metrics`.

use anyhow::Result;

use crate::System;

/// Messages of a bridge by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeCounters {
    pub received: u64,
    pub appended: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub in_flight: u64,
    /// Appends repeated because the log was unavailable.
    pub retries: u64,
}

impl BridgeCounters {
    /// Messages that are acknowledged or about to be.
    pub fn settled(&self) -> u64 {
        self.appended + self.duplicate + self.rejected
    }
}

impl System {
    /// Reads the counters from the process that serves HTTP.
    pub async fn bridge(&self) -> Result<BridgeCounters> {
        self.bridge_at(&self.url()).await
    }

    /// Reads the counters from the process that serves HTTP at `url`.
    pub async fn bridge_at(&self, url: &str) -> Result<BridgeCounters> {
        let text = self
            .http
            .get(format!("{url}/metrics"))
            .bearer_auth(&self.token)
            .send()
            .await?
            .text()
            .await?;
        let sum = |name: &str| -> u64 {
            let lines =
                text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let sum = values.sum::<f64>() as u64;
            sum
        };
        Ok(BridgeCounters {
            received: sum("tributary_bridge_received_total"),
            appended: sum("tributary_bridge_appended_total"),
            duplicate: sum("tributary_bridge_duplicate_total"),
            rejected: sum("tributary_bridge_rejected_total"),
            in_flight: sum("tributary_bridge_in_flight"),
            retries: sum("tributary_bridge_retries_total"),
        })
    }
}
