//! `adit user`: people with accounts of the fabric's own.

mod second_factors;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use model::{name::UserId, user::PASSWORD_CHARS};
use prost_types::FieldMask;
use proto::admin::{
    CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest,
    ResetUserPasswordRequest, SignOutEveryoneRequest, SignOutUserRequest, UpdateUserRequest, User,
};
use runtime::Secret;
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::{Output, Screen},
    table::{self, Page, Row},
};

const CREATE_EXAMPLES: &str =
    "Without --password-file control makes a password: it alone goes to standard output, and is shown this once. Whichever
it is, the user has to choose another at the first sign-in.

Examples:
  adit user create alice --email alice@example.com --user-group staff
  adit user create bob --password-file bob.password
  adit user create carol --password-file -";

const RESET_EXAMPLES: &str =
    "Signs the user out everywhere, and ends the wait after failed sign-ins. As at `user create`, a made password alone goes
to standard output, and the user has to choose another at the next sign-in.

Examples:
  adit user reset-password alice
  adit user reset-password alice --password-file alice.password";

const SIGN_OUT_EXAMPLES: &str =
    "--everyone is for the day when an edge was taken over: after `adit edge revoke`, as whoever has been in an edge can make
sessions for as long as its keys hold.

Examples:
  adit user sign-out alice
  adit user sign-out --everyone";
const RESET_SECOND_FACTOR_EXAMPLE: &str =
    "Signs the user out everywhere. Make sure that it is the user who asks: from then on the password alone lets in, and where
second factors are required, whoever has it sets up the next one.

Example:
  adit user reset-second-factor alice";

/// What to do with users.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum UserCommand {
    /// Create an account with which somebody can sign in.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateUser),
    /// List all users.
    #[command(after_help = "Examples:\n  adit user list\n  adit user list --output json")]
    List,
    /// Show one user.
    #[command(after_help = "Example:\n  adit user show alice")]
    Show {
        /// Id of the user.
        id: UserId,
    },
    /// Change what is known of a user; other groups sign them out everywhere, and so does --disable.
    #[command(
        after_help = "Examples:\n  adit user update alice --user-group staff --user-group ops\n  adit user update alice --disable"
    )]
    Update(UpdateUser),
    /// Delete an account; its user is signed out everywhere.
    #[command(after_help = "Example:\n  adit user delete alice")]
    Delete {
        /// Id of the user.
        id: UserId,
        /// Delete only if the user still has this etag (see `user show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Give a user another password.
    #[command(after_help = RESET_EXAMPLES)]
    ResetPassword {
        /// Id of the user.
        id: UserId,
        #[command(flatten)]
        password: PasswordSource,
        /// Only if the user still has this etag (see `user show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Take a user's authenticator app, recovery codes and passkeys away, when they are lost.
    #[command(after_help = RESET_SECOND_FACTOR_EXAMPLE)]
    ResetSecondFactor {
        /// Id of the user.
        id: UserId,
        /// Only if the user still has this etag (see `user show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// List a user's passkeys.
    #[command(after_help = "Example:\n  adit user list-passkeys alice")]
    ListPasskeys {
        /// Id of the user.
        id: UserId,
    },
    /// Take one passkey away from a user, who is signed out everywhere.
    #[command(after_help = "Example:\n  adit user delete-passkey alice 3f1c0a9b2d4e5f60")]
    DeletePasskey {
        /// Id of the user.
        id: UserId,
        /// Id of the passkey (see `user list-passkeys`).
        passkey: String,
    },
    /// End every session of a user, or of everybody, wherever, within seconds.
    #[command(after_help = SIGN_OUT_EXAMPLES)]
    SignOut {
        /// Id of the user.
        #[arg(required_unless_present = "everyone")]
        id: Option<UserId>,
        /// Everybody, and make all keys of sessions and of TLS tickets anew.
        #[arg(long, conflicts_with = "id")]
        everyone: bool,
    },
}

/// `adit user create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateUser {
    /// What the user types to sign in: 1-128 of a-z, 0-9 and ._+@-.
    id: UserId,
    /// What people call them.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    display_name: String,
    /// Address of e-mail.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    email: String,
    /// Group that they are in; may be repeated.
    #[arg(long = "user-group", value_name = "NAME")]
    user_groups: Vec<String>,
    #[command(flatten)]
    password: PasswordSource,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// `adit user update`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
    "display_name", "email", "user_groups", "no_user_groups", "disable", "enable",
]))]
pub(crate) struct UpdateUser {
    /// Id of the user.
    id: UserId,
    /// What people call them.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Address of e-mail; empty for none.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Group that they are in; all given ones replace those they have.
    #[arg(long = "user-group", value_name = "NAME")]
    user_groups: Vec<String>,
    /// In no group any more.
    #[arg(long, conflicts_with = "user_groups")]
    no_user_groups: bool,
    /// They cannot sign in any more.
    #[arg(long)]
    disable: bool,
    /// They can sign in again.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Update only if the user still has this etag (see `user show`).
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Where a password is read from: never from the command line, which others on the machine can see.
#[derive(Debug, clap::Args)]
pub(crate) struct PasswordSource {
    /// File with the password, or - for standard input; control makes one where nothing is said.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Bytes that are read of a password: the longest one, with its line's end, and one more to see that it is too long.
const PASSWORD_BYTES_MAX: u64 = 4 * PASSWORD_CHARS.1 as u64 + 3;

impl PasswordSource {
    /// The password, or nothing if control is to make one.
    fn read(&self) -> Result<Option<Secret<String>>, Failure> {
        self.password_file.as_deref().map(password_in).transpose()
    }
}

/// The password in a file, or in standard input if it is `-`.
///
/// # Errors
/// There is none, or no single line of one.
pub(super) fn password_in(path: &Path) -> Result<Secret<String>, Failure> {
    let read = if path == Path::new("-") {
        password(io::stdin().lock())
    } else {
        File::open(path).and_then(password)
    };
    read.map_err(|source| Failure::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The first line. An empty one is none: control would make a password that nobody asked for.
fn password(source: impl Read) -> io::Result<Secret<String>> {
    let mut text = String::new();
    source.take(PASSWORD_BYTES_MAX).read_to_string(&mut text)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    let complaint = if password.is_empty() {
        "it is empty"
    } else if password.contains(['\r', '\n']) {
        "it has more than one line"
    } else {
        return Ok(Secret::new(password.to_owned()));
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, complaint))
}

impl UserCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(control, screen).await,
            Self::List => list(control, screen).await,
            Self::Show { id } => show(&id, control, screen).await,
            Self::Update(update) => update.run(control, screen).await,
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
            Self::ResetPassword { id, password, etag } => {
                reset(&id, &password, etag, (control, screen)).await
            }
            Self::SignOut { id: Some(id), .. } => sign_out(&id, control, screen).await,
            Self::SignOut { id: None, .. } => sign_out_everyone(control, screen).await,
            Self::ResetSecondFactor { id, etag } => {
                second_factors::reset(&id, etag, control, screen).await
            }
            Self::ListPasskeys { id } => second_factors::list(&id, control, screen).await,
            Self::DeletePasskey { id, passkey } => {
                second_factors::delete(&id, &passkey, control, screen).await
            }
        }
    }
}

