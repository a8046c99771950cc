//! Apps as control sends them to nodes. Reading is strict: what is not understood whole is refused, so that a node never
//! serves more than was published.

use std::time::Duration;

use model::{
    app::{
        Access, AgentApp, App, HOSTS_MAX, ORIGINS_MAX, Origin, OriginTls, OriginUrlError, Timeouts,
    },
    host::{HostError, HostPattern},
    name::{AppId, IdError},
    path::PrefixError,
};

use crate::fabric;

#[cfg(test)]
mod tests;

/// Why a node cannot use an app that control sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Its id, or that of its group.
    #[error("reading an id of {resource}")]
    Id {
        /// Name of the resource.
        resource: String,
        /// What is wrong with the id.
        #[source]
        source: IdError,
    },
    /// One of its hosts, or the name in an origin's certificate.
    #[error("reading a host of {resource}")]
    Host {
        /// Name of the resource.
        resource: String,
        /// What is wrong with the host.
        #[source]
        source: HostError,
    },
    /// Its path.
    #[error("reading the path of {resource}")]
    Path {
        /// Name of the resource.
        resource: String,
        /// What is wrong with the path.
        #[source]
        source: PrefixError,
    },
    /// The address of one of its origins.
    #[error("reading an origin of {resource}")]
    Origin {
        /// Name of the resource.
        resource: String,
        /// What is wrong with the address.
        #[source]
        source: OriginUrlError,
    },
    /// No hosts or origins, or more than an app may have.
    #[error("{resource} has {count} {what}, not 1 to {max}")]
    Count {
        /// Name of the resource.
        resource: String,
        /// Hosts or origins.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// A way to admit callers that this version does not know, or none: nobody is admitted.
    #[error("{resource} admits callers in a way that this version does not know")]
    Access {
        /// Name of the resource.
        resource: String,
    },
    /// A time-out that is missing or out of its range.
    #[error("{resource} has a time-out that is missing or out of range")]
    Timeouts {
        /// Name of the resource.
        resource: String,
    },
}

impl From<&App> for fabric::EdgeApp {
    fn from(app: &App) -> Self {
        Self {
            id: app.id.to_string(),
            hosts: app.hosts.iter().map(HostPattern::to_string).collect(),
            path: app.path.as_str().to_owned(),
            group: app.group.to_string(),
            access: match app.access {
                Access::Passthrough => fabric::AccessKind::Passthrough.into(),
            },
            timeouts: Some(write_timeouts(&app.timeouts)),
            ..Self::default()
        }
    }
}

impl From<&AgentApp> for fabric::AgentApp {
    fn from(app: &AgentApp) -> Self {
        Self {
            id: app.id.to_string(),
            origins: app.origins.iter().map(write_origin).collect(),
            timeouts: Some(write_timeouts(&app.timeouts)),
            ..Self::default()
        }
    }
}

impl TryFrom<&fabric::EdgeApp> for App {
    type Error = ResourceError;

    fn try_from(wire: &fabric::EdgeApp) -> Result<Self, ResourceError> {
        let reader = Reader::new(&wire.id);
        reader.count("hosts", wire.hosts.len(), HOSTS_MAX)?;
        Ok(Self {
            hosts: wire
                .hosts
                .iter()
                .map(|host| reader.host(host))
                .collect::<Result<_, _>>()?,
            path: wire.path.parse().map_err(|source| ResourceError::Path {
                resource: reader.resource(),
                source,
            })?,
            timeouts: reader.timeouts(wire.timeouts.as_ref())?,
            ..Self::new(
                reader.id(&wire.id)?,
                reader.id(&wire.group)?,
                reader.access(wire.access)?,
            )
        })
    }
}

impl TryFrom<&fabric::AgentApp> for AgentApp {
    type Error = ResourceError;

