//! What a query's text says: its operation, its table, and its shape without literals.
//!
//! Owns the reading of SQL for names and fingerprints. The table is found by a parser; where that
//! cannot follow (a dialect's own words, a text that was cut) the tokens alone tell it. Texts hold
//! what users typed, so nothing of a literal is ever in what comes out.

mod fingerprint;
mod table;

use std::sync::Arc;

use sqlparser::dialect::{
    Dialect, GenericDialect, MsSqlDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect,
};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};

/// What a text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The first statement's verb, in capitals: `SELECT`, also behind `WITH`.
    pub operation: Option<Box<str>>,
    /// Its table without schema, the first of several: `nfts`.
    pub collection: Option<Box<str>>,
    /// The text with each literal and parameter as `?`, lists of them as one, and white space,
    /// comments and case made alike. At most [`Statement::LONGEST_FINGERPRINT`] bytes.
    pub fingerprint: Arc<str>,
}

impl Statement {
    /// In bytes; a longer one ends in `…`.
    pub const LONGEST_FINGERPRINT: usize = 2_048;

    /// Reads `text` as `system` (`db.system.name`) understands it: what a quotation mark means is not
    /// the same everywhere. Never fails: what is no SQL has no operation.
    pub fn read(system: &str, text: &str) -> Self {
        let dialect = dialect(system);
        let mut located = Vec::new();
        let is_whole =
            Tokenizer::new(dialect, text).tokenize_with_location_into_buf(&mut located).is_ok();
        let tokens = without_space(located.into_iter().map(|it| it.token));
        Self {
            operation: operation(&tokens).map(Into::into),
            collection: table::of(dialect, &tokens, is_whole).map(Into::into),
            fingerprint: fingerprint::of(&tokens, is_whole).into(),
        }
    }
}

fn dialect(system: &str) -> &'static dyn Dialect {
    match system {
        "sqlite" => &SQLiteDialect {},
        "mysql" | "mariadb" => &MySqlDialect {},
        "postgresql" | "cockroachdb" => &PostgreSqlDialect {},
        "microsoft.sql_server" | "mssql" => &MsSqlDialect {},
        _ => &GenericDialect {},
    }
}

/// The tokens that mean something, parameters as `?` however their driver writes them: `:name`,
/// `@name`, `%s`, `%(name)s`.
fn without_space(tokens: impl Iterator<Item = Token>) -> Vec<Token> {
    let is_s = |token: &Token| matches!(token, Token::Word(word) if word.value == "s");
    let is_name = |token: &Token| matches!(token, Token::Word(_) | Token::Number(..));
    let mut kept: Vec<Token> = Vec::new();
    for token in tokens {
        let length = match kept.as_slice() {
            [.., Token::Mod, Token::LParen, Token::Word(_), Token::RParen] if is_s(&token) => 4,
            [.., Token::Mod] if is_s(&token) => 1,
            [.., Token::Colon | Token::AtSign] if is_name(&token) => 1,
            _ => 0,
        };
        if length > 0 {
            kept.truncate(kept.len() - length);
            kept.push(Token::Placeholder("?".to_owned()));
        } else if !matches!(token, Token::Whitespace(_) | Token::EOF) {
            kept.push(token);
        }
    }
    kept
}

/// A keyword that is not quoted.
const fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// The verb of the first statement.
fn operation(tokens: &[Token]) -> Option<String> {
    let mut tokens = tokens.iter().skip_while(|token| matches!(token, Token::LParen));
    let first = tokens.next()?;
    let verb = match keyword(first) {
        Keyword::NoKeyword => return None,
        Keyword::WITH => outermost(tokens).find(|token| {
            matches!(
                keyword(token),
                Keyword::SELECT
                    | Keyword::INSERT
                    | Keyword::UPDATE
                    | Keyword::DELETE
                    | Keyword::REPLACE
                    | Keyword::MERGE
            )
        })?,
        _ => first,
    };
    match verb {
        Token::Word(word) => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// The tokens that stand in no parentheses.
fn outermost<'a>(tokens: impl Iterator<Item = &'a Token>) -> impl Iterator<Item = &'a Token> {
    let mut depth = 0_usize;
    tokens.filter(move |token| match token {
        Token::LParen => {
            depth += 1;
            depth == 1
        }
        Token::RParen => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    })
}

#[cfg(test)]
mod tests;
