//! Rules that no compiler checks: arrows between crates, names of files, documents that keep up with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Our crates, and those that each may depend on.
const ARROWS: [(&str, &[&str]); 13] = [
    ("model", &[]),
    ("proto", &["model"]),
    ("tunnel", &["model", "proto"]),
    ("acl", &[]),
    ("runtime", &["model", "proto", "tunnel", "acl"]),
    ("kerberos", &[]),
    ("issuer", &["model", "proto", "tunnel", "runtime"]),
    ("edge", &["model", "proto", "tunnel", "runtime", "issuer"]),
    (
        "agent",
        &["model", "proto", "tunnel", "runtime", "kerberos", "issuer"],
    ),
    (
        "control",
        &["model", "proto", "tunnel", "runtime", "issuer"],
    ),
    (
        "loadtest",
        &[
            "model", "proto", "tunnel", "runtime", "edge", "agent", "control",
        ],
    ),
    (
        "tests/kit",
        &[
            "model", "proto", "tunnel", "runtime", "edge", "agent", "control",
        ],
    ),
    (
        ".",
        &[
            "model", "proto", "tunnel", "runtime", "edge", "agent", "control",
        ],
    ),
];

/// Crates that `model` must do without, being plain rules.
const BANNED_IN_MODEL: [&str; 5] = ["tokio", "quinn", "tonic", "prost", "hyper"];
/// File names that say nothing about what is inside.
const BANNED_FILES: [&str; 9] = [
    "mod.rs",
    "utils.rs",
    "util.rs",
    "helpers.rs",
    "common.rs",
    "misc.rs",
    "types.rs",
    "traits.rs",
    "models.rs",
];
/// Lines of a file that need no excuse.
const LINES_MAX: usize = 600;
/// First words of a file that has one.
const EXCUSE: &str = "//! Long because";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file of ours, with its text.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = [
        "src", "model", "proto", "tunnel", "acl", "runtime", "kerberos", "issuer", "edge", "agent",
        "control", "loadtest", "tests",
    ]
    .map(|folder| root().join(folder))
    .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("our folders are there") {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(
                    path.strip_prefix(root()).expect("inside").to_owned(),
                    read(&path),
                );
            }
        }
    }
    found
}

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().expect("our manifests are TOML");
    let of_systems = manifest.get("target").and_then(toml::Value::as_table);
    let tables = of_systems.into_iter().flat_map(toml::Table::values);
    let tables = tables.filter_map(toml::Value::as_table).chain([&manifest]);
    tables
        .filter_map(|table| table.get("dependencies")?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

#[test]
fn crates_depend_in_one_direction_only() {
    let ours: BTreeSet<_> = [
        "model", "proto", "tunnel", "acl", "runtime", "kerberos", "issuer", "edge", "agent",
        "control", "loadtest", "kit",
    ]
    .into();
    for (folder, allowed) in ARROWS {
        let found = dependencies(&read(&root().join(folder).join("Cargo.toml")));
        for dependency in found.iter().filter(|name| ours.contains(name.as_str())) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{folder} must not depend on {dependency}"
            );
        }
        if folder == "model" {
            for banned in BANNED_IN_MODEL {
                assert!(!found.contains(banned), "model must not depend on {banned}");
            }
        }
    }
}

/// Files that may hold unsafe code: the calls of a C library, and those of Windows.
const UNSAFE: [&str; 2] = ["kerberos/src/gssapi.rs", "acl/src/system.rs"];

