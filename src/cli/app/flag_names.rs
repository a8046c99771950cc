//! Which flag says what a field of the API says, so that refusals can speak of flags.

/// Fields without their numbers and without the resource they are in, and their flags. The longest that holds a field counts.
const FLAGS: [(&str, &str); 84] = [
    ("hosts", "--host"),
    ("path", "--path"),
    ("display_name", "--display-name"),
    ("origins", "--origin"),
    ("origins.tls.ca_pem", "--origin-ca"),
    ("origins.tls.server_name", "--origin-server-name"),
    ("origins.tls.insecure", "--origin-insecure"),
    ("origins.protocol", "--origin-protocol"),
    ("origins.title_case", "--origin-title-case"),
    ("group", "--group"),
    ("access", "--access"),
    ("assignment", "--assign-user"),
    ("assignment.users", "--assign-user"),
    ("assignment.user_groups", "--assign-user-group"),
    ("assignment.everyone", "--assign-everyone"),
    ("assignment.services", "--assign-service"),
    ("assignment.programs", "--assign-program"),
    ("identity_fields", "--identity-field"),
    ("identity_providers", "--identity-provider"),
    ("assertion_field", "--assertion-field"),
    ("session_cookie", "--cookie-same-site"),
    ("session_cookie.persistent", "--cookie-persistent"),
    ("cross_site_posts", "--cross-site-posts"),
    ("token_audiences", "--token-audience"),
    ("token_scopes", "--token-scope"),
    ("client_cas", "--client-ca"),
    ("single_sign_on", "--sso"),
    ("single_sign_on.form.shared_credential", "--sso-shared"),
    ("single_sign_on.form.page", "--sso-page"),
    ("single_sign_on.form.action", "--sso-action"),
    ("single_sign_on.form.user_field", "--sso-user-field"),
    ("single_sign_on.form.password_field", "--sso-password-field"),
    ("single_sign_on.form.fields", "--sso-field"),
    (
        "single_sign_on.form.success_statuses",
        "--sso-success-status",
    ),
    (
        "single_sign_on.form.success_redirect",
        "--sso-success-redirect",
    ),
    ("single_sign_on.form.success_cookie", "--sso-success-cookie"),
    ("single_sign_on.form.success_text", "--sso-success-text"),
    ("single_sign_on.form.failure_text", "--sso-failure-text"),
    (
        "single_sign_on.form.expired_statuses",
        "--sso-expired-status",
    ),
    (
        "single_sign_on.form.expired_redirect",
        "--sso-expired-redirect",
    ),
    ("single_sign_on.form.user_cookies", "--sso-user-cookie"),
    ("single_sign_on.basic.shared_credential", "--sso-shared"),
    ("single_sign_on.basic.charset", "--sso-charset"),
    ("single_sign_on.kerberos.spn", "--sso-spn"),
    ("single_sign_on.kerberos.identity", "--sso-identity"),
    ("single_sign_on.kerberos.claim", "--sso-identity"),
    (
        "single_sign_on.kerberos.identity_provider",
        "--sso-identity-provider",
    ),
    ("single_sign_on.kerberos.name_form", "--sso-name-form"),
    ("single_sign_on.kerberos.framing", "--sso-framing"),
    ("single_sign_on.kerberos.sending", "--sso-on-challenge"),
    (
        "single_sign_on.kerberos.require_mutual",
        "--sso-require-mutual",
    ),
    (
        "single_sign_on.kerberos.require_id_token",
        "--sso-require-id-token",
    ),
    ("timeouts.connect", "--connect-timeout"),
    ("timeouts.response", "--response-timeout"),
    ("timeouts.idle", "--idle-timeout"),
    ("timeouts.total", "--total-timeout"),
    ("limits.body_bytes", "--body-limit"),
    ("limits.requests", "--requests-limit"),
    ("limits.rate", "--rate"),
    ("limits.client_rate", "--client-rate"),
    ("limits.body_pace", "--body-pace"),
    ("limits.head_fields", "--head-fields"),
    ("limits.head_bytes", "--head-bytes"),
    ("limits.target_bytes", "--target-bytes"),
    ("limits.stall_timeout", "--stall-timeout"),
    ("translation.host", "--host-sent"),
    ("translation.inner_host", "--host-sent"),
    ("translation.keep_fields", "--keep-fields"),
    ("translation.bodies", "--translate-bodies"),
    ("translation.json", "--translate-json"),
    ("translation.scripts", "--translate-scripts"),
    ("translation.inner_path", "--inner-path"),
    ("answer_rules.hsts", "--hsts"),
    (
        "answer_rules.content_security_policy",
        "--content-security-policy",
    ),
    ("answer_rules.robots", "--robots"),
    ("maintenance", "--maintenance"),
    ("home_path", "--home-path"),
    ("origin_proxy", "--origin-proxy"),
    ("keep_field_case", "--keep-field-case"),
    ("health_check", "--health-check"),
    ("tile.listing", "--tile"),
    ("tile.description", "--tile-description"),
    ("tile.category", "--tile-category"),
    ("tile.host", "--tile-host"),
];

/// The flag for a field such as `app.hosts[0]` or `settings.limits.rate.burst`; nothing for one that only files have.
pub(crate) fn of(field: &str) -> Option<&'static str> {
    let (_, field) = field.split_once('.')?;
    let mut plain = String::new();
    for (index, part) in field.split('[').enumerate() {
        let part = if index == 0 {
            part
        } else {
            part.split_once(']')?.1
        };
        plain.push_str(part);
    }
    let holds = |path: &str| {
        let rest = plain.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let holding = FLAGS.iter().filter(|(path, _)| holds(path));
    holding
        .max_by_key(|(path, _)| path.len())
        .map(|(_, flag)| *flag)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_flag_is_one_of_publish() {
        let mut command = crate::cli::Cli::command();
        let publish = command.find_subcommand_mut("app").unwrap();
        let publish = publish.find_subcommand_mut("publish").unwrap();
        for (path, flag) in FLAGS {
            let known = |arg: &clap::Arg| arg.get_long().map(|long| format!("--{long}"));
            let is_known = publish
                .get_arguments()
                .any(|arg| known(arg).as_deref() == Some(flag));
            assert!(is_known, "{path}: {flag}");
        }
    }

    #[test]
    fn fields_have_the_flag_that_says_them() {
        for (field, want) in [
            ("app.hosts[0]", Some("--host")),
            ("app.origins[1].url", Some("--origin")),
            ("app.origins[1].tls.ca_pem", Some("--origin-ca")),
            ("settings.limits.rate.burst", Some("--rate")),
            ("app.translation.inner_host", Some("--host-sent")),
            ("app.segments[0].hosts[0]", None),
            ("app.pathological", None),
            ("update_mask", None),
        ] {
            assert_eq!(of(field), want, "{field}");
        }
    }
}
