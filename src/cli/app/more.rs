//! Flags for settings that few apps need.

use std::time::Duration;

use proto::{admin, time::wire_duration};

use super::words::{RateWords, RobotsWord};
use crate::cli::parse;

/// Settings that few apps need.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Less common settings")]
pub(super) struct More {
    /// Longest request body, such as 10MiB; 0B for no limit.
    #[arg(long, value_name = "SIZE", value_parser = runtime::config::byte_size)]
    body_limit: Option<u64>,
    /// Requests that may be under way at one edge; 0 for no limit.
    #[arg(long, value_name = "NUMBER")]
    requests_limit: Option<u32>,
    /// Requests a second at one edge, and how many may come at once: 100 or 100/500; 0 for no limit.
    #[arg(long, value_name = "RATE")]
    rate: Option<RateWords>,
    /// The same for each address.
    #[arg(long, value_name = "RATE")]
    client_rate: Option<RateWords>,
    /// Bytes a second at which a body of known length must come until its answer begins; 0 for none.
    #[arg(long, value_name = "BYTES")]
    body_pace: Option<u32>,
    /// Fields of a request's head; 0 for as many as the edge takes.
    #[arg(long, value_name = "NUMBER")]
    head_fields: Option<u32>,
    /// Bytes of those fields, such as 16KiB; 0B for as many as the edge takes.
    #[arg(long, value_name = "SIZE", value_parser = parse::small_size)]
    head_bytes: Option<u32>,
    /// Bytes of a path and query, such as 2KiB; 0B for as many as the edge takes.
    #[arg(long, value_name = "SIZE", value_parser = parse::small_size)]
    target_bytes: Option<u32>,
    /// How long an answer may wait for a user who takes nothing of it; 0s for as long as the edge waits.
    #[arg(long, value_name = "TIME", value_parser = runtime::config::duration)]
    stall_timeout: Option<Duration>,
    /// Host that origins get: inner (their own), public, or a name.
    #[arg(long, value_name = "HOST")]
    host_sent: Option<String>,
    /// Path at the origins that stands for the published one; empty for the same.
    #[arg(long, value_name = "PATH")]
    inner_path: Option<String>,
    /// Leave Location, Set-Cookie and their like as origins write them.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    keep_fields: Option<bool>,
    /// Make links in HTML and CSS to published apps public ones.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    translate_bodies: Option<bool>,
    /// Also in JSON strings; needs --translate-bodies.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    translate_json: Option<bool>,
    /// Also in string literals of JavaScript; needs --translate-bodies.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    translate_scripts: Option<bool>,
    /// Have browsers insist on TLS for so long, such as 365d; 0s makes them forget.
    #[arg(long, value_name = "TIME", value_parser = runtime::config::duration)]
    hsts: Option<Duration>,
    /// Content-Security-Policy in place of the origins'; empty for theirs.
    #[arg(long, value_name = "TEXT")]
    content_security_policy: Option<String>,
    /// Who answers /robots.txt.
    #[arg(long, value_enum)]
    robots: Option<RobotsWord>,
    /// Show everybody this notice instead of the app.
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "", conflicts_with = "no_maintenance")]
    maintenance: Option<String>,
    /// Show the app again.
    #[arg(long)]
    no_maintenance: bool,
    /// Where a portal leads, such as /home; empty for the app's path.
    #[arg(long, value_name = "PATH")]
    home_path: Option<String>,
    /// Do not tell origins where requests come from.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    hide_forwarded: Option<bool>,
    /// Keep the letter case of field names between users and origins of HTTP/1.1.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    keep_field_case: Option<bool>,
    /// HTTP proxy through which agents reach the origins; empty for none.
    #[arg(long, value_name = "URL")]
    origin_proxy: Option<String>,
    /// Path that agents ask origins for to see whether they are well; empty for none.
    #[arg(long, value_name = "PATH")]
    health_check: Option<String>,
}

