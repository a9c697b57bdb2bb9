//! Rows of `log.event` in Postgres' binary COPY form: the fastest way in.

use sqlx::PgConnection;

use crate::chain::Link;

/// 2000-01-01 in microseconds of the Unix epoch: where Postgres counts from.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

const COLUMNS: i16 = 10;

/// Rows, encoded and waiting to be sent.
pub(crate) struct Rows {
    buffer: Vec<u8>,
    rows: usize,
}

impl Rows {
    pub(crate) fn new() -> Self {
        let mut buffer = Vec::new();
        buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        buffer.extend_from_slice(&[0; 8]); // No flags, no header extension.
        Self { buffer, rows: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row; the order of columns is that of [`Self::copy_to`].
    pub(crate) fn push(&mut self, event: &Link<'_>, hash: &[u8; 32]) {
        self.rows += 1;
        self.buffer.extend_from_slice(&COLUMNS.to_be_bytes());
        self.field(&event.position.0.to_be_bytes());
        self.field(&event.version.to_be_bytes());
        self.field(&(event.recorded_at_micros - POSTGRES_EPOCH_MICROS).to_be_bytes());
        self.field(event.id);
        self.field(&event.schema_version.to_be_bytes());
        self.field(event.event_type.as_bytes());
        self.field(event.stream.as_bytes());
        self.field(event.data.as_bytes());
        self.field(event.metadata.as_bytes());
        self.field(hash);
    }

    fn field(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).expect("requests are far below 2 GiB");
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) async fn copy_to(
        mut self,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = connection
            .copy_in_raw(
                "copy log.event (position, version, recorded_at, event_id, schema_version,
                                 event_type, stream_id, data, metadata, hash)
                 from stdin (format binary)",
            )
            .await?;
        copy.send(self.buffer).await?;
        copy.finish().await?;
        Ok(())
    }
}
