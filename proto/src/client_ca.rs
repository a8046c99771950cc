//! CAs of users' devices and of programs, as operators write them, and as control sends them to edges. What their certificates say is not
//! looked at here.

use std::collections::HashSet;

use model::{
    client_ca::{
        CLIENT_CA_PEM_BYTES_MAX, CRL_PEM_BYTES_MAX, Holders, REVOKED_SERIALS_MAX, Serial,
        SerialError,
    },
    name::{ClientCaId, IdError},
};

use crate::{
    admin, fabric,
    violation::{Violation, Violations},
};

/// Checks a CA that shall have the id `id`; on failure says everything that is wrong with it. Gives its id, and which certificates it has
/// revoked.
///
/// # Errors
/// Every violation.
pub fn check(id: &str, ca: &admin::ClientCa) -> Result<(ClientCaId, Vec<Serial>), Vec<Violation>> {
    let mut found = Violations::default();
    let id = found.parse("client_ca_id", id);
    found.display_name("client_ca.display_name", &ca.display_name);
    if holders(ca.holders).is_none() {
        found.add("client_ca.holders", "must be DEVICES or PROGRAMS");
    }
    for (field, pem, max) in [
        ("client_ca.ca_pem", &ca.ca_pem, CLIENT_CA_PEM_BYTES_MAX),
        ("client_ca.crl_pem", &ca.crl_pem, CRL_PEM_BYTES_MAX),
    ] {
        if pem.len() > max {
            found.add(field, format_args!("must not be longer than {max} bytes"));
        }
    }
    if ca.ca_pem.is_empty() {
        found.add("client_ca.ca_pem", "must hold a certificate");
    }
    let field = "client_ca.revoked_serials";
    let listed = found.at_most(
        REVOKED_SERIALS_MAX,
        field,
        "serial numbers",
        &ca.revoked_serials,
    );
    let mut serials: Vec<Serial> = listed
        .filter_map(|(field, serial)| found.parse(&field, serial))
        .collect();
    serials.sort_unstable();
    serials.dedup();
    match id {
        Some(id) if found.is_empty() => Ok((id, serials)),
        Some(_) | None => Err(found.into_vec()),
    }
}

fn holders(wire: i32) -> Option<Holders> {
    match admin::ClientCaHolders::try_from(wire) {
        Ok(admin::ClientCaHolders::Devices) => Some(Holders::Devices),
        Ok(admin::ClientCaHolders::Programs) => Some(Holders::Programs),
        Ok(admin::ClientCaHolders::Unspecified) | Err(_) => None,
    }
}

/// What edges are told of a CA besides its certificates and lists; nothing of one that makes no sense, as then none of its certificates
/// counts.
pub fn told(ca: &admin::ClientCa) -> Option<fabric::ClientCa> {
    let id = ca.name.strip_prefix(ClientCaId::COLLECTION)?;
    let (id, serials) = check(id, ca).ok()?;
    let holders = match holders(ca.holders)? {
        Holders::Devices => fabric::ClientCaHolders::Devices,
        Holders::Programs => fabric::ClientCaHolders::Programs,
    };
    let serials = serials
        .iter()
        .map(|serial| serial.as_bytes().to_vec().into());
    Some(fabric::ClientCa {
        id: id.to_string(),
        holders: holders.into(),
        revoked_serials: serials.collect(),
        ..fabric::ClientCa::default()
    })
}

/// What an edge reads of a CA besides its certificates and lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which one.
    pub id: ClientCaId,
    /// What its certificates are of.
    pub holders: Holders,
    /// Those that do not count any more.
    pub revoked: HashSet<Serial>,
}

/// Why an edge cannot use a CA that control sent.
#[derive(Debug, thiserror::Error)]
pub enum ClientCaError {
    /// Its id.
    #[error("reading the id of a client CA")]
    Id(#[source] IdError),
    /// Holders that this version does not know.
    #[error("a client CA is of holders that this version does not know")]
    Holders,
    /// A serial number.
    #[error("reading a serial number")]
    Serial(#[source] SerialError),
}

impl TryFrom<&fabric::ClientCa> for Told {
    type Error = ClientCaError;

    fn try_from(wire: &fabric::ClientCa) -> Result<Self, ClientCaError> {
        let holders = match fabric::ClientCaHolders::try_from(wire.holders) {
            Ok(fabric::ClientCaHolders::Devices) => Holders::Devices,
            Ok(fabric::ClientCaHolders::Programs) => Holders::Programs,
            Ok(fabric::ClientCaHolders::Unspecified) | Err(_) => {
                return Err(ClientCaError::Holders);
            }
        };
        let serials = wire.revoked_serials.iter();
        let serials = serials.map(|serial| Serial::from_bytes(serial));
        Ok(Self {
            id: wire.id.parse().map_err(ClientCaError::Id)?,
            holders,
            revoked: serials
                .collect::<Result<_, _>>()
                .map_err(ClientCaError::Serial)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laptops() -> admin::ClientCa {
        admin::ClientCa {
            name: "clientCas/laptops".to_owned(),
            holders: admin::ClientCaHolders::Devices.into(),
            ca_pem: "not looked at here".to_owned(),
            revoked_serials: ["1A:2B", "1a2b", "07"].map(str::to_owned).into(),
            ..admin::ClientCa::default()
        }
    }

    #[test]
    fn everything_wrong_with_a_ca_is_said_at_once() {
        assert!(check("laptops", &laptops()).is_ok());
        let bad = admin::ClientCa {
            display_name: "a\nb".to_owned(),
            holders: 7,
            ca_pem: String::new(),
            crl_pem: "x".repeat(CRL_PEM_BYTES_MAX + 1),
            revoked_serials: vec!["x".to_owned()],
            ..laptops()
        };
        let found = check("Laptops", &bad).unwrap_err();
        let fields: Vec<_> = found.iter().map(|fault| fault.field.as_str()).collect();
        let want = [
            "client_ca_id",
            "client_ca.display_name",
            "client_ca.holders",
            "client_ca.crl_pem",
            "client_ca.ca_pem",
            "client_ca.revoked_serials[0]",
        ];
        assert_eq!(fields, want);
        let many = admin::ClientCa {
            revoked_serials: vec!["1".to_owned(); REVOKED_SERIALS_MAX + 1],
            ..laptops()
        };
        assert!(check("laptops", &many).is_err());
    }

    #[test]
    fn edges_read_what_control_tells_and_refuse_what_they_do_not_know() {
        let wire = told(&laptops()).unwrap();
        let read = Told::try_from(&wire).unwrap();
        assert_eq!(
            (read.id.as_str(), read.holders),
            ("laptops", Holders::Devices)
        );
        let revoked: HashSet<_> = ["1a2b", "7"].map(|text| text.parse().unwrap()).into();
        assert_eq!(read.revoked, revoked);
        for bad in [
            fabric::ClientCa {
                holders: 7,
                ..wire.clone()
            },
            fabric::ClientCa {
                id: String::new(),
                ..wire.clone()
            },
            fabric::ClientCa {
                revoked_serials: vec![vec![1; 21].into()],
                ..wire
            },
        ] {
            assert!(Told::try_from(&bad).is_err(), "{bad:?}");
        }
        let nameless = admin::ClientCa {
            name: "laptops".to_owned(),
            ..laptops()
        };
        assert_eq!(told(&nameless), None);
    }
}
