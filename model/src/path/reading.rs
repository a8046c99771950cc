//! How servers may read a path, beyond what it says: what a router must know that decides by paths.

use std::borrow::Cow;

use super::{PathPrefix, holds};

/// How often a path is decoded: by a proxy, by a server, and once more by an app.
const DECODINGS_MAX: usize = 3;

/// Whether the same of `prefixes` holds `path` however a server reads it, so that what the prefix decides holds at the origin too.
///
/// Paths with dot segments, empty segments, backslashes or control characters have no sure reading, be those in plain sight,
/// escaped, or written with characters that some servers take for them. Other escapes, and path parameters, are fine as long as
/// it makes no difference whether they count: `/@scope%2fname` is common.
pub fn reads_one_way<'a>(
    path: &str,
    prefixes: impl Iterator<Item = &'a PathPrefix> + Clone,
) -> bool {
    if is_ambiguous(path) {
        return false;
    }
    let read = read_leniently(path);
    let plainly = prefixes
        .clone()
        .filter(|prefix| prefix.holds(path))
        .max_by_key(|prefix| prefix.as_str().len());
    let plainly = plainly.map(|prefix| read_leniently(prefix.as_str()));
    let leniently = prefixes
        .map(|prefix| read_leniently(prefix.as_str()))
        .filter(|prefix| holds(prefix, &read))
        .max_by_key(|prefix| prefix.len());
    plainly == leniently
}

/// Whether `path` has no sure reading at all.
pub fn is_ambiguous(path: &str) -> bool {
    let read = decode_fully(path);
    read.contains(|char: char| char == '\\' || char.is_control())
        || has_odd_segment(path)
        || (matches!(read, Cow::Owned(_)) && (has_odd_segment(&read) || hides_a_slash(path)))
}

/// Whether a path parameter has a slash in it once it is decoded: servlets leave parameters out before they decode, others after, and
/// so the slash is in one of their readings only.
fn hides_a_slash(path: &str) -> bool {
    let mut read = Cow::Borrowed(path);
    for _ in 0..DECODINGS_MAX {
        let parameters = read
            .split('/')
            .filter_map(|segment| Some(segment.split_once(';')?.1));
        if parameters
            .into_iter()
            .any(|parameters| decode_fully(parameters).contains('/'))
        {
            return true;
        }
        read = Cow::Owned(decode(&read));
    }
    false
}

/// `path` as the most lenient server may read it: every escape decoded, characters that look alike made one, backslashes taken
/// for slashes, empty and dot segments resolved, path parameters and what Windows leaves out of file names left out, in lower
/// case.
pub fn read_leniently(path: &str) -> Cow<'_, str> {
    if read_as_they_stand(path.bytes()) {
        return Cow::Borrowed(path);
    }
    if read_as_they_stand(path.bytes().map(|byte| byte.to_ascii_lowercase())) {
        return Cow::Owned(path.to_ascii_lowercase());
    }
    Cow::Owned(read_in_full(path))
}

fn read_in_full(path: &str) -> String {
    let decoded = decode_fully(path).to_lowercase().replace('\\', "/");
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match plain_segment(segment) {
            "" | "." => {}
            ".." => drop(segments.pop()),
            plain => segments.push(plain),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Whether every server reads this path as it is written, but for a slash at its end: nearly all paths, which need no second look.
fn read_as_they_stand(bytes: impl Iterator<Item = u8>) -> bool {
    let mut last = 0;
    for byte in bytes {
        let ends_odd = byte == b'/' && matches!(last, b'/' | b'.' | b':');
        if ends_odd || !is_plain(byte) {
            return false;
        }
        last = byte;
    }
    !matches!(last, b'.' | b':')
}

const fn is_plain(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'/' | b'.' | b':' | b'!' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b'@'
    )
}

/// A segment without path parameters (RFC 3986, section 3.3) or what a second decoding takes for a query, without the name of a stream of NTFS, and without the dots and
/// spaces that Windows drops at the end of a name.
fn plain_segment(segment: &str) -> &str {
    let name = segment.split([';', '?', '#']).next().unwrap_or(segment);
    let name = name.split(":$").next().unwrap_or(name);
    let name = name.trim_end_matches(':');
    match name.trim_end_matches(['.', ' ']) {
        "" => name.trim_end_matches(' '),
        trimmed => trimmed,
    }
}

fn has_odd_segment(path: &str) -> bool {
    let mut segments = path.split('/').peekable();
    segments.next(); // what stands before the leading slash
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        // ";x" alone is empty to who leaves parameters out, and ":" to Windows.
        let is_empty = segment.is_empty()
            || (segment.starts_with([';', '?', '#', ':']) && plain_segment(segment).is_empty());
        if (is_empty && !last) || is_dot_segment(segment) {
            return true;
        }
    }
    false
}

