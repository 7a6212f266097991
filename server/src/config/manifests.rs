//! The files in which plugins say their versions and what they require.

use std::io;
use std::path::Path;

use weir_actors::builtin::outside::ReadFile;
use weir_actors::plugin::{Manifest, Plugin, Provider, disorder};

use super::problem::Problem;
use super::{typed, yaml};

/// The largest manifest that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Reads the manifests of plugins into them. Returns what is wrong, as keys below `plugins` and texts.
pub(crate) fn read(plugins: &mut [Plugin], files: &dyn ReadFile) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for plugin in plugins.iter_mut() {
        match find(plugin, files) {
            Ok(manifest) => plugin.manifest = manifest.unwrap_or_default(),
            Err(text) => problems.push((format!("plugins.{}.manifest", plugin.key), text)),
        }
    }
    if problems.is_empty() {
        let disorder = disorder(plugins).into_iter();
        problems.extend(disorder.map(|error| (format!("plugins.{}", error.path), error.text)));
    }
    problems
}

fn find(plugin: &Plugin, files: &dyn ReadFile) -> Result<Option<Manifest>, String> {
    let named = plugin.entry.manifest.as_deref();
    let beside = match (&plugin.provider, named) {
        (Provider::Subprocess(subprocess) | Provider::Stdio(subprocess), None) => {
            subprocess.manifests()
        }
        _ => Vec::new(),
    };
    let places = named.into_iter().map(Path::to_owned).chain(beside);
    for place in places {
        match files.read(&place, MAX_BYTES) {
            Ok(bytes) => return parse(&place, &bytes).map(Some),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let place = place.display();
                return Err(format!(
                    "{place} cannot be read: {error}; check the path and its permissions"
                ));
            }
        }
    }
    Ok(None)
}

fn parse(place: &Path, bytes: &[u8]) -> Result<Manifest, String> {
    let wrong = |problem: &Problem| format!("{}:{problem}", place.display());
    let text = std::str::from_utf8(bytes)
        .map_err(|_| format!("{} is not UTF-8; save it as UTF-8", place.display()))?;
    // JSON is YAML too.
    let root = yaml::parse(text).map_err(|problem| wrong(&problem))?;
    typed::read::<Manifest>(&root).map_err(|misfit| {
        let path = misfit.path();
        let place = misfit.place.unwrap_or(root.place);
        wrong(&Problem::new(place, path.to_string(), &misfit.text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_yaml_or_json() {
        let place = Path::new("weir-plugin.yaml");
        for text in [
            "name: logger\nversion: 1.10\nprotocol: 1\ncategory: logging\nrequires:\n  gateway: \">=0.1\"\n  plugins: { auth: 1.2 }\nauthor: { name: x }\n",
            "{\n\t\"name\": \"logger\",\n\t\"version\": \"1.10\",\n\t\"protocol\": 1,\n\t\"category\": \"logging\",\n\t\"requires\": {\n\t\t\"gateway\": \">=0.1\",\n\t\t\"plugins\": {\"auth\": \"1.2\"}\n\t},\n\t\"author\": {\"name\": \"a\\/b\"}\n}\n",
        ] {
            let manifest = parse(place, text.as_bytes()).unwrap();
            assert_eq!(manifest.version.as_deref(), Some("1.10"));
            assert_eq!(manifest.protocol.as_deref(), Some("1"));
            assert_eq!(manifest.category.as_deref(), Some("logging"));
            assert!(manifest.requires.plugins.contains_key("auth"));
        }
        for (text, expected) in [
            (
                "version: [1]",
                "weir-plugin.yaml:1:10: version: found a list, expected a text",
            ),
            (
                "requires: { gateway: soon }",
                "weir-plugin.yaml:1:22: requires.gateway: not a range of versions: \"soon\" (write it like >=1.2, <2)",
            ),
        ] {
            assert_eq!(parse(place, text.as_bytes()).unwrap_err(), expected);
        }
    }
}
