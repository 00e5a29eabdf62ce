//! What a check found, for people and machines.

use serde_json::{Value, json};
use tourbillon_core::report::{Finding, Grade, Report};

use crate::out::{self, Outcome};

/// Prints a report; failed if a promise would break.
pub(super) fn print(report: &Report, as_json: bool) -> Outcome {
    if as_json {
        out::line(&json(report).to_string());
    } else {
        for finding in report.findings() {
            out::line(&finding.to_string());
        }
        out::line(&summary(report));
    }
    match report.is_sound() {
        true => Outcome::Done,
        false => Outcome::Failed,
    }
}

fn summary(report: &Report) -> String {
    let count = |grade| report.of(grade).count();
    let (wrong, warnings) = (count(Grade::Broken), count(Grade::Warning));
    match wrong {
        0 => format!("no promise would break; {warnings} warning(s)"),
        _ => format!("{wrong} thing(s) to mend before a service runs here; {warnings} warning(s)"),
    }
}

fn json(report: &Report) -> Value {
    let one = |finding: &Finding| {
        json!({
            "grade": finding.grade.as_str(),
            "what": finding.what,
            "says": finding.says,
            "fix": finding.fix,
        })
    };
    let findings: Vec<Value> = report.findings().iter().map(one).collect();
    json!({ "sound": report.is_sound(), "findings": findings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_people_are_told_the_same() {
        let wrong = Finding::broken("topic t", "a=1 (is 2)").with_fix("set a=1");
        let report: Report = [Finding::fine("brokers", "3"), wrong].into_iter().collect();
        let told = json(&report);
        assert_eq!(told["sound"], false);
        assert_eq!(told["findings"][0]["grade"], "ok");
        assert_eq!(told["findings"][1]["fix"], "set a=1");
        assert!(summary(&report).starts_with("1 thing(s) to mend"));
        assert_eq!(print(&report, true), Outcome::Failed);
        assert_eq!(print(&Report::default(), false), Outcome::Done);
    }
}
