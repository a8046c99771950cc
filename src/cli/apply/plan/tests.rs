use std::str::FromStr as _;

use super::*;

fn group(id: &str, display_name: &str) -> admin::Group {
    admin::Group {
        name: format!("groups/{id}"),
        display_name: display_name.to_owned(),
        ..admin::Group::default()
    }
}

fn app(id: &str, hosts: &[&str], origin: &str) -> admin::App {
    let app = admin::App {
        name: format!("apps/{id}"),
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        origins: vec![admin::Origin {
            url: origin.to_owned(),
            tls: None,
            ..Default::default()
        }],
        group: "groups/office".to_owned(),
        access: admin::Access::Passthrough.into(),
        ..admin::App::default()
    };
    proto::app::admin_app(&proto::app::publication(id, &app).unwrap())
}

fn current(groups: &[admin::Group], apps: &[admin::App]) -> Current {
    let stamp = |etag: &mut String| "7".clone_into(etag);
    let mut current = Current {
        settings: proto::settings::filled_settings(admin::Settings::default()),
        groups: groups.to_vec(),
        apps: apps.to_vec(),
        ..Current::default()
    };
    current
        .groups
        .iter_mut()
        .for_each(|group| stamp(&mut group.etag));
    current.apps.iter_mut().for_each(|app| stamp(&mut app.etag));
    current
}

fn desired(groups: &[admin::Group], apps: &[admin::App]) -> Desired {
    let bare = |name: &str| name.rsplit('/').next().unwrap().to_owned();
    Desired {
        groups: groups
            .iter()
            .map(|group| {
                (
                    GroupId::from_str(&bare(&group.name)).unwrap(),
                    group.clone(),
                )
            })
            .collect(),
        apps: apps
            .iter()
            .map(|app| (AppId::from_str(&bare(&app.name)).unwrap(), app.clone()))
            .collect(),
        ..Desired::default()
    }
}

/// Each change as `+ name`, `~ name field field` or `- name`.
fn lines(plan: &Plan) -> Vec<String> {
    let line = |change: &Change| {
        let name = change.resource.name();
        let paths: Vec<_> = change.fields.iter().map(|field| field.path).collect();
        match change.action {
            Action::Create => format!("+ {name}"),
            Action::Update => format!("~ {name} {}", paths.join(" ")),
            Action::Delete => format!("- {name}"),
        }
    };
    plan.changes.iter().map(line).collect()
}

#[test]
fn differences_become_changes_in_an_order_that_works() {
    let office = group("office", "");
    let wiki = app("wiki", &["w.example.com"], "http://w");
    let shop = app("shop", &["s.example.com"], "http://s");
    let old = app("old", &["o.example.com"], "http://o");
    let mut slow = wiki.clone();
    slow.timeouts = Some(admin::Timeouts {
        idle: Some(proto::time::wire_duration(std::time::Duration::from_secs(
            60,
        ))),
        ..wiki.timeouts.unwrap()
    });
    let check = |now: Current, wanted: Desired, unnamed, want: &[&str]| {
        assert_eq!(lines(&plan(&now, &wanted, unnamed)), want);
    };
    check(
        Current::default(),
        desired(std::slice::from_ref(&office), std::slice::from_ref(&wiki)),
        Unnamed::Keep,
        &["+ groups/office", "+ apps/wiki"],
    );
    check(
        current(std::slice::from_ref(&office), &[wiki, old.clone()]),
        desired(&[group("office", "Office")], &[slow, shop]),
        Unnamed::Prune,
        &[
            "~ groups/office display_name",
            "- apps/old",
            "~ apps/wiki timeouts.idle",
            "+ apps/shop",
        ],
    );
    check(
        current(&[office, group("empty", "")], &[old]),
        Desired::default(),
        Unnamed::Prune,
        &["- apps/old", "- groups/office", "- groups/empty"],
    );
}

#[test]
fn second_run_has_nothing_to_do() {
    let (groups, apps) = (
        [group("office", "Office")],
        [app(
            "wiki",
            &["w.example.com", "*.w.example.com"],
            "https://10.0.0.1:8443",
        )],
    );
    let plan = plan(
        &current(&groups, &apps),
        &desired(&groups, &apps),
        Unnamed::Prune,
    );
    assert_eq!(plan.changes, []);
}

#[test]
fn order_of_hosts_is_no_difference_and_order_of_origins_is() {
    let one = app("wiki", &["a.example.com", "b.example.com"], "http://w");
    let two = app("wiki", &["b.example.com", "a.example.com"], "http://w");
    let plan_of = |now: &admin::App, wanted: &admin::App| {
        plan(
            &current(&[], std::slice::from_ref(now)),
            &desired(&[], std::slice::from_ref(wanted)),
            Unnamed::Keep,
        )
    };
    assert_eq!(plan_of(&one, &two).changes, []);
    let (mut first, mut second) = (one.clone(), one);
    let other = admin::Origin {
        url: "http://x".to_owned(),
        tls: None,
        ..Default::default()
    };
    first.origins.push(other.clone());
    second.origins.insert(0, other);
    assert_eq!(lines(&plan_of(&first, &second)), ["~ apps/wiki origins"]);
}

