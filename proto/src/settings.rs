//! Reads the settings of the fabric as operators write them, and writes them back.

use model::{
    settings::{SECOND_FACTOR_GROUPS_MAX, SecondFactor, Settings, SignInLogDays},
    user::UserGroup,
};

mod brand;
mod edge_limits;

pub use brand::{read_brand, write_brand};
pub use edge_limits::{read_edge_limits, write_edge_limits};

use crate::{
    admin,
    app::{limits, timeouts},
    violation::{Violation, Violations},
};

/// The only name that settings have.
pub const NAME: &str = "settings";

/// Reads settings; on failure says everything that is wrong with them. The name, etag and time are not looked at.
pub fn settings(wire: &admin::Settings) -> Result<Settings, Vec<Violation>> {
    let (mut found, own) = (Violations::default(), Settings::default());
    let settings = Settings {
        stopped: wire.stopped,
        timeouts: timeouts::read(
            "settings.timeouts",
            wire.timeouts.as_ref(),
            &own.timeouts,
            &mut found,
        ),
        limits: limits::read(
            "settings.limits",
            wire.limits.as_ref(),
            &own.limits,
            &mut found,
        ),
        edge_limits: edge_limits::read(
            "settings.edge_limits",
            wire.edge_limits.as_ref(),
            &own.edge_limits,
            &mut found,
        ),
        title_case: wire.title_case,
        second_factor: read_second_factor(wire.second_factor, &mut found),
        second_factor_groups: read_groups(wire, &mut found),
        brand: brand::read("settings.brand", wire.brand.as_ref(), &mut found),
        sign_in_log: read_sign_in_log(wire.sign_in_log_days, &mut found),
    };
    if found.is_empty() {
        Ok(settings)
    } else {
        Err(found.into_vec())
    }
}

/// Writes settings as operators see them: everything filled in, no etag and no time.
pub fn admin_settings(settings: &Settings) -> admin::Settings {
    admin::Settings {
        name: NAME.to_owned(),
        stopped: settings.stopped,
        title_case: settings.title_case,
        timeouts: Some(timeouts::write(&settings.timeouts)),
        limits: Some(limits::write(&settings.limits)),
        edge_limits: Some(edge_limits::write(&settings.edge_limits)),
        second_factor: write_second_factor(settings.second_factor).into(),
        second_factor_groups: write_groups(&settings.second_factor_groups),
        brand: brand::write(&settings.brand),
        sign_in_log_days: settings.sign_in_log.days(),
        ..admin::Settings::default()
    }
}

/// `settings`, which were read from `said`, without what `said` leaves to the product: what control keeps.
pub fn stored_settings(settings: &Settings, said: &admin::Settings) -> admin::Settings {
    admin::Settings {
        timeouts: timeouts::said(&settings.timeouts, said.timeouts.as_ref()),
        limits: limits::said(&settings.limits, said.limits.as_ref()),
        edge_limits: edge_limits::said(&settings.edge_limits, said.edge_limits.as_ref()),
        second_factor: match said.second_factor {
            0 => 0,
            _ => write_second_factor(settings.second_factor).into(),
        },
        sign_in_log_days: match said.sign_in_log_days {
            0 => 0,
            _ => settings.sign_in_log.days(),
        },
        ..admin_settings(settings)
    }
}

/// Stored settings with the product's own filled in where they say nothing.
pub fn filled_settings(stored: admin::Settings) -> admin::Settings {
    let own = Settings::default();
    admin::Settings {
        timeouts: Some(timeouts::filled(stored.timeouts, &own.timeouts)),
        limits: Some(limits::filled(stored.limits, &own.limits)),
        edge_limits: Some(edge_limits::filled(stored.edge_limits, &own.edge_limits)),
        second_factor: match stored.second_factor {
            0 => write_second_factor(own.second_factor).into(),
            said => said,
        },
        sign_in_log_days: match stored.sign_in_log_days {
            0 => own.sign_in_log.days(),
            said => said,
        },
        ..stored
    }
}

/// When second factors are asked for, of settings that cannot be read as a whole: what this version does not know is no leave to ask for none.
#[must_use]
pub fn second_factor(wire: &admin::Settings) -> SecondFactor {
    read_second_factor(wire.second_factor, &mut Violations::default())
}

/// Who has to have one, of settings that cannot be read as a whole: as far as the groups can be.
#[must_use]
pub fn second_factor_groups(wire: &admin::Settings) -> Vec<UserGroup> {
    read_groups(wire, &mut Violations::default())
}

