//! Reads and writes the origins of an app.

use std::sync::Arc;

use model::app::{
    CA_PEM_BYTES_MAX, ORIGINS_MAX, Origin, OriginProtocol, OriginTls, OriginUrl, Scheme,
};

use crate::{admin, violation::Violations};

/// First line of a certificate in PEM (RFC 7468, section 5.1).
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
/// Last line of a certificate in PEM.
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Reads the origins in `field`, and notes what is wrong with them. Those with faults are left out.
pub(super) fn read_all(field: &str, wire: &[admin::Origin], found: &mut Violations) -> Vec<Origin> {
    if wire.is_empty() || wire.len() > ORIGINS_MAX {
        found.add(field, format_args!("must be 1 to {ORIGINS_MAX} origins"));
    }
    wire.iter()
        .enumerate()
        .take(ORIGINS_MAX)
        .filter_map(|(index, origin)| read(&format!("{field}[{index}]"), origin, found))
        .collect()
}

/// Writes an origin; TLS is set only where there is something to say.
pub(super) fn write(origin: &Origin) -> admin::Origin {
    let tls = &origin.tls;
    admin::Origin {
        url: origin.url.to_string(),
        tls: (*tls != OriginTls::default()).then(|| admin::OriginTls {
            ca_pem: tls.ca_pem.as_deref().unwrap_or_default().to_owned(),
            server_name: tls
                .server_name
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            insecure: tls.insecure,
        }),
        weight: origin.weight,
        protocol: match origin.protocol {
            OriginProtocol::Auto => admin::OriginProtocol::Auto,
            OriginProtocol::Http1 => admin::OriginProtocol::Http1,
            OriginProtocol::Http2 => admin::OriginProtocol::Http2,
        }
        .into(),
        title_case: origin.title_case,
    }
}

fn read(field: &str, wire: &admin::Origin, found: &mut Violations) -> Option<Origin> {
    let url: Option<OriginUrl> = found.parse(&format!("{field}.url"), &wire.url);
    let tls = match &wire.tls {
        Some(tls) => read_tls(&format!("{field}.tls"), tls, found),
        None => OriginTls::default(),
    };
    let weight = read_weight(&format!("{field}.weight"), wire.weight, found);
    let protocol = read_protocol(&format!("{field}.protocol"), wire.protocol, found);
    if wire.title_case && protocol == OriginProtocol::Http2 {
        found.add(&format!("{field}.title_case"), "is only for HTTP/1.1");
    }
    let url = url?;
    if url.scheme == Scheme::Http && wire.tls.as_ref().is_some_and(is_said) {
        found.add(&format!("{field}.tls"), "is only for https origins");
    }
    Some(Origin {
        url,
        tls,
        weight,
        protocol,
        title_case: wire.title_case,
    })
}

/// 0 is what is not said.
fn read_weight(field: &str, wire: u32, found: &mut Violations) -> u32 {
    if wire > Origin::WEIGHT_MAX {
        found.add(field, format_args!("must be 1 to {}", Origin::WEIGHT_MAX));
    }
    wire.max(1)
}

fn read_protocol(field: &str, wire: i32, found: &mut Violations) -> OriginProtocol {
    match admin::OriginProtocol::try_from(wire) {
        Ok(admin::OriginProtocol::Unspecified | admin::OriginProtocol::Auto) => {
            OriginProtocol::Auto
        }
        Ok(admin::OriginProtocol::Http1) => OriginProtocol::Http1,
        Ok(admin::OriginProtocol::Http2) => OriginProtocol::Http2,
        Err(_) => {
            found.add(field, "is of a kind that this version does not know");
            OriginProtocol::Auto
        }
    }
}

fn is_said(tls: &admin::OriginTls) -> bool {
    *tls != admin::OriginTls::default()
}

fn read_tls(field: &str, wire: &admin::OriginTls, found: &mut Violations) -> OriginTls {
    OriginTls {
        ca_pem: read_ca_pem(&format!("{field}.ca_pem"), &wire.ca_pem, found),
        server_name: if wire.server_name.is_empty() {
            None
        } else {
            found.parse(&format!("{field}.server_name"), &wire.server_name)
        },
        insecure: wire.insecure,
    }
}

fn read_ca_pem(field: &str, pem: &str, found: &mut Violations) -> Option<Arc<str>> {
    if pem.is_empty() {
        return None;
    }
    if pem.len() > CA_PEM_BYTES_MAX {
        found.add(
            field,
            format_args!("must not be longer than {CA_PEM_BYTES_MAX} bytes"),
        );
    } else if !holds_certificates(pem) {
        found.add(field, "must hold certificates in PEM, and no keys");
    }
    Some(pem.into())
}

/// Whether the text has the shape of PEM certificates. Whether they are certificates is for the agent's TLS to say.
fn holds_certificates(pem: &str) -> bool {
    let mut lines = pem.lines().map(str::trim);
    let mut certificates = 0_usize;
    while let Some(line) = lines.next() {
        if line == PEM_BEGIN {
            if !is_base64_until_end(&mut lines) {
                return false;
            }
            certificates += 1;
        } else if line.starts_with("-----") {
            return false;
        }
    }
    certificates > 0
}

fn is_base64_until_end<'a>(lines: &mut impl Iterator<Item = &'a str>) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut body_bytes = 0;
    for line in lines {
        if line == PEM_END {
            return body_bytes > 0;
        }
        if !line.bytes().all(base64) {
            return false;
        }
        body_bytes += line.len();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_certificates_are_told_from_other_text() {
        let one = format!("{PEM_BEGIN}\nMIIB+/Q=\n{PEM_END}\n");
        for (text, want) in [
            (one.clone(), true),
            (format!("subject: CN=one\r\n\r\n{one}\n{one}"), true),
            (one.replace('\n', "\r\n"), true),
            (String::from("certificate"), false),
            (format!("{PEM_BEGIN}\n{PEM_END}\n"), false),
            (format!("{PEM_BEGIN}\nMIIB\n"), false),
            (format!("{PEM_BEGIN}\nMI IB\n{PEM_END}\n"), false),
            (format!("{one}{PEM_END}\n"), false),
            (
                format!("{one}-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"),
                false,
            ),
        ] {
            assert_eq!(holds_certificates(&text), want, "{text:?}");
        }
    }
}
