//! Selecting, paging and writing readings, without a database.

use eventsourcing::json::Plain;

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
        extra_data: Some(Plain(serde_json::json!({"note": "say \"hi\", all", "lux": 3}))),
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

#[test]
fn a_row_has_the_requested_fields_and_those_of_extra_data() {
    let fields = ["lux".to_owned(), "temperature".to_owned(), "none".to_owned()];
    let row = reading_row(&reading(), &fields).unwrap_or_else(|_| panic!("no row"));
    assert_eq!((&row["lux"], &row["temperature"]), (&3.into(), &21.5.into()));
    assert!(row["none"].is_null() && !row.contains_key("battery") && !row.contains_key("note"));
}

#[test]
fn csv_quotes_quotes_and_commas() {
    let fields = ["note".to_owned(), "battery".to_owned()];
    let row = reading_row(&reading(), &fields).unwrap_or_else(|_| panic!("no row"));
    let table = Table { columns: reading_columns(&fields), rows: vec![row], next: None };
    let text = csv(&table);
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "time,received_at,sequence_id,boot_id,position,note,battery");
    assert!(lines[1].ends_with(",7,,9,\"say \"\"hi\"\", all\","), "{text}");
}
