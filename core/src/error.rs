//! What a caller should do about an error, the only input to retry policy and HTTP status.

/// The class of an error. Every library error of the workspace maps to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong; repeating it cannot help.
    Invalid,
    /// Something is out of reach or full; repeat the same request later.
    Unavailable,
    /// This writer or process was superseded; start again as a new one.
    Fenced,
    /// Stored bytes are damaged or contradict each other; an operator must look.
    Data,
    /// A broken invariant: a bug.
    Internal,
}

impl ErrorKind {
    /// Each of them.
    pub const ALL: [Self; 5] = [
        Self::Invalid,
        Self::Unavailable,
        Self::Fenced,
        Self::Data,
        Self::Internal,
    ];

    /// Lower-case name used in logs, metrics and problem documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Fenced => "fenced",
            Self::Data => "data",
            Self::Internal => "internal",
        }
    }

    /// HTTP status that tells a client the same thing.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unavailable | Self::Fenced => 503,
            Self::Data | Self::Internal => 500,
        }
    }
}

/// Text of an error followed by every source, separated by `: `.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