#[test]
fn two_files_may_be_unsafe_and_lints_are_the_same_everywhere() {
    for (path, text) in sources() {
        let lets_it_in = text.contains(concat!("unsafe", "_code"));
        let may = UNSAFE.iter().any(|file| path == Path::new(file));
        assert_eq!(lets_it_in, may, "{}", path.display());
    }
    // A crate that lets it in has the workspace's lints written out.
    let lints = |manifest: &str, workspace: bool| {
        let manifest: toml::Table = read(&root().join(manifest)).parse().expect("TOML");
        let table = match workspace {
            true => manifest["workspace"].get("lints"),
            false => manifest.get("lints"),
        };
        let mut lints = table.expect("it has lints").clone();
        let code = lints["rust"]
            .as_table_mut()
            .and_then(|it| it.remove(concat!("unsafe", "_code")));
        (lints, code)
    };
    let (of_all, forbidden) = lints("Cargo.toml", true);
    assert_eq!(forbidden, Some("forbid".into()));
    for manifest in ["kerberos/Cargo.toml", "acl/Cargo.toml"] {
        let (of_one, denied) = lints(manifest, false);
        assert_eq!(of_all, of_one, "{manifest}");
        assert_eq!(denied, Some("deny".into()), "{manifest}");
    }
}

#[test]
fn files_are_named_after_what_they_are_about_and_stay_short() {
    for (path, text) in sources() {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("our names are UTF-8");
        assert!(
            !BANNED_FILES.contains(&name),
            "{}: the name says nothing",
            path.display()
        );
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX || text.starts_with(EXCUSE),
            "{} has {lines} lines: split it, or begin it with \"{EXCUSE}\"",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_for_later_without_saying_where() {
    // In pieces, or this file would find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ign", "ore"),
    ];
    for (path, text) in sources() {
        for mark in marks {
            assert!(!text.contains(mark), "{} has a {mark}", path.display());
        }
    }
}

/// First cells of the rows of a Markdown table that hold one word in backticks.
fn documented(document: &str) -> BTreeSet<String> {
    read(&root().join(document))
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(word, _)| word.split('{').next().unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn every_reason_is_documented_and_no_other() {
    let known: BTreeSet<_> = model::reason::Reason::ALL
        .iter()
        .map(|reason| reason.as_str().to_owned())
        .collect();
    assert_eq!(documented("docs/reasons.md"), known);
}

#[test]
fn reasons_are_documented_with_their_status() {
    let text = read(&root().join("docs/reasons.md"));
    for reason in model::reason::Reason::ALL {
        let row = format!(
            "| `{}` | {} | {} |",
            reason.as_str(),
            reason.status(),
            reason.side().as_str()
        );
        assert!(text.contains(&row), "docs/reasons.md lacks {row}");
    }
}

/// String literals of the code that look like names of metrics.
fn metric_names() -> BTreeSet<String> {
    let prefixes = [
        "edge_",
        "agent_",
        "control_",
        "runtime_",
        "sync_",
        "identity_",
    ];
    let mut names = BTreeSet::new();
    for (path, text) in sources() {
        if path.starts_with("tests") || path.starts_with("proto") {
            continue;
        }
        for line in text
            .lines()
            .filter(|line| line.contains("const ") && line.contains(": &str = \""))
        {
            let literal = line.split('"').nth(1).unwrap_or_default();
            let plain = literal
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if plain && prefixes.iter().any(|prefix| literal.starts_with(prefix)) {
                names.insert(literal.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let names = metric_names();
    assert!(names.len() > 20, "the scan found only {names:?}");
    assert_eq!(documented("docs/metrics.md"), names);
}

#[test]
fn documents_name_only_files_that_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(&root().join(document));
        for (_, rest) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(root().join(target).exists(), "{document} links to {target}");
            }
        }
        for quoted in text.split('`').skip(1).step_by(2) {
            let ours = [
                "edge/",
                "agent/",
                "control/",
                "model/",
                "proto/",
                "tunnel/",
                "runtime/",
                "kerberos/",
                "issuer/",
                "src/",
                "tests/",
                "docs/",
            ];
            let path = quoted.trim_end_matches('/');
            if ours.iter().any(|folder| quoted.starts_with(folder)) && !quoted.contains(' ') {
                assert!(root().join(path).exists(), "{document} names {quoted}");
            }
        }
    }
}
