//! Rules for an app's answers, on the way to edges.

use std::time::Duration;

use model::app::{AnswerRules, Hsts, Robots};

use super::{Reader, ResourceError};
use crate::{fabric, fabric::answer_rules, rules};

/// What an error says.
const WHAT: &str = "a rule for answers";

pub(super) fn write(answers: &AnswerRules) -> fabric::AnswerRules {
    fabric::AnswerRules {
        hsts: answers.hsts.map(|hsts| fabric::Hsts {
            max_age_s: hsts.max_age.as_secs(),
            include_subdomains: hsts.include_subdomains,
            preload: hsts.preload,
        }),
        content_security_policy: answers.content_security_policy.clone().unwrap_or_default(),
        set: answers
            .set
            .iter()
            .map(|(name, value)| fabric::Field {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        remove: answers.remove.clone(),
        robots: Some(match &answers.robots {
            Robots::Disallow => answer_rules::Robots::RobotsDisallow(true),
            Robots::Origin => answer_rules::Robots::RobotsOrigin(true),
            Robots::Text(text) => answer_rules::Robots::RobotsText(text.clone()),
        }),
    }
}

impl Reader<'_> {
    /// Without the message there are no rules, and search engines are kept out.
    pub(super) fn answer_rules(
        &self,
        wire: Option<&fabric::AnswerRules>,
    ) -> Result<AnswerRules, ResourceError> {
        let Some(wire) = wire else {
            return Ok(AnswerRules::default());
        };
        let fields = (0, AnswerRules::FIELDS_MAX);
        Ok(AnswerRules {
            hsts: wire.hsts.map(|hsts| self.hsts(hsts)).transpose()?,
            content_security_policy: self.policy(&wire.content_security_policy)?,
            set: self.all("fields to set", fields, &wire.set, |field| {
                let name = self.setting(WHAT, rules::settable_field(&field.name))?;
                self.setting(WHAT, rules::field_value(&field.value))?;
                Ok((name, field.value.clone()))
            })?,
            remove: self.all("fields to remove", fields, &wire.remove, |name| {
                self.setting(WHAT, rules::removable_field(name))
            })?,
            robots: self.robots(wire.robots.as_ref())?,
        })
    }

    fn hsts(&self, wire: fabric::Hsts) -> Result<Hsts, ResourceError> {
        let max_age = Duration::from_secs(wire.max_age_s);
        self.holds(WHAT, max_age <= Hsts::MAX_AGE_MAX)?;
        Ok(Hsts {
            max_age,
            include_subdomains: wire.include_subdomains,
            preload: wire.preload,
        })
    }

    fn policy(&self, wire: &str) -> Result<Option<String>, ResourceError> {
        self.setting(WHAT, rules::field_value(wire))?;
        Ok((!wire.is_empty()).then(|| wire.to_owned()))
    }

    fn robots(&self, wire: Option<&answer_rules::Robots>) -> Result<Robots, ResourceError> {
        match wire {
            Some(answer_rules::Robots::RobotsText(text)) => {
                self.holds(WHAT, text.len() <= AnswerRules::ROBOTS_BYTES_MAX)?;
                self.setting(WHAT, rules::lines(text))?;
                Ok(Robots::Text(text.clone()))
            }
            Some(answer_rules::Robots::RobotsOrigin(true)) => Ok(Robots::Origin),
            Some(
                answer_rules::Robots::RobotsDisallow(_) | answer_rules::Robots::RobotsOrigin(false),
            )
            | None => Ok(Robots::Disallow),
        }
    }
}
