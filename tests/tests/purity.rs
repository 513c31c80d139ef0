//! The cores stay pure: no runtime, store, network, model, database or clock in `landfall-wire`,
//! `landfall-calibration`, `landfall-agent-core` and `landfall-hub-core`, neither in their manifests nor in their code.
//! What does no I/O cannot fail at it, and can be replayed from a seed.

use std::fs;
use std::path::{Path, PathBuf};

const PURE: [(&str, &str); 4] = [
    ("landfall-wire", "agent/wire"),
    ("landfall-calibration", "models/calibration"),
    ("landfall-agent-core", "agent/core"),
    ("landfall-hub-core", "sync-hub/core"),
];

/// Crates that do I/O, run models, or draw randomness; a name also covers `name-anything`.
const IMPURE_CRATES: [&str; 21] = [
    "tokio",
    "async-std",
    "mio",
    "sled",
    "rumqttc",
    "tract",
    "rten",
    "rusqlite",
    "axum",
    "hyper",
    "ureq",
    "rustls",
    "getrandom",
    "rand",
    "tempfile",
    "tracing",
    "clap",
    "toml",
    "landfall-agent",
    "landfall-hub",
    "landfall-models",
];

/// Parts of `std` that reach outside: time, files, sockets, processes, environment, output.
const IMPURE_PATHS: [&str; 14] = [
    "Instant",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "io::stdin",
    "io::stdout",
    "io::stderr",
    "std::thread",
    "thread::sleep",
    "println!",
    "eprintln!",
    "RandomState",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The keys of `[dependencies]` and `[build-dependencies]`, also those of a target.
/// `[dev-dependencies]` may be anything: they are in no binary.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut counts = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let (is_of, rest) = table
                .split_once("dependencies")
                .map_or((false, ""), |(kind, rest)| (!kind.ends_with("dev-"), rest));
            counts = is_of;
            // `[dependencies.tokio]`
            found.extend(rest.strip_prefix('.').filter(|_| is_of).map(str::to_owned));
        } else if counts && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default().trim_matches('"');
            found.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    found
}

fn is_impure(name: &str) -> bool {
    let covers = |known: &str| {
        name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let is_pure_crate = PURE.iter().any(|(pure, _)| *pure == name);
    !is_pure_crate && IMPURE_CRATES.into_iter().any(covers)
}

/// Every source file below `dir`.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("directory entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a line of code reaches for; comments do not count.
fn impure_use(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    let is_word = |at: usize, len: usize| {
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        edge(code[..at].chars().next_back()) && edge(code[at + len..].chars().next())
    };
    let used =
        |path: &&&str| code.match_indices(**path).any(|(at, found)| is_word(at, found.len()));
    IMPURE_PATHS.iter().find(used).copied()
}

#[test]
fn manifests_name_no_impure_crate() {
    for (name, dir) in PURE {
        let dependencies = dependencies(&read(&root().join(dir).join("Cargo.toml")));
        // The sums need nothing at all; the others show that the manifest was understood.
        let expected = if name == "landfall-calibration" { None } else { Some("serde") };
        let found = dependencies.iter().map(String::as_str).find(|d| Some(*d) == expected);
        assert_eq!(found, expected, "{name}: read {dependencies:?}");
        let impure: Vec<_> = dependencies.iter().filter(|d| is_impure(d)).collect();
        assert!(
            impure.is_empty(),
            "{name} must stay pure, but its manifest has {impure:?}: move what needs them into \
             the shell crate and pass values in"
        );
    }
}

#[test]
fn sources_reach_for_no_clock_file_or_socket() {
    for (name, dir) in PURE {
        let files = sources(&root().join(dir).join("src"));
        assert!(!files.is_empty(), "{name}: no sources found");
        for file in files {
            for (index, line) in read(&file).lines().enumerate() {
                if let Some(path) = impure_use(line) {
                    panic!(
                        "{}:{}: {name} must stay pure, but uses {path}: take it as an argument",
                        file.display(),
                        index + 1
                    );
                }
            }
        }
    }
}

#[test]
fn the_checks_find_what_they_look_for() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nserde.workspace = true\n# sled\n\
        tokio = \"1\"\n[target.'cfg(unix)'.dependencies]\ntract-onnx = \"0\"\n\
        [dependencies.axum]\nversion = \"1\"\n[dev-dependencies]\nsled = \"0\"\n";
    let found = dependencies(manifest);
    let impure: Vec<_> = found.iter().filter(|d| is_impure(d)).map(String::as_str).collect();
    assert_eq!(impure, ["tokio", "tract-onnx", "axum"]);
    assert!(!is_impure("landfall-agent-core") && is_impure("landfall-agent"));
    assert!(!is_impure("random") && is_impure("rand"));

    for (line, want) in [
        ("let now = std::time::Instant::now();", Some("Instant")),
        ("use std::{fs, time::SystemTime};", Some("SystemTime")),
        ("std::fs::read(path)", Some("std::fs")),
        ("struct Instantaneous; // not an Instant", None),
        ("/// Not here: std::net.", None),
    ] {
        assert_eq!(impure_use(line), want, "{line}");
    }
}
