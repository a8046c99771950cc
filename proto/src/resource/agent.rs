//! What agents get: where an app lives, and how it is spoken to there.

use std::collections::HashSet;

use model::{
    app::{AgentApp, AgentSegment, HostSent, OriginUrl, SEGMENTS_MAX, Translation},
    path::PathPrefix,
};

use super::{Reader, ResourceError, origin, write_timeouts};
use crate::{app::sso, fabric, rules};

impl From<&AgentApp> for fabric::AgentApp {
    fn from(app: &AgentApp) -> Self {
        Self {
            id: app.id.to_string(),
            origins: app.origins.iter().map(origin::write).collect(),
            timeouts: Some(write_timeouts(&app.timeouts)),
            segments: app.segments.iter().map(write_segment).collect(),
            path: app.path.as_str().to_owned(),
            translation: Some(write_translation(&app.translation)),
            origin_proxy: app
                .proxy
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            health_check: app.health_check.as_ref().map(origin::write_health_check),
            keep_field_case: app.keep_field_case,
            single_sign_on: app.sso.as_ref().map(sso::write),
        }
    }
}

impl TryFrom<&fabric::AgentApp> for AgentApp {
    type Error = ResourceError;

    /// An app without origins and segments is legal: it leads nowhere.
    fn try_from(wire: &fabric::AgentApp) -> Result<Self, ResourceError> {
        let reader = Reader::new(&wire.id);
        let segments = reader.all("segments", (0, SEGMENTS_MAX), &wire.segments, |segment| {
            reader.agent_segment(segment)
        })?;
        let ids: HashSet<_> = segments.iter().map(|segment| &segment.id).collect();
        reader.holds("two segments of one id", ids.len() == segments.len())?;
        Ok(Self {
            id: reader.id(&wire.id)?,
            path: reader.path(&wire.path)?,
            origins: reader.origins(0, &wire.origins)?,
            segments,
            timeouts: reader.timeouts(wire.timeouts.as_ref())?,
            translation: reader.translation(wire.translation.as_ref())?,
            proxy: reader.proxy(&wire.origin_proxy)?,
            health_check: wire
                .health_check
                .as_ref()
                .map(|wire| reader.health_check(wire))
                .transpose()?,
            keep_field_case: wire.keep_field_case,
            sso: reader.agent_sso(wire.single_sign_on.as_ref())?,
        })
    }
}

impl Reader<'_> {
    fn agent_segment(&self, wire: &fabric::AgentSegment) -> Result<AgentSegment, ResourceError> {
        Ok(AgentSegment {
            id: self.id(&wire.id)?,
            path: self.path(&wire.path)?,
            inner_path: self.inner_path(&wire.inner_path)?,
            origins: self.origins(1, &wire.origins)?,
        })
    }

    /// Without the message nothing is asked for but the defaults.
    fn translation(
        &self,
        wire: Option<&fabric::Translation>,
    ) -> Result<Translation, ResourceError> {
        const WHAT: &str = "a translation";
        let Some(wire) = wire else {
            return Ok(Translation::default());
        };
        let host = match fabric::HostSent::try_from(wire.host) {
            Ok(fabric::HostSent::Inner) => HostSent::Inner,
            Ok(fabric::HostSent::Public) => HostSent::Public,
            Ok(fabric::HostSent::Named) => {
                HostSent::Named(self.setting(WHAT, rules::authority(&wire.inner_host))?)
            }
            Ok(fabric::HostSent::Unspecified) | Err(_) => return self.setting(WHAT, Err(())),
        };
        self.holds(WHAT, wire.bodies || !(wire.json || wire.scripts))?;
        Ok(Translation {
            host,
            keep_fields: wire.keep_fields,
            bodies: wire.bodies,
            json: wire.json,
            scripts: wire.scripts,
            inner_path: self.inner_path(&wire.inner_path)?,
        })
    }

    fn inner_path(&self, wire: &str) -> Result<Option<PathPrefix>, ResourceError> {
        match wire {
            "" => Ok(None),
            path => self.path(path).map(Some),
        }
    }

    fn proxy(&self, wire: &str) -> Result<Option<OriginUrl>, ResourceError> {
        if wire.is_empty() {
            return Ok(None);
        }
        self.setting("a proxy", rules::proxy(wire)).map(Some)
    }
}

fn write_segment(segment: &AgentSegment) -> fabric::AgentSegment {
    fabric::AgentSegment {
        id: segment.id.to_string(),
        origins: segment.origins.iter().map(origin::write).collect(),
        path: segment.path.as_str().to_owned(),
        inner_path: written(segment.inner_path.as_ref()),
    }
}

fn write_translation(translation: &Translation) -> fabric::Translation {
    let (host, inner_host) = match &translation.host {
        HostSent::Inner => (fabric::HostSent::Inner, ""),
        HostSent::Public => (fabric::HostSent::Public, ""),
        HostSent::Named(host) => (fabric::HostSent::Named, host.as_str()),
    };
    fabric::Translation {
        host: host.into(),
        inner_host: inner_host.to_owned(),
        keep_fields: translation.keep_fields,
        bodies: translation.bodies,
        json: translation.json,
        scripts: translation.scripts,
        inner_path: written(translation.inner_path.as_ref()),
    }
}

fn written(path: Option<&PathPrefix>) -> String {
    path.map(ToString::to_string).unwrap_or_default()
}
