//! The fields of an app that an update may write.

use proto::admin::{App, Timeouts};

use crate::admin::mask::{Field, Fields};

pub(super) static FIELDS: Fields<App> = Fields {
    leaves: &[
        Field {
            path: "display_name",
            is_set: |app| !app.display_name.is_empty(),
            copy: |to, from| to.display_name.clone_from(&from.display_name),
        },
        Field {
            path: "hosts",
            is_set: |app| !app.hosts.is_empty(),
            copy: |to, from| to.hosts.clone_from(&from.hosts),
        },
        Field {
            path: "path",
            is_set: |app| !app.path.is_empty(),
            copy: |to, from| to.path.clone_from(&from.path),
        },
        Field {
            path: "origins",
            is_set: |app| !app.origins.is_empty(),
            copy: |to, from| to.origins.clone_from(&from.origins),
        },
        Field {
            path: "group",
            is_set: |app| !app.group.is_empty(),
            copy: |to, from| to.group.clone_from(&from.group),
        },
        Field {
            path: "access",
            is_set: |app| app.access != 0,
            copy: |to, from| to.access = from.access,
        },
        Field {
            path: "timeouts.connect",
            is_set: |app| timeouts(app).connect.is_some(),
            copy: |to, from| to.timeouts.get_or_insert_default().connect = timeouts(from).connect,
        },
        Field {
            path: "timeouts.response",
            is_set: |app| timeouts(app).response.is_some(),
            copy: |to, from| to.timeouts.get_or_insert_default().response = timeouts(from).response,
        },
        Field {
            path: "timeouts.idle",
            is_set: |app| timeouts(app).idle.is_some(),
            copy: |to, from| to.timeouts.get_or_insert_default().idle = timeouts(from).idle,
        },
    ],
    output_only: &["name", "etag", "create_time", "update_time"],
};

fn timeouts(app: &App) -> Timeouts {
    app.timeouts.unwrap_or_default()
}
