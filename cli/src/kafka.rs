//! How to reach Kafka, from flags, variables and files, and where passwords may stand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, bail};
use tourbillon_core::ids::check_plain_name;
use tourbillon_log::{KafkaSettings, is_secret_option};

use crate::args::KafkaArgs;

/// The flag that names an option.
const OPTION_FLAG: &str = "--kafka-option";

impl KafkaArgs {
    /// The settings of the log on these brokers.
    pub(crate) fn settings(&self, brokers: &str) -> anyhow::Result<KafkaSettings> {
        check_plain_name("topic prefix", &self.topic_prefix)?;
        let mut options = match &self.kafka_options_file {
            Some(file) => options_file(file)?,
            None => BTreeMap::new(),
        };
        for pair in &self.kafka_options {
            if let Some((name, value)) = option(pair.text())? {
                options.insert(name, value);
            }
        }
        Ok(KafkaSettings {
            brokers: brokers.to_owned(),
            replication: self.replication,
            options,
            topic_retention: self.topic_retention,
        })
    }
}

/// Fails if a secret stands on the command line, where every user of the machine can read it.
pub(crate) fn refuse_secrets(given: &[OsString]) -> anyhow::Result<()> {
    let mut given = given.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = given.next() {
        let Some(rest) = argument.strip_prefix(OPTION_FLAG) else {
            continue;
        };
        let pairs = match rest.strip_prefix('=') {
            Some(pairs) => pairs.to_owned(),
            None if rest.is_empty() => given.next().unwrap_or_default().into_owned(),
            None => continue,
        };
        for pair in pairs.split(';') {
            let name = pair.split('=').next().unwrap_or_default().trim();
            if is_secret_option(name) {
                bail!(
                    "`{name}` is a secret, which every user of this machine can read on the \
                     command line: put it into a file for --kafka-options-file, or into the \
                     variable TOURBILLON_KAFKA_OPTIONS"
                );
            }
        }
    }
    Ok(())
}

/// Options in a file: `KEY=VALUE` lines, others empty or comments behind `#`.
fn options_file(file: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the Kafka options file {}", file.display()))?;
    let mut options = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = || format!("line {} of {}", number + 1, file.display());
        let (name, value) = option(line).with_context(at)?.with_context(at)?;
        if options.insert(name.clone(), value).is_some() {
            bail!("{}: `{name}` is given twice", at());
        }
    }
    Ok(options)
}

fn option(pair: &str) -> anyhow::Result<Option<(String, String)>> {
    if pair.trim().is_empty() {
        return Ok(None);
    }
    match pair.split_once('=') {
        Some((name, value)) => Ok(Some((name.trim().to_owned(), value.trim().to_owned()))),
        // the text may hold a secret, so it is not repeated
        None => bail!("an option for Kafka lacks its `=`: write KEY=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn given(arguments: &[&str]) -> Vec<OsString> {
        arguments.iter().map(OsString::from).collect()
    }

    #[test]
    fn secrets_on_the_command_line_are_refused_by_name_only() {
        for arguments in [
            &["t", "query", "--kafka-option", "sasl.password=hunter2"][..],
            &["t", "query", "--kafka-option=sasl.password=hunter2"],
            &[
                "t",
                "query",
                "--kafka-option",
                "a=b;sasl.password = hunter2",
            ],
            &[
                "t",
                "query",
                "--kafka-option=x=y",
                "--kafka-option=ssl.key.pem=hunter2",
            ],
        ] {
            let error = refuse_secrets(&given(arguments)).unwrap_err().to_string();
            assert!(error.contains("--kafka-options-file"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let fine = [
            "t",
            "query",
            "--kafka-option",
            "ssl.key.location=/k",
            "--kafka-options-file",
        ];
        refuse_secrets(&given(&fine)).unwrap();
        refuse_secrets(&given(&["t", "query", "--kafka-option"])).unwrap();
    }

    fn check_kafka(arguments: &[&str]) -> (String, KafkaArgs) {
        let all = [&["t", "check-kafka", "b:1"], arguments].concat();
        let cli = Cli::try_parse_from(all).unwrap();
        let shown = format!("{cli:?}");
        let Command::CheckKafka(args) = cli.command else {
            panic!("another command");
        };
        (shown, args.kafka_settings)
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kafka.options");
        let text = "# login\nsasl.username = me\n\n sasl.password=p=1;x # y\nlinger.ms=1\n";
        std::fs::write(&file, text).unwrap();
        let flag = format!("--kafka-options-file={}", file.display());
        let (_, args) = check_kafka(&[&flag, "--kafka-option", "linger.ms=7", "--replication=2"]);
        let settings = args.settings("b:1").unwrap();
        let option = |name: &str| settings.options[name].as_str();
        assert_eq!(option("sasl.username"), "me");
        assert_eq!(option("sasl.password"), "p=1;x # y");
        assert_eq!(option("linger.ms"), "7");
        assert_eq!(settings.replication, Some(2));
    }

    #[test]
    fn a_bad_file_is_told_with_its_line_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        for (text, told) in [
            ("a=1\nhunter2\n", "line 2"),
            ("a=1\na=hunter2\n", "`a` is given twice"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = format!("{:#}", options_file(&file).unwrap_err());
            assert!(error.contains(told), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let missing = options_file(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }

    #[test]
    fn arguments_show_no_options() {
        let (shown, _) = check_kafka(&["--kafka-option", "sasl.password=hunter2"]);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
