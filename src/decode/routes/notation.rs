//! Routes as frameworks write them, in one notation: `/users/{name}`, `/items/<int:id>`,
//! `/files/<path:name>`.
//!
//! Read are Werkzeug's and Django's own (`<int:id>`), Starlette's, chi's and ASP.NET's (`{id:int}`,
//! `{id:[0-9]+}`, `{*rest}`), Express's and its kin's (`:id`, `:id(\d+)`, `*splat`), Next's (`[id]`,
//! `[...rest]`), and regular expressions of Django and Express as far as each of their groups is one
//! parameter. What may be left out is taken to be there: a path without it does not match.

use std::borrow::Cow;

/// The route in this notation; none where it cannot be read.
pub(super) fn canonical(route: &str) -> Option<Cow<'_, str>> {
    let is_expression = route.contains("(?") || route.starts_with('^') || route.starts_with("/^");
    let text = if is_expression {
        Expression::read(route)?
    } else if route.contains([':', '*', '(', '[', '\\']) || !route.starts_with('/') {
        template(route)?
    } else {
        return Some(Cow::Borrowed(route));
    };
    Some(Cow::Owned(if text.starts_with('/') { text } else { format!("/{text}") }))
}

fn template(route: &str) -> Option<String> {
    let mut text = String::with_capacity(route.len());
    let mut rest = route;
    while let Some(first) = rest.chars().next() {
        let is_apart = !text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '}' || c == '>');
        let is_begin = text.is_empty() || text.ends_with('/');
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '<' => {
                let (inside, after) = rest.split_at(rest.find('>')? + 1);
                text.push_str(inside);
                after
            }
            '{' => {
                let (inside, after) = enclosed(rest, '{', '}')?;
                if inside.starts_with('/') {
                    text.push_str(&template(inside)?);
                } else {
                    braces(inside, &mut text);
                }
                after
            }
            ':' if is_apart && after.starts_with(is_name) => {
                let (name, mut after) = name(after);
                let mut pattern = "";
                if after.starts_with('(') {
                    (pattern, after) = enclosed(after, '(', ')')?;
                }
                let is_many = after.starts_with(['*', '+']);
                let after = after.strip_prefix(['*', '+', '?']).unwrap_or(after);
                parameter(name, pattern, is_many, &mut text);
                after
            }
            '*' if is_begin => {
                let (name, after) = name(after.trim_start_matches('*'));
                parameter(name, ".*", true, &mut text);
                after
            }
            '[' if is_begin => {
                let (inside, after) = enclosed(rest, '[', ']')?;
                let inside = inside.trim_matches(['[', ']']);
                let name = inside.trim_start_matches('.');
                parameter(name, "", name.len() < inside.len(), &mut text);
                after
            }
            '(' => {
                let (inside, after) = enclosed(rest, '(', ')')?;
                parameter("value", inside, false, &mut text);
                after.strip_prefix(['*', '+', '?']).unwrap_or(after)
            }
            '\\' => {
                let literal = after.chars().next()?;
                text.push(literal);
                &after[literal.len_utf8()..]
            }
            literal => {
                text.push(literal);
                after
            }
        };
    }
    Some(text)
}

/// A parameter in braces: `id`, `id:int`, `id:[0-9]+`, `id?`, `*rest`, `rest...`.
fn braces(inside: &str, text: &mut String) {
    let (name, kind) = inside.split_once(':').unwrap_or((inside, ""));
    let bare = name.trim_start_matches('*').trim_end_matches('?');
    if bare.is_empty() || bare.ends_with("...") {
        text.extend(["{", if bare.is_empty() { "*" } else { bare }, "}"]);
        return;
    }
    parameter(bare, kind, bare.len() < name.trim_end_matches('?').len() || kind == "path", text);
}

fn parameter(name: &str, pattern: &str, is_many: bool, text: &mut String) {
    let name = if name.is_empty() && !is_many { "value" } else { name };
    match (is_many, is_digits(pattern)) {
        (true, _) if name.is_empty() => text.push_str("{*}"),
        (true, _) => text.extend(["<path:", name, ">"]),
        (_, true) => text.extend(["<int:", name, ">"]),
        _ => text.extend(["{", name, "}"]),
    }
}

