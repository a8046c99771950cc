//! The first start: what makes an empty store a fabric, and hands it to its operator.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use model::host::Hostname;
use prost::Message as _;
use proto::{
    admin::{Group, OperatorRole},
    control::FabricRecord,
    time::wire_timestamp,
};
use runtime::Clock;

use super::StartError;
use crate::{
    audit,
    ca::{CERTIFICATE_FILE, Ca},
    fabric::FABRIC_KEY,
    secret_file::{self, SecretFileError},
    store::{Check, Op, Store, StoreError, TxnError},
    tokens::{ApiTokenOrder, MintedApiToken, api_token_ops, mint_api},
};

/// Name of the operator's profile: `control`, `token` and `ca` in TOML.
pub const PROFILE_FILE: &str = "operator.toml";
/// The group that is there from the start.
pub const DEFAULT_GROUP: &str = "groups/default";
/// Id of the first API token.
const TOKEN_ID: &str = "bootstrap";

/// What the first start made; enough to say on one screen what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstStart {
    /// Domain of the fabric.
    pub domain: Hostname,
    /// Where operators and nodes dial, "host:port".
    pub control: String,
    /// The operator's profile; holds the only admin token.
    pub profile_path: PathBuf,
    /// The CA's certificate, for browsers to trust.
    pub ca_path: PathBuf,
    /// `groups/default`.
    pub group: &'static str,
}

/// Everything the first start needs.
pub(super) struct Founding<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) clock: &'a Clock,
    pub(super) ca: &'a Ca,
    pub(super) domain: &'a Hostname,
    pub(super) directory: &'a Path,
    pub(super) control: &'a str,
}

impl Founding<'_> {
    /// Makes the fabric.
    pub(super) async fn found(&self) -> Result<FirstStart, StartError> {
        let token = mint_api(
            ApiTokenOrder {
                id: TOKEN_ID.parse().expect("the constant is an id"),
                display_name: "Made at the first start".to_owned(),
                role: OperatorRole::Admin,
                expires: None,
            },
            self.clock.wall(),
        );
        // Before the transaction: a token that was stored and never shown would lock everybody out.
        self.write_profile(&token)?;
        let written = self.write_records(&token).await;
        written.map_err(|source| StartError::Store {
            path: self.directory.to_owned(),
            source,
        })?;
        tracing::info!(domain = %self.domain, "a new fabric");
        Ok(FirstStart {
            domain: self.domain.clone(),
            control: self.control.to_owned(),
            profile_path: self.directory.join(PROFILE_FILE),
            ca_path: self.directory.join(CERTIFICATE_FILE),
            group: DEFAULT_GROUP,
        })
    }

    fn write_profile(&self, token: &MintedApiToken) -> Result<(), SecretFileError> {
        let path = self.directory.join(PROFILE_FILE);
        let text = format!(
            "# How the command line reaches control. Whoever has this file is an admin.\n\
             control = \"{}\"\ntoken = \"{}\"\nca = \"\"\"\n{}\"\"\"\n",
            self.control,
            token.token.expose(),
            self.ca.root_pem(),
        );
        secret_file::write(&path, &text)
    }

    async fn write_records(&self, token: &MintedApiToken) -> Result<(), StoreError> {
        let fabric = FabricRecord {
            domain: self.domain.to_string(),
            roots: vec![self.ca.root().to_vec().into()],
        };
        let now = Some(wire_timestamp(self.clock.wall()));
        let group = Group {
            name: DEFAULT_GROUP.to_owned(),
            create_time: now,
            update_time: now,
            display_name: "Default".to_owned(),
            ..Group::default()
        };
        let put = |key: &str, value: Vec<u8>| Op::Put(Arc::from(key), value.into());
        let (mut checks, mut ops) = api_token_ops(&token.record);
        checks.push(Check::Absent(FABRIC_KEY.into()));
        ops.push(put(FABRIC_KEY, fabric.encode_to_vec()));
        ops.push(put(DEFAULT_GROUP, group.encode_to_vec()));
        let event = audit::Event {
            actor: "control".to_owned(),
            method: "FirstStart",
            resource: FABRIC_KEY.to_owned(),
            ..audit::Event::default()
        };
        ops.push(audit::op(event, self.clock));
        match self.store.txn(checks, ops).await {
            Ok(_) => Ok(()),
            // The lock on the directory keeps everybody else out.
            Err(TxnError::Conflict(check)) => Err(StoreError::Database(
                format!("{check:?} did not hold").into(),
            )),
            Err(TxnError::Store(error)) => Err(error),
        }
    }
}
