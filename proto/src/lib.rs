//! The wire: generated types of every `.proto`, and the conversions between them and `model`, once.

/// Generated code, in the nesting that references between packages need.
mod adit {
    #![allow(
        missing_docs,
        unused_qualifications,
        unnameable_types,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        clippy::use_self,
        reason = "generated"
    )]
    pub mod access {
        pub mod v1 {
            tonic::include_proto!("adit.access.v1");
        }
    }
    pub mod admin {
        pub mod v1 {
            tonic::include_proto!("adit.admin.v1");
        }
    }
    pub mod control {
        pub mod v1 {
            tonic::include_proto!("adit.control.v1");
        }
    }
    pub mod edge {
        pub mod v1 {
            tonic::include_proto!("adit.edge.v1");
        }
    }
    pub mod fabric {
        pub mod v1 {
            tonic::include_proto!("adit.fabric.v1");
        }
    }
    pub mod tunnel {
        pub mod v1 {
            tonic::include_proto!("adit.tunnel.v1");
        }
    }
}

/// Access rules and locations, in the words that operators and edges share.
pub use adit::access::v1 as access;
/// The admin API.
pub use adit::admin::v1 as admin;
/// What control keeps in its store.
pub use adit::control::v1 as control;
/// What edges give to users' browsers to keep.
pub use adit::edge::v1 as edge;
/// Enrolment and distribution.
pub use adit::fabric::v1 as fabric;
/// Payloads of the tunnel.
pub use adit::tunnel::v1 as tunnel;

/// Every `.proto` of this crate as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub mod app;

pub mod settings;

pub mod group;

pub mod access_rule;

pub mod location;

pub mod terms;

pub mod user;

pub mod service;

pub mod client_ca;

pub mod identity_provider;

mod hidden;

pub mod resource;

pub mod snapshot;

pub mod time;

pub mod violation;

mod rules;

#[cfg(test)]
mod arbitrary;