/// Whether only digits fit: a converter's name, or an expression of digits.
fn is_digits(pattern: &str) -> bool {
    let many = ["\\d", "[0-9]", "[1-9]"].iter().find_map(|class| pattern.strip_prefix(class));
    pattern == "int"
        || many.is_some_and(|many| {
            matches!(many, "" | "+" | "*" | "[0-9]*" | "\\d*")
                || many.starts_with('{') && many.ends_with('}')
        })
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()))
}

/// What stands between the bracket at the beginning and the one that closes it, and what follows.
fn enclosed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == open => depth += 1,
            c if c == close => {
                depth -= 1;
                if depth == 0 {
                    return Some((&text[open.len_utf8()..at], &text[at + close.len_utf8()..]));
                }
            }
            _ => {}
        }
    }
    None
}

/// A regular expression under way.
struct Expression<'a> {
    rest: &'a str,
    text: String,
}

impl<'a> Expression<'a> {
    fn read(route: &'a str) -> Option<String> {
        let route = match route.strip_prefix("/^") {
            // As JavaScript prints one, with its flags.
            Some(within) => within.rsplit_once('/').map_or(within, |(within, _)| within),
            None => route,
        };
        let mut expression = Self { rest: route, text: String::with_capacity(route.len()) };
        while let Some(first) = expression.rest.chars().next() {
            expression.step(first)?;
        }
        Some(expression.text)
    }

    fn step(&mut self, first: char) -> Option<()> {
        let after = &self.rest[first.len_utf8()..];
        match first {
            '^' | '$' => self.rest = after,
            '(' => {
                let (inside, after) = enclosed(self.rest, '(', ')')?;
                self.rest = after;
                self.group(inside)?;
            }
            '[' => {
                self.rest = enclosed(self.rest, '[', ']')?.1;
                self.class("");
            }
            '.' => {
                self.rest = after;
                self.class(".");
            }
            '\\' => {
                let escaped = after.chars().next()?;
                self.rest = &after[escaped.len_utf8()..];
                match escaped {
                    'd' => self.class("\\d"),
                    'w' => self.class(""),
                    'A' | 'Z' | 'z' | 'b' => {}
                    c if c.is_ascii_alphanumeric() => return None,
                    c => self.literal(c)?,
                }
            }
            '|' | '*' | '+' | '?' | '{' | '}' | ')' | ']' => return None,
            c => {
                self.rest = after;
                self.literal(c)?;
            }
        }
        Some(())
    }

    fn literal(&mut self, c: char) -> Option<()> {
        match (c, self.quantifier()) {
            (_, "") => self.text.push(c),
            // A slash at the end that may be left out.
            ('/', "?") => {}
            _ => return None,
        }
        Some(())
    }

    /// A class of characters outside of a group.
    fn class(&mut self, class: &str) {
        let many = self.quantifier();
        if self.text.ends_with("{value}") {
            return;
        }
        let is_many = class == "." && matches!(many, "*" | "+");
        if is_many {
            self.text.push_str("{*}");
        } else {
            parameter("value", class, false, &mut self.text);
        }
    }

    fn group(&mut self, inside: &'a str) -> Option<()> {
        let many = self.quantifier();
        let (name, pattern) = match inside.strip_prefix('?') {
            None => ("value", inside),
            Some(special) => {
                if special.starts_with(['=', '!']) || special.starts_with("<=") {
                    return Some(());
                }
                if let Some(within) = special.strip_prefix(':') {
                    // What may be left out and is no more than a slash; anything else is part.
                    if !matches!(within, "/" | "\\/") {
                        self.text.push_str(&Self::read(within)?);
                    }
                    return Some(());
                }
                special.strip_prefix('P').unwrap_or(special).strip_prefix('<')?.split_once('>')?
            }
        };
        let is_many = pattern.contains(".*") || pattern.contains(".+") || many == "*";
        parameter(name, pattern, is_many, &mut self.text);
        Some(())
    }

