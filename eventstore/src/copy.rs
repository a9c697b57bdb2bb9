//! Rows of `log.event` on their way in: many by binary COPY, which is the fastest, few by one
//! INSERT.
//!
//! Few, because COPY ends with a second small packet that nobody answers the first one for. On TCP
//! that packet waits for a delayed acknowledgement, 40 ms (sqlx 0.9 leaves `TCP_NODELAY` off); behind
//! full segments it does not.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::NewEvent;

/// From this size on rows are copied: two segments even where these are largest, on the loopback.
const COPY_BYTES: usize = 128 * 1024;

/// 2000-01-01 in microseconds of the Unix epoch: where Postgres counts from.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

const COLUMNS: i16 = 10;

/// A row, but for the time, which all rows of a batch share.
pub(crate) struct NewRow<'a> {
    pub(crate) position: i64,
    pub(crate) version: i64,
    pub(crate) stream: &'a str,
    pub(crate) event: &'a NewEvent,
    pub(crate) metadata: Arc<str>,
    pub(crate) hash: [u8; 32],
}

/// Rows that wait to be written.
pub(crate) struct Rows<'a> {
    recorded_at: DateTime<Utc>,
    list: Vec<NewRow<'a>>,
    bytes: usize,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(recorded_at: DateTime<Utc>) -> Self {
        Self {
            recorded_at,
            list: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn push(&mut self, row: NewRow<'a>) {
        self.bytes += row.stream.len() + row.event.encoded.data.len() + row.metadata.len() + 128;
        self.list.push(row);
    }

    pub(crate) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.bytes < COPY_BYTES {
            self.insert(connection).await
        } else {
            self.copy(connection).await
        }
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        fn column<'r, T>(rows: &'r [NewRow<'_>], value: impl Fn(&'r NewRow<'_>) -> T) -> Vec<T> {
            rows.iter().map(value).collect()
        }
        let rows = &self.list;
        sqlx::query(
            "insert into log.event (position, version, recorded_at, event_id, schema_version,
                                    event_type, stream_id, data, metadata, hash)
             select e.position, e.version, $1, e.event_id, e.schema_version,
                    e.event_type, e.stream_id, e.data::json, e.metadata::json, e.hash
             from unnest($2::bigint[], $3::bigint[], $4::uuid[], $5::smallint[], $6::text[],
                         $7::text[], $8::text[], $9::text[], $10::bytea[])
               as e (position, version, event_id, schema_version, event_type,
                     stream_id, data, metadata, hash)",
        )
        .bind(self.recorded_at)
        .bind(column(rows, |row| row.position))
        .bind(column(rows, |row| row.version))
        .bind(column(rows, |row| row.event.id))
        .bind(column(rows, |row| row.event.encoded.schema_version))
        .bind(column(rows, |row| &*row.event.encoded.event_type))
        .bind(column(rows, |row| row.stream))
        .bind(column(rows, |row| &*row.event.encoded.data))
        .bind(column(rows, |row| &*row.metadata))
        .bind(column(rows, |row| &row.hash[..]))
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn copy(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut copy = connection
            .copy_in_raw(
                "copy log.event (position, version, recorded_at, event_id, schema_version,
                                 event_type, stream_id, data, metadata, hash)
                 from stdin (format binary)",
            )
            .await?;
        copy.send(self.encoded()).await?;
        copy.finish().await?;
        Ok(())
    }

    /// Postgres' binary COPY form.
    fn encoded(&self) -> Vec<u8> {
        let micros = self.recorded_at.timestamp_micros() - POSTGRES_EPOCH_MICROS;
        let mut buffer = Vec::with_capacity(self.bytes + 64);
        buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        buffer.extend_from_slice(&[0; 8]); // No flags, no header extension.
        for row in &self.list {
            buffer.extend_from_slice(&COLUMNS.to_be_bytes());
            field(&mut buffer, &row.position.to_be_bytes());
            field(&mut buffer, &row.version.to_be_bytes());
            field(&mut buffer, &micros.to_be_bytes());
            field(&mut buffer, row.event.id.as_bytes());
            field(&mut buffer, &row.event.encoded.schema_version.to_be_bytes());
            field(&mut buffer, row.event.encoded.event_type.as_bytes());
            field(&mut buffer, row.stream.as_bytes());
            field(&mut buffer, row.event.encoded.data.as_bytes());
            field(&mut buffer, row.metadata.as_bytes());
            field(&mut buffer, &row.hash);
        }
        buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        buffer
    }
}

fn field(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let length = i32::try_from(bytes.len()).expect("requests are far below 2 GiB");
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(bytes);
}
