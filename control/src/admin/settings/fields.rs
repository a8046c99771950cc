//! The fields of the settings that an update may write.

use proto::admin::{Limits, Settings, Timeouts};

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

pub(super) static FIELDS: Fields<Settings> = Fields {
    leaves: &[
        Field {
            path: "stopped",
            is_set: |settings| settings.stopped,
            copy: |to, from| to.stopped = from.stopped,
        },
        inner!(timeouts: Timeouts, connect),
        inner!(timeouts: Timeouts, response),
        inner!(timeouts: Timeouts, idle),
        inner!(timeouts: Timeouts, total),
        inner!(limits: Limits, body_bytes),
        inner!(limits: Limits, requests),
        inner!(limits: Limits, rate),
        inner!(limits: Limits, client_rate),
        inner!(limits: Limits, body_pace),
    ],
    output_only: &["name", "etag", "update_time"],
};
