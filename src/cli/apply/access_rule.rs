//! Access rules in a file. Their keys are the flags of `adit access-rule create`.

use std::collections::BTreeMap;

use model::name::AccessRuleId;
use prost_types::FieldMask;
use proto::admin::{
    AccessRule, CreateAccessRuleRequest, DeleteAccessRuleRequest, UpdateAccessRuleRequest,
};
use serde::Deserialize;

use crate::cli::{
    access_rule::flags::{
        self, ControlFlags, GrantFlags, PlaceFlags, RuleFlags, WhichFlags, WhoFlags,
    },
    app::words::Reading,
    client::Control,
    failure::Answer,
};

/// What a rule cannot be without has a default too: control then tells of it, with everything else that is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRule {
    display_name: String,
    message: String,
    state: Option<String>,
    everyone: bool,
    users: Vec<String>,
    user_groups: Vec<String>,
    claims: Vec<String>,
    providers: Vec<String>,
    exclude_users: Vec<String>,
    exclude_user_groups: Vec<String>,
    all_apps: bool,
    apps: Vec<String>,
    exclude_apps: Vec<String>,
    paths: Vec<String>,
    methods: Vec<String>,
    networks: Vec<String>,
    locations: Vec<String>,
    trusted_locations: bool,
    countries: Vec<String>,
    unknown_country: bool,
    exclude_networks: Vec<String>,
    exclude_locations: Vec<String>,
    exclude_trusted_locations: bool,
    exclude_countries: Vec<String>,
    exclude_unknown_country: bool,
    platforms: Vec<String>,
    clients: Vec<String>,
    schedule: Option<String>,
    when: String,
    block: bool,
    require: Vec<String>,
    require_classes: Vec<String>,
    require_terms: Vec<String>,
    sign_in_within: Option<String>,
    one_of: bool,
    session_limit: Option<String>,
    idle_limit: Option<String>,
    sign_in_every: Option<String>,
    no_download: Vec<String>,
    no_attachments: bool,
}

/// All of the file's, written the way control keeps them.
pub(super) fn all_meant(
    raw: BTreeMap<String, RawRule>,
    reading: &mut Reading<'_>,
) -> BTreeMap<AccessRuleId, AccessRule> {
    let mut rules = BTreeMap::new();
    for (id, raw) in raw {
        let key = format!("access_rule.{id}");
        if let Some(id) = reading.problems.take(&key, id.parse::<AccessRuleId>()) {
            let rule = raw.meant(&id, &key, reading);
            rules.insert(id, as_control_keeps(rule));
        }
    }
    rules
}

impl RawRule {
    fn meant(self, id: &AccessRuleId, key: &str, reading: &mut Reading<'_>) -> AccessRule {
        let key = |field: &str| format!("{key}.{field}");
        let problems = &mut *reading.problems;
        let mut all = |field: &str, texts: Vec<String>| {
            let texts = texts.into_iter().enumerate();
            texts
                .filter_map(|(at, text)| {
                    problems.take(&key(&format!("{field}[{at}]")), flags::claim(&text))
                })
                .collect()
        };
        let claims = all("claims", self.claims);
        let requirements = self.require.iter().enumerate();
        let requirements = requirements.filter_map(|(at, word)| {
            problems.take(&key(&format!("require[{at}]")), flags::requirement(word))
        });
        let requirements = requirements.collect();
        let state = self.state.as_deref().map(flags::state);
        let state = state.and_then(|state| problems.take(&key("state"), state));
        let schedule = self.schedule.as_deref().map(flags::schedule);
        let schedule = schedule.and_then(|read| problems.take(&key("schedule"), read));
        let mut span = |field: &str, text: Option<String>| {
            let span = runtime::config::duration(&text?);
            problems.take(&key(field), span)
        };
        let grant = GrantFlags {
            block: self.block,
            requirements,
            classes: self.require_classes,
            sign_in_within: span("sign_in_within", self.sign_in_within),
            terms: self.require_terms,
            one_of: self.one_of,
        };
        let controls = ControlFlags {
            session_limit: span("session_limit", self.session_limit),
            idle_limit: span("idle_limit", self.idle_limit),
            sign_in_every: span("sign_in_every", self.sign_in_every),
            no_download: self.no_download,
            no_attachments: self.no_attachments,
        };
        let rule = RuleFlags {
            id: id.clone(),
            display_name: Some(self.display_name),
            message: Some(self.message),
            state,
            who: WhoFlags {
                everyone: self.everyone,
                users: self.users,
                user_groups: self.user_groups,
                claims,
                providers: self.providers,
                exclude_users: self.exclude_users,
                exclude_user_groups: self.exclude_user_groups,
            },
            which: WhichFlags {
                all_apps: self.all_apps,
                apps: self.apps,
                exclude_apps: self.exclude_apps,
                paths: self.paths,
                methods: self.methods,
            },
            place: PlaceFlags {
                networks: self.networks,
                locations: self.locations,
                countries: self.countries,
                unknown_country: self.unknown_country,
                trusted_locations: self.trusted_locations,
                exclude_networks: self.exclude_networks,
                exclude_locations: self.exclude_locations,
                exclude_countries: self.exclude_countries,
                exclude_unknown_country: self.exclude_unknown_country,
                exclude_trusted_locations: self.exclude_trusted_locations,
            },
            platforms: self.platforms,
            clients: self.clients,
            schedule,
            when: Some(self.when),
            grant,
            controls,
        };
        rule.read().0
    }
}

