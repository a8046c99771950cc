//! Which fabric a data directory belongs to.

use model::host::Hostname;
use prost::Message as _;
use proto::control::FabricRecord;

use super::StartError;
use crate::{config::Config, fabric::FABRIC_KEY, store::Store};

/// The fabric that a store holds, or shall hold.
pub(super) enum Fabric {
    /// The first start makes it.
    New(Hostname),
    /// It is there.
    Known(Hostname),
}

/// The fabric in the store; at the first start that of the configuration.
pub(super) async fn find(store: &dyn Store, config: &Config) -> Result<Fabric, StartError> {
    let path = || config.data_dir.clone();
    let entry = store.get(FABRIC_KEY).await;
    let entry = entry.map_err(|source| StartError::Store {
        path: path(),
        source,
    })?;
    let Some(entry) = entry else {
        let given = config.domain.clone().map(Fabric::New);
        return given.ok_or_else(|| StartError::DomainRequired { path: path() });
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
        Some(_) | None => Ok(Fabric::Known(kept)),
    }
}
