//! Which rules are in force for a device: the most specific first.
//!
//! Rules about the same field with the same operator are one **question**. A question is answered
//! by the most specific rules that ask it: those of the user that name the device, then those whose
//! pattern fits (the more letters it has, the more specific), then those for all of the user's
//! devices, and then everybody's, in the same order. A rule that is switched off answers too, by
//! silence.

use uuid::Uuid;

use super::config::{Config, Scope};
use super::rule::Rule;
use eventsourcing::fact;

/// A rule that is in force for a device.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveRule {
    /// Names what the rule judges, whose it is, and for which devices.
    pub id: Uuid,
    pub rule: Rule,
    /// Whether it is everybody's.
    pub of_everybody: bool,
    /// Version of the rules it stands in.
    pub version: i64,
}

/// How specific a rule is: the user's own before everybody's, then by pattern.
type Specificity = (bool, usize);

/// A name fits before any pattern does.
const NAMED: usize = usize::MAX;

impl EffectiveRule {
    /// The rules in force for `device_id`, out of everybody's and those of its user, each with the
    /// version it has.
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
        let question = |rule: &Rule| (rule.key.clone(), rule.operator);
        let answers = |candidate: &(Specificity, Self)| {
            let asked = question(&candidate.1.rule);
            candidate.1.rule.enabled
                && !candidates
                    .iter()
                    .any(|other| other.0 > candidate.0 && question(&other.1.rule) == asked)
        };
        let chosen: Vec<bool> = candidates.iter().map(answers).collect();
        let mut chosen: Vec<_> = candidates
            .into_iter()
            .zip(chosen)
            .filter_map(|((_, rule), chosen)| chosen.then_some(rule))
            .collect();
        // `temperature_max` may say what a rule says.
        let mut seen = std::collections::HashSet::new();
        chosen.retain(|rule| seen.insert(rule.id));
        chosen
    }
}

/// How well a rule fits a device; None if it does not.
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

/// Whether `text` fits `pattern`, in which `*` stands for any number of characters. Goes back only
/// to the last `*`, so a long pattern costs no more than its length times the text's.
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

/// Ids stand in alerts: what goes into one is for ever.
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
    fn the_most_specific_rules_answer_a_question() {
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
    fn several_rules_as_specific_answer_together() {
        let mut other = rule(9.0, None);
        other.operator = Operator::Below;
        let own = vec![rule(3.0, None), rule(4.0, None), other];
        assert_eq!(effective_rules(vec![rule(1.0, None)], own, "d"), ["t > 3", "t > 4", "t < 9"]);
    }

    #[test]
    fn a_rule_that_is_switched_off_keeps_others_away() {
        let off = Rule { enabled: false, ..rule(5.0, Some("d")) };
        assert!(effective_rules(vec![rule(1.0, None)], vec![rule(2.0, None), off], "d").is_empty());
    }

    #[test]
    fn a_pattern_stands_for_any_number_of_characters() {
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
    fn a_rule_stays_itself_when_only_its_words_change() {
        let scope = Scope::User("u".into());
        let one = rule(1.0, None);
        let louder = Rule { message: "Hot!".into(), ..one.clone() };
        assert_eq!(rule_id(&scope, &one), rule_id(&scope, &louder));
        assert_ne!(rule_id(&scope, &one), rule_id(&Scope::Everybody, &one));
        assert_ne!(rule_id(&scope, &one), rule_id(&scope, &Rule { times: 2, ..one.clone() }));
    }
}
