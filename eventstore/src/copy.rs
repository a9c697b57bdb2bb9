//! Postgres' binary COPY form: the fastest way in, for the log and for read models alike.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// 2000-01-01 in microseconds of the Unix epoch: where Postgres counts from.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Rows, encoded and waiting to be sent. The caller adds as many fields as
/// it said after each [`CopyRows::row`], in the order of the statement's columns.
#[derive(Debug, Clone, Default)]
pub struct CopyRows {
    buffer: Vec<u8>,
    rows: usize,
}

impl CopyRows {
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Room for so many bytes, so that the buffer need not grow by being copied.
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

    /// Fields that were encoded before, without a row around them.
    pub fn columns(&mut self, columns: &Self) {
        self.buffer.extend_from_slice(&columns.buffer);
    }

    /// A field of type text, json, bytea or uuid, or any other as Postgres sends it.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).expect("requests are far below 2 GiB");
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A field that may be missing.
    pub fn nullable<T>(&mut self, value: Option<T>, field: fn(&mut Self, T)) {
        match value {
            Some(value) => field(self, value),
            None => self.null(),
        }
    }

    /// A field of type boolean.
    pub fn boolean(&mut self, value: bool) {
        self.bytes(&[value.into()]);
    }

    /// A field of type smallint.
    pub fn int2(&mut self, number: i16) {
        self.bytes(&number.to_be_bytes());
    }

    /// A field of type integer.
    pub fn int4(&mut self, number: i32) {
        self.bytes(&number.to_be_bytes());
    }

    /// A field of type bigint.
    pub fn int8(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }

    /// A field of type bigint whose value is not known yet. Returns the place for
    /// [`CopyRows::set_int8`].
    pub fn int8_later(&mut self) -> usize {
        self.int8(0);
        self.buffer.len() - size_of::<i64>()
    }

    /// Says what [`CopyRows::int8_later`] left open.
    pub fn set_int8(&mut self, place: usize, number: i64) {
        self.buffer[place..place + size_of::<i64>()].copy_from_slice(&number.to_be_bytes());
    }

    /// A field of type double precision.
    pub fn float8(&mut self, number: f64) {
        self.bytes(&number.to_be_bytes());
    }

    /// A field of type timestamptz.
    pub fn time(&mut self, time: DateTime<Utc>) {
        self.int8(time.timestamp_micros() - POSTGRES_EPOCH_MICROS);
    }

    /// A field of type jsonb, from JSON text.
    pub fn jsonb(&mut self, json: &str) {
        const VERSION: u8 = 1;
        let length = i32::try_from(json.len() + 1).expect("requests are far below 2 GiB");
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.push(VERSION);
        self.buffer.extend_from_slice(json.as_bytes());
    }

    pub fn null(&mut self) {
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// Sends the rows. `statement` is `copy TABLE (COLUMNS) from stdin (format binary)`.
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