/// With sets in order and names in their one spelling. What cannot be read stays as it is; control says what is wrong with it.
fn as_control_keeps(rule: AccessRule) -> AccessRule {
    let says = proto::access_rule::policy(&rule.policy.clone().unwrap_or_default());
    match says {
        Ok(policy) => AccessRule {
            policy: Some(proto::access_rule::write_policy(&policy)),
            ..rule
        },
        Err(_) => rule,
    }
}

/// The locations that a rule names; those of an expression too.
pub(super) fn locations(rule: &AccessRule) -> Vec<String> {
    let policy = rule.policy.clone().unwrap_or_default();
    let place = policy.place.unwrap_or_default();
    let named = [place.include, place.exclude].into_iter().flatten();
    let mut named: Vec<_> = named.flat_map(|places| places.locations).collect();
    let when = model::access::when::Expression::new(&policy.when).ok();
    let spoken_of = when.iter().flat_map(|when| when.locations());
    named.extend(spoken_of.map(|id| id.resource_name()));
    named
}

/// The apps that a rule names.
pub(super) fn apps(rule: &AccessRule) -> Vec<String> {
    let which = rule.policy.clone().unwrap_or_default().which;
    let which = which.unwrap_or_default();
    [which.apps, which.exclude_apps].concat()
}

/// What a violation is about, as the file calls it: `access_rule.policy.who.exclude.users[0]` is `exclude_users[0]`.
pub(super) fn key_of(field: &str) -> String {
    let field = field.strip_prefix("policy.").unwrap_or(field);
    let is_excluded = field.contains(".exclude.");
    let last = field.rsplit('.').next().unwrap_or(field);
    let (name, index) = last.split_at(last.find('[').unwrap_or(last.len()));
    let name = match name {
        "trusted" => "trusted_locations",
        "requirements" => "require",
        "classes" => "require_classes",
        "terms" => "require_terms",
        "no_download_types" => "no_download",
        other => other,
    };
    if is_excluded {
        format!("exclude_{name}{index}")
    } else {
        format!("{name}{index}")
    }
}

/// Creates or updates; `validate_only`: control only says what it would do.
pub(super) async fn write(
    rule: &AccessRule,
    mask: FieldMask,
    (is_new, validate_only): (bool, bool),
    control: &Control,
) -> Result<(), Answer> {
    let mut rules = control.access_rules();
    let made = if is_new {
        let id = rule.name.strip_prefix(AccessRuleId::COLLECTION);
        let request = CreateAccessRuleRequest {
            access_rule_id: id.unwrap_or_default().to_owned(),
            access_rule: Some(rule.clone()),
            validate_only,
        };
        let made = control.answer(Box::pin(rules.create_access_rule(request)));
        made.await
    } else {
        let request = UpdateAccessRuleRequest {
            access_rule: Some(rule.clone()),
            update_mask: Some(mask),
            allow_missing: false,
            validate_only,
        };
        let made = control.answer(Box::pin(rules.update_access_rule(request)));
        made.await
    };
    made.map(drop)
}

