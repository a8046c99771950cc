//! Reads and writes how an app's inner names and its public ones are turned into one another.

use model::app::{HostSent, Translation};

use crate::{admin, rules, violation::Violations};

const HOST: &str = "app.translation.host";
const INNER_HOST: &str = "app.translation.inner_host";

/// Reads what is translated.
pub(super) fn read(wire: Option<&admin::Translation>, found: &mut Violations) -> Translation {
    let unsaid = admin::Translation::default();
    let wire = wire.unwrap_or(&unsaid);
    let host = read_host(wire, found);
    for (name, wanted) in [("json", wire.json), ("scripts", wire.scripts)] {
        if wanted && !wire.bodies {
            found.add(&format!("app.translation.{name}"), "needs bodies");
        }
    }
    Translation {
        host,
        keep_fields: wire.keep_fields,
        bodies: wire.bodies,
        json: wire.json,
        scripts: wire.scripts,
        inner_path: match wire.inner_path.as_str() {
            "" => None,
            path => found.parse("app.translation.inner_path", path),
        },
    }
}

fn read_host(wire: &admin::Translation, found: &mut Violations) -> HostSent {
    let host = match admin::HostSent::try_from(wire.host) {
        Ok(admin::HostSent::Unspecified | admin::HostSent::Inner) => HostSent::Inner,
        Ok(admin::HostSent::Public) => HostSent::Public,
        Ok(admin::HostSent::Named) if wire.inner_host.is_empty() => {
            found.add(INNER_HOST, "must be said for HOST_SENT_NAMED");
            return HostSent::Inner;
        }
        Ok(admin::HostSent::Named) => {
            let named = found.take(INNER_HOST, rules::authority(&wire.inner_host));
            return named.map_or(HostSent::Inner, HostSent::Named);
        }
        Err(_) => {
            found.add(HOST, "is of a kind that this version does not know");
            HostSent::Inner
        }
    };
    if !wire.inner_host.is_empty() {
        found.add(INNER_HOST, "is only for HOST_SENT_NAMED");
    }
    host
}

/// Writes what is translated, unless it is what apps have that say nothing.
pub(super) fn write(translation: &Translation) -> Option<admin::Translation> {
    if *translation == Translation::default() {
        return None;
    }
    let (host, inner_host) = match &translation.host {
        HostSent::Inner => (admin::HostSent::Inner, ""),
        HostSent::Public => (admin::HostSent::Public, ""),
        HostSent::Named(host) => (admin::HostSent::Named, host.as_str()),
    };
    Some(admin::Translation {
        host: host.into(),
        inner_host: inner_host.to_owned(),
        keep_fields: translation.keep_fields,
        bodies: translation.bodies,
        json: translation.json,
        scripts: translation.scripts,
        inner_path: translation
            .inner_path
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    })
}
