//! SQL over every stream, by HTTP and by Arrow Flight SQL.
