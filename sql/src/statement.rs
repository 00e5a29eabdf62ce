//! A statement as it comes in, and what is refused of it before it is planned.

use std::time::Duration;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{self, Statement as Ast};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use tourbillon_query::params::Consistency;

use crate::error::SqlError;
use crate::snapshots::Snapshots;

/// Longest text of a statement, bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 256 << 10;

/// Most words and signs of a statement, besides literals and commas. Every level of nesting needs
/// one, and the planner takes time that grows faster than their number and cannot be interrupted.
pub(crate) const MAX_TERMS: usize = 4096;

/// Wait for a node to follow as far as a snapshot if the client names none.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// A statement with what it is to be computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text.
    pub query: String,
    /// Only the rows of these snapshots; all that are there if there are none.
    pub snapshots: Snapshots,
    /// `Final`: rows through T of each stream only; `Latest`: tails too.
    pub consistency: Consistency,
    /// How long to wait until the node has followed as far as the snapshots.
    pub wait: Duration,
}

impl Statement {
    /// A statement over all that is there.
    pub fn latest(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            snapshots: Snapshots::default(),
            consistency: Consistency::Latest,
            wait: DEFAULT_WAIT,
        }
    }
}

/// Refuses what is too long to be planned in good time.
pub(crate) fn check_size(text: &str) -> Result<(), SqlError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(SqlError::TooLong(MAX_TEXT_BYTES));
    }
    // what cannot be read as words is told by the parser, with its place
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else {
        return Ok(());
    };
    let terms = tokens.iter().filter(|token| !is_flat(token)).count();
    match terms > MAX_TERMS {
        true => Err(SqlError::Request {
            name: "query",
            reason: format!(
                "has {terms} words and signs, and {MAX_TERMS} is the most: make it shorter (lists of \
                 literals do not count)"
            ),
        }),
        false => Ok(()),
    }
}

/// Tokens that nothing can be nested with.
fn is_flat(token: &Token) -> bool {
    matches!(
        token,
        Token::Whitespace(_)
            | Token::Comma
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EOF
    )
}

/// Lets through what only reads.
pub(crate) fn check_reads(statement: &Parsed) -> Result<(), SqlError> {
    let refused = |what: &str| Err(SqlError::ReadOnly(what.to_owned()));
    match statement {
        Parsed::Explain(explain) => check_reads(&explain.statement),
        Parsed::CopyTo(_) => refused("COPY"),
        Parsed::CreateExternalTable(_) => refused("CREATE"),
        Parsed::Reset(_) => refused("RESET"),
        Parsed::Statement(statement) => match statement.as_ref() {
            Ast::Query(query) => check_query(query),
            Ast::Explain { statement, .. } => match statement.as_ref() {
                Ast::Query(query) => check_query(query),
                other => refused(&first_word(other)),
            },
            Ast::ExplainTable { .. }
            | Ast::ShowTables { .. }
            | Ast::ShowColumns { .. }
            | Ast::ShowVariable { .. }
            | Ast::ShowFunctions { .. } => Ok(()),
            other => refused(&first_word(other)),
        },
    }
}

/// A query's body can be a statement that writes, in brackets or after WITH.
fn check_query(query: &ast::Query) -> Result<(), SqlError> {
    let mut left = vec![query.body.as_ref()];
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    tables
        .clone()
        .try_for_each(|table| check_query(&table.query))?;
    while let Some(body) = left.pop() {
        match body {
            ast::SetExpr::Query(query) => check_query(query)?,
            ast::SetExpr::SetOperation {
                left: one,
                right: other,
                ..
            } => left.extend([one.as_ref(), other.as_ref()]),
            ast::SetExpr::Select(select) if select.into.is_some() => {
                return Err(SqlError::ReadOnly("SELECT INTO".to_owned()));
            }
            ast::SetExpr::Select(_) | ast::SetExpr::Values(_) | ast::SetExpr::Table(_) => {}
            other => return Err(SqlError::ReadOnly(first_word(other))),
        }
    }
    Ok(())
}

fn first_word(statement: &impl std::fmt::Display) -> String {
    let text = statement.to_string();
    let word = text.split_whitespace().next().unwrap_or("this statement");
    word.chars().take(40).collect::<String>().to_uppercase()
}
