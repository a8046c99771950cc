//! Lists, a page at a time (AIP-158).
//!
//! A page token holds the last key that was shown, so what is created or deleted meanwhile neither repeats nor hides
//! anything else.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::refusal::Refusal;
use crate::store::{Entry, Store};

/// Entries of a page when the request does not say.
const SIZE_DEFAULT: usize = 100;
/// Most entries of a page; larger wishes get this (AIP-158).
const SIZE_MAX: usize = 1000;
/// Stored bytes after which a page ends early: half of what gRPC clients take in one message (4 MiB).
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Entries read from the store at once.
const READ_MAX: usize = 100;
/// Entries that a page may pass over because the filter leaves them out; then it ends, with a token to go on.
const PASSED_OVER_MAX: usize = 10_000;
/// Bytes of the filter's hash in a token: enough to notice a token of another list.
const FILTER_HASH_BYTES: usize = 8;

/// What a list request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageRequest<'a> {
    /// 0: the default.
    pub(crate) size: u32,
    /// Empty: the first page.
    pub(crate) token: &'a str,
    /// Collection with its slash: `apps/`.
    pub(crate) prefix: &'a str,
    /// Everything else that the request chose by; must be the same on every page.
    pub(crate) filter: &'a str,
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page<T> {
    /// What is on it.
    pub(crate) items: Vec<T>,
    /// Empty: it is the last.
    pub(crate) next_token: String,
}

/// What becomes of an entry.
#[derive(Debug)]
pub(crate) enum Shown<T> {
    /// It is on the page.
    Yes(T),
    /// The filter leaves it out.
    No,
    /// Neither it nor anything behind it is in the list.
    End,
}

/// Reads a page; `read` says what becomes of each entry.
pub(crate) async fn read<T>(
    store: &dyn Store,
    request: PageRequest<'_>,
    mut read: impl FnMut(&Entry) -> Result<Shown<T>, Refusal> + Send,
) -> Result<Page<T>, Refusal> {
    let size = match usize::try_from(request.size) {
        Ok(0) => SIZE_DEFAULT,
        Ok(size) => size.min(SIZE_MAX),
        Err(_) => SIZE_MAX,
    };
    let mut after = request.last_key()?;
    let mut items = Vec::new();
    let (mut bytes, mut passed_over) = (0, 0);
    loop {
        let range = store
            .range(request.prefix, after.as_deref(), READ_MAX)
            .await?;
        let mut left = range.entries.len();
        for entry in &range.entries {
            left -= 1;
            after = Some(entry.key.to_string());
            bytes += entry.value.len();
            match read(entry)? {
                Shown::Yes(item) => items.push(item),
                Shown::No => passed_over += 1,
                Shown::End => {
                    return Ok(Page {
                        items,
                        next_token: String::new(),
                    });
                }
            }
            let full = items.len() == size || bytes >= PAGE_BYTES_MAX;
            if full || passed_over >= PASSED_OVER_MAX {
                let more = left > 0 || range.more;
                let next_token = if more {
                    request.token_after(&entry.key)
                } else {
                    String::new()
                };
                return Ok(Page { items, next_token });
            }
        }
        if !range.more || range.entries.is_empty() {
            return Ok(Page {
                items,
                next_token: String::new(),
            });
        }
    }
}

impl PageRequest<'_> {
    fn filter_hash(&self) -> Vec<u8> {
        let text = format!("{}\n{}", self.prefix, self.filter);
        digest(&SHA256, text.as_bytes()).as_ref()[..FILTER_HASH_BYTES].to_vec()
    }

    fn token_after(&self, key: &str) -> String {
        let mut token = self.filter_hash();
        token.extend_from_slice(key.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    fn last_key(&self) -> Result<Option<String>, Refusal> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let bad = || {
            Refusal::field(
                "page_token",
                "must be the next_page_token of a list with the same filter",
            )
        };
        let token = URL_SAFE_NO_PAD.decode(self.token).map_err(|_| bad())?;
        let (hash, key) = token.split_at_checked(FILTER_HASH_BYTES).ok_or_else(bad)?;
        let key = std::str::from_utf8(key).map_err(|_| bad())?;
        if hash != self.filter_hash() || !key.starts_with(self.prefix) {
            return Err(bad());
        }
        Ok(Some(key.to_owned()))
    }
}
