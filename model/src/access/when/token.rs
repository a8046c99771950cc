//! The words of an expression.

use super::Fault;

/// One word, and where it begins, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Name(String),
    Text(String),
    Number(i64),
    /// An operator or a mark.
    Sign(&'static str),
    End,
}

/// The longer before those that they begin with.
const SIGNS: [&str; 18] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "-", "?", ":",
];

impl Kind {
    /// As faults have it.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Name(name) => format!("\"{name}\""),
            Self::Text(_) => "a string".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Sign(sign) => format!("\"{sign}\""),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Cuts a text into words, with [`Kind::End`] behind the last.
pub(super) fn read(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(char) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = match char {
            ' ' | '\t' | '\n' | '\r' => {
                at += 1;
                continue;
            }
            'a'..='z' | 'A'..='Z' | '_' => name(rest),
            '0'..='9' => number(rest, at)?,
            '"' | '\'' => string(rest, at)?,
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| {
                    Fault::new(at, format!("\"{}\" has no meaning", char.escape_debug()))
                })?;
                (Kind::Sign(sign), sign.len())
            }
        };
        tokens.push(Token { at, kind });
        at += length;
    }
    let kind = Kind::End;
    tokens.push(Token { at, kind });
    Ok(tokens)
}

fn name(rest: &str) -> (Kind, usize) {
    let length = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        .count();
    (Kind::Name(rest[..length].to_owned()), length)
}

fn number(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let length = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
        .count();
    let number = rest[..length].parse();
    let number = number.map_err(|_| {
        let what = format!("\"{}\" is no whole number that fits", &rest[..length]);
        Fault::new(at, what)
    })?;
    Ok((Kind::Number(number), length))
}

/// Within quotes of one sort, with the escapes `\\ \" \' \n \r \t`.
fn string(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let mut chars = rest.char_indices();
    let quote = chars.next().map_or('"', |(_, quote)| quote);
    let mut text = String::new();
    while let Some((index, char)) = chars.next() {
        match char {
            char if char == quote => return Ok((Kind::Text(text), index + 1)),
            '\\' => text.push(match chars.next() {
                Some((_, char @ ('\\' | '"' | '\''))) => char,
                Some((_, 'n')) => '\n',
                Some((_, 'r')) => '\r',
                Some((_, 't')) => '\t',
                _ => {
                    let what = "a backslash must stand before \\, a quote, n, r or t";
                    return Err(Fault::new(at + index, what));
                }
            }),
            char => text.push(char),
        }
    }
    Err(Fault::new(at, "the string has no end"))
}
