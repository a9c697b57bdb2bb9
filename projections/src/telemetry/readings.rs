//! Readings, one row each. A row holds the number of its device, which is known once the device's row is
//! written.

use domain::telemetry::Reading;
use eventsourcing::Recorded;
use eventstore::CopyRows;
use sqlx::PgConnection;

const COPY: &str = "copy reading (device, time, received_at, unset_time, sequence_id, position,
                                  temperature, battery, boot_id, extra_data)
                    from stdin (format binary)";

/// The readings of a batch.
#[derive(Debug, Default)]
pub(super) struct Readings {
    rows: CopyRows,
    /// Offset of the device's number in `rows`, and index of the device in the batch.
    devices: Vec<(usize, usize)>,
}

impl Readings {
    pub(super) fn add(&mut self, recorded: &Recorded<()>, device: usize, reading: &Reading) {
        let Self { rows, devices } = self;
        rows.row(10);
        devices.push((rows.int8_later(), device));
        rows.time(reading.time);
        rows.time(recorded.recorded_at);
        rows.nullable(reading.unset_time, CopyRows::time);
        rows.int8(reading.sequence_id);
        rows.int8(recorded.position.0);
        rows.nullable(reading.temperature, CopyRows::float8);
        rows.nullable(reading.battery, CopyRows::float8);
        rows.text(&reading.boot_id);
        rows.nullable(extra_json(reading), CopyRows::text);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes the readings; `number` returns the number of the batch's device with this index.
    pub(super) async fn write(
        mut self,
        number: impl Fn(usize) -> i64,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        for (at, device) in self.devices {
            self.rows.set_int8(at, number(device));
        }
        self.rows.send(connection, COPY).await
    }
}

/// The further fields as JSON text; `None` if there are none.
pub(super) fn extra_json(reading: &Reading) -> Option<&str> {
    let extra = &reading.extra_data;
    (!extra.is_empty()).then(|| extra.as_str())
}