#[test]
fn nothing_is_deleted_without_prune_but_counted() {
    let now = current(
        &[group("office", "")],
        &[app("old", &["o.example.com"], "http://o")],
    );
    let plan = plan(&now, &Desired::default(), Unnamed::Keep);
    assert_eq!((plan.changes.len(), plan.unnamed), (0, 2));
}

#[test]
fn group_of_a_named_app_is_not_pruned() {
    let wiki = app("wiki", &["w.example.com"], "http://w");
    let now = current(&[group("office", "")], std::slice::from_ref(&wiki));
    let plan = plan(&now, &desired(&[], &[wiki]), Unnamed::Prune);
    assert_eq!(plan.changes, []);
}

#[test]
fn updates_carry_the_etag_that_was_compared() {
    let now = current(&[group("office", "Old")], &[]);
    let plan = plan(
        &now,
        &desired(&[group("office", "New")], &[]),
        Unnamed::Keep,
    );
    let [
        Change {
            resource: Resource::Group(office),
            fields,
            ..
        },
    ] = &plan.changes[..]
    else {
        panic!("one change of a group is planned: {plan:?}");
    };
    assert_eq!(office.etag, "7");
    assert_eq!(
        fields[0].from.as_ref().map(|from| from.line.as_str()),
        Some("Old")
    );
    assert_eq!(fields[0].to.line, "New");
}

#[test]
fn what_the_file_leaves_to_the_fabric_is_no_difference_and_stays_unsaid() {
    let wiki = app("wiki", &["w.example.com"], "http://w");
    let mut now = current(&[group("office", "")], std::slice::from_ref(&wiki));
    let settings = admin::Settings {
        limits: Some(admin::Limits {
            requests: Some(10),
            ..admin::Limits::default()
        }),
        ..admin::Settings::default()
    };
    now.settings = proto::settings::filled_settings(settings);
    now.apps[0].limits = now.settings.limits;
    let unsaid = admin::App {
        timeouts: None,
        limits: None,
        ..wiki
    };
    let same = plan(
        &now,
        &desired(&[], std::slice::from_ref(&unsaid)),
        Unnamed::Keep,
    );
    assert_eq!(same.changes, []);
    let more = Desired {
        settings: Some(admin::Settings {
            name: proto::settings::NAME.to_owned(),
            ..admin::Settings::default()
        }),
        ..desired(&[], &[unsaid])
    };
    assert_eq!(
        lines(&plan(&now, &more, Unnamed::Keep)),
        ["~ settings limits", "~ apps/wiki limits"]
    );
}

#[test]
fn values_with_the_same_line_are_told_apart_by_the_keys_that_differ() {
    let closed = |seconds| admin::App {
        maintenance: Some(admin::Maintenance {
            message: "Soon.".to_owned(),
            retry_after: Some(prost_types::Duration { seconds, nanos: 0 }),
        }),
        ..app("wiki", &["w.example.com"], "http://w")
    };
    let now = current(&[group("office", "")], &[closed(60)]);
    let plan = plan(&now, &desired(&[], &[closed(120)]), Unnamed::Keep);
    let change = &plan.changes[0].fields[0];
    let from = change.from.as_ref().unwrap();
    assert_eq!(from.line, change.to.line);
    assert_eq!(
        from.told_apart(&change.to),
        (
            "{\"retry_after\":\"1m\"}".to_owned(),
            "{\"retry_after\":\"2m\"}".to_owned()
        )
    );
}

#[test]
fn a_provider_is_written_where_it_differs_and_never_pruned() {
    let provider = |display_name: &str, id: &str| admin::IdentityProvider {
        name: format!("identityProviders/{id}"),
        display_name: display_name.to_owned(),
        issuer: "https://login.example.com".to_owned(),
        ..admin::IdentityProvider::default()
    };
    let mut current = current(&[], &[]);
    current.providers = vec![provider("Staff", "entra"), provider("Other", "other")];
    current.providers[0].etag = "7".to_owned();
    for (display_name, id, want) in [
        ("Staff", "entra", None),
        (
            "People",
            "entra",
            Some((Action::Update, "7", vec!["display_name"])),
        ),
        (
            "New",
            "new",
            Some((Action::Create, "", vec!["display_name", "issuer"])),
        ),
    ] {
        let mut desired = desired(&[], &[]);
        let wanted = Provider {
            wire: provider(display_name, id),
            credential: runtime::Secret::new("s3cret".to_owned()),
        };
        desired.providers.insert(id.parse().unwrap(), wanted);
        let plan = plan(&current, &desired, Unnamed::Prune);
        let got = plan.changes.first().map(|change| {
            let Resource::IdentityProvider(written) = &change.resource else {
                panic!("{change:?}");
            };
            let paths: Vec<_> = change.fields.iter().map(|field| field.path).collect();
            (change.action, written.wire.etag.as_str(), paths)
        });
        assert_eq!(got, want, "{display_name}");
        assert!(plan.changes.len() < 2, "{plan:?}");
        assert!(!format!("{plan:?}").contains("s3cret"));
    }
}

