//! Passwords that are guessed first (NIST SP 800-63B-4, section 3.1.1.2: values that are commonly used, expected, or compromised).
//!
//! No list of millions is shipped: of those that have twelve characters, nearly all are a known word with digits behind it, a word twice,
//! or a row of keys. So what is known, and what follows from the character before, is taken out, and the rest must be somebody's own.

/// Own characters that a password has at the least, and how many of them differ.
const OWN_MIN: usize = 5;
const OWN_DISTINCT_MIN: usize = 4;
/// Shorter words say nothing of where they come from.
const WORD_CHARS_MIN: usize = 3;

/// Words that long passwords are made of most (common to the lists of the breaches that are public). Longer ones come before those that they hold.
const WORDS: [&str; 48] = [
    "administrator",
    "qwertyuiop",
    "motdepasse",
    "contraseña",
    "contrasena",
    "iloveyou",
    "password",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "passwort",
    "kennwort",
    "whatever",
    "superman",
    "football",
    "baseball",
    "princess",
    "sunshine",
    "trustno1",
    "starwars",
    "michael",
    "welcome",
    "charlie",
    "letmein",
    "company",
    "default",
    "freedom",
    "asdfgh",
    "zxcvbn",
    "qwerty",
    "qwertz",
    "azerty",
    "dragon",
    "master",
    "monkey",
    "shadow",
    "secret",
    "summer",
    "winter",
    "spring",
    "autumn",
    "change",
    "hello",
    "login",
    "admin",
    "guest",
    "pass",
    "test",
];
/// Rows of keys, as hands run along them.
const ROWS: [&str; 7] = [
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1234567890",
];

/// Whether somebody who knows of `known`, which are names, would try it soon.
pub(super) fn is_guessable(password: &str, known: &[&str]) -> bool {
    let mut rest = password.to_lowercase();
    let mut words: Vec<String> = known.iter().flat_map(|name| words(name)).collect();
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    for word in words.iter().map(String::as_str).chain(WORDS) {
        rest = rest.replace(word, " ");
    }
    let own = own_characters(one_period(&rest));
    let mut distinct = own.clone();
    distinct.sort_unstable();
    distinct.dedup();
    own.len() < OWN_MIN || distinct.len() < OWN_DISTINCT_MIN
}

/// What is repeated, if all of it is.
fn one_period(text: &str) -> &str {
    let bytes = text.as_bytes();
    let period =
        (1..=bytes.len() / 2).find(|period| bytes[*period..] == bytes[..bytes.len() - period]);
    period.and_then(|period| text.get(..period)).unwrap_or(text)
}

/// The parts of a name.
fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let parts = lower.split(|char: char| !char.is_alphanumeric());
    let long = parts.filter(|part| part.chars().count() >= WORD_CHARS_MIN);
    long.map(str::to_owned).collect()
}

/// Those that do not follow from the one before.
fn own_characters(text: &str) -> Vec<char> {
    let mut before = None;
    let mut own = Vec::new();
    for char in text.chars() {
        if char.is_alphanumeric() && before.is_none_or(|before| !follows(before, char)) {
            own.push(char);
        }
        before = Some(char);
    }
    own
}

/// The same again, the next or the last of the alphabet, or of a row of keys.
fn follows(before: char, char: char) -> bool {
    let beside = u32::from(before).abs_diff(u32::from(char)) <= 1;
    let at = |row: &str, wanted: char| row.chars().position(|key| key == wanted);
    beside
        || ROWS.iter().any(|row| {
            let pair = at(row, before).zip(at(row, char));
            pair.is_some_and(|(before, now)| before.abs_diff(now) == 1)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_refused_and_what_is_somebodys_own_is_not() {
        let known = [
            "alice.smith",
            "Alice Smith",
            "a.smith@example.com",
            "adit.example.com",
        ];
        for guessed in [
            "aaaaaaaaaaaa",
            "abababababab",
            "123456789012",
            "qwertyuiopas",
            "abcdefghijkl",
            "password1234",
            "Password2024!",
            "passwordpassword",
            "Welcome12345!",
            "alicealice2026",
            "AliceSmith123",
            "smith.alice.1987",
            "example.com1234",
            "Summer2026!!",
            "1q2w1q2w1q2w",
            "............",
            "administrator1",
            "iloveyou1234",
            "111222333444",
            "adit-adit-adit",
        ] {
            assert!(is_guessable(guessed, &known), "{guessed}");
        }
        for own in [
            "correct horse",
            "battery staple",
            "plum jam on toast",
            "alice in chains",
            "tr0ub4dor&3xyz",
            "kq7m-x2vn-p4tj",
            "mein Fahrrad ist rot",
            "密码密码很长的自己的话",
        ] {
            assert!(!is_guessable(own, &known), "{own}");
        }
    }

    #[test]
    fn longer_words_come_before_those_that_they_hold() {
        for (index, word) in WORDS.iter().enumerate() {
            let mut later = WORDS[index + 1..].iter();
            assert!(!later.any(|later| later.contains(word)), "{word}");
        }
    }
}
