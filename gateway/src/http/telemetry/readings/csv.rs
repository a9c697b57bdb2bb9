//! Readings and buckets as CSV (RFC 4180): a page, or page after page as a stream, of which one page is
//! in memory at a time.

use axum::body::{Body, Bytes};
use futures::stream;
use projections::telemetry::DeviceFields;
use tracing::{Instrument, Span};

use super::super::super::problem::Problem;
use super::super::super::slots::Slot;
use super::query::{Aggregate, ReadingsQuery};
use super::row::{self, Row};
use super::source::{After, Rows, Source, bucket_names};

/// A table that is written row by row.
#[derive(Debug)]
pub(super) struct Csv {
    columns: Vec<String>,
    /// The value of the cells of a wide table of buckets, and its row that is not complete.
    wide: Option<(Aggregate, Vec<String>)>,
}

impl Csv {
    pub(super) fn new(query: &ReadingsQuery, device: &DeviceFields) -> Result<Self, Problem> {
        let fields = query.fields()?;
        let wide = query.wide.filter(|_| query.bucket.is_some());
        let columns = if wide.is_some() {
            let names = if fields.is_empty() {
                device.with_buckets().map(str::to_owned).collect()
            } else {
                bucket_names(device, &fields)?
            };
            wide_columns(names)
        } else if query.bucket.is_some() {
            ["time", "field", "count", "min", "max", "avg", "first", "last"]
                .map(str::to_owned)
                .into()
        } else {
            row::columns(&fields)
        };
        Ok(Self { columns, wide: wide.map(|aggregate| (aggregate, Vec::new())) })
    }

    fn header(&self) -> String {
        line(self.columns.iter().cloned())
    }

    /// The lines of further rows. That of the last bucket of a wide table follows with the next one.
    fn lines(&mut self, rows: &[Row]) -> String {
        let mut lines = String::new();
        for row in rows {
            let Some((aggregate, pending)) = &mut self.wide else {
                lines.push_str(&line(self.columns.iter().map(|column| row.cell(column))));
                continue;
            };
            let time = row.cell("time");
            if pending.first() != Some(&time) {
                lines.push_str(&written(pending));
                pending.resize(self.columns.len(), String::new());
                pending[0] = time;
            }
            let name = row::column(&row.cell("field"));
            let column = self.columns[1..].iter().position(|column| *column == name);
            if let Some(column) = column {
                pending[column + 1] = row.cell(aggregate.name());
            }
        }
        lines
    }

    /// The last line.
    fn end(&mut self) -> String {
        self.wide.as_mut().map(|(_, pending)| written(pending)).unwrap_or_default()
    }
}

/// The columns of a wide table of these fields.
fn wide_columns(names: Vec<String>) -> Vec<String> {
    std::iter::once("time".to_owned()).chain(names.iter().map(|name| row::column(name))).collect()
}

/// The line of a row, which is empty afterwards; nothing if it is empty already.
fn written(row: &mut Vec<String>) -> String {
    let cells = std::mem::take(row);
    if cells.is_empty() { String::new() } else { line(cells.into_iter()) }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |text: String| {
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    cells.map(quoted).collect::<Vec<_>>().join(",") + "\r\n"
}

/// The table with these rows as the body of a response, followed by the pages from `more` on. `slot` is
/// free again when the body is sent. A failure ends the body before its end, which clients notice.
pub(super) fn body(
    mut table: Csv,
    source: Source,
    rows: Vec<Row>,
    more: Option<After>,
    slot: Option<Slot>,
) -> Body {
    let first = table.header() + &table.lines(&rows);
    drop(rows);
    if more.is_none() {
        return Body::from(first + &table.end());
    }
    let state = (table, source, first, more, slot);
    let request = Span::current();
    let pages = stream::try_unfold(Some(state), move |state| {
        let page = async move {
            let Some((mut table, source, text, more, slot)) = state else {
                return Ok::<_, std::io::Error>(None);
            };
            let Some(after) = more else {
                return Ok(Some((Bytes::from(text + &table.end()), None)));
            };
            let Rows { rows, next } = source.page(Some(after)).await.map_err(|problem| {
                tracing::warn!(?problem, "a table of readings ended early");
                std::io::Error::other("the readings cannot be read")
            })?;
            let following = table.lines(&rows);
            Ok(Some((Bytes::from(text), Some((table, source, following, next, slot)))))
        };
        page.instrument(request.clone())
    });
    Body::from_stream(pages)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The text of a table whose rows come in these pages.
    pub(crate) fn text(columns: Vec<String>, wide: Option<Aggregate>, pages: &[&[Row]]) -> String {
        let mut table = Csv { columns, wide: wide.map(|aggregate| (aggregate, Vec::new())) };
        let mut text = table.header();
        for rows in pages {
            text.push_str(&table.lines(rows));
        }
        text + &table.end()
    }

    #[test]
    fn a_wide_table_has_one_row_for_each_bucket_however_the_pages_are_cut() {
        let row = |time: &str, field: &str, avg: f64| {
            let row = serde_json::json!({"time": time, "field": field, "avg": avg, "count": 1});
            Row::of(&row).unwrap_or_else(|_| panic!("no row"))
        };
        let rows =
            [row("1", "a", 1.5), row("1", "time", 2.0), row("2", "time", 3.0), row("3", "a", 4.0)];
        let columns = || wide_columns(["a", "time"].map(str::to_owned).into());
        let expected = "time,a,fields.time\r\n1,1.5,2.0\r\n2,,3.0\r\n3,4.0,\r\n";
        for cut in 0..=rows.len() {
            let pages = [&rows[..cut], &rows[cut..]];
            assert_eq!(text(columns(), Some(Aggregate::Avg), &pages), expected, "{cut}");
        }
        assert_eq!(text(columns(), Some(Aggregate::Avg), &[]), "time,a,fields.time\r\n");
    }
}
