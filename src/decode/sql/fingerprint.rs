//! The shape of a query: two queries that differ in their values only have the same.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use super::{Statement, keyword};

const VALUE: &str = "?";
const CUT: &str = "…";

/// The shape of what `tokens` say; `is_whole` is false where the text went on.
pub(super) fn of(tokens: &[Token], is_whole: bool) -> String {
    let mut pieces: Vec<Piece> = Vec::new();
    for token in tokens {
        push(&mut pieces, piece(token));
    }
    // The end of a statement says nothing.
    while pieces.last().is_some_and(|last| last.text == ";") {
        pieces.pop();
    }
    write(&pieces, is_whole)
}

struct Piece {
    text: String,
    is_keyword: bool,
    is_word: bool,
}

fn piece(token: &Token) -> Piece {
    let sign = |text: String| Piece { text, is_keyword: false, is_word: false };
    match token {
        Token::Word(word) if word.quote_style.is_some() => {
            Piece { text: word.to_string(), is_keyword: false, is_word: true }
        }
        Token::Word(word) if is_of_syntax(keyword(token)) => {
            Piece { text: word.value.to_ascii_uppercase(), is_keyword: true, is_word: true }
        }
        Token::Word(word) => {
            Piece { text: word.value.to_lowercase(), is_keyword: false, is_word: true }
        }
        // Everything that is no sign, name or bracket holds a value.
        Token::Number(..)
        | Token::Char(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::TripleSingleQuotedString(_)
        | Token::TripleDoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::DoubleQuotedByteStringLiteral(_)
        | Token::TripleSingleQuotedByteStringLiteral(_)
        | Token::TripleDoubleQuotedByteStringLiteral(_)
        | Token::SingleQuotedRawStringLiteral(_)
        | Token::DoubleQuotedRawStringLiteral(_)
        | Token::TripleSingleQuotedRawStringLiteral(_)
        | Token::TripleDoubleQuotedRawStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::QuoteDelimitedStringLiteral(_)
        | Token::NationalQuoteDelimitedStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::CopyData { .. }
        | Token::Placeholder(_)
        | Token::Question => sign(VALUE.to_owned()),
        other => sign(other.to_string()),
    }
}

/// Adds a piece, and folds what it completes: a signed number, a list of values, a list of rows.
fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    if piece.text == VALUE {
        let is_signed = |before: Option<&Piece>| {
            before.is_none_or(|it| it.is_keyword || matches!(&*it.text, "(" | "," | "="))
        };
        if let [before @ .., sign] = pieces.as_slice()
            && matches!(&*sign.text, "-" | "+")
            && is_signed(before.last())
        {
            pieces.pop();
        }
        if let [.., value, comma] = pieces.as_slice()
            && (&*value.text, &*comma.text) == (VALUE, ",")
        {
            pieces.pop();
            return;
        }
    }
    if piece.text == ")"
        && let Some(row) = row_like_the_one_before(pieces)
    {
        pieces.truncate(row);
        return;
    }
    pieces.push(piece);
}

/// Where the comma and the parentheses begin that are about to be closed, if they hold one more of
/// what stands before them: `(?, now()), (?, now()`. Of what is inserted all rows are alike.
fn row_like_the_one_before(pieces: &[Piece]) -> Option<usize> {
    let row = opened(pieces)?;
    let [before @ .., end, comma] = &pieces[..row] else { return None };
    if (&*end.text, &*comma.text) != (")", ",") {
        return None;
    }
    let first = opened(before)?;
    let texts = |pieces: &[Piece]| pieces.iter().map(|it| it.text.clone()).collect::<Vec<_>>();
    let is_inserted = first.checked_sub(1).is_some_and(|at| pieces[at].text == "VALUES");
    (is_inserted || texts(&before[first..]) == texts(&pieces[row..])).then_some(row - 1)
}

/// The parenthesis that is open at the end.
fn opened(pieces: &[Piece]) -> Option<usize> {
    let mut closed = 0_usize;
    pieces.iter().rposition(|piece| match &*piece.text {
        ")" => {
            closed += 1;
            false
        }
        "(" if closed == 0 => true,
        "(" => {
            closed -= 1;
            false
        }
        _ => false,
    })
}

fn write(pieces: &[Piece], is_whole: bool) -> String {
    let mut text = String::new();
    let mut last: Option<&Piece> = None;
    for piece in pieces {
        let joins = match (last, &*piece.text) {
            (None, _) | (_, "," | ")" | "." | ";") => true,
            // `count(*)`, but `IN (?)`.
            (Some(last), "(") => (last.is_word && !last.is_keyword) || last.text == "(",
            (Some(last), _) => matches!(&*last.text, "(" | "."),
        };
        let space = usize::from(!joins);
        if text.len() + space + piece.text.len() + CUT.len() > Statement::LONGEST_FINGERPRINT {
            text.push_str(CUT);
            return text;
        }
        if !joins {
            text.push(' ');
        }
        text.push_str(&piece.text);
        last = Some(piece);
    }
    if !is_whole {
        text.push_str(CUT);
    }
    text
}

/// Words that are no names in any usual query, and are written in capitals. The parser's own list
/// holds many that are: `owner`, `name`, `count`.
const fn is_of_syntax(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::ALL
            | Keyword::ALTER
            | Keyword::AND
            | Keyword::AS
            | Keyword::ASC
            | Keyword::BEGIN
            | Keyword::BETWEEN
            | Keyword::BY
            | Keyword::CASE
            | Keyword::COMMIT
            | Keyword::CONFLICT
            | Keyword::CREATE
            | Keyword::CROSS
            | Keyword::DEFAULT
            | Keyword::DELETE
            | Keyword::DESC
            | Keyword::DISTINCT
            | Keyword::DO
            | Keyword::DROP
            | Keyword::ELSE
            | Keyword::END
            | Keyword::EXCEPT
            | Keyword::EXISTS
            | Keyword::FROM
            | Keyword::FULL
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::IF
            | Keyword::IGNORE
            | Keyword::IMMEDIATE
            | Keyword::IN
            | Keyword::INDEX
            | Keyword::INNER
            | Keyword::INSERT
            | Keyword::INTERSECT
            | Keyword::INTO
            | Keyword::IS
            | Keyword::JOIN
            | Keyword::LEFT
            | Keyword::LIKE
            | Keyword::LIMIT
            | Keyword::NOT
            | Keyword::NOTHING
            | Keyword::NULL
            | Keyword::OFFSET
            | Keyword::ON
            | Keyword::OR
            | Keyword::ORDER
            | Keyword::OUTER
            | Keyword::OVER
            | Keyword::PRAGMA
            | Keyword::RELEASE
            | Keyword::REPLACE
            | Keyword::RETURNING
            | Keyword::RIGHT
            | Keyword::ROLLBACK
            | Keyword::SAVEPOINT
            | Keyword::SELECT
            | Keyword::SET
            | Keyword::TABLE
            | Keyword::THEN
            | Keyword::TRANSACTION
            | Keyword::UNION
            | Keyword::UNIQUE
            | Keyword::UPDATE
            | Keyword::USING
            | Keyword::VALUES
            | Keyword::WHEN
            | Keyword::WHERE
            | Keyword::WITH
    )
}
