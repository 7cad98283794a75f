//! The table that a statement is about: of several the first, and of a view made on the spot (`WITH`,
//! a query in parentheses) the one behind it.

use sqlparser::ast::{
    Cte, FromTable, ObjectName, Query, SetExpr, Statement, TableFactor, TableObject, TableWithJoins,
};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::{keyword, outermost};

/// How many views are looked through.
const DEEPEST: usize = 16;

/// The table's name, without its schema.
pub(super) fn of(dialect: &dyn Dialect, tokens: &[Token], is_whole: bool) -> Option<String> {
    let parsed = match is_whole && is_query(tokens) {
        true => Parser::new(dialect).with_tokens(tokens.to_vec()).parse_statement().ok(),
        // Only the parser's view of queries is used, and of half a text it has none.
        false => None,
    };
    match parsed {
        Some(statement) => of_statement(&statement, DEEPEST),
        None => by_tokens(tokens),
    }
}

fn is_query(tokens: &[Token]) -> bool {
    matches!(tokens.first(), Some(Token::LParen))
        || tokens.first().is_some_and(|first| {
            matches!(
                keyword(first),
                Keyword::SELECT
                    | Keyword::WITH
                    | Keyword::INSERT
                    | Keyword::REPLACE
                    | Keyword::UPDATE
                    | Keyword::DELETE
            )
        })
}

fn of_statement(statement: &Statement, depth: usize) -> Option<String> {
    match statement {
        Statement::Query(query) => of_query(query, &[], depth),
        Statement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => last(name),
            _ => None,
        },
        Statement::Update(update) => of_factor(&update.table.relation, &[], depth),
        Statement::Delete(delete) => match &delete.from {
            FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from) => {
                of_from(from, &[], depth)
            }
        },
        _ => None,
    }
}

/// `views` are those that a `WITH` around the query names.
fn of_query(query: &Query, views: &[&Cte], depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let own = query.with.iter().flat_map(|with| &with.cte_tables);
    let views: Vec<&Cte> = own.chain(views.iter().copied()).collect();
    of_set(&query.body, &views, depth)
}

fn of_set(set: &SetExpr, views: &[&Cte], depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match set {
        SetExpr::Select(select) => of_from(&select.from, views, depth),
        SetExpr::Query(inner) => of_query(inner, views, depth),
        SetExpr::SetOperation { left, .. } => of_set(left, views, depth),
        SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
            of_statement(statement, depth)
        }
        _ => None,
    }
}

fn of_from(from: &[TableWithJoins], views: &[&Cte], depth: usize) -> Option<String> {
    of_factor(&from.first()?.relation, views, depth)
}

fn of_factor(factor: &TableFactor, views: &[&Cte], depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match factor {
        TableFactor::Table { name, .. } => {
            let view = views.iter().find(|view| {
                let [part] = name.0.as_slice() else { return false };
                part.as_ident()
                    .is_some_and(|it| it.value.eq_ignore_ascii_case(&view.alias.name.value))
            });
            match view {
                Some(view) => of_query(&view.query, views, depth),
                None => last(name),
            }
        }
        TableFactor::Derived { subquery, .. } => of_query(subquery, views, depth),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            of_factor(&table_with_joins.relation, views, depth)
        }
        _ => None,
    }
}

fn last(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.clone())
}

/// The name after the word that a table's name follows: `FROM`, `INTO`, `UPDATE`, `TABLE`; for an
/// index `ON`.
fn by_tokens(tokens: &[Token]) -> Option<String> {
    let before = |token: &&Token| {
        matches!(
            keyword(token),
            Keyword::FROM | Keyword::INTO | Keyword::UPDATE | Keyword::TABLE | Keyword::ON
        )
    };
    let is_noise = |token: &&Token| {
        matches!(
            keyword(token),
            Keyword::IF
                | Keyword::NOT
                | Keyword::EXISTS
                | Keyword::OR
                | Keyword::REPLACE
                | Keyword::IGNORE
                | Keyword::ONLY
        )
    };
    let mut after = outermost(tokens.iter()).skip_while(|token| !before(token)).skip(1);
    let mut found = None;
    let mut token = after.find(|token| !is_noise(token))?;
    while let Token::Word(word) = token {
        found = Some(word.value.clone());
        match (after.next(), after.next()) {
            (Some(Token::Period), Some(next)) => token = next,
            _ => break,
        }
    }
    found
}
