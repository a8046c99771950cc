//! Certificates that edges show to users: for the fabric's domain, and for every published host outside of it.
//!
//! `certificates/default` covers `<domain>` and `*.<domain>`; hosts that these do not cover share further ones. A standing
//! task issues what is missing as apps come, and everything anew at half its life.

mod wanted;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use model::host::Hostname;
use prost::Message as _;
use proto::control::CertificateRecord;
use runtime::Clock;
use tokio::time::sleep;

use crate::{
    ca::{Ca, dns_name},
    fabric::CERTIFICATES,
    store::{self, Batch, Check, Op, Revision, Store, StoreError, Watch, WatchError},
    time::unix_seconds,
};
use wanted::Wanted;

/// Life of these certificates: within what browsers will accept of public ones.
const LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Names of one certificate besides the default one; larger ones make every handshake slower.
const NAMES_MAX: usize = 100;
/// Wait after a failure of the store, and the longest until renewals are looked for.
const RETRY: Duration = Duration::from_secs(5);
/// Longest sleep between looks at the clock, which may be set.
const LOOK: Duration = Duration::from_secs(3_600);

/// Why certificates could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another control wrote the same certificate.
    #[error("{0} was written by another control")]
    Contended(Arc<str>),
    /// The cryptography failed.
    #[error("issuing a certificate for users")]
    Crypto(#[from] rcgen::Error),
    /// The watch fell behind.
    #[error("the watch fell behind the log")]
    Behind,
}

/// Keeps the certificates of one fabric.
#[derive(Debug)]
pub struct Certificates {
    store: Arc<dyn Store>,
    clock: Clock,
    ca: Arc<Ca>,
    domain: Hostname,
    wanted: Wanted,
    held: BTreeMap<Arc<str>, Held>,
    revision: Revision,
}

#[derive(Debug)]
struct Held {
    record: CertificateRecord,
    modified: Revision,
}

