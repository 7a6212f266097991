//! What the workspace may depend on: licences, sources, and versions known to be harmful.
//!
//! Reads what is really built (`cargo tree`), not the whole lock file, which also names what a dependency could use.

use std::collections::BTreeSet;

use crate::{Place, process};

/// Licences that go with Apache-2.0 in a binary.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What may not be built in, up to which version, and why.
const BANNED: &[Ban] = &[
    Ban {
        name: "actix-http",
        below: Some([3, 12, 1]),
        why: "request smuggling: RUSTSEC lists versions before 3.12.1",
    },
    Ban {
        name: "h2",
        below: Some([0, 4, 0]),
        why: "actix-web's http2 feature brings an h2 with known floods",
    },
    Ban {
        name: "jsonwebtoken",
        below: Some([10, 3, 0]),
        why: "claims of the wrong type pass its checks",
    },
    Ban {
        name: "native-tls",
        below: None,
        why: "one TLS stack: rustls on aws-lc-rs",
    },
    Ban {
        name: "openssl",
        below: None,
        why: "one TLS stack: rustls on aws-lc-rs",
    },
    Ban {
        name: "ring",
        below: None,
        why: "one cryptography provider: aws-lc-rs",
    },
    Ban {
        name: "rsa",
        below: None,
        why: "timing side channel without a fix: RUSTSEC-2023-0071",
    },
    Ban {
        name: "serde_yaml",
        below: None,
        why: "no longer maintained: serde-saphyr reads our YAML",
    },
];

struct Ban {
    name: &'static str,
    below: Option<[u64; 3]>,
    why: &'static str,
}

/// One package as `cargo tree` prints it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// True for the default registry and for the workspace's own.
    known_source: bool,
    licence: String,
}

/// What is built here: the workspace, and the client that only tests run.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "server/tests/kit/rmcp/Cargo.toml"];

/// Checks every package that is built on any platform.
pub(crate) fn check(place: &Place) -> Result<(), String> {
    let mut packages = BTreeSet::new();
    for manifest in MANIFESTS {
        packages.append(&mut built(place, manifest)?);
    }
    let complaints: Vec<String> = packages.iter().flat_map(complaints).collect();
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    println!("{} packages", packages.len());
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(format!("{} complaints", complaints.len()))
    }
}

fn built(place: &Place, manifest: &str) -> Result<BTreeSet<Package>, String> {
    let mut command = process::cargo(&[
        "tree",
        "--manifest-path",
        manifest,
        "--workspace",
        "--locked",
        "--target",
        "all",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ]);
    command.current_dir(&place.root);
    let text = process::output(command)?;
    let root = place.root.to_string_lossy();
    let packages: BTreeSet<Package> = text.lines().filter_map(|line| parse(line, &root)).collect();
    if packages.is_empty() {
        return Err(format!("cargo tree listed nothing of {manifest}"));
    }
    Ok(packages)
}

/// Reads `name v1.2.3 (proc-macro)|LICENCE (*)`; a parenthesis that is not `proc-macro` or `*` is a source other than the default registry.
fn parse(line: &str, root: &str) -> Option<Package> {
    let (package, licence) = line.trim_end().trim_end_matches("(*)").split_once('|')?;
    let mut words = package.split_whitespace();
    let name = words.next()?.to_owned();
    let version = words.next()?.trim_start_matches('v').to_owned();
    let known_source =
        words.all(|word| word == "(proc-macro)" || word.trim_start_matches('(').starts_with(root));
    Some(Package {
        name,
        version,
        known_source,
        licence: licence.trim().to_owned(),
    })
}

fn complaints(package: &Package) -> Vec<String> {
    let Package {
        name,
        version,
        known_source,
        licence,
    } = package;
    let mut found = Vec::new();
    if !known_source {
        found.push(format!("{name} {version}: not from the default registry"));
    }
    if !allowed(licence) {
        found.push(format!(
            "{name} {version}: licence {licence:?} is not on the list"
        ));
    }
    for ban in BANNED.iter().filter(|ban| ban.name == name) {
        if ban.below.is_none_or(|bound| numbers(version) < bound) {
            found.push(format!("{name} {version}: {}", ban.why));
        }
    }
    found
}

fn numbers(version: &str) -> [u64; 3] {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = plain.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Whether an SPDX expression can be satisfied from the list. `/` is the old spelling of `OR`.
fn allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let verdict = any_of(&mut words);
    verdict && words.is_empty()
}

fn any_of(words: &mut Vec<&str>) -> bool {
    let mut verdict = all_of(words);
    while words.last() == Some(&"OR") {
        words.pop();
        verdict |= all_of(words);
    }
    verdict
}

fn all_of(words: &mut Vec<&str>) -> bool {
    let mut verdict = one(words);
    while words.last() == Some(&"AND") {
        words.pop();
        verdict &= one(words);
    }
    verdict
}

fn one(words: &mut Vec<&str>) -> bool {
    let Some(word) = words.pop() else {
        return false;
    };
    if word == "(" {
        let verdict = any_of(words);
        return words.pop() == Some(")") && verdict;
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        let exception = words.pop().unwrap_or_default();
        return ALLOWED.contains(&format!("{word} WITH {exception}").as_str());
    }
    ALLOWED.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        for good in [
            "MIT",
            "MIT/GPL-3.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND ISC",
            "Apache-2.0 WITH LLVM-exception OR X",
            "ISC AND (Apache-2.0 OR X)",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "GPL-3.0 OR AGPL-3.0 AND MIT",
            "Apache-2.0 WITH other-exception",
            "(MIT",
            "MIT) AND",
            "MIT ISC",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn lines_of_cargo_tree_are_read() {
        let package = parse(
            "actix-macros v0.2.5 (proc-macro)|MIT OR Apache-2.0 (*)",
            "/src/weir",
        )
        .unwrap();
        assert_eq!(
            (
                package.name.as_str(),
                package.version.as_str(),
                package.known_source
            ),
            ("actix-macros", "0.2.5", true)
        );
        assert_eq!(package.licence, "MIT OR Apache-2.0");
        assert!(
            parse("weir v0.1.0 (/src/weir/server)|Apache-2.0", "/src/weir")
                .unwrap()
                .known_source
        );
        assert!(
            !parse("x v0.1.0 (https://example.org/x#1)|MIT", "/src/weir")
                .unwrap()
                .known_source
        );
    }

    #[test]
    fn old_and_unwanted_packages_are_named() {
        let package = |name: &str, version: &str| Package {
            name: name.into(),
            version: version.into(),
            known_source: true,
            licence: "MIT".into(),
        };
        assert_eq!(complaints(&package("actix-http", "3.12.0")).len(), 1);
        assert!(complaints(&package("actix-http", "3.20.0")).is_empty());
        assert_eq!(
            complaints(&package("serde_yaml", "0.9.34+deprecated")).len(),
            1
        );
    }
}
