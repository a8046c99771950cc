//! String literals of JSON and JavaScript, piece by piece: those that begin with an app's whole inner URL.
//!
//! A URL is one that begins right after a quote, with its scheme, `/` written as it is or as `\/`. So nothing needs to be known
//! of the language around it: neither a regular expression nor a comment can make the scanner lose its place.

use std::sync::Arc;

use model::translate::{Site, Swap, URL_FRONT_BYTES_MAX};

use super::style::may_be_absolute;

/// A script, or a JSON text.
#[derive(Debug)]
pub(super) struct Literals {
    site: Arc<Site>,
    quotes: &'static [u8],
    /// Right after a quote.
    inside: bool,
    /// As it was written.
    held: Vec<u8>,
    /// The same without the backslashes before slashes.
    plain: Vec<u8>,
    /// The last byte held is a backslash.
    escape: bool,
}

impl Literals {
    pub(super) fn json(site: Arc<Site>) -> Self {
        Self::new(site, b"\"")
    }

    pub(super) fn script(site: Arc<Site>) -> Self {
        Self::new(site, b"\"'`")
    }

    fn new(site: Arc<Site>, quotes: &'static [u8]) -> Self {
        Self {
            site,
            quotes,
            inside: false,
            held: Vec::new(),
            plain: Vec::new(),
            escape: false,
        }
    }

    /// Takes a piece and gives what is decided.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.inside {
                rest = self.hold(rest, out);
            } else {
                let quote = rest.iter().position(|byte| self.quotes.contains(byte));
                let length = quote.map_or(rest.len(), |at| at + 1);
                out.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
                self.inside = quote.is_some();
            }
        }
    }

    /// Gives what was held back, and is ready for another text.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.decide(out);
    }

    fn hold<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        for (at, byte) in rest.iter().enumerate() {
            if !self.takes(*byte) {
                self.decide(out);
                return &rest[at..];
            }
        }
        &[]
    }

    /// Takes the byte, if with it this may still be the front of a URL.
    fn takes(&mut self, byte: u8) -> bool {
        let of_url = byte.is_ascii_graphic() && !b"\"'`<>\\".contains(&byte) || !byte.is_ascii();
        if self.plain.len() == URL_FRONT_BYTES_MAX {
            return false;
        }
        match byte {
            b'\\' if !self.escape => self.escape = true,
            b'/' if self.escape => self.escape = false,
            _ if self.escape || !of_url => return false,
            _ => {}
        }
        self.held.push(byte);
        if byte != b'\\' {
            self.plain.push(byte);
        }
        may_be_absolute(&self.plain) || {
            // It does not; the byte may be a quote of its own, so it is looked at again.
            self.held.pop();
            self.plain.pop();
            false
        }
    }

    fn decide(&mut self, out: &mut Vec<u8>) {
        match self.site.outward(&self.plain) {
            Some(swap) => self.put(&swap, out),
            None => out.extend_from_slice(&self.held),
        }
        self.held.clear();
        self.plain.clear();
        self.escape = false;
        self.inside = false;
    }

    fn put(&self, swap: &Swap, out: &mut Vec<u8>) {
        let escaped = self.held.windows(2).any(|pair| pair == b"\\/");
        for byte in swap.with.bytes() {
            if escaped && byte == b'/' {
                out.push(b'\\');
            }
            out.push(byte);
        }
        // Whatever the plain bytes that go were written with goes too.
        let mut gone = 0;
        let kept = self.held.iter().position(|byte| {
            let over = gone == swap.bytes;
            gone += usize::from(*byte != b'\\');
            over
        });
        out.extend_from_slice(&self.held[kept.unwrap_or(self.held.len())..]);
    }
}
