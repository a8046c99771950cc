//! Credentials of apps, as their users keep and remove them.

use std::{net::IpAddr, sync::Arc};

use model::{
    name::{AppId, VaultKeyId},
    vault::{CredentialName, Holder},
};
use proto::{
    admin,
    fabric::{
        CredentialUser, KeepCredentialRequest, RemoveCredentialRequest, ShowCredentialRequest,
    },
    time::{system_time, wire_timestamp},
};

use super::{
    AdmittedEdge,
    second_factors::{Whose, bounded_id, find},
};
use crate::{
    audit,
    fabric::{FabricContext, refusal::Refusal},
    store::{ATTEMPTS_MAX, Check, Op},
    telemetry,
    time::unix_ms,
    vault,
};

/// Who asks, of which app.
struct Asked<'a> {
    name: CredentialName,
    client: IpAddr,
    request_id: &'a str,
    /// That an account of the fabric's own is as it was when it was looked at.
    account: Option<Check>,
}

impl<'a> Asked<'a> {
    /// `None`: control has not said who the user is, or takes it back.
    async fn of(
        context: &FabricContext,
        wire: Option<&'a CredentialUser>,
        app: &str,
    ) -> Result<Option<Self>, Refusal> {
        let wire = wire.ok_or(Refusal::Protocol("the user is missing"))?;
        let named = wire.user.as_ref();
        let named = named.ok_or(Refusal::Protocol("the user is missing"))?;
        let user = named.user.parse();
        let user = user.map_err(|_| Refusal::Protocol("the user is no id"))?;
        let provider = (!named.provider.is_empty()).then(|| named.provider.parse());
        let provider = provider.transpose();
        let provider = provider.map_err(|_| Refusal::Protocol("the identity provider is no id"))?;
        let app: AppId = app
            .parse()
            .map_err(|_| Refusal::Protocol("the app is no id"))?;
        let client = wire.client.parse();
        let client = client.map_err(|_| Refusal::Protocol("the client is no IP address"))?;
        let mut account = None;
        if provider.is_none() {
            let whose = Whose::of(context, wire.shown.as_ref())?;
            if whose.word.is_none() || whose.user != user {
                return Ok(None);
            }
            let Some(found) = find(context, &user, whose.wire.as_of_ms).await? else {
                return Ok(None);
            };
            account = Some(Check::unchanged(&found.entry));
        }
        let holder = Holder::User { provider, user };
        Ok(Some(Self {
            name: CredentialName { app, holder },
            client,
            request_id: bounded_id(&wire.request_id),
            account,
        }))
    }

    /// Who it is, for the audit log.
    fn actor(&self) -> String {
        match &self.name.holder {
            Holder::User {
                provider: Some(provider),
                user,
            } => format!("{}/{}", provider.resource_name(), user.resource_name()),
            Holder::User {
                provider: None,
                user,
            } => user.resource_name(),
            Holder::Shared => String::new(),
        }
    }

    fn audit_row(&self, context: &FabricContext, method: &'static str) -> Op {
        let event = audit::Event {
            actor: self.actor(),
            method,
            resource: self.name.to_string(),
            peer: self.client.to_string(),
            changed_fields: Vec::new(),
            ..audit::Event::default()
        };
        audit::op(event, &context.clock)
    }
}

/// When it was kept; 0: there is none that the app's agents can open.
pub(in crate::fabric) async fn show(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &ShowCredentialRequest,
) -> Result<i64, Refusal> {
    let Some(asked) = Asked::of(context, request.user.as_ref(), &request.app).await? else {
        return Ok(0);
    };
    let found = vault::find(&*context.store, &asked.name).await?;
    let kept = found.and_then(|(_, stored)| system_time(stored.update_time.as_ref()?).ok());
    Ok(kept.map_or(0, unix_ms))
}

/// When it is kept; 0: it is not.
pub(in crate::fabric) async fn keep(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &KeepCredentialRequest,
) -> Result<i64, Refusal> {
    let key: VaultKeyId = request
        .vault_key
        .parse()
        .map_err(|_| Refusal::Protocol("the key is no id"))?;
    for _ in 0..ATTEMPTS_MAX {
        let asked = Asked::of(context, request.user.as_ref(), &request.app).await?;
        let Some(asked) = asked else {
            telemetry::credentials("refused").increment(1);
            return Ok(0);
        };
        let wanted = (&asked.name, &key, &*request.sealed);
        let mut keeping = match vault::keeping(&*context.store, wanted).await? {
            Ok(keeping) => keeping,
            Err(why) => {
                telemetry::credentials("refused").increment(1);
                tracing::info!(credential = %asked.name, %why, request.id = asked.request_id, "a user's credential is not kept");
                return Ok(0);
            }
        };
        if !keeping.is_users_own {
            telemetry::credentials("refused").increment(1);
            tracing::info!(credential = %asked.name, request.id = asked.request_id, "a user's credential is not kept: the app takes none of its users");
            return Ok(0);
        }
        keeping.checks.extend(asked.account.clone());
        let now = context.clock.wall();
        let credential = admin::Credential {
            name: asked.name.to_string(),
            etag: String::new(),
            update_time: Some(wire_timestamp(now)),
            vault_key: key.resource_name(),
            sealed: request.sealed.clone(),
            group: keeping.group,
            by_user: true,
        };
        let ops = vec![
            vault::put(&credential),
            asked.audit_row(context, "KeepCredential"),
        ];
        if context.commit(keeping.checks, ops).await? {
            telemetry::credentials("kept").increment(1);
            tracing::info!(credential = %asked.name, client = %asked.client, request.id = asked.request_id, "a user's credential is kept");
            return Ok(unix_ms(now));
        }
    }
    Err(Refusal::Contended)
}

/// Whether there is none any more.
pub(in crate::fabric) async fn remove(
    context: &FabricContext,
    _: &AdmittedEdge,
    request: &RemoveCredentialRequest,
) -> Result<bool, Refusal> {
    for _ in 0..ATTEMPTS_MAX {
        let asked = Asked::of(context, request.user.as_ref(), &request.app).await?;
        let Some(asked) = asked else {
            telemetry::credentials("refused").increment(1);
            return Ok(false);
        };
        let key: Arc<str> = asked.name.to_string().into();
        let Some(entry) = context.store.get(&key).await? else {
            return Ok(true);
        };
        let ops = vec![
            Op::Delete(key),
            asked.audit_row(context, "RemoveCredential"),
        ];
        if context.commit(vec![Check::unchanged(&entry)], ops).await? {
            telemetry::credentials("removed").increment(1);
            tracing::info!(credential = %asked.name, client = %asked.client, request.id = asked.request_id, "a user's credential is removed");
            return Ok(true);
        }
    }
    Err(Refusal::Contended)
}
