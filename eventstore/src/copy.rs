//! Rows in Postgres' binary COPY format: the fastest way to insert, for the log and for read models.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// 2000-01-01, the epoch of Postgres, in microseconds since the Unix epoch.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Encoded rows, to be sent by [`CopyRows::send`].
///
/// After each [`CopyRows::row`] the caller adds that many fields, in the order of the statement's
/// columns. Every field method panics on a field of 2 GiB or more.
#[derive(Debug, Clone, Default)]
pub struct CopyRows {
    buffer: Vec<u8>,
    rows: usize,
}

impl CopyRows {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Creates a buffer with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), rows: 0 }
    }

    /// Begins a row of `columns` fields.
    pub fn row(&mut self, columns: i16) {
        if self.buffer.is_empty() {
            self.buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
            self.buffer.extend_from_slice(&[0; 8]); // No flags, no header extension.
        }
        self.rows += 1;
        self.buffer.extend_from_slice(&columns.to_be_bytes());
    }

    /// Adds fields that were encoded separately, without a row.
    pub fn columns(&mut self, columns: &Self) {
        self.buffer.extend_from_slice(&columns.buffer);
    }

    /// Adds a field of type text, json, bytea or uuid, or of another type in its binary format.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).expect("requests are far below 2 GiB");
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    /// Adds a field of type text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Adds `value` with `field`, or null.
    pub fn nullable<T>(&mut self, value: Option<T>, field: fn(&mut Self, T)) {
        match value {
            Some(value) => field(self, value),
            None => self.null(),
        }
    }

    /// Adds a field of type boolean.
    pub fn boolean(&mut self, value: bool) {
        self.bytes(&[value.into()]);
    }

    /// Adds a field of type smallint.
    pub fn int2(&mut self, number: i16) {
        self.bytes(&number.to_be_bytes());
    }

    /// Adds a field of type integer.
    pub fn int4(&mut self, number: i32) {
        self.bytes(&number.to_be_bytes());
    }

    /// Adds a field of type bigint.
    pub fn int8(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }

    /// Adds a field of type bigint whose value is not known yet, and returns its offset for
    /// [`CopyRows::set_int8`].
    pub fn int8_later(&mut self) -> usize {
        self.int8(0);
        self.buffer.len() - size_of::<i64>()
    }

    /// Sets the value of a field that [`CopyRows::int8_later`] added at `offset`.
    pub fn set_int8(&mut self, offset: usize, number: i64) {
        self.buffer[offset..offset + size_of::<i64>()].copy_from_slice(&number.to_be_bytes());
    }

    /// Adds a field of type double precision.
    pub fn float8(&mut self, number: f64) {
        self.bytes(&number.to_be_bytes());
    }

    /// Adds a field of type timestamptz.
    pub fn time(&mut self, time: DateTime<Utc>) {
        self.int8(time.timestamp_micros() - POSTGRES_EPOCH_MICROS);
    }

    /// Adds a field of type jsonb, from JSON text.
    pub fn jsonb(&mut self, json: &str) {
        const VERSION: u8 = 1;
        let length = i32::try_from(json.len() + 1).expect("requests are far below 2 GiB");
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.push(VERSION);
        self.buffer.extend_from_slice(json.as_bytes());
    }

    /// Adds null.
    pub fn null(&mut self) {
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// Sends the rows; does nothing without rows. `statement` is
    /// `copy TABLE (COLUMNS) from stdin (format binary)`.
    pub async fn send(
        mut self,
        connection: &mut PgConnection,
        statement: &str,
    ) -> Result<(), sqlx::Error> {
        if self.is_empty() {
            return Ok(());
        }
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(self.buffer).await?;
        copy.finish().await?;
        Ok(())
    }
}
