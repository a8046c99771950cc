//! How an app's inner names and its public ones are turned into one another.

use crate::path::PathPrefix;

/// What agents translate for an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Translation {
    /// Host that origins get.
    pub host: HostSent,
    /// Fields of answers stay as the origin wrote them.
    pub keep_fields: bool,
    /// Links in HTML and CSS are translated.
    pub bodies: bool,
    /// So are those in JSON strings.
    pub json: bool,
    /// So are those in string literals of JavaScript.
    pub scripts: bool,
    /// Path at the origin that stands for the published one; none: the same.
    pub inner_path: Option<PathPrefix>,
}

/// Host that origins get.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostSent {
    /// The origin's own authority: the name by which the app is known inside.
    #[default]
    Inner,
    /// The name that the user asked for.
    Public,
    /// This authority.
    Named(String),
}
