//! The groups of a user who is in more than fit into a token, asked for where the operator says that they are listed.
//!
//! Either all, or nothing: a rule that keeps a group out would not hold for a user of whom it is not known that they are in it. A place
//! that the provider's token names (`_claim_sources`; OpenID Connect Core, section 5.6.2) is never asked.

use std::time::Duration;

use issuer::{Answer, Ask, Authorization, FetchError, Fetcher};
use model::identity_provider::ProviderUrl;
use runtime::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

/// Pages of one list: Microsoft Graph gives 100 groups on each, or as many as `$top` says, at most 999.
const PAGES_MAX: usize = 20;
/// Names of one list. Beyond what a session holds, as an operator may keep some of them only.
const NAMES_MAX: usize = 5_000;
/// For all pages: somebody waits for the sign-in.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why it is not known which groups a user is in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupsError {
    /// The place gave no answer.
    #[error("asking where groups are listed")]
    Fetch(#[source] FetchError),
    /// All pages together took too long.
    #[error("the list of groups took longer than {} s", LIST_TIMEOUT.as_secs())]
    Slow,
    /// It is no list.
    #[error("the list of groups {0}")]
    Unreadable(&'static str),
}

/// A page of a list, as Microsoft Graph has it (OData); or an object with the claim, as userinfo endpoints answer.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
    value: Option<Vec<Listed>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Name(String),
    Group { id: String },
}

/// All groups of whom `access` is of, at `first`; `claim` is what they stand under where it is no list of Graph's.
///
/// # Errors
/// Every [`GroupsError`]; part of a list is none.
pub(super) async fn fetch(
    fetcher: &Fetcher,
    first: &ProviderUrl,
    access: &Secret<String>,
    claim: &str,
) -> Result<Vec<String>, GroupsError> {
    let listing = list(fetcher, first, access, claim);
    let listed = timeout(LIST_TIMEOUT, listing).await;
    listed.map_err(|_| GroupsError::Slow)?
}

async fn list(
    fetcher: &Fetcher,
    first: &ProviderUrl,
    access: &Secret<String>,
    claim: &str,
) -> Result<Vec<String>, GroupsError> {
    let mut names = Vec::new();
    let mut url = first.clone();
    for _ in 0..PAGES_MAX {
        let ask = Ask {
            authorization: Some(Authorization::Bearer(access.clone())),
            ..Ask::get(&url)
        };
        let answer = fetcher.ask(ask).await.and_then(Answer::granted);
        let answer = answer.map_err(GroupsError::Fetch)?;
        let next = read(&answer.body, claim, &mut names)?;
        if names.len() > NAMES_MAX {
            return Err(GroupsError::Unreadable("is too long"));
        }
        let Some(next) = next else {
            return Ok(names);
        };
        url = follow(first, &next)?;
    }
    Err(GroupsError::Unreadable("has too many pages"))
}

/// Adds the names of one page; where the next is, if there is one.
fn read(body: &[u8], claim: &str, names: &mut Vec<String>) -> Result<Option<String>, GroupsError> {
    let page = serde_json::from_slice::<Page>(body);
    // The cause would show what it could not read.
    let page = page.map_err(|_| GroupsError::Unreadable("cannot be read"))?;
    if let Some(value) = page.value {
        names.extend(value.into_iter().map(|listed| match listed {
            Listed::Name(name) => name,
            Listed::Group { id } => id,
        }));
        return Ok(page.next);
    }
    let Some(Value::Array(said)) = page.rest.get(claim) else {
        return Err(GroupsError::Unreadable("is not there"));
    };
    for name in said {
        let name = name.as_str();
        names.push(
            name.ok_or(GroupsError::Unreadable("cannot be read"))?
                .to_owned(),
        );
    }
    Ok(None)
}

/// The token goes where the operator sends it, and nowhere else.
fn follow(first: &ProviderUrl, next: &str) -> Result<ProviderUrl, GroupsError> {
    let next = next.parse::<ProviderUrl>();
    let next = next.map_err(|_| GroupsError::Unreadable("goes on where it cannot be"))?;
    if next.origin() != first.origin() {
        return Err(GroupsError::Unreadable("goes on at another host"));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(body: &str) -> Result<(Vec<String>, Option<String>), String> {
        let mut names = Vec::new();
        let next = read(body.as_bytes(), "groups", &mut names);
        next.map(|next| (names, next))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn lists_are_read_whole_or_not_at_all() {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        for (body, want) in [
            (
                r#"{"@odata.context": "x", "value": [{"@odata.type": "group", "id": "a"}, {"id": "b"}]}"#,
                &["a", "b"][..],
            ),
            (r#"{"value": ["a"]}"#, &["a"]),
            (r#"{"value": []}"#, &[]),
            (r#"{"sub": "7", "groups": ["a", "b"]}"#, &["a", "b"]),
        ] {
            assert_eq!(names(body), Ok((owned(want), None)), "{body}");
        }
        for body in [
            "",
            "[]",
            "{}",
            r#"{"value": 1}"#,
            r#"{"value": [{"name": "a"}]}"#,
            r#"{"value": ["a", 1]}"#,
            r#"{"groups": "a"}"#,
            r#"{"groups": ["a", 1]}"#,
            r#"{"roles": ["a"]}"#,
        ] {
            assert!(names(body).is_err(), "{body}");
        }
        let (_, next) =
            names(r#"{"value": [], "@odata.nextLink": "https://a.example/2"}"#).unwrap();
        assert_eq!(next.as_deref(), Some("https://a.example/2"));
    }

    #[test]
    fn a_list_goes_on_at_its_own_host_alone() {
        let first = "https://graph.example.com/v1.0/me".parse().unwrap();
        assert!(follow(&first, "https://graph.example.com/v1.0/me?$skiptoken=x").is_ok());
        for elsewhere in [
            "https://evil.example/v1.0/me",
            "https://graph.example.com:444/",
            "http://graph.example.com/",
            "http://127.0.0.1/",
            "/v1.0/me",
            "",
        ] {
            assert!(follow(&first, elsewhere).is_err(), "{elsewhere}");
        }
    }
}
