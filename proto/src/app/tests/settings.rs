//! Every other setting of an app, where it is wrong.

use super::*;

fn segment(id: &str, host: &str, path: &str) -> admin::Segment {
    admin::Segment {
        id: id.to_owned(),
        hosts: vec![host.to_owned()],
        path: path.to_owned(),
        origins: good().origins,
        ..Default::default()
    }
}

fn field(name: &str, value: &str) -> admin::Field {
    admin::Field {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn cors(origins: &[&str]) -> admin::CorsRule {
    admin::CorsRule {
        origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        ..Default::default()
    }
}

/// The fields that are wrong, without the words.
#[track_caller]
fn check_fields(change: impl FnOnce(&mut admin::App), want: &[&str]) {
    let mut app = good();
    change(&mut app);
    let found = publication("wiki", &app).err().unwrap_or_default();
    let fields: Vec<_> = found.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, want, "{found:?}");
}

#[test]
fn an_app_may_have_segments_only() {
    check(
        |app| {
            app.hosts.clear();
            app.origins.clear();
            app.segments = vec![segment("docs", "docs.example.com", "/")];
        },
        &[],
    );
    check(
        |app| {
            app.origins.clear();
            app.segments = vec![segment("docs", "docs.example.com", "/")];
        },
        &["app.origins must be 1 to 8 origins"],
    );
    check(
        |app| {
            app.hosts.clear();
            app.origins.clear();
            app.cors = vec![cors(&["*"])];
            app.segments = vec![segment("docs", "docs.example.com", "/")];
        },
        &["app.cors needs hosts in app.hosts"],
    );
}

#[test]
fn everything_wrong_with_segments_is_said_at_once() {
    check_fields(
        |app| {
            app.segments = vec![
                segment("docs", "docs.example.com", "/"),
                admin::Segment {
                    inner_path: "docs".to_owned(),
                    ..segment("docs", "10.0.0.1", "relative")
                },
                admin::Segment {
                    id: "Files".to_owned(),
                    ..Default::default()
                },
            ];
        },
        &[
            "app.segments[1].id",
            "app.segments[1].hosts[0]",
            "app.segments[1].path",
            "app.segments[1].inner_path",
            "app.segments[2].id",
            "app.segments[2].hosts",
            "app.segments[2].origins",
        ],
    );
    check_fields(
        |app| {
            app.segments = (0..33)
                .map(|n| segment(&format!("s{n}"), &format!("s{n}.example"), "/"))
                .collect();
        },
        &["app.segments"],
    );
}

#[test]
fn a_host_and_path_lead_to_one_site_only() {
    check(
        |app| {
            app.segments = vec![
                segment("a", "wiki.example.com", "/docs"),
                segment("b", "WIKI.example.com", "/"),
                segment("c", "wiki.example.com", "/docs"),
            ];
        },
        &[
            "app.segments[1].hosts[0] repeats wiki.example.com with path /, which is app.hosts[0]'s",
            "app.segments[2].hosts[0] repeats wiki.example.com with path /docs, which is app.segments[0].hosts[0]'s",
        ],
    );
}

#[test]
fn limits_are_rates_that_can_be_kept() {
    let rate = |per_second, burst| Some(admin::Rate { per_second, burst });
    let limits = admin::Limits {
        rate: rate(0, 5),
        client_rate: rate(1_000_001, 1_000_001),
        ..Default::default()
    };
    check(
        |app| app.limits = Some(limits),
        &[
            "app.limits.rate.burst needs per_second",
            "app.limits.client_rate.per_second must not be more than 1000000",
            "app.limits.client_rate.burst must not be more than 1000000",
        ],
    );
}

#[test]
fn a_total_timeout_is_in_its_range_or_none() {
    let total = |total| {
        move |app: &mut admin::App| {
            app.timeouts = Some(admin::Timeouts {
                total,
                ..Default::default()
            });
        }
    };
    check(total(seconds(0)), &[]);
    check(
        total(seconds(86_401)),
        &["app.timeouts.total must be between 1s and 1d"],
    );
}

#[test]
fn everything_wrong_with_answer_rules_is_said_at_once() {
    let rules = admin::AnswerRules {
        hsts: Some(admin::Hsts {
            max_age: seconds(86_400),
            include_subdomains: true,
            preload: true,
        }),
        content_security_policy: "default-src\n'self'".to_owned(),
        set: vec![
            field("X-Frame-Options", "DENY"),
            field("Content-Length", "0"),
            field("x-frame-options", "a\r\nb: c"),
            field("Strict-Transport-Security", "max-age=0"),
            field("not a name", ""),
        ],
        remove: ["Server", "server", "Connection", "X-Frame-Options"]
            .map(str::to_owned)
            .into(),
        robots: admin::Robots::Text.into(),
        robots_text: String::new(),
    };
    check_fields(
        |app| app.answer_rules = Some(rules),
        &[
            "app.answer_rules.hsts.preload",
            "app.answer_rules.content_security_policy",
            "app.answer_rules.set[1].name",
            "app.answer_rules.set[2].value",
            "app.answer_rules.set[2].name",
            "app.answer_rules.set[3].name",
            "app.answer_rules.set[4].name",
            "app.answer_rules.remove[1]",
            "app.answer_rules.remove[2]",
            "app.answer_rules.remove[3]",
            "app.answer_rules.robots_text",
        ],
    );
}

#[test]
fn answer_rules_say_what_they_need() {
    let rules =
        |rules: admin::AnswerRules| move |app: &mut admin::App| app.answer_rules = Some(rules);
    let hsts = |max_age| admin::AnswerRules {
        hsts: Some(admin::Hsts {
            max_age,
            ..Default::default()
        }),
        ..Default::default()
    };
    check(
        rules(hsts(None)),
        &["app.answer_rules.hsts.max_age must be said"],
    );
    check(
        rules(hsts(seconds(63_072_001))),
        &["app.answer_rules.hsts.max_age must be between 0s and 730d"],
    );
    check(rules(hsts(seconds(0))), &[]);
    let text = admin::AnswerRules {
        robots_text: "User-agent: *".to_owned(),
        ..Default::default()
    };
    check(
        rules(text),
        &["app.answer_rules.robots_text is only for ROBOTS_TEXT"],
    );
    let many = admin::AnswerRules {
        remove: (0..33).map(|n| format!("x-{n}")).collect(),
        ..Default::default()
    };
    check(
        rules(many),
        &["app.answer_rules.remove must not be more than 32 names"],
    );
}

#[test]
fn everything_wrong_with_cors_rules_is_said_at_once() {
    let bad = admin::CorsRule {
        path: "relative".to_owned(),
        origins: ["https://a.example", "b.example", "https://c.example/"]
            .map(str::to_owned)
            .into(),
        methods: ["PUT", "*"].map(str::to_owned).into(),
        fields: ["X-A", "a b"].map(str::to_owned).into(),
        exposed_fields: vec![String::new()],
        credentials: false,
        max_age: seconds(86_401),
    };
    let open = admin::CorsRule {
        credentials: true,
        ..cors(&["*"])
    };
    check_fields(
        |app| app.cors = vec![bad, cors(&[]), open, cors(&["*", "https://a.example"])],
        &[
            "app.cors[0].path",
            "app.cors[0].origins[1]",
            "app.cors[0].origins[2]",
            "app.cors[0].methods[1]",
            "app.cors[0].fields[1]",
            "app.cors[0].exposed_fields[0]",
            "app.cors[0].max_age",
            "app.cors[1].origins",
            "app.cors[2].credentials",
            "app.cors[2].path",
            "app.cors[3].origins[0]",
            "app.cors[3].path",
        ],
    );
}

#[test]
fn a_cors_rule_must_meet_the_path_that_is_published() {
    let rule = |path: &str| admin::CorsRule {
        path: path.to_owned(),
        ..cors(&["*"])
    };
    check(
        |app| {
            app.path = "/wiki".to_owned();
            app.cors = vec![rule(""), rule("/wiki/api"), rule("/other")];
        },
        &["app.cors[2].path is not published: must be under /wiki"],
    );
}

#[test]
fn cors_rules_come_with_the_longest_path_first_and_a_default_age() {
    let mut app = good();
    let rule = |path: &str| admin::CorsRule {
        path: path.to_owned(),
        fields: vec!["X-Token".to_owned()],
        ..cors(&["https://shop.example.com"])
    };
    app.cors = vec![rule(""), rule("/api/v1"), rule("/api")];
    let read = publication("wiki", &app).expect("a good app").app.cors;
    let paths: Vec<_> = read.iter().map(|rule| rule.path.as_str()).collect();
    assert_eq!(paths, ["/api/v1", "/api", "/"]);
    assert_eq!(read[0].max_age, CorsRule::DEFAULT_MAX_AGE);
    assert_eq!(read[0].fields, ["x-token"]);
}

#[test]
fn a_notice_is_short_plain_text() {
    let notice = |message: &str, retry_after| {
        let maintenance = admin::Maintenance {
            message: message.to_owned(),
            retry_after,
        };
        move |app: &mut admin::App| app.maintenance = Some(maintenance)
    };
    check(notice("Back at noon.\nSorry.", seconds(60)), &[]);
    check(notice("", None), &[]);
    check(
        notice("\u{1b}[2J", seconds(0)),
        &[
            "app.maintenance.message must not have control characters besides line ends and tabs",
            "app.maintenance.retry_after must be between 1s and 7d",
        ],
    );
    check(
        notice(&"x".repeat(1_001), None),
        &["app.maintenance.message must not be longer than 1000 characters"],
    );
}

#[test]
fn a_translation_says_what_it_needs() {
    let translation = |translation: admin::Translation| {
        move |app: &mut admin::App| app.translation = Some(translation)
    };
    let named = |inner_host: &str| admin::Translation {
        host: admin::HostSent::Named.into(),
        inner_host: inner_host.to_owned(),
        ..Default::default()
    };
    check(translation(named("wiki.corp.local:8080")), &[]);
    check(
        translation(named("")),
        &["app.translation.inner_host must be said for HOST_SENT_NAMED"],
    );
    check(
        translation(named("http://wiki")),
        &["app.translation.inner_host must be host or host:port"],
    );
    check(
        translation(admin::Translation {
            inner_host: "wiki.corp.local".to_owned(),
            json: true,
            scripts: true,
            inner_path: "wiki".to_owned(),
            ..Default::default()
        }),
        &[
            "app.translation.inner_host is only for HOST_SENT_NAMED",
            "app.translation.json needs bodies",
            "app.translation.scripts needs bodies",
            "app.translation.inner_path must start with /",
        ],
    );
    check(
        translation(admin::Translation {
            host: 9,
            ..Default::default()
        }),
        &["app.translation.host is of a kind that this version does not know"],
    );
}

#[test]
fn a_home_path_is_published() {
    let home = |home: &str| {
        let home = home.to_owned();
        move |app: &mut admin::App| {
            app.path = "/wiki".to_owned();
            app.segments = vec![segment("docs", "docs.example.com", "/docs")];
            app.home_path = home;
        }
    };
    check(home("/wiki/start?tab=1"), &[]);
    check(home("/docs"), &[]);
    check(
        home("/elsewhere"),
        &["app.home_path is not published: must be under app.path or a segment's"],
    );
    check(
        home("https://evil.example"),
        &["app.home_path must be a path that starts with /, and a query if any"],
    );
}

#[test]
fn a_health_check_takes_defaults_and_has_ranges() {
    let mut app = good();
    app.health_check = Some(admin::HealthCheck {
        path: "/healthz".to_owned(),
        ..Default::default()
    });
    let read = publication("wiki", &app).expect("a good app");
    let want = HealthCheck {
        path: "/healthz".to_owned(),
        interval: HealthCheck::DEFAULT_INTERVAL,
        timeout: HealthCheck::DEFAULT_TIMEOUT,
        unhealthy_after: HealthCheck::DEFAULT_UNHEALTHY_AFTER,
        healthy_after: HealthCheck::DEFAULT_HEALTHY_AFTER,
    };
    assert_eq!(read.inside.health_check, Some(want));
    let bad = admin::HealthCheck {
        path: "healthz".to_owned(),
        interval: seconds(0),
        timeout: seconds(61),
        unhealthy_after: 101,
        healthy_after: 101,
    };
    check_fields(
        |app| app.health_check = Some(bad),
        &[
            "app.health_check.path",
            "app.health_check.interval",
            "app.health_check.timeout",
            "app.health_check.unhealthy_after",
            "app.health_check.healthy_after",
        ],
    );
}
