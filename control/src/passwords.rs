//! Passwords of users: made, judged, hashed and compared. They are in memory for as long as a call takes, and nowhere else.
//!
//! argon2id with the parameters that OWASP asks for (Password Storage Cheat Sheet). A hash costs 19 MiB and some 20 ms of a core, so
//! two run at a time, on threads that may block, and who would wait too long for a turn is told to come again.

mod guessable;

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use model::user::PASSWORD_CHARS;
use rand::{Rng as _, seq::IndexedRandom as _};
use runtime::Secret;
use tokio::{
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
    time::timeout,
};

/// Memory of a hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// RFC 9106, section 3.1.
const SALT_BYTES: usize = 16;
/// Hashes at once: 38 MiB, and what two cores do.
const TURNS: usize = 2;
/// Hashes that wait for their turn, besides: about what two cores do in [`WAIT_MAX`].
const WAITING_MAX: usize = 200;
/// Longest wait for a turn. Edges wait longer for control.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Longest password that is looked at, in bytes: four for each character.
const BYTES_MAX: usize = 4 * PASSWORD_CHARS.1;
/// What is compared with where there is no account, so that nobody can tell by the time it takes. No password is known for it.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdC4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Letters and digits that are not taken for one another, in any font: 32 of them, so 20 make 100 bits.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const GROUPS: usize = 4;
const GROUP_CHARS: usize = 5;

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Too many others are being checked.
    #[error("too many passwords are being checked: try again")]
    Busy,
    /// A bug, or no memory.
    #[error("hashing a password")]
    Hash(#[source] argon2::password_hash::Error),
    /// The thread that hashed ended.
    #[error("hashing a password")]
    Ended(#[source] JoinError),
}

/// Takes turns at hashing. Clones are the same.
#[derive(Debug, Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(TURNS + WAITING_MAX)),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }
}

impl Passwords {
    /// The hash to keep, in the PHC string format.
    pub(crate) async fn hash(&self, password: Secret<String>) -> Result<String, PasswordError> {
        self.in_turn(move || {
            let salt: [u8; SALT_BYTES] = rand::rng().random();
            let hash = argon2().hash_password_with_salt(password.expose().as_bytes(), &salt);
            Ok(hash.map_err(PasswordError::Hash)?.to_string())
        })
        .await
    }

    /// Whether `hash` is of the password. Without a hash it is not, at the same cost.
    pub(crate) async fn verify(
        &self,
        password: Secret<String>,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        self.in_turn(move || {
            let kept = hash
                .as_deref()
                .and_then(|hash| PasswordHash::new(hash).ok());
            let is_real = kept.is_some() && password.expose().len() <= BYTES_MAX;
            let compared = match kept {
                Some(kept) => kept,
                None => PasswordHash::new(NOBODY).expect("the constant is a hash"),
            };
            let typed = if is_real { password.expose() } else { "" };
            let verified = argon2().verify_password(typed.as_bytes(), &compared);
            Ok(verified.is_ok() && is_real)
        })
        .await
    }

    /// Keeps everybody from hashing, to see who would.
    #[cfg(test)]
    pub(crate) async fn take_all_turns(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(TURNS).expect("a few");
        let turns = Arc::clone(&self.turns).acquire_many_owned(all).await;
        turns.expect("nobody closes it")
    }

    /// Runs what costs memory and time when it is its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| PasswordError::Busy)?;
        let turn = timeout(WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(PasswordError::Busy)?;
        let work = spawn_blocking(move || {
            // Held by the work itself, which goes on when nobody waits for it any more.
            let _held = (place, turn);
            work()
        });
        work.await.map_err(PasswordError::Ended)?
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the constants are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether a hash was made with other parameters than are used now.
pub(crate) fn is_outdated(hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return true;
    };
    let is_current = Params::try_from(&hash).is_ok_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES)
    });
    !is_current || hash.algorithm != Algorithm::Argon2id.ident()
}

/// What is wrong with a password that somebody chose, in words that follow "the password".
///
/// Only its length counts, and that it is not what is guessed first (NIST SP 800-63B-4, section 3.1.1.2: no rules of composition).
pub(crate) fn unfitness(password: &str, whose: &Whose<'_>) -> Option<String> {
    let (least, most) = PASSWORD_CHARS;
    let chars = password.chars().take(most + 1).count();
    if !(least..=most).contains(&chars) {
        return Some(format!("must have {least}-{most} characters"));
    }
    let Whose {
        id,
        email,
        display_name,
        domain,
    } = whose;
    if guessable::is_guessable(password, &[id, email, display_name, domain]) {
        return Some(
            "must not be made of names, common words, rows of keys or repetitions".to_owned(),
        );
    }
    None
}