impl More {
    /// Writes what was said into the app, and tells which fields that were, as in a field mask.
    pub(super) fn write(&self, app: &mut admin::App) -> Vec<&'static str> {
        let mut written = Vec::new();
        self.write_limits(app.limits.get_or_insert_default(), &mut written);
        self.write_translation(app.translation.get_or_insert_default(), &mut written);
        self.write_answer_rules(app.answer_rules.get_or_insert_default(), &mut written);
        if let Some(message) = &self.maintenance {
            app.maintenance = Some(admin::Maintenance {
                message: message.clone(),
                retry_after: None,
            });
        }
        if self.maintenance.is_some() || self.no_maintenance {
            written.push("maintenance");
        }
        if let Some(path) = &self.health_check {
            app.health_check = (!path.is_empty()).then(|| admin::HealthCheck {
                path: path.clone(),
                ..admin::HealthCheck::default()
            });
            written.push("health_check");
        }
        take(
            &self.home_path,
            &mut app.home_path,
            "home_path",
            &mut written,
        );
        take(
            &self.hide_forwarded,
            &mut app.hide_forwarded,
            "hide_forwarded",
            &mut written,
        );
        take(
            &self.keep_field_case,
            &mut app.keep_field_case,
            "keep_field_case",
            &mut written,
        );
        take(
            &self.origin_proxy,
            &mut app.origin_proxy,
            "origin_proxy",
            &mut written,
        );
        written
    }

    fn write_limits(&self, limits: &mut admin::Limits, written: &mut Vec<&'static str>) {
        let rate = |rate: Option<RateWords>| rate.map(|rate| Some(rate.into()));
        take(
            &self.body_limit.map(Some),
            &mut limits.body_bytes,
            "limits.body_bytes",
            written,
        );
        take(
            &self.requests_limit.map(Some),
            &mut limits.requests,
            "limits.requests",
            written,
        );
        take(&rate(self.rate), &mut limits.rate, "limits.rate", written);
        take(
            &rate(self.client_rate),
            &mut limits.client_rate,
            "limits.client_rate",
            written,
        );
        take(
            &self.body_pace.map(Some),
            &mut limits.body_pace,
            "limits.body_pace",
            written,
        );
        let bounds = [
            (
                self.head_fields,
                &mut limits.head_fields,
                "limits.head_fields",
            ),
            (self.head_bytes, &mut limits.head_bytes, "limits.head_bytes"),
            (
                self.target_bytes,
                &mut limits.target_bytes,
                "limits.target_bytes",
            ),
        ];
        for (said, field, path) in bounds {
            take(&said.map(Some), field, path, written);
        }
        take(
            &self.stall_timeout.map(|span| Some(wire_duration(span))),
            &mut limits.stall_timeout,
            "limits.stall_timeout",
            written,
        );
    }

    fn write_translation(
        &self,
        translation: &mut admin::Translation,
        written: &mut Vec<&'static str>,
    ) {
        if let Some(host) = &self.host_sent {
            let (sent, name) = match host.as_str() {
                "inner" => (admin::HostSent::Inner, ""),
                "public" => (admin::HostSent::Public, ""),
                name => (admin::HostSent::Named, name),
            };
            translation.host = sent.into();
            translation.inner_host = name.to_owned();
            written.extend(["translation.host", "translation.inner_host"]);
        }
        let Self {
            inner_path,
            keep_fields,
            translate_bodies,
            translate_json,
            translate_scripts,
            ..
        } = self;
        take(
            inner_path,
            &mut translation.inner_path,
            "translation.inner_path",
            written,
        );
        take(
            keep_fields,
            &mut translation.keep_fields,
            "translation.keep_fields",
            written,
        );
        take(
            translate_bodies,
            &mut translation.bodies,
            "translation.bodies",
            written,
        );
        take(
            translate_json,
            &mut translation.json,
            "translation.json",
            written,
        );
        take(
            translate_scripts,
            &mut translation.scripts,
            "translation.scripts",
            written,
        );
    }

    fn write_answer_rules(&self, rules: &mut admin::AnswerRules, written: &mut Vec<&'static str>) {
        if let Some(max_age) = self.hsts {
            rules.hsts = Some(admin::Hsts {
                max_age: Some(wire_duration(max_age)),
                ..admin::Hsts::default()
            });
            written.push("answer_rules.hsts");
        }
        if let Some(robots) = self.robots {
            rules.robots = robots.wire().into();
            rules.robots_text.clear();
            written.extend(["answer_rules.robots", "answer_rules.robots_text"]);
        }
        take(
            &self.content_security_policy,
            &mut rules.content_security_policy,
            "answer_rules.content_security_policy",
            written,
        );
    }
}

fn take<T: Clone>(
    said: &Option<T>,
    into: &mut T,
    path: &'static str,
    written: &mut Vec<&'static str>,
) {
    if let Some(value) = said {
        into.clone_from(value);
        written.push(path);
    }
}