impl CreateUser {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let doing = format!("create {}", self.id.resource_name());
        let given = self.password.read()?;
        let request = CreateUserRequest {
            user_id: self.id.to_string(),
            user: Some(User {
                display_name: self.display_name,
                email: self.email,
                user_groups: self.user_groups,
                ..User::default()
            }),
            password: given.map(Secret::into_exposed).unwrap_or_default(),
            validate_only: self.dry_run,
        };
        let made = control
            .call(doing, control.users().create_user(request))
            .await?;
        let user = made.user.unwrap_or_default();
        let done = if self.dry_run {
            "would be created"
        } else {
            "created"
        };
        with_password(user, Secret::new(made.password), done, screen)
    }
}

impl UpdateUser {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let name = self.id.resource_name();
        let doing = format!("update {name}");
        let paths = [
            ("display_name", self.display_name.is_some()),
            ("email", self.email.is_some()),
            (
                "user_groups",
                self.no_user_groups || !self.user_groups.is_empty(),
            ),
            ("disabled", self.disable || self.enable),
        ];
        let given = paths.into_iter().filter(|(_, given)| *given);
        let request = UpdateUserRequest {
            user: Some(User {
                name,
                etag: self.etag,
                display_name: self.display_name.unwrap_or_default(),
                email: self.email.unwrap_or_default(),
                user_groups: self.user_groups,
                disabled: self.disable,
                ..User::default()
            }),
            update_mask: Some(FieldMask {
                paths: given.map(|(path, _)| path.to_owned()).collect(),
            }),
            validate_only: self.dry_run,
        };
        let user = control
            .call(doing, control.users().update_user(request))
            .await?;
        let view = UserView::from(user);
        let done = if self.dry_run {
            "would be updated"
        } else {
            "updated"
        };
        match screen.output {
            Output::Json => screen.json(&view),
            Output::Table => table::done(screen, &view.name, done),
        }
    }
}

async fn list(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request = ListUsersRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.users().list_users(request).await?.into_inner();
        Ok((page.users, page.next_page_token))
    };
    let users = control.pages("list users", fetch).await?;
    let views: Vec<_> = users.into_iter().map(UserView::from).collect();
    let empty = "There are no users. `adit user create ID` makes one.";
    table::list(screen, &views, empty, control.clock.wall())
}

async fn show(id: &UserId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let request = GetUserRequest { name };
    let user = control
        .call(doing, control.users().get_user(request))
        .await?;
    let mut view = UserView::from(user);
    view.second_factor_needed = Some(second_factors::is_needed(&view, control).await?);
    table::show(screen, &view, control.clock.wall())
}