impl Certificates {
    /// Reads what is there and issues what is missing.
    ///
    /// # Errors
    /// See [`CertificatesError`].
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Clock,
        ca: Arc<Ca>,
        domain: Hostname,
    ) -> Result<Self, CertificatesError> {
        let wanted = Wanted::new(domain.clone());
        let mut this = Self {
            store,
            clock,
            ca,
            domain,
            wanted,
            held: BTreeMap::new(),
            revision: Revision(0),
        };
        this.reload().await?;
        Ok(this)
    }

    /// Follows the apps, and the clock, for as long as control runs.
    pub async fn run(mut self) {
        loop {
            let mut watch = self.store.watch(self.revision);
            let error = loop {
                if let Err(error) = self.step(&mut *watch).await {
                    break error;
                }
            };
            match error {
                CertificatesError::Store(StoreError::Closed) => return,
                CertificatesError::Behind | CertificatesError::Contended(_) => {
                    tracing::debug!(error = %error, "reading all certificates again");
                }
                CertificatesError::Store(_) | CertificatesError::Crypto(_) => {
                    tracing::error!(error = %error, "certificates for users are not up to date");
                    sleep(RETRY).await;
                }
            }
            while let Err(error) = self.reload().await {
                tracing::error!(error = %error, "certificates for users cannot be read");
                sleep(RETRY).await;
            }
        }
    }

    async fn step(&mut self, watch: &mut dyn Watch) -> Result<(), CertificatesError> {
        tokio::select! {
            batch = watch.next() => match batch {
                Ok(batch) => self.absorb(&batch),
                Err(WatchError::Compacted(_)) => return Err(CertificatesError::Behind),
                Err(WatchError::Store(error)) => return Err(error.into()),
            },
            () = sleep(self.until_renewal()) => {}
        }
        self.update().await
    }

    async fn reload(&mut self) -> Result<(), CertificatesError> {
        let range = self.store.snapshot(&["apps/", CERTIFICATES]).await?;
        self.wanted.clear();
        self.held.clear();
        self.revision = range.revision;
        for entry in range.entries {
            if entry.key.starts_with(CERTIFICATES) {
                self.hold(entry.key, &entry.value, entry.modified);
            } else {
                self.wanted.add(&entry.value);
            }
        }
        self.update().await
    }

    fn absorb(&mut self, batch: &Batch) {
        self.revision = batch.revision;
        for event in &*batch.events {
            if event.key.starts_with("apps/") {
                event.before.iter().for_each(|app| self.wanted.remove(app));
                event.after.iter().for_each(|app| self.wanted.add(app));
            } else if event.key.starts_with(CERTIFICATES) {
                match &event.after {
                    Some(value) => self.hold(Arc::clone(&event.key), value, batch.revision),
                    None => drop(self.held.remove(&event.key)),
                }
            }
        }
    }

    fn hold(&mut self, key: Arc<str>, value: &Bytes, modified: Revision) {
        match CertificateRecord::decode(value.clone()) {
            Ok(record) => drop(self.held.insert(key, Held { record, modified })),
            Err(_) => tracing::error!(certificate = %key, "a stored certificate cannot be read"),
        }
    }

    fn until_renewal(&self) -> Duration {
        let now = unix_seconds(self.clock.wall());
        let next = self.held.values().map(|held| held.record.renew_at).min();
        let seconds = u64::try_from(next.unwrap_or(now).saturating_sub(now)).unwrap_or(0);
        Duration::from_secs(seconds).clamp(RETRY, LOOK)
    }

    /// Issues what is missing and what is past half its life.
    async fn update(&mut self) -> Result<(), CertificatesError> {
        let default: Arc<str> = format!("{CERTIFICATES}default").into();
        let mut names = vec![self.domain.to_string(), format!("*.{}", self.domain)];
        // Clients refuse a wildcard right below a single label ("*.localhost").
        let own = [Hostname::sign_in, Hostname::portal].map(|host| host(&self.domain));
        names.extend(own.into_iter().flatten().map(|host| host.to_string()));
        if self.is_due(&default, &names) {
            self.issue(default, names).await?;
        }
        for (key, names) in self.plan() {
            if self.is_due(&key, &names) {
                self.issue(key, names).await?;
            }
        }
        Ok(())
    }

    fn is_due(&self, key: &str, names: &[String]) -> bool {
        self.held.get(key).is_none_or(|held| {
            let covered = |name| held.record.names.contains(name);
            held.record.renew_at <= unix_seconds(self.clock.wall()) || !names.iter().all(covered)
        })
    }

    /// Which certificate shall hold which of the hosts outside the domain. A host stays where it is.
    fn plan(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let mut missing = self.wanted.names();
        let mut plan: Vec<(Arc<str>, Vec<String>)> = Vec::new();
        let prefix = format!("{CERTIFICATES}hosts-");
        for (key, held) in self.held.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let kept = held
                .record
                .names
                .iter()
                .filter(|name| missing.remove(*name));
            plan.push((Arc::clone(key), kept.cloned().collect()));
        }
        let mut number = 0;
        for name in missing {
            let room = plan.iter_mut().find(|(_, names)| names.len() < NAMES_MAX);
            if let Some((_, names)) = room {
                names.push(name);
                continue;
            }
            let free = loop {
                let key: Arc<str> = format!("{prefix}{number}").into();
                number += 1;
                if plan.iter().all(|(taken, _)| *taken != key) {
                    break key;
                }
            };
            plan.push((free, vec![name]));
        }
        // What nobody wants any more is left to run out.
        plan.retain(|(_, names)| !names.is_empty());
        plan
    }

    async fn issue(&mut self, key: Arc<str>, names: Vec<String>) -> Result<(), CertificatesError> {
        let sans = names
            .iter()
            .map(|name| dns_name(name))
            .collect::<Result<_, _>>()?;
        let issued = self.ca.issue_server(sans, LIFE, self.clock.wall())?;
        let record = CertificateRecord {
            names,
            chain: issued.chain.iter().map(|der| der.to_vec().into()).collect(),
            key: issued.key.expose().clone().into(),
            renew_at: unix_seconds(issued.renew_at),
        };
        let check = match self.held.get(&key) {
            Some(held) => Check::Unchanged(Arc::clone(&key), held.modified),
            None => Check::Absent(Arc::clone(&key)),
        };
        let op = Op::Put(Arc::clone(&key), record.encode_to_vec().into());
        let written = store::commit(&*self.store, vec![check], vec![op]).await?;
        let modified = written.ok_or_else(|| CertificatesError::Contended(Arc::clone(&key)))?;
        tracing::info!(certificate = %key, names = record.names.len(), "certificate for users issued");
        self.held.insert(key, Held { record, modified });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::admin::App;

    use super::*;
    use crate::store::sqlite;

    async fn publish(store: &dyn Store, id: &str, hosts: &[String]) {
        let app = App {
            hosts: hosts.to_vec(),
            ..App::default()
        };
        let key: Arc<str> = format!("apps/{id}").into();
        let put = Op::Put(key, app.encode_to_vec().into());
        store.txn(Vec::new(), vec![put]).await.expect("writes");
    }

    async fn held(store: &dyn Store) -> BTreeMap<String, CertificateRecord> {
        let range = store.snapshot(&[CERTIFICATES]).await.expect("reads");
        let decode = |entry: store::Entry| {
            let record = CertificateRecord::decode(entry.value).expect("a record");
            (entry.key.to_string(), record)
        };
        range.entries.into_iter().map(decode).collect()
    }

    #[tokio::test]
    async fn certificates_are_renewed_at_half_life_and_hosts_stay_where_they_are() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let domain: Hostname = "example.com".parse().expect("a domain");
        let ca = Ca::found(directory.path(), &domain, clock.wall()).expect("a CA");
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(directory.path(), &clock).expect("opens"));
        let hosts: Vec<String> = (0..NAMES_MAX)
            .map(|n| format!("h{n}.example.net"))
            .collect();
        publish(&*store, "many", &hosts).await;
        let (own_store, own_clock) = (Arc::clone(&store), clock.clone());
        let opened = Certificates::open(own_store, own_clock, Arc::new(ca), domain).await;
        let mut certificates = opened.expect("issues");
        let first = held(&*store).await;
        assert_eq!(first["certificates/hosts-0"].names.len(), NAMES_MAX);

        publish(
            &*store,
            "one",
            &["a.example.net".to_owned(), "in.example.com".to_owned()],
        )
        .await;
        let mut watch = store.watch(certificates.revision);
        while !held(&*store).await.contains_key("certificates/hosts-1") {
            certificates.step(&mut *watch).await.expect("issues");
        }
        let second = held(&*store).await;
        assert_eq!(second["certificates/hosts-1"].names, ["a.example.net"]);
        assert_eq!(
            second["certificates/hosts-0"],
            first["certificates/hosts-0"]
        );

        clock.move_wall(LIFE / 2 + Duration::from_secs(1));
        certificates.update().await.expect("renews");
        let third = held(&*store).await;
        assert_eq!(third.len(), second.len());
        for (key, record) in third {
            assert_ne!(record.chain, second[&key].chain, "{key}");
        }
    }
}
