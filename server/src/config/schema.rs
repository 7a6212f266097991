//! The JSON Schema of the configuration, for editors. Made from the same types that read the file.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Value, json};

use super::Config;

/// A text with a variable in it, which can stand for a number or a truth value.
const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";

/// Returns the JSON Schema (2020-12) of `weir.yaml`, ready to print.
pub fn schema() -> String {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Config>();
    Variables.transform(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Lets numbers and truth values also be texts with a variable in them.
struct Variables;

impl Transform for Variables {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        allow_variable(schema);
    }
}

fn allow_variable(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let types: Vec<Value> = match object.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(single) => vec![single.clone()],
        None => return,
    };
    let typed = |name: &str| types.iter().any(|found| found == name);
    if !(typed("integer") || typed("number") || typed("boolean")) || typed("string") {
        return;
    }
    let mut literal = serde_json::Map::new();
    let kept = ["title", "description", "default", "examples"];
    let keys: Vec<String> = object
        .keys()
        .filter(|key| !kept.contains(&key.as_str()))
        .cloned()
        .collect();
    for key in keys {
        if let Some(value) = object.remove(&key) {
            literal.insert(key, value);
        }
    }
    object.insert(
        "anyOf".to_owned(),
        json!([literal, { "type": "string", "pattern": VARIABLE }]),
    );
}
