//! What a certificate says of its holder and of who made it, in texts that cannot be read in two ways (RFC 4514).

use model::{app::CertificatePart, client_ca::Serial};
use x509_parser::{
    asn1_rs::ToDer as _,
    certificate::X509Certificate,
    prelude::FromDer as _,
    x509::{AttributeTypeAndValue, X509Name},
};

use crate::digest::{hex, sha256};

/// Short names of kinds of attributes: those of RFC 4514, section 3, and two that programs use beside them.
const KINDS: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The texts.
#[derive(Debug)]
pub(super) struct Said {
    subject: String,
    issuer: String,
    serial: String,
    fingerprint: String,
}

impl Said {
    /// Reads a certificate; `None`: it cannot be read.
    pub(super) fn by(leaf: &[u8]) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(leaf).ok()?;
        let serial = Serial::from_bytes(read.raw_serial()).ok()?;
        Some(Self {
            subject: written(read.subject()),
            issuer: written(read.issuer()),
            serial: serial.to_string(),
            fingerprint: hex(&sha256(leaf)),
        })
    }

    pub(super) fn part(&self, part: CertificatePart) -> &str {
        match part {
            CertificatePart::Subject => &self.subject,
            CertificatePart::Issuer => &self.issuer,
            CertificatePart::Serial => &self.serial,
            CertificatePart::Fingerprint => &self.fingerprint,
        }
    }
}

/// The last part of the name first (RFC 4514, section 2.1).
fn written(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter()
        .map(|part| {
            let attributes: Vec<_> = part.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    let parts: Vec<&str> = parts.iter().rev().map(String::as_str).collect();
    parts.join(",")
}

/// What has no short name, or is no text, is written as its bytes are (RFC 4514, section 2.4).
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let known = KINDS.iter().find(|(id, _)| *id == kind);
    match (known, attribute.as_str()) {
        (Some((_, word)), Ok(text)) => format!("{word}={}", escaped(text)),
        (known, _) => {
            let word = known.map_or(&*kind, |(_, word)| word);
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            format!("{word}=#{}", hex(&der))
        }
    }
}

/// With a backslash before what would mean something (RFC 4514, section 2.4).
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, char) in text.char_indices() {
        let is_first = at == 0;
        let is_last = at + char.len_utf8() == text.len();
        match char {
            '\0' => {
                safe.push_str("\\00");
                continue;
            }
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => safe.push('\\'),
            ' ' if is_first || is_last => safe.push('\\'),
            '#' if is_first => safe.push('\\'),
            _ => {}
        }
        safe.push(char);
    }
    safe
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SerialNumber};

    use super::*;

    fn said(parts: &[(DnType, DnValue)]) -> Said {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(0xAB_CD_u64));
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let key = KeyPair::generate().unwrap();
        Said::by(params.self_signed(&key).unwrap().der()).unwrap()
    }

    fn text(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn names_are_written_from_the_last_part_to_the_first() {
        let said = said(&[
            (DnType::CountryName, text("DE")),
            (DnType::OrganizationName, text("Example Ltd")),
            (DnType::CommonName, text("laptop 7")),
        ]);
        assert_eq!(said.subject, "CN=laptop 7,O=Example Ltd,C=DE");
        assert_eq!(said.issuer, said.subject, "it has signed itself");
        assert_eq!(said.serial, "abcd");
        assert_eq!(said.fingerprint.len(), 64);
    }

    #[test]
    fn no_value_reads_as_another_part_of_the_name() {
        for (value, want) in [
            ("a,O=Example Ltd", "CN=a\\,O=Example Ltd"),
            ("a+OU=x;<>\"\\", "CN=a\\+OU=x\\;\\<\\>\\\"\\\\"),
            (" a b ", "CN=\\ a b\\ "),
            (" ", "CN=\\ "),
            ("#61", "CN=\\#61"),
            ("a#b=c", "CN=a#b=c"),
            ("a\0b", "CN=a\\00b"),
            ("Büro", "CN=Büro"),
            ("", "CN="),
        ] {
            let said = said(&[(DnType::CommonName, text(value))]);
            assert_eq!(said.subject, want, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_text_or_of_no_known_kind_is_written_in_digits() {
        let said = said(&[
            (DnType::CustomDnType(vec![1, 2, 3, 4]), text("x")),
            (
                DnType::CommonName,
                DnValue::BmpString("a".try_into().unwrap()),
            ),
        ]);
        assert_eq!(said.subject, "CN=#1e020061,1.2.3.4=#0c0178");
        assert!(Said::by(b"no certificate").is_none());
    }
}
