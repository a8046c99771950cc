//! Looks for a secret where it must not be: in files, and in the memory of processes.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use memchr::memmem;

/// Most bytes of memory that are looked at in one piece.
const PIECE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A text as it is, and as it stands in the midst of something longer in base64, from any of three places.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let encoded = (0..3).map(|skip| {
        let whole = (bytes.len() - skip) / 3 * 3;
        STANDARD_NO_PAD
            .encode(&bytes[skip..skip + whole])
            .into_bytes()
    });
    std::iter::once(bytes.to_vec()).chain(encoded).collect()
}

fn has(bytes: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| memmem::find(bytes, form).is_some())
}

/// The files below a folder that have the text.
pub fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let (forms, mut folders, mut found) = (forms(text), vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).is_ok_and(|bytes| has(&bytes, &forms)) {
                found.push(path);
            }
        }
    }
    found
}

/// Whether a process has the text in memory that it can write.
pub fn memory_has(process: u32, text: &str) -> bool {
    let forms = forms(text);
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("it runs");
    let mut memory = File::open(format!("/proc/{process}/mem")).expect("it is the test's own");
    let ranges = maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let is_written = words.next()?.starts_with("rw");
        is_written.then_some((number(from)?, number(to)?))
    });
    let mut looked_at = 0;
    for (from, to) in ranges.collect::<Vec<_>>() {
        let mut at = from;
        while at < to {
            let bytes = usize::try_from(to - at).unwrap_or(PIECE_BYTES_MAX);
            let mut piece = vec![0; bytes.min(PIECE_BYTES_MAX)];
            let is_read =
                memory.seek(SeekFrom::Start(at)).is_ok() && memory.read_exact(&mut piece).is_ok();
            if is_read && has(&piece, &forms) {
                return true;
            }
            looked_at += if is_read { piece.len() } else { 0 };
            // What lies across the border of two pieces is seen in the second.
            let step = piece.len().saturating_sub(text.len() * 2).max(1);
            at += if at + piece.len() as u64 >= to {
                piece.len() as u64
            } else {
                step as u64
            };
        }
    }
    assert!(looked_at > 0, "nothing could be read");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_where_it_is_however_it_is_written() {
        let folder = tempfile::tempdir().expect("it can be written");
        let secret = ["zebra", "-crossing"].concat();
        for (name, text) in [
            ("plain", secret.clone()),
            ("encoded", STANDARD_NO_PAD.encode(format!("ab{secret}c"))),
            ("other", "zebra crossing".to_owned()),
        ] {
            fs::write(folder.path().join(name), text).expect("it can be written");
        }
        let mut found = files_with(folder.path(), &secret);
        found.sort();
        let want = ["encoded", "plain"].map(|name| folder.path().join(name));
        assert_eq!(found, want);
        assert!(memory_has(std::process::id(), &secret));
    }
}
