//! Which fabric a data directory belongs to.

use model::host::Hostname;
use prost::Message as _;
use proto::control::FabricRecord;

use super::StartError;
use crate::{config::Config, fabric::FABRIC_KEY, store::Store};

/// The domain in the store; at the first start that of the configuration.
pub(super) async fn domain(store: &dyn Store, config: &Config) -> Result<Hostname, StartError> {
    let path = || config.data_dir.clone();
    let entry = store.get(FABRIC_KEY).await;
    let entry = entry.map_err(|source| StartError::Store {
        path: path(),
        source,
    })?;
    let Some(entry) = entry else {
        return config
            .domain
            .clone()
            .ok_or_else(|| StartError::DomainRequired { path: path() });
    };
    let kept = FabricRecord::decode(entry.value)
        .ok()
        .and_then(|record| record.domain.parse().ok());
    let kept: Hostname = kept.ok_or_else(|| StartError::Corrupt { path: path() })?;
    match &config.domain {
        Some(given) if *given != kept => Err(StartError::OtherDomain {
            path: path(),
            kept,
            given: given.clone(),
        }),
        Some(_) | None => Ok(kept),
    }
}
