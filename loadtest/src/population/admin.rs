//! The admin API, called as an operator does.

use std::{fs, ops::Range, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::admin::{
    Access, App, CreateAppRequest, CreateJoinTokenRequest, GetStatusRequest, NodeRole, Origin,
    UpdateAppRequest, apps_client::AppsClient, join_tokens_client::JoinTokensClient,
    status_client::StatusClient,
};
use runtime::{Secret, control_client, tls};
use serde::Deserialize;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::fabric::DOMAIN;

/// Creations that wait for control at once; its writer takes so many into one commit.
const CALLS_MAX: usize = 64;
/// Apps between two words about how far it is.
const SAY_EVERY: usize = 5_000;
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Group of everything.
const GROUP: &str = "groups/default";
/// How long a join token holds.
const TOKEN_LIFE_SECONDS: i64 = 24 * 3_600;

/// How control says it can be reached, in `operator.toml`.
#[derive(Debug, Deserialize)]
struct Profile {
    control: String,
    token: Secret<String>,
    ca: String,
}

/// Control, called with the operator's token.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    line: InterceptedService<Channel, Bearer>,
}

#[derive(Clone)]
struct Bearer(MetadataValue<Ascii>);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(***)")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        request.set_timeout(CALL_TIMEOUT);
        Ok(request)
    }
}

impl Admin {
    /// Opens a line by what control wrote at its first start.
    pub(super) async fn reach(profile: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(profile)
            .with_context(|| format!("reading {}", profile.display()))?;
        let profile: Profile = toml::from_str(&text).context("reading the operator's profile")?;
        let mut bearer = MetadataValue::try_from(format!("Bearer {}", profile.token.expose()))?;
        bearer.set_sensitive(true);
        let settings = tls::ca_client_config(&profile.ca, &[tls::ALPN_H2])?;
        let channel =
            control_client::connect(&vec![profile.control].into(), Arc::new(settings)).await?;
        Ok(Self {
            line: InterceptedService::new(channel, Bearer(bearer)),
        })
    }

    /// A token that lets so many nodes in.
    pub(super) async fn join_token(
        &self,
        role: NodeRole,
        uses: usize,
    ) -> anyhow::Result<Secret<String>> {
        let request = CreateJoinTokenRequest {
            role: role.into(),
            group: match role {
                NodeRole::Agent => GROUP.to_owned(),
                NodeRole::Edge | NodeRole::Unspecified => String::new(),
            },
            uses: u32::try_from(uses)?,
            ttl: Some(prost_types::Duration {
                seconds: TOKEN_LIFE_SECONDS,
                nanos: 0,
            }),
            ..Default::default()
        };
        let made = JoinTokensClient::new(self.line.clone())
            .create_join_token(request)
            .await
            .context("making a join token")?;
        Ok(Secret::new(made.into_inner().token))
    }

    /// Revision of the store.
    pub(super) async fn revision(&self) -> anyhow::Result<u64> {
        let status = StatusClient::new(self.line.clone())
            .get_status(GetStatusRequest {})
            .await
            .context("reading the status")?;
        Ok(status.into_inner().revision)
    }

    /// Publishes the apps with these numbers, many at once.
    pub(super) async fn publish(
        &self,
        numbers: Range<usize>,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<()> {
        let all = numbers.end;
        stream::iter(numbers)
            .map(|number| async move {
                self.create(number, &format!("App {number}")).await?;
                anyhow::Ok(number)
            })
            .buffer_unordered(CALLS_MAX)
            .try_for_each(|number| async move {
                if (number + 1).is_multiple_of(SAY_EVERY) {
                    say(&format!("{} of {all} apps are published", number + 1));
                }
                Ok(())
            })
            .await
    }

    /// Publishes one app.
    pub(super) async fn create(&self, number: usize, display_name: &str) -> anyhow::Result<()> {
        let request = CreateAppRequest {
            app_id: id(number),
            app: Some(app(number, display_name)),
            validate_only: false,
        };
        Box::pin(AppsClient::new(self.line.clone()).create_app(request))
            .await
            .with_context(|| format!("publishing {}", id(number)))?;
        Ok(())
    }

    /// Publishes an app that has an origin.
    pub(super) async fn create_at(&self, id: &str, origin: &str) -> anyhow::Result<()> {
        let request = CreateAppRequest {
            app_id: id.to_owned(),
            app: Some(App {
                hosts: vec![format!("{id}.{DOMAIN}")],
                origins: vec![Origin {
                    url: origin.to_owned(),
                    ..Default::default()
                }],
                group: GROUP.to_owned(),
                access: Access::Passthrough.into(),
                ..Default::default()
            }),
            validate_only: false,
        };
        Box::pin(AppsClient::new(self.line.clone()).create_app(request))
            .await
            .with_context(|| format!("publishing {id}"))?;
        Ok(())
    }

    /// Gives an app another display name.
    pub(super) async fn rename(&self, number: usize, display_name: &str) -> anyhow::Result<()> {
        let request = UpdateAppRequest {
            app: Some(App {
                name: resource_name(number),
                display_name: display_name.to_owned(),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["display_name".to_owned()],
            }),
            ..Default::default()
        };
        Box::pin(AppsClient::new(self.line.clone()).update_app(request))
            .await
            .with_context(|| format!("changing {}", id(number)))?;
        Ok(())
    }
}

/// Name of the resource of an app, in the store and at edges.
pub(super) fn resource_name(number: usize) -> String {
    format!("apps/{}", id(number))
}

fn id(number: usize) -> String {
    format!("app-{number:06}")
}

fn app(number: usize, display_name: &str) -> App {
    App {
        display_name: display_name.to_owned(),
        hosts: vec![format!("{}.{DOMAIN}", id(number))],
        origins: vec![Origin {
            // Nobody asks for it.
            url: format!("http://{}.internal:8080", id(number)),
            ..Default::default()
        }],
        group: GROUP.to_owned(),
        access: Access::Passthrough.into(),
        ..Default::default()
    }
}