#[test]
fn what_origins_are_told_is_compared_too() {
    let told = |field: &str, value: admin::IdentityValue| {
        let app = admin::App {
            access: admin::Access::SignIn.into(),
            identity_fields: vec![admin::IdentityField {
                name: "x-user".to_owned(),
                value: value.into(),
                ..Default::default()
            }],
            assertion_field: field.to_owned(),
            ..app("wiki", &["wiki.example"], "http://wiki")
        };
        proto::app::admin_app(&proto::app::publication("wiki", &app).unwrap())
    };
    let user = admin::IdentityValue::User;
    let before = told("", user);
    for (after, want) in [
        (told("", user), &[][..]),
        (
            told("", admin::IdentityValue::Email),
            &["~ apps/wiki identity_fields"],
        ),
        (
            told("adit-assertion", user),
            &["~ apps/wiki assertion_field"],
        ),
    ] {
        let wanted = desired(&[], std::slice::from_ref(&after));
        let now = current(&[], std::slice::from_ref(&before));
        assert_eq!(lines(&plan(&now, &wanted, Unnamed::Keep)), want);
    }
}

fn rule(id: &str, apps: &[&str], location: &str) -> admin::AccessRule {
    let mut policy = proto::access::Policy {
        message: "No.".to_owned(),
        ..proto::access::Policy::default()
    };
    policy.which.get_or_insert_default().apps = apps.iter().map(ToString::to_string).collect();
    let place = policy.place.get_or_insert_default();
    place.include.get_or_insert_default().locations = vec![location.to_owned()];
    admin::AccessRule {
        name: format!("accessRules/{id}"),
        policy: Some(policy),
        ..admin::AccessRule::default()
    }
}

fn location(id: &str) -> admin::Location {
    admin::Location {
        name: format!("locations/{id}"),
        ..admin::Location::default()
    }
}

fn ruled(mut desired: Desired, rules: &[admin::AccessRule], locations: &[&str]) -> Desired {
    let rules = rules.iter().map(|rule| {
        let id = rule.name.rsplit('/').next().unwrap().parse().unwrap();
        (id, rule.clone())
    });
    desired.access_rules = Some(rules.collect());
    let locations = locations
        .iter()
        .map(|id| (id.parse().unwrap(), location(id)));
    desired.locations = Some(locations.collect());
    desired
}

#[test]
fn a_rule_comes_before_the_apps_that_are_there_and_right_after_those_that_are_not() {
    let (old, new) = (
        app("old", &["o.example.com"], "http://o"),
        app("new", &["n.example.com"], "http://n"),
    );
    let mut moved = old.clone();
    moved.display_name = "Old".to_owned();
    let rules = [
        rule("a-new", &["apps/new"], "locations/office"),
        rule("b-old", &["apps/old"], "locations/office"),
    ];
    let now = current(&[group("office", "")], &[old]);
    let wanted = ruled(desired(&[], &[moved, new]), &rules, &["office"]);
    assert_eq!(
        lines(&plan(&now, &wanted, Unnamed::Keep)),
        [
            "+ locations/office",
            "+ accessRules/b-old",
            "~ apps/old display_name",
            "+ apps/new",
            "+ accessRules/a-new",
        ]
    );
}

#[test]
fn rules_are_pruned_only_by_a_file_that_speaks_of_rules_and_locations_only_once_unused() {
    let mut now = current(&[], &[]);
    now.access_rules = vec![
        rule("kept", &[], "locations/used"),
        rule("gone", &[], "locations/unused"),
    ];
    now.locations = vec![location("used"), location("unused")];
    let silent = plan(&now, &Desired::default(), Unnamed::Prune);
    assert_eq!((lines(&silent), silent.unnamed), (Vec::new(), 0));
    let kept = [rule("kept", &[], "locations/used")];
    let speaking = ruled(Desired::default(), &kept, &[]);
    assert_eq!(plan(&now, &speaking, Unnamed::Keep).unnamed, 2);
    assert_eq!(
        lines(&plan(&now, &speaking, Unnamed::Prune)),
        ["- accessRules/gone", "- locations/unused"]
    );
    // The rules stay, and with them all that they name.
    let of_locations = Desired {
        locations: Some(BTreeMap::new()),
        ..Desired::default()
    };
    assert_eq!(plan(&now, &of_locations, Unnamed::Prune).changes, []);
}

#[test]
fn a_rule_that_differs_in_a_part_changes_in_that_part() {
    let mut now = current(&[], &[]);
    let same = rule("a", &[], "locations/b");
    now.access_rules = vec![same.clone()];
    now.locations = vec![location("b")];
    let mut other = same.clone();
    other.policy.as_mut().unwrap().message = "Never.".to_owned();
    for (wanted, want) in [
        (same, &[][..]),
        (other, &["~ accessRules/a policy.message"]),
    ] {
        let wanted = ruled(Desired::default(), &[wanted], &["b"]);
        assert_eq!(lines(&plan(&now, &wanted, Unnamed::Prune)), want);
    }
}
