//! Parameters of a window query.

use tourbillon_query::params::WindowParams;
use tourbillon_query::token::Token;

use crate::samples::SCHEMA;

/// Any parameters, `name=value` a line, are answered; a window that is let in is one, and its token
/// survives being written again.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    let pairs: Vec<_> = text.lines().map(pair).collect();
    if let Ok(params) = WindowParams::parse(&pairs, &SCHEMA) {
        assert!(
            params.end.is_none_or(|end| params.start <= end),
            "no window"
        );
        assert!(params.wait_ns >= 0, "a wait into the past");
        let token = params.snapshot.map(|token| Token {
            after: params.after,
            ..token
        });
        if let Some(token) = token {
            assert_eq!(token.to_string().parse(), Ok(token), "the token changed");
        }
    }
}
