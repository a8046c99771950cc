//! Who has accepted which terms of use. What was accepted is never swept: it is what an organisation has to show for it.

use aws_lc_rs::digest::{SHA256, digest};
use model::{
    identity_provider::LOCAL,
    name::{IdentityProviderId, TermsId, UserId},
    terms::{Acceptance, Terms, TermsVersion},
};
use prost::Message as _;
use proto::{
    admin,
    control::{TermsAcceptanceRecord, UserRecord},
    time,
};

use crate::{
    store::{Entry, Store, StoreError},
    time::unix_ms,
};

/// Prefix of the keys of acceptances.
const ACCEPTANCES: &str = "termsAcceptances/";

/// Somebody who has signed in: users of several providers may have one name.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) user: UserId,
    /// `None`: the fabric itself has said who it is.
    pub(crate) provider: Option<IdentityProviderId>,
}

/// Of a text. The same as `sha256sum` says of the file.
pub(crate) fn version_of(text: &str) -> TermsVersion {
    let digest = digest(&SHA256, text.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    TermsVersion(bytes)
}

/// As people read it; nothing of what is none.
pub(crate) fn written_version(bytes: &[u8]) -> String {
    let version = TermsVersion::of_bytes(bytes);
    version
        .map(|version| version.to_string())
        .unwrap_or_default()
}

/// What decides of stored terms; `None`: they cannot be read.
pub(crate) fn in_force(stored: &admin::Terms) -> Option<Terms> {
    let again_after = stored.again_after.as_ref().map(time::duration);
    Some(Terms {
        version: stored.version.parse().ok()?,
        again_after: again_after.transpose().ok()?,
    })
}

/// Prefix of the keys of acceptances of some terms, or of all.
pub(crate) fn acceptance_prefix(terms: Option<&TermsId>) -> String {
    match terms {
        Some(terms) => format!("{ACCEPTANCES}{terms}/"),
        None => ACCEPTANCES.to_owned(),
    }
}

/// Key of an acceptance. No id has a slash.
pub(crate) fn acceptance_key(terms: &TermsId, version: TermsVersion, who: &Who) -> String {
    let provider = who.provider.as_ref().map_or(LOCAL, |id| id.as_str());
    let (prefix, user) = (acceptance_prefix(Some(terms)), &who.user);
    format!("{prefix}{provider}/{user}/{version}")
}

/// What somebody has accepted of these terms, if it still counts.
///
/// An account that is made anew under the name of one that was deleted is somebody else's.
///
/// # Errors
/// Those of the store.
pub(crate) async fn accepted(
    store: &dyn Store,
    (id, terms): (&TermsId, &Terms),
    who: &Who,
    now_ms: i64,
) -> Result<Option<Acceptance>, StoreError> {
    let key = acceptance_key(id, terms.version, who);
    let Some(entry) = store.get(&key).await? else {
        return Ok(None);
    };
    let Some(acceptance) = read(&entry) else {
        tracing::error!(
            key,
            "an acceptance of terms cannot be read, and does not count"
        );
        return Ok(None);
    };
    if who.provider.is_none() {
        let account = store.get(&who.user.resource_name()).await?;
        let since = account.and_then(|entry| created_ms(&entry));
        if since.is_none_or(|since| acceptance.at_ms < since) {
            return Ok(None);
        }
    }
    Ok(terms.holds(&acceptance, now_ms).then_some(acceptance))
}

fn read(entry: &Entry) -> Option<Acceptance> {
    let record = TermsAcceptanceRecord::decode(entry.value.clone()).ok()?;
    Some(Acceptance {
        terms: record.terms.parse().ok()?,
        version: TermsVersion::of_bytes(&record.version)?,
        at_ms: record.accepted_ms,
    })
}

fn created_ms(entry: &Entry) -> Option<i64> {
    let record = UserRecord::decode(entry.value.clone()).ok()?;
    let created = time::system_time(record.user?.create_time.as_ref()?).ok()?;
    Some(unix_ms(created))
}