/// `.` or `..`, with or without path parameters (`..;x`), a query that a second decoding brings to light (`..?x`), the name of a stream of
/// NTFS (`..:`), or the spaces that Windows drops at the end of a name. Who leaves out one of these may keep another, so that no reading of
/// such a path stands for all.
pub(super) fn is_dot_segment(segment: &str) -> bool {
    segment.starts_with('.') && matches!(plain_segment(segment), "." | "..")
}

fn decode_fully(path: &str) -> Cow<'_, str> {
    let mut read = Cow::Borrowed(path);
    for _ in 0..DECODINGS_MAX {
        if !read.contains('%') && read.is_ascii() {
            break;
        }
        let decoded = decode(&read);
        if decoded == read {
            break;
        }
        read = Cow::Owned(decoded);
    }
    read
}

/// Decodes each escape once, and then folds what looks alike.
fn decode(path: &str) -> String {
    let mut rest = path.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        rest = after;
        match escape(after).filter(|_| *first == b'%') {
            Some((Escape::Byte(byte), after)) => {
                decoded.push(byte);
                rest = after;
            }
            Some((Escape::Character(char), after)) => {
                decoded.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            None => decoded.push(*first),
        }
    }
    let shortened = shorten(&decoded);
    String::from_utf8_lossy(&shortened)
        .chars()
        .map(fold)
        .collect::<String>()
        // A character of its own that is read as two.
        .replace('\u{2025}', "..")
}

enum Escape {
    /// `%41`
    Byte(u8),
    /// `%u0041`, as IIS reads it.
    Character(char),
}

/// What an escape stands for whose `%` came before, and what is behind it.
fn escape(bytes: &[u8]) -> Option<(Escape, &[u8])> {
    match bytes {
        [b'u' | b'U', digits @ ..] => {
            let char = char::from_u32(hex(digits.get(..4)?)?)?;
            Some((Escape::Character(char), &digits[4..]))
        }
        digits => {
            let byte = u8::try_from(hex(digits.get(..2)?)?).ok()?;
            Some((Escape::Byte(byte), &digits[2..]))
        }
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    digits
        .iter()
        .try_fold(0, |number, byte| Some(number * 16 + digit(byte)?))
}

/// Characters of ASCII that take more bytes than they may: no UTF-8 (RFC 3629, section 3), but old decoders read them.
fn shorten(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes
        .iter()
        .any(|byte| matches!(byte, 0xc0 | 0xc1 | 0xe0 | 0xf0))
    {
        return Cow::Borrowed(bytes);
    }
    let mut short = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let (byte, after) = match rest {
            [high @ (0xc0 | 0xc1), low @ 0x80..=0xbf, after @ ..]
            | [0xe0, high @ (0x80 | 0x81), low @ 0x80..=0xbf, after @ ..]
            | [
                0xf0,
                0x80,
                high @ (0x80 | 0x81),
                low @ 0x80..=0xbf,
                after @ ..,
            ] => (((high & 1) << 6) | (low & 0x3f), after),
            _ => (*first, after),
        };
        short.push(byte);
        rest = after;
    }
    Cow::Owned(short)
}

