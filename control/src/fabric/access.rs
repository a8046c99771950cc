//! What edges are told of access rules, locations and terms of use.

use bytes::Bytes;
use model::name::{AccessRuleId, LocationId, TermsId};
use prost::Message as _;
use proto::{access::RuleState, access_rule, admin, fabric, location};

use crate::terms::in_force;

/// Nothing of a rule that is off. One that cannot be read is told without a word, so that edges know that there is one.
pub(super) fn rule(key: &str, value: Bytes) -> Option<fabric::AccessRule> {
    let id = key.strip_prefix(AccessRuleId::COLLECTION)?;
    let policy = admin::AccessRule::decode(value)
        .ok()
        .and_then(|rule| rule.policy);
    if policy
        .as_ref()
        .is_some_and(|policy| policy.state == RuleState::Off as i32)
    {
        return None;
    }
    Some(access_rule::told(id, policy))
}

/// Rules apply as if everything were inside of a location that edges do not know.
pub(super) fn location(key: &str, value: Bytes) -> Option<fabric::Location> {
    let id = key.strip_prefix(LocationId::COLLECTION)?;
    let admin = admin::Location::decode(value).ok()?;
    Some(location::told(id, admin.area))
}

/// What decides of terms; those that edges do not know are accepted by nobody.
pub(super) fn terms(key: &str, value: Bytes) -> Option<fabric::Terms> {
    let id: TermsId = key.strip_prefix(TermsId::COLLECTION)?.parse().ok()?;
    let stored = admin::Terms::decode(value).ok()?;
    Some(proto::terms::write(&id, &in_force(&stored)?))
}

#[cfg(test)]
mod tests {
    use proto::access::Policy;

    use super::*;

    #[test]
    fn rules_that_are_off_are_told_to_nobody_and_unreadable_ones_are() {
        let told = |state: RuleState| {
            let stored = admin::AccessRule {
                policy: Some(Policy {
                    state: state.into(),
                    ..Policy::default()
                }),
                ..admin::AccessRule::default()
            };
            rule("accessRules/mfa", stored.encode_to_vec().into())
        };
        assert!(told(RuleState::On).is_some_and(|rule| rule.id == "mfa"));
        assert!(told(RuleState::ReportOnly).is_some());
        assert_eq!(told(RuleState::Off), None);
        let unreadable = rule("accessRules/mfa", Bytes::from_static(b"\xff"));
        assert!(unreadable.is_some_and(|rule| rule.policy.is_none()));
    }
}