async fn delete(
    id: &UserId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteUserRequest {
        name: name.clone(),
        etag,
    };
    let mut users = control.users();
    let deletion = users.delete_user(request);
    control.delete(&name, deletion, screen).await
}

async fn reset(
    id: &UserId,
    password: &PasswordSource,
    etag: String,
    (control, screen): (&Control, &mut Screen),
) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("give {name} another password");
    let given = password.read()?;
    let request = ResetUserPasswordRequest {
        name,
        etag,
        password: given.map(Secret::into_exposed).unwrap_or_default(),
    };
    let made = control
        .call(doing, control.users().reset_user_password(request))
        .await?;
    let user = made.user.unwrap_or_default();
    with_password(
        user,
        Secret::new(made.password),
        "has another password",
        screen,
    )
}

async fn sign_out(id: &UserId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("sign {name} out");
    let request = SignOutUserRequest { name: name.clone() };
    control
        .call(doing, control.users().sign_out_user(request))
        .await?;
    table::done(screen, &name, "signed out")
}

async fn sign_out_everyone(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let request = SignOutEveryoneRequest {};
    let doing = "sign everybody out";
    control
        .call(doing.to_owned(), control.users().sign_out_everyone(request))
        .await?;
    table::done(screen, "everybody", "signed out")
}

/// Tells what became of a user, and the password if control made it.
fn with_password(
    user: User,
    password: Secret<String>,
    done: &str,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let user = UserView::from(user);
    let password = password.into_exposed();
    match screen.output {
        Output::Json => screen.json(&WithPassword { password, user }),
        Output::Table if password.is_empty() => table::done(screen, &user.name, done),
        Output::Table => {
            screen.note(format_args!(
                "{} {done}. The password is shown this once, and has to be changed at the next sign-in.",
                user.name
            ))?;
            screen.line(password)
        }
    }
}

/// Keys of a user with a new password in JSON.
#[derive(Serialize)]
struct WithPassword {
    #[serde(skip_serializing_if = "String::is_empty")]
    password: String,
    user: UserView,
}

/// Keys of a user in JSON.
#[derive(Debug, Serialize)]
struct UserView {
    name: String,
    etag: String,
    display_name: String,
    email: String,
    user_groups: Vec<String>,
    disabled: bool,
    must_change_password: bool,
    create_time: Option<String>,
    update_time: Option<String>,
    password_time: Option<String>,
    authenticator_time: Option<String>,
    passkeys: u32,
    /// Whether the user has to have one; said where one user is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    second_factor_needed: Option<bool>,
    #[serde(skip)]
    password_made: Option<prost_types::Timestamp>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            etag: user.etag,
            display_name: user.display_name,
            email: user.email,
            user_groups: user.user_groups,
            disabled: user.disabled,
            must_change_password: user.must_change_password,
            create_time: age::rfc3339(user.create_time),
            update_time: age::rfc3339(user.update_time),
            password_time: age::rfc3339(user.password_time),
            authenticator_time: age::rfc3339(user.authenticator_time),
            passkeys: user.passkeys,
            second_factor_needed: None,
            password_made: user.password_time,
        }
    }
}

impl UserView {
    /// Whether and how they can sign in.
    fn state(&self) -> &'static str {
        if self.disabled {
            "disabled"
        } else if self.must_change_password {
            "new password"
        } else {
            "active"
        }
    }
}

impl Row for UserView {
    const COLUMNS: &'static [&'static str] = &[
        "USER",
        "DISPLAY NAME",
        "EMAIL",
        "GROUPS",
        "STATE",
        "PASSWORD SET",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            table::or_dash(&self.display_name),
            table::or_dash(&self.email),
            table::or_dash(&self.user_groups.join(", ")),
            self.state().to_owned(),
            table::or_dash(&age::relative(self.password_made.as_ref(), now)),
        ]
    }
}

impl Page for UserView {
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        vec![
            ("user", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("email", self.email.clone()),
            ("groups", self.user_groups.join("\n")),
            ("state", self.state().to_owned()),
            (
                "password set",
                age::relative(self.password_made.as_ref(), now),
            ),
            (
                "second factors",
                table::or_dash(&second_factors::words(self)),
            ),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_without_its_end() {
        for (text, want) in [
            ("correct horse", Some("correct horse")),
            ("correct horse\n", Some("correct horse")),
            (" correct horse \r\n", Some(" correct horse ")),
            ("", None),
            ("\n", None),
            ("correct horse\nbattery staple\n", None),
        ] {
            let read = password(text.as_bytes());
            assert_eq!(read.ok().map(Secret::into_exposed).as_deref(), want);
        }
        // Too long for control, and no longer than that.
        let long = "x".repeat(10_000);
        let read = password(long.as_bytes()).unwrap().into_exposed();
        assert!(read.len() > 4 * PASSWORD_CHARS.1);
        assert!(read.len() < long.len());
    }
}