/// Names that somebody's password is not to be made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) id: &'a str,
    pub(crate) email: &'a str,
    pub(crate) display_name: &'a str,
    /// The fabric's.
    pub(crate) domain: &'a str,
}

/// A password that nobody has chosen: four groups of five characters.
pub(crate) fn generate() -> Secret<String> {
    let mut random = rand::rng();
    let mut password = String::with_capacity(GROUPS * (GROUP_CHARS + 1));
    for group in 0..GROUPS {
        if group > 0 {
            password.push('-');
        }
        for _ in 0..GROUP_CHARS {
            let char = ALPHABET.choose(&mut random).copied();
            password.push(char::from(char.expect("the alphabet has letters")));
        }
    }
    Secret::new(password)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_right_password_verifies_and_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(!is_outdated(&hash));
        let again = passwords.hash(secret("correct horse")).await.unwrap();
        assert_ne!(hash, again, "salts differ");
        let long = "x".repeat(BYTES_MAX + 1);
        for (typed, hash, want) in [
            ("correct horse", Some(hash.as_str()), true),
            ("correct horse ", Some(&hash), false),
            ("", Some(&hash), false),
            (&long, Some(&hash), false),
            ("correct horse", None, false),
            ("correct horse", Some(""), false),
            ("", None, false),
        ] {
            let found = passwords.verify(secret(typed), hash.map(str::to_owned));
            assert_eq!(found.await.unwrap(), want, "{typed:?} {hash:?}");
        }
    }

    #[test]
    fn comparing_with_nobodys_costs_what_comparing_with_anybodys_does() {
        assert!(!is_outdated(NOBODY));
        let hash = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(hash.salt.unwrap().len(), SALT_BYTES);
        assert_eq!(hash.hash.unwrap().len(), Params::DEFAULT_OUTPUT_LEN);
    }

    #[test]
    fn hashes_with_other_parameters_are_told() {
        for (from, to) in [
            ("m=19456", "m=9216"),
            ("t=2", "t=1"),
            ("p=1", "p=2"),
            ("argon2id", "argon2i"),
            ("$", ""),
        ] {
            assert!(is_outdated(&NOBODY.replace(from, to)), "{to}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_comes_again() {
        let passwords = Passwords::default();
        let _all = passwords.take_all_turns().await;
        let waited = passwords.hash(secret("correct horse")).await;
        assert!(matches!(waited, Err(PasswordError::Busy)), "{waited:?}");
        let places = u32::try_from(TURNS + WAITING_MAX).unwrap();
        let _places = passwords.places.acquire_many(places).await.unwrap();
        let refused = passwords.verify(secret("correct horse"), None).await;
        assert!(matches!(refused, Err(PasswordError::Busy)), "{refused:?}");
    }

    #[test]
    fn length_decides_and_names_are_no_passwords() {
        let (least, most) = PASSWORD_CHARS;
        let own = |chars: usize| "würfel2mx".chars().cycle().take(chars).collect::<String>();
        let longest = own(most);
        for (password, is_fit) in [
            (own(least), true),
            (own(least - 1), false),
            ("a".repeat(least), false),
            (longest.clone(), true),
            (format!("{longest}x"), false),
            ("alice.smith@fabric".to_owned(), false),
            ("Alice.Smith@Fabric".to_owned(), false),
            ("ALICE@example.com".to_owned(), false),
            ("alice@example.com!".to_owned(), false),
            ("Adit-Fabric-2026".to_owned(), false),
        ] {
            let whose = Whose {
                id: "alice.smith@fabric",
                email: "Alice@Example.com",
                display_name: "",
                domain: "adit.test",
            };
            let found = unfitness(&password, &whose);
            assert_eq!(found.is_none(), is_fit, "{password}");
        }
    }

    #[test]
    fn made_passwords_are_long_and_each_is_another() {
        let made: BTreeSet<_> = (0..100).map(|_| generate().into_exposed()).collect();
        assert_eq!(made.len(), 100);
        let distinct: BTreeSet<_> = ALPHABET.iter().collect();
        assert_eq!(distinct.len(), ALPHABET.len());
        let chars = u32::try_from(GROUPS * GROUP_CHARS).unwrap();
        let bits = f64::from(chars) * f64::from(32).log2();
        assert!(bits >= 95.0, "{bits}");
        for password in made {
            let whose = Whose {
                id: "a",
                email: "",
                display_name: "",
                domain: "example.com",
            };
            assert_eq!(unfitness(&password, &whose), None);
            assert_eq!(
                password.split('-').map(str::len).collect::<Vec<_>>(),
                [5; 4]
            );
        }
    }
}
