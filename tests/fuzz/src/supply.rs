//! What a target makes of the fuzzer's bytes.

/// Bytes, taken from the front.
#[derive(Debug)]
pub(crate) struct Supply<'a>(&'a [u8]);

impl<'a> Supply<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next one; 0 when there are no more.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A text: everything up to the next zero.
    pub(crate) fn text(&mut self) -> String {
        let (text, rest) = match self.0.iter().position(|byte| *byte == 0) {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, &self.0[..0]),
        };
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    /// Something like a path prefix.
    pub(crate) fn prefix(&mut self) -> String {
        const PREFIXES: [&str; 8] = [
            "/",
            "/admin",
            "/admin/users",
            "/Admin",
            "/a",
            "/a.b",
            "/public",
            "/a/b/c",
        ];
        match self.byte() % 10 {
            known @ 0..=7 => PREFIXES[usize::from(known)].to_owned(),
            _ => format!("/{}", self.text()),
        }
    }
}
