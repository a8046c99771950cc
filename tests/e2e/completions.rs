//! What `adit completions` prints is taken by the shell it is for, and completes our words.

use std::process::Command;

use kit::fabric::Site;

/// Sources the script in bash as a profile would, and asks for the words that may stand last in `words`.
fn completed(site: &Site, words: &[&str]) -> Vec<String> {
    let current = words.last().expect("there is something to complete");
    let previous = words.iter().rev().nth(1).copied().unwrap_or_default();
    let script = format!(
        "set -eu\nsource adit.bash\ncomplete -p adit >&2\n\
         COMP_WORDS=({}) COMP_CWORD={}\nset +eu\n_adit adit '{current}' '{previous}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" "),
        words.len() - 1,
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script])
        .current_dir(site.folder())
        .output()
        .expect("bash runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert!(
        complaint.contains("_adit"),
        "bash knows whom to ask: {complaint}"
    );
    let words = String::from_utf8(output.stdout).expect("words are UTF-8");
    words.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let site = Site::new(crate::adit());
    let script = site.ok(&["completions", "bash"]);
    std::fs::write(site.folder().join("adit.bash"), script).expect("the folder can be written");
    for (words, wanted) in [
        (&["adit", "con"][..], &["control"][..]),
        (&["adit", "app", "pub"], &["publish"]),
        (&["adit", "app", "sso", "te"], &["test"]),
        (&["adit", "app", "sso", "test", "--sign"], &["--sign-in"]),
        (&["adit", "agent", "--join-f"], &["--join-file"]),
        (&["adit", "token", "create", "--ro"], &["--role"]),
        (
            &["adit", "user", "res"],
            &["reset-password", "reset-second-factor"],
        ),
        (
            &["adit", "app", "update", "--assign-user-g"],
            &["--assign-user-group"],
        ),
        (&["adit", "nothing-like-this"], &[""]),
    ] {
        assert_eq!(completed(&site, words), wanted, "{words:?}");
    }
    let all = completed(&site, &["adit", ""]);
    for command in ["control", "edge", "agent", "app", "apply", "status", "demo"] {
        assert!(
            all.iter().any(|word| word == command),
            "{command} is missing in {all:?}"
        );
    }
}

#[test]
fn every_shell_that_is_offered_gets_a_script_that_names_our_commands() {
    let site = Site::new(crate::adit());
    let offered = site.refused(&["completions", "no-such-shell"]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(offered.contains(shell), "{offered}");
        let script = site.ok(&["completions", shell]);
        for word in ["publish", "join-file", "audit"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
}
