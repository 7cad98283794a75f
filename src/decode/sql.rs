//! What a query's text says: its operation, its table, and its shape without literals.
//!
//! Owns the reading of SQL for names and fingerprints. The table is found by a parser; where that
//! cannot follow (a dialect's own words, a text that was cut) the tokens alone tell it. Texts hold
//! what users typed, so nothing of a literal is ever in what comes out: of a system that does not
//! speak SQL there is the first word only, and of SQL whose quotation marks are not understood
//! nothing but its verb.

mod fingerprint;
mod quoted;
mod system;
mod table;

use std::sync::Arc;

use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};
use system::{Language, Sql, language};

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

    /// Reads `text` as `system` (`db.system.name`) understands it. Never fails: what is no SQL has its
    /// first word, if that is one, for an operation.
    pub fn read(system: &str, text: &str) -> Self {
        match language(system) {
            Language::Sql(sql) => Self::of_sql(sql, text),
            Language::Unknown if reads_as_sql(text) => Self::of_sql(Sql::GENERIC, text),
            Language::Unknown | Language::Other => Self::of_command(text),
        }
    }

    /// Whether running it often is no sign of a loop over items: it opens, ends or sets up something,
    /// or asks whether anybody is there.
    pub fn is_housekeeping(operation: Option<&str>, fingerprint: &str) -> bool {
        let is_command = operation == Some(fingerprint);
        match operation {
            Some(
                "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT"
                | "RELEASE" | "PRAGMA" | "RESET" | "SHOW" | "USE" | "DISCARD" | "DEALLOCATE",
            ) => true,
            // The way to store a value elsewhere.
            Some("SET") => !is_command,
            Some("PING" | "AUTH" | "HELLO" | "MULTI" | "EXEC" | "CONNECT") => is_command,
            _ => matches!(fingerprint, "SELECT" | "SELECT ?" | "SELECT ? FROM dual"),
        }
    }

    fn of_sql(sql: Sql, text: &str) -> Self {
        if !sql.knows_escapes && ["\\'", "\\\""].iter().any(|escaped| text.contains(escaped)) {
            return Self::of_command(text);
        }
        let mut located = Vec::new();
        let is_whole =
            Tokenizer::new(sql.dialect, text).tokenize_with_location_into_buf(&mut located).is_ok();
        let mut tokens = without_space(located.into_iter().map(|it| it.token));
        quoted::hide_values(&mut tokens, sql.quotes_names);
        Self {
            operation: operation(&tokens).map(Into::into),
            collection: table::of(sql.dialect, &tokens, is_whole).map(Into::into),
            fingerprint: fingerprint::of(&tokens, is_whole).into(),
        }
    }

    fn of_command(text: &str) -> Self {
        let Some(word) = command(text) else { return Self::default() };
        let word = word.to_ascii_uppercase();
        Self { fingerprint: word.as_str().into(), operation: Some(word.into()), collection: None }
    }
}

/// The first word of a command, as far as it is one.
pub fn command(text: &str) -> Option<&str> {
    const LONGEST: usize = 32;
    let word = text.split_whitespace().next()?;
    let is_word = word.len() <= LONGEST
        && word.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_.-".contains(&byte));
    is_word.then_some(word)
}

fn reads_as_sql(text: &str) -> bool {
    let verb = command(text).map(str::to_ascii_uppercase);
    let is_verb = verb.is_some_and(|verb| {
        matches!(&*verb, "SELECT" | "WITH" | "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "MERGE")
    });
    // As in `DELETE key`, which a parser may take for SQL.
    let words = || text.split_whitespace().map(str::to_ascii_uppercase);
    let is_of_rows = words().any(|word| matches!(&*word, "FROM" | "INTO" | "SET"));
    is_verb && is_of_rows && Parser::parse_sql(Sql::GENERIC.dialect, text).is_ok()
}

/// The tokens that mean something, parameters as `?` however their driver writes them: `:name`,
/// `@name`, `%s`, `%(name)s`, `$1::INTEGER`.
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
