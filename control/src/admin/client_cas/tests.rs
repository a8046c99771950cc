//! CAs of devices and programs against a real store.

use proto::{
    admin::{
        Access, App, Assignment, ClientCa, ClientCaHolders, CreateClientCaRequest,
        DeleteClientCaRequest, GetClientCaRequest, ListClientCasRequest, UpdateClientCaRequest,
        client_cas_server::ClientCas as _,
    },
    fabric,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tonic::{Code, Status};

use super::ClientCas;
use crate::{
    admin::tests::{Bench, app, by_admin, fields, reason},
    client_cas::told,
};

/// A CA with its key.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "Laptops");
    change(&mut params);
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        issuer: Issuer::new(params, key),
        pem,
    }
}

impl Authority {
    fn crl(&self, revoked: &[u64]) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let crl = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 2, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        crl.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn service(bench: &Bench) -> ClientCas {
    ClientCas {
        context: bench.context.clone(),
    }
}

async fn create(bench: &Bench, id: &str, ca: ClientCa) -> Result<ClientCa, Status> {
    let request = CreateClientCaRequest {
        client_ca_id: id.to_owned(),
        client_ca: Some(ca),
        validate_only: false,
    };
    let made = service(bench).create_client_ca(by_admin(request)).await;
    Ok(made?.into_inner())
}

async fn update(bench: &Bench, ca: ClientCa, path: &str) -> Result<ClientCa, Status> {
    let request = UpdateClientCaRequest {
        client_ca: Some(ca),
        update_mask: Some(prost_types::FieldMask {
            paths: vec![path.to_owned()],
        }),
        validate_only: false,
    };
    let updated = service(bench).update_client_ca(by_admin(request)).await;
    Ok(updated?.into_inner())
}

fn laptops(pem: &str) -> ClientCa {
    ClientCa {
        name: "clientCas/laptops".to_owned(),
        holders: ClientCaHolders::Devices.into(),
        ca_pem: pem.to_owned(),
        ..ClientCa::default()
    }
}

async fn told_of(bench: &Bench) -> fabric::ClientCa {
    let entry = bench.context.store.get("clientCas/laptops").await.unwrap();
    told(&entry.unwrap().value).unwrap()
}

#[tokio::test]
async fn a_ca_is_made_shown_changed_and_deleted_and_the_log_has_all_of_it() {
    let bench = Bench::new();
    let ca = authority(|_| {});
    let made = create(&bench, "laptops", laptops(&ca.pem)).await.unwrap();
    let [shown] = &made.certificates[..] else {
        panic!("{made:?}");
    };
    assert!(shown.subject.contains("CN=Laptops"), "{shown:?}");
    assert_eq!(shown.sha256.len(), 64);
    assert!(shown.expire_time.is_some());
    let again = create(&bench, "laptops", laptops(&ca.pem))
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);

    let wanted = ClientCa {
        crl_pem: ca.crl(&[7, 8]),
        ..laptops("")
    };
    let listed = update(&bench, wanted, "crl_pem").await.unwrap();
    assert_eq!((listed.crls.len(), listed.crls[0].revoked), (1, 2));
    assert!(listed.crl_pem.is_empty(), "lists are not told back");
    let wanted = ClientCa {
        revoked_serials: vec!["1A:2B".to_owned()],
        ..laptops("")
    };
    let revoked = update(&bench, wanted.clone(), "revoked_serials")
        .await
        .unwrap();
    assert_eq!(revoked.revoked_serials, ["1a2b"]);
    let stale = ClientCa {
        etag: made.etag,
        ..wanted
    };
    let stale = update(&bench, stale, "revoked_serials").await.unwrap_err();
    assert_eq!(reason(&stale), "ETAG_MISMATCH");
    let holders = ClientCa {
        holders: ClientCaHolders::Programs.into(),
        ..laptops("")
    };
    let refused = update(&bench, holders, "holders").await.unwrap_err();
    assert!(
        refused.message().contains("cannot be changed"),
        "{refused:?}"
    );
    let edge = told_of(&bench).await;
    assert_eq!((edge.certificates.len(), edge.crls.len()), (1, 1));
    assert_eq!(edge.revoked_serials, [vec![0x1a, 0x2b]]);