/// The character of ASCII that a server may make of one that looks like it (compatibility normalisation of Unicode, and the
/// best-fit tables of Windows).
fn fold(char: char) -> char {
    match char {
        '\u{ff01}'..='\u{ff5e}' => u32::from(char)
            .checked_sub(0xff01 - 0x21)
            .and_then(char::from_u32)
            .unwrap_or(char),
        '\u{2024}' | '\u{fe52}' => '.',
        '\u{2044}' | '\u{2215}' => '/',
        '\u{2216}' | '\u{fe68}' => '\\',
        char => char,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_servers_read_differently_are_found() {
        for plain in [
            "/",
            "/a/b/",
            "/a.b/..c/...",
            "/a%20b",
            "/%2ehidden",
            "/a;v=1/b",
            "/a/;v=1",
            "/a;v=%20%3b",
            "/a%",
            "/a%2520b",
            "/caf%C3%A9",
            "/caf%E9",
            "/%C0",
            "/@scope%2fname",
            "/a%2F",
            "/a:b/c",
            "/a/:b/c:",
            "/a/:",
        ] {
            assert!(!is_ambiguous(plain), "{plain}");
        }
        for odd in [
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/.%2e/",
            "/a//b",
            "//a",
            "/a\\b",
            "/a%2f/b",
            "/%2fa",
            "/a/..%2fb",
            "/a%2f..;x%2fb",
            "/a%5Cb",
            "/a/..;x/b",
            "/a/..%3bx/b",
            "/;x/a",
            "/a/%3bx/b",
            "/a;x%2fb/c",
            "/a;x%252fb/c",
            "/a%3bx%252fb/c",
            "/.",
            "/a%00",
            "/a%0d%0a",
            "/a/%252e%252e/b",
            "/a/%c0%ae./b",
            "/a%e0%80%af/b",
            "/a%f0%80%80%af/b",
            "/a/%ef%bc%8e%EF%BC%8E/b",
            "/a/\u{ff0e}\u{ff0e}/b",
            "/a/\u{2025}/b",
            "/a\u{2215}/b",
            "/a%u002f/b",
            "/a/..%20/b",
            "/a/..%3fx",
            "/a/..:/b",
            "/a/..::$DATA/b",
            "/a/%2e%2e%3a/b",
            "/a/.:/b",
            "/a/:/b",
        ] {
            assert!(is_ambiguous(odd), "{odd}");
        }
    }

    #[test]
    fn what_every_reading_finds_is_sure() {
        let prefixes: [PathPrefix; 2] = ["/admin", "/Docs"].map(|text| text.parse().expect("good"));
        for (path, want) in [
            ("/admin/x", true),
            ("/x/y%20z;v=1", true),
            ("/x%2fadmin", true),
            ("/admin/x%2fy", true),
            ("/Docs/x", true),
            ("/docs", false),
            ("/ADMIN", false),
            ("/%61dmin", false),
            ("/admin;x/y", false),
            ("/admin%3fx", false),
            ("/admin%23x", false),
            ("/wiki/What%3F", true),
            ("/wiki/C%2B%2B", true),
            ("/wiki/C%23", true),
            ("/~user/", true),
            ("/%E4%BD%A0", true),
            ("/admin%2fx", false),
            ("/x/../admin", false),
            ("/x/..%2fadmin", false),
            ("/x/..%252fadmin", false),
            ("/%2561dmin", false),
            ("/admin/%252e%252e/x", false),
            ("//admin", false),
            ("/x\\..\\admin", false),
        ] {
            assert_eq!(reads_one_way(path, prefixes.iter()), want, "{path}");
        }
    }

    #[test]
    fn lenient_readings_are_one() {
        for (path, read) in [
            ("/admin/a", "/admin/a"),
            ("/Admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%2561dmin", "/admin"),
            ("/admin;x/a;y", "/admin/a"),
            ("/admin%3bx", "/admin"),
            ("/admin./a", "/admin/a"),
            ("/admin%20", "/admin"),
            ("/admin::$INDEX_ALLOCATION", "/admin"),
            ("/\u{ff41}dmin", "/admin"),
            ("/%ef%bd%81dmin", "/admin"),
            ("/%c1%a1dmin", "/admin"),
            ("/%u0061dmin", "/admin"),
            ("/a.b", "/a.b"),
            ("/a%2fb;c/%64", "/a/b/d"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/%2e%2e;x/b", "/b"),
            ("//a\\b", "/a/b"),
            ("/./a//b/.", "/a/b"),
            ("/%252e%252e/a", "/a"),
            ("/a%ff", "/a\u{fffd}"),
        ] {
            assert_eq!(read_leniently(path), read, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_reads_as_itself(path in "(/[a-cA.;%2c56e ]{0,6}){0,4}") {
            let once = read_leniently(&path).into_owned();
            // Each reading decodes only so often.
            if !once.contains('%') {
                prop_assert_eq!(read_leniently(&once), once.as_str());
            }
        }

        #[test]
        fn a_second_look_would_find_the_same(path in "(/[abA.:;@ ]{0,4}){0,4}") {
            let read = read_leniently(&path).into_owned();
            let in_full = read_in_full(&path);
            prop_assert_eq!(read.trim_end_matches('/'), in_full.trim_end_matches('/'));
        }
    }
}
