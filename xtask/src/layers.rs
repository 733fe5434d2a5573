//! Lower never knows higher: `cargo metadata` compared with the table of who may see whom.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Outcome;
use crate::command::{self, cargo};

/// A crate of the workspace and the crates of the workspace that it may use, its tests included.
type Row = (&'static str, &'static [&'static str]);

/// The layers. `ike` and `dataplane` do not see each other, neither sees `objects`; `schema` names no object type;
/// `engine` joins; nothing pure sees the world or the simulator.
const LAYERS: &[Row] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("crypto", &["base"]),
    ("ike", &["base", "wire", "crypto"]),
    ("dataplane", &["base", "wire", "crypto"]),
    ("link", &["base", "wire"]),
    ("schema", &["base"]),
    ("objects", &["base", "schema", "crypto"]),
    ("engine", &["base", "wire", "crypto", "ike", "dataplane", "link", "objects"]),
    ("manage", &["base", "wire", "crypto", "ike", "dataplane", "link", "schema", "objects", "engine"]),
    ("sim", &["base", "wire", "crypto", "ike", "dataplane", "link", "schema", "objects", "engine", "manage"]),
    ("adit", &["base", "wire", "crypto", "ike", "dataplane", "link", "schema", "objects", "engine", "manage", "sim"]),
    ("xtask", &[]),
];

/// What the pure crates may take from outside: libraries without clock, socket, file, thread or process randomness.
/// Tests and benchmarks may use more.
const PURE_LIBRARIES: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "crypto-bigint",
    "ipnet",
    "prefix-trie",
    "rand_chacha",
    "rand_core",
    "subtle",
    "zeroize",
];

/// Compares the workspace with the table.
pub fn check(root: &Path) -> Outcome {
    let metadata = cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]).output();
    let metadata = match metadata {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => return Outcome::Failed(command::tail(&String::from_utf8_lossy(&output.stderr), 20)),
        Err(error) => return Outcome::Failed(format!("cargo metadata: {error}")),
    };
    let packages = match packages(&metadata) {
        Ok(packages) => packages,
        Err(error) => return Outcome::Failed(format!("cargo metadata: {error}")),
    };
    let mut problems = violations(&packages);
    problems.extend(unsafe_allowed(root, &packages));
    if problems.is_empty() { Outcome::Passed } else { Outcome::Failed(problems.join("\n")) }
}

/// A package as far as layers go.
#[derive(Debug)]
struct Package {
    name: String,
    /// Its folder is below `crates/`.
    pure: bool,
    manifest: String,
    /// Name, and whether only tests use it.
    dependencies: Vec<(String, bool)>,
}

fn packages(metadata: &[u8]) -> Result<Vec<Package>, String> {
    let metadata: Value = serde_json::from_slice(metadata).map_err(|error| error.to_string())?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let root = text(&metadata, "workspace_root");
    let package = |value: &Value| {
        let manifest = text(value, "manifest_path");
        Package {
            name: text(value, "name"),
            pure: manifest.strip_prefix(&root).is_some_and(|path| path.starts_with("/crates/")),
            manifest,
            dependencies: list(value, "dependencies")
                .iter()
                .map(|dependency| (text(dependency, "name"), text(dependency, "kind") == "dev"))
                .collect(),
        }
    };
    Ok(list(&metadata, "packages").iter().map(package).collect())
}

fn violations(packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| layer == name) else {
            problems.push(format!("{name} has no row in the table of layers: add one to xtask/src/layers.rs"));
            continue;
        };
        for (dependency, only_tests) in &package.dependencies {
            let dependency = dependency.as_str();
            if ours.contains(dependency) {
                if !allowed.contains(&dependency) && dependency != name {
                    problems.push(format!("{name} must not see {dependency}: {name} may use {}", words(allowed)));
                }
            } else if package.pure && !only_tests && !PURE_LIBRARIES.contains(&dependency) {
                problems.push(format!(
                    "{name} is pure and must not use {dependency}; if that library has no clock, socket, file, thread or \
                     randomness of its own, add it to PURE_LIBRARIES in xtask/src/layers.rs"
                ));
            }
        }
    }
    problems
}

/// Only the world may hold unsafe code: every other crate says so itself.
fn unsafe_allowed(root: &Path, packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages.iter().filter(|package| package.name != "adit") {
        let folder = Path::new(&package.manifest).parent().unwrap_or(root);
        let roots = ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file));
        for file in roots.iter().filter(|file| file.is_file()) {
            if !fs::read_to_string(file).is_ok_and(|text| text.contains("#![forbid(unsafe_code)]")) {
                problems.push(format!("{} must open with #![forbid(unsafe_code)]", file.display()));
            }
        }
    }
    problems
}

fn words(names: &[&str]) -> String {
    if names.is_empty() { "none of ours".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, pure: bool, dependencies: &[(&str, bool)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, dev)| ((*name).to_owned(), *dev)).collect();
        Package { name: name.to_owned(), pure, manifest: String::new(), dependencies }
    }

    #[test]
    fn ike_and_dataplane_do_not_see_each_other() {
        let packages = [package("ike", true, &[("dataplane", true)]), package("dataplane", true, &[("ike", false)])];
        assert_eq!(
            violations(&packages),
            [
                "ike must not see dataplane: ike may use base, wire, crypto",
                "dataplane must not see ike: dataplane may use base, wire, crypto"
            ]
        );
    }

    #[test]
    fn a_pure_crate_may_use_an_impure_library_only_in_its_tests() {
        assert!(violations(&[package("base", true, &[("proptest", true), ("zeroize", false)])]).is_empty());
        let problems = violations(&[package("base", true, &[("tokio", false)])]);
        assert!(problems[0].starts_with("base is pure and must not use tokio"), "{problems:?}");
        assert!(violations(&[package("adit", false, &[("tokio", false)])]).is_empty());
    }

    #[test]
    fn a_crate_without_a_layer_is_reported() {
        assert!(violations(&[package("utils", true, &[])])[0].starts_with("utils has no row"));
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (position, (name, allowed)) in LAYERS.iter().enumerate() {
            for lower in *allowed {
                assert!(LAYERS[..position].iter().any(|(layer, _)| layer == lower), "{name} sees {lower}");
            }
        }
    }

    #[test]
    fn metadata_is_read() {
        let json =
            br#"{"workspace_root": "/w", "packages": [{"name": "wire", "manifest_path": "/w/crates/wire/Cargo.toml",
            "dependencies": [{"name": "base", "kind": null}, {"name": "proptest", "kind": "dev"}]}]}"#;
        let packages = packages(json).unwrap();
        assert!(packages[0].pure);
        assert_eq!(packages[0].dependencies, [("base".to_owned(), false), ("proptest".to_owned(), true)]);
    }
}
