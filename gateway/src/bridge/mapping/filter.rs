//! Topic filters as sets of topics (MQTT 5, section 4.7): whether one matches a topic, shares topics with
//! another, or holds all topics of another.

/// Returns whether the filters `a` and `b` have a topic in common. A topic is a filter without wildcards.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    // A wildcard at the beginning matches no topic of the broker itself, such as `$SYS/…`.
    let reserved =
        |filter: &str, other: &str| filter.starts_with(['+', '#']) && other.starts_with('$');
    if reserved(a, b) || reserved(b, a) {
        return false;
    }
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(one), Some(other)) if one == other || one == "+" || other == "+" => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

/// Returns whether every topic of `inner` is one of `outer`.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('/'), inner.split('/'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some("#"), _) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(one), Some(other)) if one == other => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_overlap_where_a_topic_matches_both() {
        for (a, b, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("+/b", "a/+", true),
            ("+/b", "a/c", false),
            ("#", "a/b", true),
            ("#", "$SYS/broker/uptime", false),
            ("+/broker/uptime", "$SYS/broker/uptime", false),
            ("a//b", "a/+/b", true),
            ("a", "a/", false),
        ] {
            assert_eq!((overlap(a, b), overlap(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn a_filter_covers_what_narrows_it() {
        for (outer, inner, expected) in [
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/+/c", true),
            ("a/#", "a/+/c", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("a/+", "a/b/c", false),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
        }
    }
}
