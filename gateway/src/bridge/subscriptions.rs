//! What a bridge subscribes to.

use mqtt::Options;

use super::mapping::Mappings;
use super::mapping::filter::covers;
use super::topics::FILTERS;

/// Whether `filter` is one of [`FILTERS`] or of the mappings, or one of them with names in place of its
/// wildcards. The bridge records no other topics.
pub fn narrows(filter: &str, mappings: &Mappings) -> bool {
    let mapped = |mapped| rumqttc::valid_filter(filter) && covers(mapped, filter);
    mappings.filters().any(mapped)
        || FILTERS.iter().any(|known| {
            let levels = filter.split('/').count() == known.split('/').count();
            levels
                && filter.split('/').zip(known.split('/')).all(|(level, known)| match known {
                    "+" => level == "+" || !(level.is_empty() || level.contains(['+', '#'])),
                    known => level == known,
                })
        })
}

/// Sets the filters of `options`: subscribes to `filters`, or to all of [`FILTERS`] and of the mappings if
/// there are none, and unsubscribes from the rest. With `group`, the subscriptions are shared by that
/// group.
#[must_use]
pub fn listen(
    mut options: Options,
    filters: &[String],
    group: Option<&str>,
    mappings: &Mappings,
) -> Options {
    let shared = |filter: &str| group.map(|group| format!("$share/{group}/{filter}"));
    let all: Vec<String> =
        FILTERS.iter().copied().chain(mappings.filters()).map(str::to_owned).collect();
    options.topic_filters = if filters.is_empty() { all.clone() } else { filters.to_vec() };
    for filter in &mut options.topic_filters {
        if let Some(shared) = shared(filter) {
            *filter = shared;
        }
    }
    let shared_filters: Vec<_> = all.iter().filter_map(|filter| shared(filter)).collect();
    options.unsubscribe_filters = all
        .into_iter()
        .chain(shared_filters)
        .filter(|filter| !options.topic_filters.contains(filter))
        .collect();
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_may_narrow_the_known_ones_but_not_widen_them() {
        for filter in FILTERS.iter().copied().chain([
            "users/ada/devices/+/telemetry",
            "users/+/devices/kitchen/telemetry",
            "users/ada/devices/kitchen/status",
            "hosts/web-1/metrics",
        ]) {
            assert!(narrows(filter, &Mappings::default()), "{filter}");
        }
        for filter in [
            "",
            "#",
            "users/#",
            "users/+/devices/+/#",
            "users/+/devices/+/+",
            "users/+/devices/+/alerts",
            "users//devices/+/telemetry",
            "users/a+/devices/+/telemetry",
            "$share/g/hosts/+/metrics",
            "hosts/+/metrics/",
        ] {
            assert!(!narrows(filter, &Mappings::default()), "{filter}");
        }
    }

    #[test]
    fn filters_no_longer_wanted_are_unsubscribed() {
        let none = Mappings::default();
        let all = listen(Options::new("mqtt://b", "c"), &[], None, &none);
        assert_eq!((all.topic_filters.len(), all.unsubscribe_filters.len()), (FILTERS.len(), 0));
        let some = ["users/+/devices/+/telemetry".to_owned()];
        let part = listen(Options::new("mqtt://b", "c"), &some, None, &none);
        assert_eq!(part.topic_filters, some);
        assert!(!part.unsubscribe_filters.contains(&some[0]));
        assert_eq!(part.unsubscribe_filters.len(), FILTERS.len() - 1);
        let shared = listen(Options::new("mqtt://b", "c"), &some, Some("bridges"), &none);
        assert_eq!(shared.topic_filters, ["$share/bridges/users/+/devices/+/telemetry"]);
        assert_eq!(shared.unsubscribe_filters.len(), 2 * FILTERS.len() - 1);
        assert!(!shared.unsubscribe_filters.contains(&shared.topic_filters[0]));
    }
}
