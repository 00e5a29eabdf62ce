//! The configuration file: turned into flags in front of the given ones, so that everything is
//! checked in one place and whatever is given explicitly, or by a variable, wins.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Command;
use toml::{Table, Value};

/// The arguments with the file's settings put in behind the command's name.
pub(crate) fn expand(command: &Command, given: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let file = flag_value(&given, "--config").or_else(|| std::env::var_os("TOURBILLON_CONFIG"));
    let Some(file) = file else { return Ok(given) };
    let path = Path::new(&file);
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    let table: Table = text
        .parse()
        .with_context(|| format!("{} is not TOML", path.display()))?;
    merge(command, given, &table, |name| {
        std::env::var_os(name).is_some()
    })
    .with_context(|| format!("configuration file {}", path.display()))
}

fn flag_value(given: &[OsString], flag: &str) -> Option<OsString> {
    let mut given = given.iter();
    while let Some(argument) = given.next() {
        let text = argument.to_str()?;
        if text == flag {
            return given.next().cloned();
        }
        if let Some(value) = text
            .strip_prefix(flag)
            .and_then(|rest| rest.strip_prefix('='))
        {
            return Some(value.into());
        }
    }
    None
}

fn merge(
    command: &Command,
    given: Vec<OsString>,
    table: &Table,
    variable_is_set: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<OsString>> {
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    if let Some(unknown) = table.keys().find(|key| !names.contains(&key.as_str())) {
        bail!(
            "[{unknown}] names no command: there are {}",
            names.join(", ")
        );
    }
    let at = given
        .iter()
        .position(|a| names.iter().any(|name| a == *name));
    let Some(at) = at else { return Ok(given) };
    let Some((name, sub)) = command
        .get_subcommands()
        .map(|sub| (sub.get_name(), sub))
        .find(|(name, _)| given[at] == *name)
    else {
        return Ok(given);
    };
    let Some(section) = table.get(name) else {
        return Ok(given);
    };
    let Value::Table(section) = section else {
        bail!("`{name}` must be a table");
    };
    let mut arguments = given[..=at].to_vec();
    for (key, value) in section {
        let known = sub
            .get_arguments()
            .find(|a| a.get_long() == Some(key.as_str()));
        let Some(known) = known else {
            bail!("[{name}] has no setting `{key}`: see `tourbillon {name} --help`");
        };
        if known
            .get_env()
            .and_then(|env| env.to_str())
            .is_some_and(&variable_is_set)
        {
            continue;
        }
        for text in texts(value).with_context(|| format!("[{name}] {key}"))? {
            arguments.push(format!("--{key}{text}").into());
        }
    }
    arguments.extend_from_slice(&given[at + 1..]);
    Ok(arguments)
}

/// What follows `--key`, once for each value.
fn texts(value: &Value) -> anyhow::Result<Vec<String>> {
    Ok(match value {
        Value::Boolean(true) => vec![String::new()],
        Value::Boolean(false) => Vec::new(),
        Value::Array(values) => {
            let each: anyhow::Result<Vec<_>> = values.iter().map(texts).collect();
            each?.concat()
        }
        Value::String(text) => vec![format!("={text}")],
        Value::Integer(number) => vec![format!("={number}")],
        Value::Float(number) => vec![format!("={number}")],
        Value::Datetime(time) => vec![format!("={time}")],
        Value::Table(_) => bail!("must be a value, not a table"),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn expanded(file: &str, given: &[&str], variables: &[&str]) -> anyhow::Result<Vec<String>> {
        let given = given.iter().map(OsString::from).collect();
        let table = file.parse().unwrap();
        let merged = merge(&Cli::command(), given, &table, |v| variables.contains(&v))?;
        Ok(merged
            .into_iter()
            .map(|a| a.into_string().unwrap())
            .collect())
    }

    #[test]
    fn file_stands_behind_variables_and_flags() {
        let file = "[query]\nlisten = \"0.0.0.0:1\"\nstore = \"s3://b\"\nkafka-option = [\"a=1\", \"b=2\"]";
        let given = ["tourbillon", "query", "--store", "s3://c"];
        let args = expanded(file, &given, &["TOURBILLON_LISTEN"]).unwrap();
        let expected = [
            "tourbillon",
            "query",
            "--kafka-option=a=1",
            "--kafka-option=b=2",
            "--store=s3://b",
            "--store",
            "s3://c",
        ];
        assert_eq!(args, expected);
    }

    #[test]
    fn other_commands_and_no_command_are_left_alone() {
        let file = "[query]\nlisten = \"0.0.0.0:1\"";
        assert_eq!(expanded(file, &["t", "demo"], &[]).unwrap(), ["t", "demo"]);
        assert_eq!(
            expanded(file, &["t", "--help"], &[]).unwrap(),
            ["t", "--help"]
        );
    }

    #[test]
    fn unknown_tables_and_settings_are_named() {
        let error = |file| format!("{:#}", expanded(file, &["t", "query"], &[]).unwrap_err());
        assert!(error("[quarry]\na = 1").contains("[quarry]"));
        assert!(error("[query]\nlissten = 1").contains("`lissten`"));
        assert!(error("[query]\nlisten = {}").contains("listen"));
    }
}
