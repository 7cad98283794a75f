//! Imports run downwards only: each folder of `src/` may use the folders named here and no others, and
//! within a folder no files import each other in a circle.
//!
//! Scans the sources for `crate::` and `super::` paths. A new folder needs a line in
//! [`LAYERS`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer and what it may use besides itself; `*` is everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("decode", &["model"]),
    ("wire", &["model", "decode"]),
    ("chain", &["model", "decode"]),
    ("host", &["model"]),
    ("record", &["model", "decode"]),
    ("store", &["model"]),
    ("metrics", &["model"]),
    ("view", &["model", "store", "metrics"]),
    ("config", &[]),
    ("cli", &["config"]),
    ("app", &["*"]),
    ("demo", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The module path of a file: `src/wire/relay/mod.rs` is `[wire, relay]`.
fn module_of(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        file.iter().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The code without comments; string contents stay, which can only make the check stricter.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The first path segments that follow `prefix`: one, or each of a `{…}` group.
fn heads(code: &str, prefix: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.trim_start().strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.push(word(&item));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        found.push(word(&item));
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The layers that a file's code names.
fn used(module: &[String], code: &str) -> Vec<String> {
    let mut layers = heads(code, "crate::");
    // As many `super::` as the module is deep lead to the crate's root; one more inside an inline
    // `mod tests`.
    for depth in [module.len(), module.len() + 1] {
        let up = "super::".repeat(depth);
        layers.extend(heads(code, &up).into_iter().filter(|name| name != "super"));
    }
    layers
}

fn violations() -> (usize, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rules: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for path in &files {
        let file = path.strip_prefix(&root).expect("below src");
        let module = module_of(file);
        let layer = module[0].as_str();
        let Some(allowed) = rules.get(layer) else {
            wrong.push(format!("{}: no rule for the layer {layer}", file.display()));
            continue;
        };
        let code = without_comments(&fs::read_to_string(path).expect("readable"));
        for name in used(&module, &code) {
            let is_layer = rules.contains_key(name.as_str());
            if is_layer && name != layer && !allowed.contains(&"*") && !allowed.contains(&&*name) {
                wrong.push(format!("{}: {layer} may not use {name}", file.display()));
            }
        }
    }
    (files.len(), wrong)
}

#[test]
fn imports_run_downwards_only() {
    let (files, wrong) = violations();
    assert!(files > 20, "only {files} files were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file's code as others depend on it: without comments and its inline tests.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    without_comments(code)
}

/// What each neighbour in `folder` uses of the others there, by name; a file and the folder of its
/// name are one.
fn neighbours(
    folder: &[String],
    files: &[(Vec<String>, String)],
) -> BTreeMap<String, BTreeSet<String>> {
    let inside: Vec<_> = files
        .iter()
        .filter(|(module, _)| module.len() > folder.len() && module.starts_with(folder))
        .collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> =
        inside.iter().map(|(module, _)| (module[folder.len()].clone(), BTreeSet::new())).collect();
    let names: BTreeSet<String> = uses.keys().cloned().collect();
    for (module, code) in inside {
        let own = &module[folder.len()];
        let mut used = heads(code, &format!("crate::{}::", folder.join("::")));
        used.extend(heads(code, &"super::".repeat(module.len() - folder.len())));
        let others = used.into_iter().filter(|name| names.contains(name) && name != own);
        uses.get_mut(own).expect("named above").extend(others);
    }
    uses
}

/// Takes away, again and again, what uses nothing that is left: what then is left uses each other.
fn circle(mut uses: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    while let Some(done) =
        uses.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone())
    {
        uses.remove(&done);
        for used in uses.values_mut() {
            used.remove(&done);
        }
    }
    uses
}

#[test]
fn no_neighbours_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let files: Vec<(Vec<String>, String)> = paths
        .iter()
        .map(|path| (module_of(path.strip_prefix(&root).expect("below src")), code_of(path)))
        .filter(|(module, _)| !module.contains(&"tests".to_owned()))
        .collect();
    let folders: BTreeSet<&[String]> =
        files.iter().flat_map(|(module, _)| (1..module.len()).map(|end| &module[..end])).collect();
    assert!(folders.len() > 10, "only {} folders were found", folders.len());
    for folder in folders {
        let left = circle(neighbours(folder, &files));
        assert!(left.is_empty(), "in {}: {left:#?}", folder.join("/"));
    }
}

#[test]
fn the_scan_finds_a_circle() {
    let file = |path: &str, code: &str| {
        (path.split('/').map(str::to_owned).collect::<Vec<_>>(), code.to_owned())
    };
    let folder = ["store".to_owned()];
    let mut files = vec![
        file("store/a", "use super::b::{B, C};"),
        file("store/b", "fn f() {}"),
        file("store/b/deep", "use super::super::c::C;"),
        file("store/c", "use super::bytes::Read; use crate::model::a;"),
        file("store/bytes", ""),
    ];
    assert!(circle(neighbours(&folder, &files)).is_empty());
    files[4].1 = "use crate::store::a::A;".to_owned();
    let left = circle(neighbours(&folder, &files));
    assert_eq!(left.keys().collect::<Vec<_>>(), ["a", "b", "bytes", "c"]);
}

#[test]
fn the_scan_sees_every_way_to_write_an_import() {
    let module = vec!["store".to_owned(), "tail".to_owned()];
    for code in [
        "use crate::wire::Relay;",
        "use crate::{model::Sample, wire::Relay};",
        "use super::super::wire;",
        "fn f() { crate::wire::start() }",
    ] {
        assert!(used(&module, code).contains(&"wire".to_owned()), "{code}");
    }
    assert!(!used(&module, "use super::wire_like; use hyper::wire;").contains(&"wire".to_owned()));
}

#[test]
fn every_module_opens_by_saying_what_it_is_for() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let silent: Vec<_> = files
        .iter()
        .filter(|file| !fs::read_to_string(file).expect("readable").starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:?}");
}