/// In order, and each once.
fn read_groups(wire: &admin::Settings, found: &mut Violations) -> Vec<UserGroup> {
    let field = "settings.second_factor_groups";
    let wired = &wire.second_factor_groups;
    if !wired.is_empty() && wire.second_factor() == admin::SecondFactor::Off {
        found.add(
            field,
            "must be empty where nobody is asked for a second factor",
        );
    }
    let mut groups: Vec<UserGroup> = Vec::new();
    for (at, group) in found.at_most(SECOND_FACTOR_GROUPS_MAX, field, "groups", wired) {
        groups.extend(found.parse::<UserGroup>(&at, group));
    }
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn write_groups(groups: &[UserGroup]) -> Vec<String> {
    groups.iter().map(ToString::to_string).collect()
}

/// How long the log of sign-ins is kept, of settings that cannot be read as a whole: nothing is thrown away sooner for it.
#[must_use]
pub fn sign_in_log(wire: &admin::Settings) -> SignInLogDays {
    SignInLogDays::new(wire.sign_in_log_days).unwrap_or_default()
}

fn read_sign_in_log(days: u32, found: &mut Violations) -> SignInLogDays {
    if days == 0 {
        return SignInLogDays::default();
    }
    SignInLogDays::new(days).unwrap_or_else(|| {
        let fault = format!(
            "must be from 1 to {}, or 0 for the default",
            SignInLogDays::MAX
        );
        found.add("settings.sign_in_log_days", fault);
        SignInLogDays::default()
    })
}

fn read_second_factor(wire: i32, found: &mut Violations) -> SecondFactor {
    use admin::SecondFactor as Wire;
    match Wire::try_from(wire) {
        Ok(Wire::Unspecified) => SecondFactor::default(),
        Ok(Wire::Off) => SecondFactor::Off,
        Ok(Wire::Optional) => SecondFactor::Optional,
        Ok(Wire::Required) => SecondFactor::Required,
        Err(_) => {
            found.add("settings.second_factor", "is none that this version knows");
            SecondFactor::Required
        }
    }
}

const fn write_second_factor(second_factor: SecondFactor) -> admin::SecondFactor {
    match second_factor {
        SecondFactor::Off => admin::SecondFactor::Off,
        SecondFactor::Optional => admin::SecondFactor::Optional,
        SecondFactor::Required => admin::SecondFactor::Required,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{
        app::{Limits, Rate, Timeouts},
        settings::EdgeLimits,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    #[test]
    fn everything_wrong_with_settings_is_said_at_once() {
        let wire = admin::Settings {
            timeouts: Some(admin::Timeouts {
                idle: Some(prost_types::Duration::default()),
                ..Default::default()
            }),
            limits: Some(admin::Limits {
                rate: Some(admin::Rate {
                    per_second: Rate::MAX + 1,
                    burst: 0,
                }),
                client_rate: Some(admin::Rate {
                    per_second: 0,
                    burst: 1,
                }),
                head_fields: Some(251),
                stall_timeout: Some(prost_types::Duration {
                    seconds: 3_601,
                    nanos: 0,
                }),
                ..Default::default()
            }),
            edge_limits: Some(admin::EdgeLimits {
                streams: Some(0),
                head_timeout: Some(prost_types::Duration::default()),
                head_bytes: Some(64 * 1024 + 1),
                target_bytes: Some(255),
                ..Default::default()
            }),
            second_factor: 9,
            second_factor_groups: vec![" x".to_owned()],
            sign_in_log_days: 3_651,
            ..Default::default()
        };
        let found = settings(&wire).expect_err("nothing in it is good");
        let fields: Vec<_> = found.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "settings.timeouts.idle",
                "settings.limits.head_fields",
                "settings.limits.rate.per_second",
                "settings.limits.client_rate.burst",
                "settings.limits.stall_timeout",
                "settings.edge_limits.streams",
                "settings.edge_limits.head_timeout",
                "settings.edge_limits.head_bytes",
                "settings.edge_limits.target_bytes",
                "settings.second_factor",
                "settings.second_factor_groups[0]",
                "settings.sign_in_log_days",
            ]
        );
    }

    #[test]
    fn a_second_factor_that_is_not_understood_is_asked_for() {
        for (said, want) in [
            (0, SecondFactor::Optional),
            (1, SecondFactor::Off),
            (3, SecondFactor::Required),
            (9, SecondFactor::Required),
        ] {
            let wire = admin::Settings {
                second_factor: said,
                ..Default::default()
            };
            assert_eq!(second_factor(&wire), want, "{said}");
        }
    }

    #[test]
    fn what_is_not_said_stays_unsaid_and_is_filled_in_for_people() {
        let said = admin::Settings {
            stopped: true,
            limits: Some(admin::Limits {
                body_bytes: Some(1_000),
                ..Default::default()
            }),
            edge_limits: Some(admin::EdgeLimits {
                streams: Some(100),
                ..Default::default()
            }),
            ..Default::default()
        };
        let read = settings(&said).expect("good settings");
        let want = Settings {
            stopped: true,
            timeouts: Timeouts::default(),
            limits: Limits {
                body_bytes: Some(1_000),
                ..Limits::default()
            },
            edge_limits: EdgeLimits {
                streams: 100,
                ..EdgeLimits::default()
            },
            title_case: false,
            second_factor: SecondFactor::Optional,
            ..Settings::default()
        };
        assert_eq!(read, want);
        let stored = stored_settings(&read, &said);
        assert_eq!((stored.timeouts, stored.limits), (None, said.limits));
        assert_eq!(stored.edge_limits, said.edge_limits);
        let filled = filled_settings(stored);
        let connect = filled.timeouts.and_then(|timeouts| timeouts.connect);
        assert_eq!(
            connect,
            Some(crate::time::wire_duration(Duration::from_secs(10)))
        );
        assert_eq!(filled, admin_settings(&read));
    }

    proptest! {
        #[test]
        fn settings_survive_the_wire(
            stopped in any::<bool>(),
            timeouts in arbitrary::timeouts(),
            limits in arbitrary::limits(),
            edge_limits in arbitrary::edge_limits(),
            title_case in any::<bool>(),
            sign_in_log in (1..=SignInLogDays::MAX).prop_map(|days| SignInLogDays::new(days).unwrap()),
            second_factor in prop_oneof![
                Just(SecondFactor::Off), Just(SecondFactor::Optional), Just(SecondFactor::Required)
            ],
        ) {
            let want = Settings { stopped, timeouts, limits, edge_limits, title_case, second_factor, sign_in_log, ..Settings::default() };
            let wire = admin_settings(&want);
            prop_assert_eq!(settings(&wire), Ok(want.clone()));
            prop_assert_eq!(&stored_settings(&want, &wire), &wire);
            let filled = filled_settings(wire.clone());
            prop_assert_eq!(filled, wire);
        }
    }
}
