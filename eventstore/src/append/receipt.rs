//! Receipts: the stored responses of commands with an idempotency key.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

/// How long a receipt is stored, in days.
pub const RECEIPT_DAYS: i32 = 7;
/// Most receipts deleted in one transaction.
const DELETE_AT_ONCE: i64 = 10_000;

/// The receipt to store when a request is accepted.
#[derive(Debug, Clone)]
pub struct NewReceipt {
    /// Idempotency key: 1 to [`NewReceipt::MAX_KEY_BYTES`] bytes, without NUL.
    pub key: String,
    /// SHA-256 of the request. The same key with another fingerprint is refused.
    pub fingerprint: [u8; 32],
    /// The response as JSON text, returned when the request is repeated.
    pub response: Box<str>,
}

impl NewReceipt {
    /// Longest key in bytes.
    pub const MAX_KEY_BYTES: usize = 512;

    /// Creates a receipt for the bytes `request`, answered with `response`.
    pub fn new(key: String, request: &[u8], response: Box<RawValue>) -> Self {
        Self {
            key,
            fingerprint: Sha256::digest(request).into(),
            response: Box::<str>::from(response),
        }
    }
}

/// A stored receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// SHA-256 of the request.
    pub fingerprint: Vec<u8>,
    /// Position of the last event of the request; the head at that time if it had none.
    pub position: Position,
    /// Time at which the request was recorded: that of its events.
    pub recorded_at: DateTime<Utc>,
    /// The response as JSON text.
    pub response: Box<str>,
}

/// Reads the receipt with this key.
pub(crate) async fn find(pool: &PgPool, key: &str) -> Result<Option<Receipt>, sqlx::Error> {
    let row = sqlx::query(
        "select fingerprint, position, recorded_at, response::text as response
         from log.receipt where key = $1",
    )
    .bind(key)
    .fetch_optional(pool)
    .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// Deletes receipts older than [`RECEIPT_DAYS`], in transactions of bounded length.
pub(crate) async fn delete_expired(pool: &PgPool) -> Result<(), sqlx::Error> {
    loop {
        let deleted = sqlx::query(
            "delete from log.receipt where key = any (array(
               select key from log.receipt
               where recorded_at < now() - make_interval(days => $1)
               order by recorded_at limit $2))",
        )
        .bind(RECEIPT_DAYS)
        .bind(DELETE_AT_ONCE)
        .execute(pool)
        .await?;
        if deleted.rows_affected() < DELETE_AT_ONCE.unsigned_abs() {
            return Ok(());
        }
    }
}

pub(crate) fn from_row(row: &PgRow) -> Result<Receipt, sqlx::Error> {
    Ok(Receipt {
        fingerprint: row.try_get("fingerprint")?,
        position: Position(row.try_get("position")?),
        recorded_at: row.try_get("recorded_at")?,
        response: row.try_get::<String, _>("response")?.into(),
    })
}
