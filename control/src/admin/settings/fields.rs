//! The fields of the settings that an update may write.

use proto::admin::{Brand, EdgeLimits, Limits, Settings, Timeouts};

use crate::admin::mask::{Field, Fields};

/// A field of a message of the settings that is unset where it says nothing.
macro_rules! inner {
    ($message:ident: $kind:ident, $path:ident) => {
        Field {
            path: concat!(stringify!($message), ".", stringify!($path)),
            is_set: |settings: &Settings| {
                settings
                    .$message
                    .is_some_and(|message| message.$path.is_some())
            },
            copy: |to, from| {
                let given = from.$message.and_then(|message| message.$path);
                let message = to.$message.get_or_insert_default();
                message.$path = given;
                if *message == $kind::default() {
                    to.$message = None;
                }
            },
        }
    };
}

/// A field of the brand, whose empty value says nothing.
macro_rules! brand {
    ($path:ident) => {
        Field {
            path: concat!("brand.", stringify!($path)),
            is_set: |settings: &Settings| {
                let brand = settings.brand.as_ref();
                brand.is_some_and(|brand| !brand.$path.is_empty())
            },
            copy: |to, from| {
                let given = from.brand.as_ref().map(|brand| brand.$path.clone());
                let brand = to.brand.get_or_insert_default();
                brand.$path = given.unwrap_or_default();
                if *brand == Brand::default() {
                    to.brand = None;
                }
            },
        }
    };
}

pub(super) static FIELDS: Fields<Settings> = Fields {
    leaves: &[
        Field {
            path: "stopped",
            is_set: |settings| settings.stopped,
            copy: |to, from| to.stopped = from.stopped,
        },
        Field {
            path: "title_case",
            is_set: |settings| settings.title_case,
            copy: |to, from| to.title_case = from.title_case,
        },
        Field {
            path: "second_factor",
            is_set: |settings| settings.second_factor != 0,
            copy: |to, from| to.second_factor = from.second_factor,
        },
        Field {
            path: "second_factor_groups",
            is_set: |settings| !settings.second_factor_groups.is_empty(),
            copy: |to, from| {
                to.second_factor_groups
                    .clone_from(&from.second_factor_groups);
            },
        },
        Field {
            path: "sign_in_log_days",
            is_set: |settings| settings.sign_in_log_days != 0,
            copy: |to, from| to.sign_in_log_days = from.sign_in_log_days,
        },
        brand!(name),
        brand!(accent),
        brand!(help),
        brand!(help_url),
        brand!(links),
        inner!(timeouts: Timeouts, connect),
        inner!(timeouts: Timeouts, response),
        inner!(timeouts: Timeouts, idle),
        inner!(timeouts: Timeouts, total),
        inner!(limits: Limits, body_bytes),
        inner!(limits: Limits, requests),
        inner!(limits: Limits, rate),
        inner!(limits: Limits, client_rate),
        inner!(limits: Limits, body_pace),
        inner!(limits: Limits, head_fields),
        inner!(limits: Limits, head_bytes),
        inner!(limits: Limits, target_bytes),
        inner!(limits: Limits, stall_timeout),
        inner!(edge_limits: EdgeLimits, connections),
        inner!(edge_limits: EdgeLimits, client_connections),
        inner!(edge_limits: EdgeLimits, streams),
        inner!(edge_limits: EdgeLimits, resets),
        inner!(edge_limits: EdgeLimits, handshake_timeout),
        inner!(edge_limits: EdgeLimits, head_timeout),
        inner!(edge_limits: EdgeLimits, idle_timeout),
        inner!(edge_limits: EdgeLimits, head_fields),
        inner!(edge_limits: EdgeLimits, head_bytes),
        inner!(edge_limits: EdgeLimits, target_bytes),
        inner!(edge_limits: EdgeLimits, body_grace),
        inner!(edge_limits: EdgeLimits, client_resting),
        inner!(edge_limits: EdgeLimits, stall_timeout),
        inner!(edge_limits: EdgeLimits, stalled_max),
    ],
    output_only: &["name", "etag", "update_time"],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    #[test]
    fn every_field_of_the_contract_can_be_written_or_is_output_only() {
        let files = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        let messages: Vec<_> = files
            .file
            .iter()
            .filter(|file| file.package() == "adit.admin.v1")
            .flat_map(|file| &file.message_type)
            .collect();
        let fields_of = |name: &str| {
            let message = messages.iter().find(|message| message.name() == name);
            message.map(|message| message.field.as_slice()).unwrap()
        };
        let contract: BTreeSet<String> = fields_of("Settings")
            .iter()
            .flat_map(|field| match field.type_name().rsplit_once('.') {
                Some((_, kind @ ("Timeouts" | "Limits" | "EdgeLimits" | "Brand"))) => {
                    fields_of(kind)
                        .iter()
                        .map(|leaf| format!("{}.{}", field.name(), leaf.name()))
                        .collect()
                }
                Some(_) | None => vec![field.name().to_owned()],
            })
            .collect();
        let leaves = FIELDS.leaves.iter().map(|leaf| leaf.path);
        let known = leaves.chain(FIELDS.output_only.iter().copied());
        assert_eq!(known.map(str::to_owned).collect::<BTreeSet<_>>(), contract);
    }
}