    /// How many of what was before.
    fn quantifier(&mut self) -> &'a str {
        let rest = self.rest;
        let mut end = match rest.as_bytes().first() {
            Some(b'*' | b'+' | b'?') => 1,
            Some(b'{') => rest.find('}').map_or(0, |at| at + 1),
            _ => 0,
        };
        let many = &rest[..end];
        // As few as possible.
        if end > 0 && rest[end..].starts_with('?') {
            end += 1;
        }
        self.rest = &rest[end..];
        many
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn routes_of_every_framework_are_read() {
        for (route, expected) in [
            ("/api/nfts", "/api/nfts"),
            ("/api/nfts/{id}", "/api/nfts/{id}"),
            // Werkzeug and Django.
            ("/api/nfts/<int:id>/buy", "/api/nfts/<int:id>/buy"),
            ("/r/<regex(\"[a-z]{3}\"):x>", "/r/<regex(\"[a-z]{3}\"):x>"),
            ("users/<int:pk>/", "/users/<int:pk>/"),
            // Starlette, chi, gorilla, ASP.NET.
            ("/items/{id:int}", "/items/<int:id>"),
            ("/items/{id:uuid}", "/items/{id}"),
            ("/files/{name:path}", "/files/<path:name>"),
            ("/y/{year:[0-9]{4}}", "/y/<int:year>"),
            ("/w/{word:[a-z]+}", "/w/{word}"),
            ("/files/{*rest}", "/files/<path:rest>"),
            ("/files/{**rest}", "/files/<path:rest>"),
            ("/files/{name...}", "/files/{name...}"),
            ("api/{controller}/{id?}", "/api/{controller}/{id}"),
            // Express 4 and 5, Fastify, Koa, Rails.
            ("/users/:name", "/users/{name}"),
            ("/users/:id(\\d+)", "/users/<int:id>"),
            ("/users/:id([^/]+)/x", "/users/{id}/x"),
            ("/flights/:from-:to", "/flights/{from}-{to}"),
            ("/files/:name.:ext", "/files/{name}.{ext}"),
            ("/files/:rest*", "/files/<path:rest>"),
            ("/users/:id?", "/users/{id}"),
            ("/files/*splat", "/files/<path:splat>"),
            ("/files/*", "/files/{*}"),
            ("/a{/:b}", "/a/{b}"),
            ("/a(\\d+)", "/a<int:value>"),
            ("/a\\.json", "/a.json"),
            ("/v1/nfts:mint", "/v1/nfts:mint"),
            // Next.
            ("/posts/[id]", "/posts/{id}"),
            ("/docs/[...rest]", "/docs/<path:rest>"),
            ("/docs/[[...rest]]", "/docs/<path:rest>"),
        ] {
            assert_eq!(canonical(route).as_deref(), Some(expected), "{route}");
        }
    }

    #[test]
    fn regular_expressions_are_read_as_far_as_each_group_is_a_parameter() {
        for (route, expected) in [
            ("^articles/(?P<year>[0-9]{4})/$", "/articles/<int:year>/"),
            ("^api/^items/(?P<id>\\d+)/$", "/api/items/<int:id>/"),
            ("users/(?P<name>[\\w.@+-]+)/?$", "/users/{name}"),
            ("^media/(?P<path>.*)$", "/media/<path:path>"),
            ("/^\\/users\\/([^\\/]+)$/", "/users/{value}"),
            ("/^\\/users\\/(?<id>\\d+)\\/?$/i", "/users/<int:id>"),
            ("/^\\/v[0-9]+\\/x(?:\\/)?$/", "/v{value}/x"),
            ("/^\\/a\\/.*/", "/a/{*}"),
            ("^(?:en|de)/x$", ""),
            ("/^\\/commits\\/(\\w+)(?:\\.\\.(\\w+))?$/", "/commits/{value}..{value}"),
            ("^a|b$", ""),
            ("^a(b$", ""),
        ] {
            let read = canonical(route);
            let expected = Some(expected).filter(|it| !it.is_empty());
            assert_eq!(read.as_deref(), expected, "{route}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(route in any::<String>(), odd in "[/^$:*(){}\\[\\]<>\\\\?|.+a1]*") {
            for route in [route, odd] {
                if let Some(text) = canonical(&route) {
                    prop_assert!(text.starts_with('/'));
                }
            }
        }
    }
}
