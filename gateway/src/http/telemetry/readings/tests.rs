//! Selecting and writing readings, without a database.

use chrono::{DateTime, Utc};
use domain::FieldPath;

use super::row::Row;
use super::*;

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + 60 * minute, 0).unwrap()
}

fn reading() -> ReadingRow {
    ReadingRow {
        time: at(0),
        received_at: at(0),
        unset_time: None,
        sequence_id: 7,
        boot_id: String::new(),
        temperature: Some(21.5),
        battery: None,
        extra_data: serde_json::from_str(
            r#"{"note":"say \"hi\", all","lux":3,"iccid":89490200001234567891,"position":55.0,
                "fields.position":1e2,"battery":"low","power":{"volts":230.10}}"#,
        )
        .unwrap(),
        position: 9,
    }
}

fn row(fields: &[&str]) -> (Vec<String>, Row) {
    let fields: Vec<_> = fields.iter().map(|field| FieldPath::parse(field).unwrap()).collect();
    let row = Row::of_reading(&reading(), &fields).unwrap_or_else(|_| panic!("no row"));
    (row::columns(&fields), row)
}

#[test]
fn a_row_has_the_requested_fields_and_those_of_extra_data() {
    let (_, row) = row(&["lux", "temperature", "none", "battery", "power.volts", "/power/volts"]);
    let row = serde_json::to_value(&row).unwrap();
    assert_eq!((&row["lux"], &row["temperature"]), (&3.into(), &21.5.into()));
    assert_eq!(row["battery"], "low", "what was sent, although it is not a number");
    assert_eq!((&row["power.volts"], &row["/power/volts"]), (&230.1.into(), &230.1.into()));
    assert!(row["none"].is_null() && row.get("extra_data").is_none() && row.get("note").is_none());
}

#[test]
fn a_field_of_the_device_never_collides_with_a_column_of_ours() {
    let (columns, row) = row(&["position", "iccid", "fields.position", "time"]);
    let expected = ["fields.position", "iccid", "fields.fields.position", "fields.time"];
    let ours = ["time", "received_at", "sequence_id", "boot_id", "position", "unset_time"];
    assert_eq!(columns[..6], ours);
    assert_eq!(columns[6..], expected);
    let cells: Vec<_> = columns[4..].iter().map(|column| row.cell(column)).collect();
    assert_eq!(cells, ["9", "", "55.0", "89490200001234567891", "1e2", ""]);
    let json = serde_json::to_string(&row).unwrap();
    let end = r#""position":9,"fields.position":55.0,"iccid":89490200001234567891,"fields.fields.position":1e2,"fields.time":null}"#;
    assert!(json.ends_with(end), "{json}");
}

#[test]
fn csv_quotes_quotes_and_commas() {
    let (columns, row) = row(&["note", "humidity"]);
    let text = csv::tests::text(columns, None, &[&[row]]);
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "time,received_at,sequence_id,boot_id,position,unset_time,note,humidity");
    assert!(lines[1].ends_with(",7,,9,,\"say \"\"hi\"\", all\","), "{text}");
}
