//! Receipts: what was answered to a command that carried an idempotency key.

use std::time::Duration;

use eventsourcing::Position;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::Row;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{EventStore, Unavailable};

/// How long a receipt is kept, in days.
pub const RECEIPT_DAYS: i32 = 7;
/// How often old ones are looked for.
const DELETE_EVERY: Duration = Duration::from_hours(1);
/// Most receipts deleted in one transaction.
const DELETE_AT_ONCE: i64 = 10_000;

/// The receipt a request asks to be given when it is accepted.
#[derive(Debug, Clone)]
pub struct NewReceipt {
    pub key: String,
    /// Hash of what was asked: the same key for something else is refused.
    pub fingerprint: [u8; 32],
    /// The answer, as JSON text; kept to be given again.
    pub response: Box<str>,
}

impl NewReceipt {
    /// Longest key in bytes.
    pub const MAX_KEY_BYTES: usize = 512;

    /// A receipt for `request`, answered with `response`.
    pub fn new(key: String, request: &[u8], response: Box<RawValue>) -> Self {
        Self {
            key,
            fingerprint: Sha256::digest(request).into(),
            response: Box::<str>::from(response),
        }
    }
}

/// What was answered before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub fingerprint: Vec<u8>,
    /// Last position the command had made.
    pub position: Position,
    /// JSON text of the answer.
    pub response: Box<str>,
}

impl EventStore {
    /// What was answered to the command with this key, if it is known.
    pub async fn receipt(&self, key: &str) -> Result<Option<Receipt>, Unavailable> {
        let row = sqlx::query(
            "select fingerprint, position, response::text as response
             from log.receipt where key = $1",
        )
        .bind(key)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| from_row(&row)).transpose().map_err(Unavailable)
    }

    /// Forgets receipts older than [`RECEIPT_DAYS`], now and every hour, on a task of its own.
    /// Any number of processes may do so.
    pub fn delete_expired_receipts(&self, tasks: &TaskTracker, shutdown: CancellationToken) {
        let store = self.clone();
        tasks.spawn(async move {
            let deleting = async {
                let mut ticks = interval(DELETE_EVERY);
                loop {
                    ticks.tick().await;
                    if let Err(error) = store.delete_expired().await {
                        tracing::debug!(%error, "old receipts are not deleted yet");
                    }
                }
            };
            shutdown.run_until_cancelled(deleting).await;
        });
    }

    /// A bounded number at a time, so that no transaction is long.
    async fn delete_expired(&self) -> Result<(), Unavailable> {
        loop {
            let deleted = sqlx::query(
                "delete from log.receipt where key = any (array(
                   select key from log.receipt
                   where recorded_at < now() - make_interval(days => $1)
                   order by recorded_at limit $2))",
            )
            .bind(RECEIPT_DAYS)
            .bind(DELETE_AT_ONCE)
            .execute(&self.pool)
            .await?;
            if deleted.rows_affected() < DELETE_AT_ONCE.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

pub(crate) fn from_row(row: &sqlx::postgres::PgRow) -> Result<Receipt, sqlx::Error> {
    Ok(Receipt {
        fingerprint: row.try_get("fingerprint")?,
        position: Position(row.try_get("position")?),
        response: row.try_get::<String, _>("response")?.into(),
    })
}
