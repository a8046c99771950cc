//! What tests tell whoever runs them. The runner keeps what a test that passes has printed to itself, so `./test` shows it once more at its end.

use std::{env, fs::File, io::Write as _};

/// File that `./test` shows at its end; each line is written at once, as tests are processes beside each other.
const TOLD_VARIABLE: &str = "ADIT_TEST_TOLD";

/// Tells of what this machine does not let a test do, so that nobody takes it for what passed.
pub fn not_run(what: &str) {
    tell(&format!("NOT RUN: {what}"));
}

/// Tells what was measured.
pub fn figure(what: &str) {
    tell(what);
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests shall see it")]
fn tell(what: &str) {
    eprintln!("{what}");
    let Some(file) = env::var_os(TOLD_VARIABLE) else {
        return;
    };
    let line = format!("{}\n", what.replace('\n', " "));
    let mut options = File::options();
    let file = options.append(true).create(true).open(file);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.expect("the file for what tests tell can be written");
}
