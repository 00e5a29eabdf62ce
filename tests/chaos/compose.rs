//! What docker-compose.yml starts of this project, so that the tests start the same.

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::support::Launch;

/// Settings that name other machines.
const ELSEWHERE: [&str; 2] = ["TOURBILLON_KAFKA", "TOURBILLON_STORE"];

/// A service of our own image: command line and environment, without what names other machines.
pub(crate) fn services() -> BTreeMap<String, Launch> {
    let mut file: Value = serde_yaml_ng::from_str(&text("docker-compose.yml")).unwrap();
    file.apply_merge().unwrap();
    let services = file["services"].as_mapping().unwrap().iter();
    let ours = services.filter(|(_, service)| service["image"] == "tourbillon:latest");
    ours.map(|(name, service)| (name.as_str().unwrap().to_owned(), launch(service)))
        .collect()
}

/// A file of the project.
pub(crate) fn text(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(name)).unwrap()
}

fn launch(service: &Value) -> Launch {
    let mut environment = service["environment"].clone();
    environment.apply_merge().unwrap();
    let settings = environment.as_mapping().unwrap().iter();
    let settings = settings.map(|(name, value)| (plain(name), plain(value)));
    Launch {
        args: service["command"]
            .as_sequence()
            .unwrap()
            .iter()
            .map(plain)
            .collect(),
        env: settings
            .filter(|(name, _)| name.starts_with("TOURBILLON_"))
            .filter(|(name, _)| !ELSEWHERE.contains(&name.as_str()))
            .collect(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("neither text nor number: {other:?}"),
    }
}