pub(super) async fn delete(rule: &AccessRule, control: &Control) -> Result<(), Answer> {
    let request = DeleteAccessRuleRequest {
        name: rule.name.clone(),
        etag: rule.etag.clone(),
    };
    let mut rules = control.access_rules();
    control.answer(rules.delete_access_rule(request)).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proto::access::{GrantKind, Requirement, RuleState};
    use runtime::config::Problems;

    use super::*;

    fn read(text: &str) -> (BTreeMap<AccessRuleId, AccessRule>, String) {
        let beside = Path::new("");
        let mut problems = Problems::of_file(beside);
        let raw = toml::from_str(text).unwrap();
        let mut reading = Reading {
            beside,
            problems: &mut problems,
        };
        let rules = all_meant(raw, &mut reading);
        let wrong = problems.finish(Some(())).err();
        let wrong = wrong.map(|wrong| wrong.to_string());
        (rules, wrong.unwrap_or_default())
    }

    #[test]
    fn a_rule_says_what_flags_say_and_is_written_the_way_control_keeps_it() {
        let (rules, wrong) = read(
            "[night]\neveryone = true\nexclude_users = [\"zoe\", \"bob\"]\napps = [\"wiki\"]\nexclude_networks = [\"192.0.2.7\"]\nschedule = \"mon 20:00-06:00\"\nrequire = [\"mfa\"]\nsign_in_within = \"15m\"\n",
        );
        assert_eq!(wrong, "");
        let policy = rules["night"].policy.clone().unwrap();
        assert_eq!(policy.state(), RuleState::On);
        let excluded = policy.who.unwrap().exclude.unwrap().users;
        assert_eq!(excluded, ["users/bob", "users/zoe"]);
        let networks = policy.place.unwrap().exclude.unwrap().networks;
        assert_eq!(networks, ["192.0.2.7/32"]);
        let grant = policy.grant.unwrap();
        assert_eq!(grant.kind(), GrantKind::Require);
        let asked: Vec<_> = grant.requirements().collect();
        assert_eq!(asked, [Requirement::Mfa, Requirement::FreshSignIn]);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let (_, wrong) = read(
            "[Night]\n[a]\nstate = \"maybe\"\nclaims = [\"x\"]\nrequire = [\"luck\"]\nschedule = \"now\"\nidle_limit = \"long\"\n",
        );
        for key in [
            "access_rule.Night",
            "access_rule.a.state",
            "access_rule.a.claims[0]",
            "access_rule.a.require[0]",
            "access_rule.a.schedule",
            "access_rule.a.idle_limit",
        ] {
            assert!(wrong.contains(key), "{key}: {wrong}");
        }
        assert!(toml::from_str::<BTreeMap<String, RawRule>>("[a]\nuser = \"x\"").is_err());
    }

    #[test]
    fn faults_are_told_by_the_keys_of_the_file() {
        for (field, key) in [
            ("policy.which.apps[1]", "apps[1]"),
            ("policy.which.exclude_apps[0]", "exclude_apps[0]"),
            ("policy.who.include.users[0]", "users[0]"),
            (
                "policy.who.exclude.user_groups[2]",
                "exclude_user_groups[2]",
            ),
            ("policy.place.exclude.trusted", "exclude_trusted_locations"),
            ("policy.grant.classes[0]", "require_classes[0]"),
            ("policy.when", "when"),
            ("display_name", "display_name"),
        ] {
            assert_eq!(key_of(field), key);
        }
    }

    #[test]
    fn what_a_rule_names_is_found_in_its_expression_too() {
        let (rules, _) = read(
            "[a]\neveryone = true\napps = [\"wiki\"]\nlocations = [\"office\"]\nwhen = \"'home' in client.locations\"\nblock = true\n",
        );
        assert_eq!(
            locations(&rules["a"]),
            ["locations/office", "locations/home"]
        );
        assert_eq!(apps(&rules["a"]), ["apps/wiki"]);
    }
}
