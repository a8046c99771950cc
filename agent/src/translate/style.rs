//! CSS, piece by piece: URLs in `url()` and after `@import`.
//!
//! Comments and other strings are text. A URL is held back until it is clear where it leads; nothing else is.

use std::sync::Arc;

use model::translate::{Site, URL_FRONT_BYTES_MAX};

/// Letters of the longest word that matters: `@import`.
const WORD_BYTES_MAX: usize = 7;

/// A style sheet, or what stands in a `style` attribute.
#[derive(Debug)]
pub(super) struct Style {
    site: Arc<Site>,
    state: State,
    /// The last word, in lower case, if it is short enough to matter.
    word: Vec<u8>,
    /// White space came after it.
    spaced: bool,
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    /// After a slash that may begin a comment.
    Slash,
    Comment {
        star: bool,
    },
    Text {
        quote: u8,
        escaped: bool,
    },
    /// Behind `url(`.
    Opened,
    /// In a URL that is held back.
    Url(Quote),
    /// Behind the front of a URL without quotes.
    Rest {
        escaped: bool,
    },
}

/// What closes a URL; none: the parenthesis, or white space.
type Quote = Option<u8>;

impl Style {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            state: State::Plain,
            word: Vec::with_capacity(WORD_BYTES_MAX + 1),
            spaced: false,
            held: Vec::new(),
        }
    }

    /// Takes a piece and gives what is decided.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let (mut at, mut copied) = (0, 0);
        while let Some(&byte) = piece.get(at) {
            if let State::Url(quote) = self.state {
                if self.is_over(byte, quote) {
                    self.decide(quote, out);
                } else {
                    self.held.push(byte);
                    at += 1;
                }
                copied = at;
                continue;
            }
            // A byte that ends one thing may begin another.
            let taken = self.step(byte);
            at += usize::from(taken);
            if let State::Url(_) = self.state {
                out.extend_from_slice(&piece[copied..at]);
                copied = at;
            }
        }
        out.extend_from_slice(&piece[copied..]);
    }

    /// Gives what was held back, and is ready for another sheet.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        if let State::Url(quote) = self.state {
            self.decide(quote, out);
        }
        self.state = State::Plain;
        self.word.clear();
    }

    fn is_over(&self, byte: u8, quote: Quote) -> bool {
        let closes = match quote {
            Some(quote) => byte == quote || byte == b'\n',
            None => byte == b')' || byte.is_ascii_whitespace(),
        };
        closes || byte == b'\\' || self.held.len() == URL_FRONT_BYTES_MAX || !may_be_url(&self.held)
    }

    fn decide(&mut self, quote: Quote, out: &mut Vec<u8>) {
        put_translated(&self.site, &self.held, out);
        self.held.clear();
        self.state = match quote {
            Some(quote) => State::Text {
                quote,
                escaped: false,
            },
            None => State::Rest { escaped: false },
        };
    }

    /// Moves on by a byte; false if it has to be looked at once more.
    fn step(&mut self, byte: u8) -> bool {
        match self.state {
            State::Plain => self.plain(byte),
            State::Slash if byte == b'*' => self.state = State::Comment { star: false },
            State::Slash => {
                self.state = State::Plain;
                self.word.clear();
                return false;
            }
            State::Comment { star: true } if byte == b'/' => self.state = State::Plain,
            State::Comment { .. } => self.state = State::Comment { star: byte == b'*' },
            State::Text { quote, escaped } => {
                self.state = if !escaped && (byte == quote || byte == b'\n') {
                    State::Plain
                } else {
                    State::Text {
                        quote,
                        escaped: !escaped && byte == b'\\',
                    }
                }
            }
            State::Opened if byte.is_ascii_whitespace() => {}
            State::Opened if byte == b'"' || byte == b'\'' => self.state = State::Url(Some(byte)),
            State::Opened => {
                self.state = State::Url(None);
                return false;
            }
            State::Rest { escaped } => {
                self.state = if !escaped && byte == b')' {
                    State::Plain
                } else {
                    State::Rest {
                        escaped: !escaped && byte == b'\\',
                    }
                }
            }
            // Taken care of where pieces are read.
            State::Url(_) => {}
        }
        true
    }

    fn plain(&mut self, byte: u8) {
        match byte {
            b'(' if !self.spaced && self.word == b"url" => {
                self.state = State::Opened;
                self.word.clear();
            }
            b'"' | b'\'' => {
                self.state = if self.word == b"@import" {
                    State::Url(Some(byte))
                } else {
                    State::Text {
                        quote: byte,
                        escaped: false,
                    }
                };
                self.word.clear();
            }
            b'/' => self.state = State::Slash,
            byte if byte.is_ascii_whitespace() => self.spaced = true,
            byte if byte.is_ascii_alphanumeric()
                || b"-_@\\".contains(&byte)
                || !byte.is_ascii() =>
            {
                if self.spaced {
                    self.word.clear();
                }
                if self.word.len() <= WORD_BYTES_MAX {
                    self.word.push(byte.to_ascii_lowercase());
                }
                self.spaced = false;
            }
            _ => {
                self.word.clear();
                self.spaced = false;
            }
        }
    }
}

/// Whether a URL that is to be translated may begin so.
fn may_be_url(front: &[u8]) -> bool {
    front.first().is_none_or(|first| *first == b'/') || may_be_absolute(front)
}

/// The same for one with a scheme.
pub(super) fn may_be_absolute(front: &[u8]) -> bool {
    [b"http://".as_slice(), b"https://", b"ws://", b"wss://"]
        .into_iter()
        .any(|scheme| {
            let length = scheme.len().min(front.len());
            front[..length].eq_ignore_ascii_case(&scheme[..length])
        })
}

fn put_translated(site: &Site, url: &[u8], out: &mut Vec<u8>) {
    match site.outward(url) {
        Some(swap) => {
            out.extend_from_slice(swap.with.as_bytes());
            out.extend_from_slice(&url[swap.bytes..]);
        }
        None => out.extend_from_slice(url),
    }
}
