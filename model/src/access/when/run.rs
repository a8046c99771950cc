//! Holds a checked expression against a request.

use super::check::{Attribute, Number, Order, Part, Text, Texts, Truth};
use crate::{
    access::{facts::Facts, ruleset::RuleSet, schedule::Moment},
    name::{AppId, IdentityProviderId},
    user::{User, UserGroup},
};

/// The word for the fabric's own accounts, where a provider is named.
pub const OWN_ACCOUNTS: &str = "local";

/// All that attributes are taken from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) rules: &'a RuleSet,
    pub(super) app: &'a AppId,
    pub(super) user: &'a User,
    pub(super) facts: &'a Facts<'a>,
}

impl Scene<'_> {
    /// Of an attribute that is a string; of others, which the check lets nobody ask for, an empty one.
    fn text(&self, attribute: Attribute) -> &str {
        let Self { user, facts, .. } = self;
        match attribute {
            Attribute::UserId => user.id.as_str(),
            Attribute::UserProvider => {
                let provider = user.authentication.provider.as_ref();
                provider.map_or(OWN_ACCOUNTS, IdentityProviderId::as_str)
            }
            Attribute::AppId => self.app.as_str(),
            Attribute::Method => facts.method,
            Attribute::Path => &facts.path,
            Attribute::Host => facts.host,
            Attribute::Country => facts.country.as_ref().map_or("", |one| one.as_str()),
            Attribute::Platform => facts.platform.as_str(),
            Attribute::Client => facts.client.as_str(),
            Attribute::Class => &user.authentication.class,
            Attribute::UserGroups
            | Attribute::Locations
            | Attribute::Age
            | Attribute::Methods
            | Attribute::Device
            | Attribute::Weekday
            | Attribute::Hour
            | Attribute::Minute => "",
        }
    }

    /// Of an attribute that is a number; of others 0.
    fn number(&self, attribute: Attribute) -> i64 {
        let facts = self.facts;
        let moment = || Moment::at(facts.now_ms, 0);
        match attribute {
            Attribute::Age => {
                let age = facts.age(self.user.authentication.at_ms);
                i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
            }
            Attribute::Weekday => moment().cel_weekday(),
            Attribute::Hour => moment().hour(),
            Attribute::Minute => moment().minute_of_hour(),
            Attribute::UserId
            | Attribute::UserProvider
            | Attribute::UserGroups
            | Attribute::AppId
            | Attribute::Method
            | Attribute::Path
            | Attribute::Host
            | Attribute::Country
            | Attribute::Locations
            | Attribute::Platform
            | Attribute::Client
            | Attribute::Methods
            | Attribute::Class
            | Attribute::Device => 0,
        }
    }

    /// Whether a list has a string in it.
    fn has(&self, all: &Texts, one: &str) -> bool {
        let user = self.user;
        match all {
            Texts::These(texts) => texts.iter().any(|text| text.value(self) == one),
            Texts::Attribute(Attribute::UserGroups) => user
                .groups
                .iter()
                .map(UserGroup::as_str)
                .any(|group| group == one),
            Texts::Attribute(Attribute::Methods) => {
                let methods = &user.authentication.methods;
                methods.iter().any(|method| method == one)
            }
            Texts::Attribute(_) => false,
            Texts::Claim(name) => user
                .claims
                .iter()
                .filter(|claim| claim.name == *name)
                .any(|claim| claim.values.iter().any(|value| value == one)),
        }
    }
}

impl Number {
    fn value(&self, scene: &Scene<'_>) -> i64 {
        match self {
            Self::Literal(number) => *number,
            Self::Attribute(attribute) => scene.number(*attribute),
        }
    }
}

impl Text {
    fn value<'s>(&'s self, scene: &'s Scene<'_>) -> &'s str {
        match self {
            Self::Literal(text) => text,
            Self::Attribute(attribute) => scene.text(*attribute),
        }
    }
}

impl Order {
    fn holds<T: Ord + ?Sized>(self, one: &T, other: &T) -> bool {
        match self {
            Self::Equal => one == other,
            Self::Unequal => one != other,
            Self::Less => one < other,
            Self::LessOrEqual => one <= other,
            Self::Greater => one > other,
            Self::GreaterOrEqual => one >= other,
        }
    }
}

impl Truth {
    pub(super) fn holds(&self, scene: &Scene<'_>) -> bool {
        match self {
            Self::Literal(truth) => *truth,
            Self::DeviceCertificate => scene.facts.has_device_certificate,
            Self::Not(inner) => !inner.holds(scene),
            Self::And(parts) => parts.iter().all(|part| part.holds(scene)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(scene)),
            Self::Same(one, other) => one.holds(scene) == other.holds(scene),
            Self::Numbers(order, one, other) => order.holds(&one.value(scene), &other.value(scene)),
            Self::Texts(order, one, other) => order.holds(one.value(scene), other.value(scene)),
            Self::In(location) => scene.rules.is_in(location, scene.facts),
            Self::Among(one, all) => scene.has(all, one.value(scene)),
            Self::AmongNumbers(one, all) => {
                let one = one.value(scene);
                all.iter().any(|other| other.value(scene) == one)
            }
            Self::Part(part, whole, given) => {
                let (whole, given) = (whole.value(scene), given.value(scene));
                match part {
                    Part::Start => whole.starts_with(given),
                    Part::End => whole.ends_with(given),
                    Part::Anywhere => whole.contains(given),
                }
            }
        }
    }
}
