//! Why the edge leaves a resource out.

use model::name::IdError;
use proto::{resource::ResourceError, service::ServiceError, terms::TermsError};

use crate::{
    assertion::AssertionKeyError, brand::PictureError, certificates::CertificateError,
    client_certificates::ClientCaError, providers::ProviderError, sealing::SealingKeyError,
    sign_in::revocations::RevocationError, vault_keys::VaultKeyError,
};

/// Why a resource is left out. The text names it.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// An app cannot be used.
    #[error(transparent)]
    App(#[from] ResourceError),
    /// The fabric's domain is none.
    #[error("the fabric's domain is not valid")]
    Domain,
    /// Some of what users may cost is beyond what this edge can serve.
    #[error("reading {0} of the fabric's limits of edges")]
    EdgeLimits(String),
    /// An agent's id or group is none.
    #[error("reading an id of {name}")]
    Agent {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: IdError,
    },
    /// A certificate cannot be used.
    #[error("using {name}")]
    Certificate {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: CertificateError,
    },
    /// Keys that edges share cannot be used.
    #[error("using {name}")]
    Keys {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: SealingKeyError,
    },
    /// Keys that sign what origins are told cannot be used.
    #[error("using {name}")]
    AssertionKeys {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: AssertionKeyError,
    },
    /// A key to which credentials are sealed cannot be used: nothing is sealed to it.
    #[error("using {name}")]
    VaultKey {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: VaultKeyError,
    },
    /// A picture cannot be shown.
    #[error("using {name}")]
    Picture {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: PictureError,
    },
    /// What sessions are over cannot be read.
    #[error("reading {name}")]
    Revocation {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: RevocationError,
    },
    /// A program's token cannot be read: nobody gets in by it.
    #[error("reading {name}")]
    Service {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: ServiceError,
    },
    /// An identity provider cannot be used: nobody signs in by it.
    #[error("reading {name}")]
    Provider {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: ProviderError,
    },
    /// A CA of devices or programs cannot be used: none of its certificates counts.
    #[error("using {name}")]
    ClientCa {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: ClientCaError,
    },
    /// Terms of use cannot be read: nobody can accept them.
    #[error("reading {name}")]
    Terms {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: TermsError,
    },
    /// An access rule, or a location that rules name, cannot be read: nobody gets in whom it might be about.
    #[error("reading {name}: {what}")]
    Access {
        /// The resource.
        name: String,
        /// What is wrong.
        what: String,
    },
}