    fn try_from(wire: &fabric::AgentApp) -> Result<Self, ResourceError> {
        let reader = Reader::new(&wire.id);
        reader.count("origins", wire.origins.len(), ORIGINS_MAX)?;
        let origins = wire
            .origins
            .iter()
            .map(|origin| reader.origin(origin))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            timeouts: reader.timeouts(wire.timeouts.as_ref())?,
            ..Self::new(reader.id(&wire.id)?, origins)
        })
    }
}

fn write_origin(origin: &Origin) -> fabric::Origin {
    let tls = &origin.tls;
    fabric::Origin {
        url: origin.url.to_string(),
        ca_pem: tls.ca_pem.as_deref().unwrap_or_default().to_owned(),
        server_name: tls
            .server_name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        insecure: tls.insecure,
        weight: origin.weight,
        protocol: fabric::OriginProtocol::Auto.into(),
    }
}

fn write_timeouts(timeouts: &Timeouts) -> fabric::Timeouts {
    fabric::Timeouts {
        connect_ms: millis(timeouts.connect),
        response_ms: millis(timeouts.response),
        idle_ms: millis(timeouts.idle),
        total_ms: timeouts.total.map_or(0, millis),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the parts of one app, and names it where one is wrong.
struct Reader<'a> {
    app: &'a str,
}

impl<'a> Reader<'a> {
    fn new(app: &'a str) -> Self {
        Self { app }
    }

    fn resource(&self) -> String {
        format!("{}{}", AppId::COLLECTION, self.app)
    }

    fn id<T: std::str::FromStr<Err = IdError>>(&self, text: &str) -> Result<T, ResourceError> {
        text.parse().map_err(|source| ResourceError::Id {
            resource: self.resource(),
            source,
        })
    }

    fn host<T: std::str::FromStr<Err = HostError>>(&self, text: &str) -> Result<T, ResourceError> {
        text.parse().map_err(|source| ResourceError::Host {
            resource: self.resource(),
            source,
        })
    }

    fn count(&self, what: &'static str, count: usize, max: usize) -> Result<(), ResourceError> {
        if (1..=max).contains(&count) {
            return Ok(());
        }
        Err(ResourceError::Count {
            resource: self.resource(),
            what,
            count,
            max,
        })
    }

    fn access(&self, access: i32) -> Result<Access, ResourceError> {
        match fabric::AccessKind::try_from(access) {
            Ok(fabric::AccessKind::Passthrough) => Ok(Access::Passthrough),
            Ok(fabric::AccessKind::Unspecified) | Err(_) => Err(ResourceError::Access {
                resource: self.resource(),
            }),
        }
    }

    fn origin(&self, wire: &fabric::Origin) -> Result<Origin, ResourceError> {
        let url = wire.url.parse().map_err(|source| ResourceError::Origin {
            resource: self.resource(),
            source,
        })?;
        let server_name = match wire.server_name.as_str() {
            "" => None,
            name => Some(self.host(name)?),
        };
        Ok(Origin {
            tls: OriginTls {
                ca_pem: (!wire.ca_pem.is_empty()).then(|| wire.ca_pem.as_str().into()),
                server_name,
                insecure: wire.insecure,
            },
            ..Origin::new(url)
        })
    }

    fn timeouts(&self, wire: Option<&fabric::Timeouts>) -> Result<Timeouts, ResourceError> {
        let read = |ms, (shortest, longest)| {
            Some(Duration::from_millis(ms)).filter(|time| (shortest..=longest).contains(time))
        };
        wire.and_then(|wire| {
            Some(Timeouts {
                connect: read(wire.connect_ms, Timeouts::CONNECT_RANGE)?,
                response: read(wire.response_ms, Timeouts::RESPONSE_RANGE)?,
                idle: read(wire.idle_ms, Timeouts::IDLE_RANGE)?,
                total: match wire.total_ms {
                    0 => None,
                    ms => Some(read(ms, Timeouts::TOTAL_RANGE)?),
                },
            })
        })
        .ok_or_else(|| ResourceError::Timeouts {
            resource: self.resource(),
        })
    }
}
