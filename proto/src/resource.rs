//! Apps as control sends them to nodes. Reading is strict: what is not understood whole is refused, so that a node never
//! serves more than was published.

use std::time::Duration;

use model::{
    app::{
        ASSIGNED_GROUPS_MAX, ASSIGNED_PROGRAMS_MAX, ASSIGNED_SERVICES_MAX, ASSIGNED_USERS_MAX,
        Access, Assignment, Timeouts,
    },
    host::HostError,
    name::{AppId, IdError},
    path::{PathPrefix, PrefixError},
};

use crate::fabric;

mod agent;
mod answers;
mod cors;
mod edge;
mod identity;
mod limits;
mod origin;
mod session_cookie;
mod sso;
#[cfg(test)]
mod tests;
mod tile;
mod tokens;

/// Why a node cannot use an app that control sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Its id, that of its group, or that of a segment.
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
    /// One of its paths.
    #[error("reading a path of {resource}")]
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
        source: model::app::OriginUrlError,
    },
    /// More than an app may have of something, or fewer.
    #[error("{resource} has {count} {what}, not {min} to {max}")]
    Count {
        /// Name of the resource.
        resource: String,
        /// Hosts, origins and the like.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// How many it must have.
        min: usize,
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
    /// Any other setting that is missing, out of its range, or of a kind that this version does not know.
    #[error("{resource} has {what} that this version cannot use")]
    Setting {
        /// Name of the resource.
        resource: String,
        /// Which one.
        what: &'static str,
    },
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

    fn path(&self, text: &str) -> Result<PathPrefix, ResourceError> {
        text.parse().map_err(|source| ResourceError::Path {
            resource: self.resource(),
            source,
        })
    }

    /// Reads every item of a list that may have so many.
    fn all<W, T>(
        &self,
        what: &'static str,
        (min, max): (usize, usize),
        wire: &[W],
        read: impl FnMut(&W) -> Result<T, ResourceError>,
    ) -> Result<Vec<T>, ResourceError> {
        let count = wire.len();
        if !(min..=max).contains(&count) {
            return Err(ResourceError::Count {
                resource: self.resource(),
                what,
                count,
                min,
                max,
            });
        }
        wire.iter().map(read).collect()
    }

    /// What was read, or that `what` cannot be used.
    fn setting<T, E>(&self, what: &'static str, read: Result<T, E>) -> Result<T, ResourceError> {
        read.map_err(|_| ResourceError::Setting {
            resource: self.resource(),
            what,
        })
    }

    /// That something holds, or that `what` cannot be used.
    fn holds(&self, what: &'static str, is: bool) -> Result<(), ResourceError> {
        self.setting(what, if is { Ok(()) } else { Err(()) })
    }

    fn access(&self, wire: &fabric::EdgeApp) -> Result<Access, ResourceError> {
        match fabric::AccessKind::try_from(wire.access) {
            Ok(fabric::AccessKind::Passthrough) => Ok(Access::Passthrough),
            Ok(fabric::AccessKind::SignIn) => {
                let wire = wire.assignment.as_ref();
                let assignment = wire.map(|wire| self.assignment(wire)).transpose()?;
                Ok(Access::SignIn(assignment.unwrap_or_default()))
            }
            Ok(fabric::AccessKind::Unspecified) | Err(_) => Err(ResourceError::Access {
                resource: self.resource(),
            }),
        }
    }

    fn assignment(&self, wire: &fabric::Assignment) -> Result<Assignment, ResourceError> {
        const USERS: &str = "assigned users";
        const GROUPS: &str = "assigned groups of users";
        let users = self.all(USERS, (0, ASSIGNED_USERS_MAX), &wire.users, |id| {
            self.id(id)
        })?;
        let groups = self.all(
            GROUPS,
            (0, ASSIGNED_GROUPS_MAX),
            &wire.user_groups,
            |group| self.setting(GROUPS, group.parse()),
        )?;
        let services = self.all(
            "assigned services",
            (0, ASSIGNED_SERVICES_MAX),
            &wire.services,
            |id| self.id(id),
        )?;
        const PROGRAMS: &str = "assigned programs";
        let programs = self.all(
            PROGRAMS,
            (0, ASSIGNED_PROGRAMS_MAX),
            &wire.programs,
            |program| self.setting(PROGRAMS, program.parse()),
        )?;
        Ok(Assignment {
            users: users.into_iter().collect(),
            groups: groups.into_iter().collect(),
            everyone: wire.everyone,
            services: services.into_iter().collect(),
            programs: programs.into_iter().collect(),
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

fn write_timeouts(timeouts: &Timeouts) -> fabric::Timeouts {
    fabric::Timeouts {
        connect_ms: millis(timeouts.connect),
        response_ms: millis(timeouts.response),
        idle_ms: millis(timeouts.idle),
        total_ms: timeouts.total.map_or(0, millis),
    }
}

/// Bytes of a message that is there, as its writer counts them and its reader counts them again: less, if it has dropped any.
pub(crate) fn length(message: Option<&impl prost::Message>) -> u32 {
    let bytes = message.map_or(0, prost::Message::encoded_len);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
