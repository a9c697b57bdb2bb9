//! Files of mappings that are used or refused.

use super::*;

fn refused(json: &str) -> String {
    Mappings::parse(json.as_bytes()).unwrap_err()
}

fn mapping(more: &str) -> String {
    format!(r#"{{"mappings": [{{"filter": "a/+", "user": "u", "device": "{{2}}"{more}}}]}}"#)
}

#[test]
fn an_invalid_file_is_refused_with_the_place() {
    assert!(Mappings::parse(mapping("").as_bytes()).is_ok());
    for (json, reason) in [
        ("nonsense".to_owned(), "expected ident"),
        (r#"{"mappings": [], "x": 1}"#.to_owned(), "unknown field `x`"),
        (mapping(r#", "sequenze": "x""#), "mappings[0].sequenze: unknown field"),
        (mapping(r#", "time": """#), "mappings[0].time: "),
        (mapping(r#", "time_unit": "h""#), "unknown variant `h`"),
        (mapping(r#", "time_offset": "1h""#), "not an offset from UTC"),
        (mapping(r#", "name": "x""#), "`name` and `value` go together"),
        (mapping(r#", "field": "{0}""#), "number of a level"),
        (r#"{"mappings": [{"filter": "a/#/b"}]}"#.to_owned(), "`a/#/b` is not a topic filter"),
        (r#"{"mappings": [{"filter": "a"}]}"#.to_owned(), "mappings[0]: `user` is missing"),
        (
            r#"{"mappings": [{"filter": "a", "user": {"constant": "a b"}, "device": "d"}]}"#
                .to_owned(),
            "user: a user or device id is",
        ),
        (
            format!(r#"{{"mappings": [{}]}}"#, vec![r#"{"filter": "a"}"#; 101].join(",")),
            "at most 100",
        ),
    ] {
        let error = refused(&json);
        assert!(error.contains(reason), "{json}: {error}");
    }
}

#[test]
fn mappings_share_no_topics_with_each_other_or_with_the_bridge() {
    let two = |one: &str, other: &str| {
        let of = |filter: &str| format!(r#"{{"filter": "{filter}", "user": "u", "device": "d"}}"#);
        Mappings::parse(format!(r#"{{"mappings": [{}, {}]}}"#, of(one), of(other)).as_bytes())
    };
    assert!(two("a/+", "b/#").is_ok());
    for (one, other, with) in [
        ("a/+", "a/b", "`a/+`"),
        ("a/#", "+/b", "`a/#`"),
        ("a", "users/#", "`users/+/devices/+/telemetry`"),
        ("a", "+/+/config", "`users/+/config`"),
        ("a", "hosts/web-1/metrics", "`hosts/+/metrics`"),
    ] {
        let error = two(one, other).unwrap_err();
        assert!(error.starts_with("mappings[1]: filter:") && error.contains(with), "{error}");
    }
    let ignored = r#"{"mappings": [{"filter": "a/x", "ignore": true},
        {"filter": "a/+", "user": "u", "device": "{2}"}]}"#;
    let list = Mappings::parse(ignored.as_bytes()).unwrap();
    let mappings = Mappings { file: PathBuf::new(), list: list.into() };
    assert_eq!(mappings.filters().collect::<Vec<_>>(), ["a/+"]);
    let filter = |topic| mappings.find(topic).map(|mapping| mapping.filter().to_owned());
    assert_eq!(filter("a/x").as_deref(), Some("a/x"), "the first that matches");
    assert_eq!(filter("a/y").as_deref(), Some("a/+"));
    assert_eq!(filter("b"), None);
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_and_an_empty_path_is_none() {
    assert!(Mappings::load("").unwrap().filters().next().is_none());
    let error = Mappings::load("/nonexistent").unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nonexistent: "), "{error}");
}
