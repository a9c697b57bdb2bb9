//! The effective rules of a device: which of the configured rules apply to it.
//!
//! Rules with the same key and operator form a group. Of each group only the most specific rules are
//! effective: the user's rules before the default rules; within each, rules that name the device, then
//! rules whose pattern matches (the more characters besides `*`, the more specific), then rules for
//! all devices. A disabled rule takes part in the selection and hides less specific ones.

use uuid::Uuid;

use super::config::Config;
use super::published::Scope;
use super::rule::Rule;
use eventsourcing::fact;

/// A rule that is effective for a device.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveRule {
    /// Id derived from the rule's condition, scope and devices.
    pub id: Uuid,
    /// The rule.
    pub rule: Rule,
    /// Whether it is a default rule, rather than the user's own.
    pub of_everybody: bool,
    /// Version of the config that holds it.
    pub version: i64,
}

/// How specific a rule is: whether it is the user's own, then how specific its pattern is.
type Specificity = (bool, usize);

/// The specificity of a rule that names the device; higher than that of any pattern.
const NAMED: usize = usize::MAX;

impl EffectiveRule {
    /// Selects the rules that are effective for `device_id` from the default config and the config of
    /// its user, each given with its scope and version.
    pub fn select(configs: &[(Scope, i64, &Config)], device_id: &str) -> Vec<Self> {
        let mut candidates: Vec<(Specificity, Self)> = Vec::new();
        for (scope, version, config) in configs {
            let of_everybody = *scope == Scope::Everybody;
            for rule in config.all() {
                let Some(fit) = specificity(rule.device_id.as_deref(), device_id) else { continue };
                let id = rule_id(scope, &rule);
                let effective = Self { id, rule, of_everybody, version: *version };
                candidates.push(((!of_everybody, fit), effective));
            }
        }
        let group = |rule: &Rule| (rule.key.clone(), rule.operator);
        let is_effective = |candidate: &(Specificity, Self)| {
            let own = group(&candidate.1.rule);
            candidate.1.rule.enabled
                && !candidates
                    .iter()
                    .any(|other| other.0 > candidate.0 && group(&other.1.rule) == own)
        };
        let chosen: Vec<bool> = candidates.iter().map(is_effective).collect();
        let mut chosen: Vec<_> = candidates
            .into_iter()
            .zip(chosen)
            .filter_map(|((_, rule), chosen)| chosen.then_some(rule))
            .collect();
        // `temperature_max` may be equal to a rule.
        let mut seen = std::collections::HashSet::new();
        chosen.retain(|rule| seen.insert(rule.id));
        chosen
    }
}

/// Returns how specific a pattern is for a device, or `None` if it does not match.
fn specificity(pattern: Option<&str>, device_id: &str) -> Option<usize> {
    match pattern {
        None => Some(0),
        Some(pattern) if pattern == device_id => Some(NAMED),
        Some(pattern) if matches(pattern.as_bytes(), device_id.as_bytes()) => {
            Some(1 + pattern.bytes().filter(|byte| *byte != b'*').count())
        }
        Some(_) => None,
    }
}

/// Returns whether `text` matches `pattern`, in which `*` matches any number of characters. It
/// backtracks to the last `*` only, so the cost is at most the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Derives the id of a rule. Ids are stored in alerts: the inputs must never change.
fn rule_id(scope: &Scope, rule: &Rule) -> Uuid {
    let scope = match scope {
        Scope::Everybody => "~",
        Scope::User(user_id) => user_id,
    };
    fact::id(&["rule", scope, &rule.identity()], &[], 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::{Operator, Threshold};

    fn rule(threshold: f64, device_id: Option<&str>) -> Rule {
        let rule = Rule::new("t", Operator::Above, Threshold::Number(threshold), String::new());
        Rule { device_id: device_id.map(str::to_owned), ..rule }
    }

    fn effective_rules(everybody: Vec<Rule>, own: Vec<Rule>, device: &str) -> Vec<String> {
        let everybody = Config { temperature_max: None, rules: everybody };
        let own = Config { temperature_max: None, rules: own };
        let configs = [(Scope::Everybody, 3, &everybody), (Scope::User("u".into()), 5, &own)];
        EffectiveRule::select(&configs, device).iter().map(|rule| rule.rule.label()).collect()
    }

    #[test]
    fn only_the_most_specific_rules_of_a_group_are_effective() {
        let everybody = vec![rule(1.0, None), rule(2.0, Some("d-1"))];
        let own = vec![rule(3.0, None), rule(4.0, Some("d-*")), rule(5.0, Some("d-1"))];
        assert_eq!(effective_rules(everybody.clone(), own.clone(), "d-1"), ["t > 5"]);
        assert_eq!(effective_rules(everybody.clone(), own.clone(), "d-2"), ["t > 4"]);
        assert_eq!(effective_rules(everybody.clone(), own, "e"), ["t > 3"]);
        assert_eq!(effective_rules(everybody.clone(), vec![], "d-1"), ["t > 2"]);
        assert_eq!(effective_rules(everybody, vec![], "e"), ["t > 1"]);
        let longer = vec![rule(1.0, Some("d-*")), rule(2.0, Some("d-1*"))];
        assert_eq!(effective_rules(longer, vec![], "d-11"), ["t > 2"]);
    }

    #[test]
    fn equally_specific_rules_are_all_effective() {
        let mut other = rule(9.0, None);
        other.operator = Operator::Below;
        let own = vec![rule(3.0, None), rule(4.0, None), other];
        assert_eq!(effective_rules(vec![rule(1.0, None)], own, "d"), ["t > 3", "t > 4", "t < 9"]);
    }

    #[test]
    fn a_disabled_rule_hides_less_specific_rules() {
        let off = Rule { enabled: false, ..rule(5.0, Some("d")) };
        assert!(effective_rules(vec![rule(1.0, None)], vec![rule(2.0, None), off], "d").is_empty());
    }

    #[test]
    fn a_star_matches_any_number_of_characters() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abbc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a*b*c", "a-b-b-c", true),
            ("*a", "ba", true),
            ("ab", "abc", false),
            ("abc", "ab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn the_id_of_a_rule_does_not_depend_on_its_message() {
        let scope = Scope::User("u".into());
        let one = rule(1.0, None);
        let louder = Rule { message: "Hot!".into(), ..one.clone() };
        assert_eq!(rule_id(&scope, &one), rule_id(&scope, &louder));
        assert_ne!(rule_id(&scope, &one), rule_id(&Scope::Everybody, &one));
        assert_ne!(rule_id(&scope, &one), rule_id(&scope, &Rule { times: 2, ..one.clone() }));
    }
}
