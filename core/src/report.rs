//! What a check of something outside found: line by line what is right, what is wrong, and what to
//! change.

use std::fmt;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it must be.
    Fine,
    /// No promise breaks, but somebody should know.
    Warning,
    /// A promise would break.
    Broken,
}

impl Grade {
    /// Lower-case name for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Broken => "wrong",
        }
    }
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub grade: Grade,
    /// What was looked at, like `topic t`.
    pub what: String,
    /// What was found.
    pub says: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Finding {
    /// As it must be.
    pub fn fine(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Grade::Fine, what, says)
    }

    /// Somebody should know.
    pub fn warning(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Grade::Warning, what, says)
    }

    /// A promise would break.
    pub fn broken(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Grade::Broken, what, says)
    }

    /// With any grade.
    pub fn new(grade: Grade, what: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            grade,
            what: what.into(),
            says: says.into(),
            fix: None,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }

    /// What was looked at, what was found and what to do, without the grade.
    pub fn text(&self) -> String {
        let fix = self.fix.as_ref().map(|fix| format!(": {fix}"));
        format!("{}: {}{}", self.what, self.says, fix.unwrap_or_default())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Fine => "ok",
            Grade::Warning => "warning",
            Grade::Broken => "WRONG",
        };
        write!(f, "{grade:<8} {}", self.text())
    }
}

/// Everything that a check found, in the order in which it looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(Vec<Finding>);

impl Report {
    /// Adds a line.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// The lines.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// The lines of one grade.
    pub fn of(&self, grade: Grade) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(move |finding| finding.grade == grade)
    }

    /// Whether no promise would break.
    pub fn is_sound(&self) -> bool {
        self.of(Grade::Broken).next().is_none()
    }
}

impl Extend<Finding> for Report {
    fn extend<I: IntoIterator<Item = Finding>>(&mut self, findings: I) {
        self.0.extend(findings);
    }
}

impl FromIterator<Finding> for Report {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        Self(findings.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_is_wrong_and_what_to_do() {
        let wrong = Finding::broken("topic t", "a=1 (is 2)").with_fix("set a=1");
        assert_eq!(wrong.to_string(), "WRONG    topic t: a=1 (is 2): set a=1");
        assert_eq!(
            Finding::fine("brokers", "3").to_string(),
            "ok       brokers: 3"
        );
    }

    #[test]
    fn warnings_break_nothing() {
        let mut report: Report = [Finding::fine("a", "b"), Finding::warning("c", "d")]
            .into_iter()
            .collect();
        assert!(report.is_sound());
        report.push(Finding::broken("e", "f"));
        assert!(!report.is_sound());
        assert_eq!(report.of(Grade::Warning).count(), 1);
    }
}
