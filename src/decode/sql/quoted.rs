//! Values that do not look like values: texts in double quotes, the names of savepoints and cursors
//! (which drivers make up anew each time), what settings are set to.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Word};

use super::keyword;

/// Makes parameters of them. `quotes_names`: what is in double quotes is a name for sure.
pub(super) fn hide_values(tokens: &mut Vec<Token>, quotes_names: bool) {
    if !quotes_names {
        let names = names(tokens);
        for (token, is_name) in tokens.iter_mut().zip(names) {
            if is_double_quoted(token) && !is_name {
                *token = value();
            }
        }
    }
    let mut begin = 0;
    while begin < tokens.len() {
        let length = tokens[begin..].iter().position(|token| *token == Token::SemiColon);
        let end = length.map_or(tokens.len(), |length| begin + length);
        hide_of_verb(&mut tokens[begin..end]);
        begin = end + 1;
    }
    drop_casts(tokens);
}

fn value() -> Token {
    Token::Placeholder("?".to_owned())
}

fn is_double_quoted(token: &Token) -> bool {
    matches!(token, Token::Word(Word { quote_style: Some('"'), .. }))
}

/// Which of the words in double quotes stand where only a name can.
fn names(tokens: &[Token]) -> Vec<bool> {
    let is_definition = tokens
        .first()
        .is_some_and(|it| matches!(keyword(it), Keyword::CREATE | Keyword::ALTER | Keyword::DROP));
    let mut names = vec![false; tokens.len()];
    // How deep in parentheses, and whether the outermost ones list the columns of an INSERT.
    let (mut depth, mut lists_columns, mut after_into) = (0_usize, false, false);
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        match token {
            Token::LParen => {
                depth += 1;
                lists_columns = depth == 1 && after_into;
                after_into = false;
            }
            Token::RParen => {
                depth = depth.saturating_sub(1);
                lists_columns = false;
            }
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::INTO => after_into = true,
                Keyword::VALUES | Keyword::SELECT | Keyword::SET | Keyword::DEFAULT => {
                    after_into = false;
                }
                _ => {}
            },
            _ => {}
        }
        if !is_double_quoted(token) {
            continue;
        }
        let is_of_a_path =
            before == Some(&Token::Period) || tokens.get(at + 1) == Some(&Token::Period);
        let is_after_keyword = before.is_some_and(|before| match keyword(before) {
            Keyword::FROM
            | Keyword::JOIN
            | Keyword::INTO
            | Keyword::UPDATE
            | Keyword::TABLE
            | Keyword::INDEX
            | Keyword::VIEW
            | Keyword::ONLY
            | Keyword::AS
            | Keyword::EXISTS
            | Keyword::REFERENCES
            | Keyword::CONSTRAINT
            | Keyword::COLUMN => true,
            Keyword::ON => is_definition,
            _ => false,
        });
        let is_listed = (lists_columns || is_definition)
            && depth == 1
            && matches!(before, Some(Token::LParen | Token::Comma));
        // `FROM "user" "User"`
        let is_alias = at > 0 && names[at - 1];
        names[at] = is_of_a_path || is_after_keyword || is_listed || is_alias;
    }
    names
}

/// What the verb of a statement says of its words.
fn hide_of_verb(tokens: &mut [Token]) {
    let Some(first) = tokens.first() else { return };
    let (from, until_sign) = match keyword(first) {
        Keyword::SAVEPOINT
        | Keyword::RELEASE
        | Keyword::ROLLBACK
        | Keyword::DECLARE
        | Keyword::CLOSE
        | Keyword::FETCH
        | Keyword::DEALLOCATE => (1, false),
        Keyword::PRAGMA | Keyword::SET => (1, true),
        Keyword::EXEC | Keyword::EXECUTE => (2, false),
        _ => return,
    };
    let is_cursor = keyword(first) == Keyword::DECLARE;
    let mut is_hiding = !until_sign;
    for token in tokens.iter_mut().skip(from) {
        let is_kept = matches!(
            keyword(token),
            Keyword::SAVEPOINT
                | Keyword::TRANSACTION
                | Keyword::WORK
                | Keyword::TO
                | Keyword::FROM
                | Keyword::IN
                | Keyword::PREPARE
        );
        match token {
            Token::Eq | Token::LParen => is_hiding = true,
            Token::Word(_) if keyword(token) == Keyword::TO => is_hiding = true,
            Token::Word(_) if is_hiding && !is_kept => {
                *token = value();
                if is_cursor {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// `$1::INTEGER`, `?::timestamp with time zone`, `?::varchar(20)[]`: the type says nothing of the
/// shape.
fn drop_casts(tokens: &mut Vec<Token>) {
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut rest = std::mem::take(tokens).into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_of_value = token == Token::DoubleColon
            && kept.last().is_some_and(|before| {
                !matches!(before, Token::Word(_) | Token::RParen | Token::RBracket)
            });
        if !is_of_value {
            kept.push(token);
            continue;
        }
        // The type's name, the further words that belong to it, its length, and that it is an array.
        rest.next_if(|token| matches!(token, Token::Word(_)));
        while rest.next_if(is_of_type).is_some() {}
        if rest.next_if_eq(&Token::LParen).is_some() {
            while rest.next().is_some_and(|token| token != Token::RParen) {}
        }
        while rest.next_if(|it| matches!(it, Token::LBracket | Token::RBracket)).is_some() {}
    }
    *tokens = kept;
}

fn is_of_type(token: &Token) -> bool {
    let Token::Word(word) = token else { return false };
    ["precision", "varying", "with", "without", "time", "zone"]
        .iter()
        .any(|part| word.value.eq_ignore_ascii_case(part))
}
