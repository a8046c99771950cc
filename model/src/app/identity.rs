//! What an app's origins are told of the user, in fields of each request.

/// Fields that an app may have.
pub const IDENTITY_FIELDS_MAX: usize = 16;

/// One field of the requests that an app's origins get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityField {
    /// Its name in lower case.
    pub name: String,
    /// What it says.
    pub value: IdentityValue,
}

/// What a field says of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityValue {
    /// Id: what the user types to sign in.
    User,
    /// What people call the user.
    DisplayName,
    /// Address of e-mail.
    Email,
    /// Groups of users, with commas between them.
    UserGroups,
}