    let request = by_admin(GetClientCaRequest {
        name: "clientCas/laptops".to_owned(),
    });
    let got = service(&bench).get_client_ca(request).await.unwrap();
    assert_eq!(got.into_inner().ca_pem, ca.pem);
    let request = by_admin(ListClientCasRequest::default());
    let list = service(&bench).list_client_cas(request).await.unwrap();
    let list = list.into_inner().client_cas;
    assert_eq!(list[0].etag, revoked.etag);
    assert!(list[0].ca_pem.is_empty());
    let request = DeleteClientCaRequest {
        name: "clientCas/laptops".to_owned(),
        etag: revoked.etag,
    };
    let deleted = service(&bench).delete_client_ca(by_admin(request)).await;
    deleted.unwrap();
    let audit = bench.audit().await;
    let methods: Vec<_> = audit.iter().map(|row| row.method.as_str()).collect();
    let want = [
        "DeleteClientCa",
        "UpdateClientCa",
        "UpdateClientCa",
        "CreateClientCa",
    ];
    assert_eq!(methods, want);
}

#[tokio::test]
async fn only_certificates_of_cas_that_hold_are_taken_and_no_keys() {
    let bench = Bench::new();
    let good = authority(|_| {});
    let key = KeyPair::generate().unwrap().serialize_pem();
    let leaf = authority(|params| params.is_ca = IsCa::NoCa);
    let other = authority(|params| {
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Others");
    });
    let expired = authority(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let unable = authority(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let crl = |pem: &str, crl: &str| ClientCa {
        crl_pem: crl.to_owned(),
        ..laptops(pem)
    };
    for (what, ca, field) in [
        ("nothing", laptops(""), "client_ca.ca_pem"),
        ("no PEM", laptops("MIIB"), "client_ca.ca_pem"),
        ("no ca", laptops(&leaf.pem), "client_ca.ca_pem"),
        ("expired", laptops(&expired.pem), "client_ca.ca_pem"),
        ("may not sign", laptops(&unable.pem), "client_ca.ca_pem"),
        (
            "a key",
            laptops(&format!("{}{key}", good.pem)),
            "client_ca.ca_pem",
        ),
        ("a list", laptops(&good.crl(&[])), "client_ca.ca_pem"),
        ("too many", laptops(&good.pem.repeat(9)), "client_ca.ca_pem"),
        ("no list", crl(&good.pem, &good.pem), "client_ca.crl_pem"),
        (
            "list of another",
            crl(&good.pem, &other.crl(&[7])),
            "client_ca.crl_pem",
        ),
        (
            "nobody's",
            ClientCa {
                holders: 0,
                ..laptops(&good.pem)
            },
            "client_ca.holders",
        ),
    ] {
        let refused = create(&bench, "laptops", ca).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{what} {refused:?}");
        let fields = fields(&refused);
        assert!(
            fields.iter().all(|found| found == field),
            "{what} {fields:?}"
        );
        assert!(!refused.message().contains("PRIVATE"), "{what}");
    }
    let both = format!("{}{}", good.pem, other.pem);
    assert!(create(&bench, "laptops", laptops(&both)).await.is_ok());
}

#[tokio::test]
async fn an_id_that_apps_still_name_is_not_given_to_another_ca() {
    let bench = Bench::with_office().await;
    let pem = authority(|_| {}).pem;
    create(&bench, "laptops", laptops(&pem)).await.unwrap();
    let assigned = |programs: &[&str], cas: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        App {
            access: Access::SignIn.into(),
            assignment: Some(Assignment {
                programs: owned(programs),
                ..Assignment::default()
            }),
            client_cas: owned(cas),
            ..app("wiki.example.com")
        }
    };
    let asking = assigned(&["jobs/ci"], &["clientCas/laptops"]);
    bench.create_app("wiki", asking).await.unwrap();
    let delete = async |id: &str| {
        let request = DeleteClientCaRequest {
            name: format!("clientCas/{id}"),
            ..DeleteClientCaRequest::default()
        };
        let deleted = service(&bench).delete_client_ca(by_admin(request)).await;
        deleted.unwrap();
    };
    // One that was never there may be named before.
    create(&bench, "jobs", laptops(&pem)).await.unwrap();
    for id in ["laptops", "jobs"] {
        delete(id).await;
        let refused = create(&bench, id, laptops(&pem)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{id}");
        assert!(refused.message().contains("apps/wiki"), "{refused:?}");
    }
    bench.delete_app("wiki").await;
    create(&bench, "laptops", laptops(&pem)).await.unwrap();
    // Deleted while nobody named it, it is as one that was never there.
    delete("laptops").await;
    let asking = assigned(&[], &["clientCas/laptops"]);
    bench.create_app("wiki", asking).await.unwrap();
    create(&bench, "laptops", laptops(&pem)).await.unwrap();
}
