//! Selecting, paging and writing readings, without a database.

use super::*;

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + 60 * minute, 0).unwrap()
}

fn bucket(minute: i64, field: &str) -> Bucket {
    Bucket {
        time: at(minute),
        field: field.into(),
        count: 1,
        min: 1.0,
        max: 1.0,
        avg: 1.0,
        first: 1.0,
        last: 1.0,
    }
}

fn reading() -> ReadingRow {
    ReadingRow {
        time: at(0),
        received_at: at(0),
        sequence_id: 7,
        boot_id: String::new(),
        temperature: Some(21.5),
        battery: None,
        extra_data: serde_json::from_str(
            r#"{"note":"say \"hi\", all","lux":3,"iccid":89490200001234567891,"position":55.0,
                "fields.position":1e2,"battery":"low"}"#,
        )
        .unwrap(),
        position: 9,
    }
}

#[test]
fn a_page_of_buckets_ends_between_buckets() {
    let buckets: Vec<_> =
        (0..4).flat_map(|minute| [bucket(minute, "a"), bucket(minute, "b")]).collect();
    let page = bucket_table(buckets.clone(), 3, false).unwrap_or_else(|_| panic!("no page"));
    assert_eq!((page.rows.len(), page.next), (4, Some((at(1), 0))));
    let page = bucket_table(buckets.clone(), 8, false).unwrap_or_else(|_| panic!("no page"));
    assert_eq!((page.rows.len(), page.next), (8, None));
    // There may be more rows than were fetched: the last bucket may be incomplete.
    let page = bucket_table(buckets, 8, true).unwrap_or_else(|_| panic!("no page"));
    assert_eq!((page.rows.len(), page.next), (6, Some((at(2), 0))));
}

fn row(fields: &[&str]) -> (Vec<String>, Row) {
    let fields = row::requested(Some(&fields.join(",")));
    let row = Row::of_reading(&reading(), &fields).unwrap_or_else(|_| panic!("no row"));
    (row::columns(&fields), row)
}

#[test]
fn a_row_has_the_requested_fields_and_those_of_extra_data() {
    let (_, row) = row(&["lux", "temperature", "none", "battery"]);
    let row = serde_json::to_value(&row).unwrap();
    assert_eq!((&row["lux"], &row["temperature"]), (&3.into(), &21.5.into()));
    assert_eq!(row["battery"], "low", "what was sent, although it is not a number");
    assert!(row["none"].is_null() && row.get("extra_data").is_none() && row.get("note").is_none());
}

#[test]
fn a_field_of_the_device_never_collides_with_a_column_of_ours() {
    let (columns, row) = row(&["position", "iccid", "fields.position", "time", "position"]);
    let expected = ["fields.position", "iccid", "fields.fields.position", "fields.time"];
    assert_eq!(columns[..5], ["time", "received_at", "sequence_id", "boot_id", "position"]);
    assert_eq!(columns[5..], expected);
    let cells: Vec<_> = columns[4..].iter().map(|column| row.cell(column)).collect();
    assert_eq!(cells, ["9", "55.0", "89490200001234567891", "1e2", ""]);
    let json = serde_json::to_string(&row).unwrap();
    let end = r#""position":9,"fields.position":55.0,"iccid":89490200001234567891,"fields.fields.position":1e2,"fields.time":null}"#;
    assert!(json.ends_with(end), "{json}");
}

#[test]
fn csv_quotes_quotes_and_commas() {
    let (columns, row) = row(&["note", "humidity"]);
    let table = Table { columns, rows: vec![row], next: None };
    let text = csv(&table);
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "time,received_at,sequence_id,boot_id,position,note,humidity");
    assert!(lines[1].ends_with(",7,,9,\"say \"\"hi\"\", all\","), "{text}");
}
