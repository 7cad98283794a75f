//! Texts as SQLite's driver, SQLAlchemy and other drivers really send them.

use super::*;

fn read(text: &str) -> (String, String, String) {
    let Statement { operation, collection, fingerprint } = Statement::read("sqlite", text);
    let or_none = |text: Option<Box<str>>| text.map_or("-".to_owned(), String::from);
    (or_none(operation), or_none(collection), fingerprint.to_string())
}

#[track_caller]
fn says(text: &str, operation: &str, collection: &str, fingerprint: &str) {
    let expected = (operation.to_owned(), collection.to_owned(), fingerprint.to_owned());
    assert_eq!(read(text), expected, "{text}");
}

#[test]
fn the_marketplaces_own_queries_are_read() {
    says(
        "SELECT * FROM nfts ORDER BY token_id DESC LIMIT ? OFFSET ?",
        "SELECT",
        "nfts",
        "SELECT * FROM nfts ORDER BY token_id DESC LIMIT ? OFFSET ?",
    );
    says("SELECT count(*) AS n FROM nfts", "SELECT", "nfts", "SELECT count(*) AS n FROM nfts");
    says(
        "INSERT OR REPLACE INTO followed VALUES (0, ?, ?, ?, ?)",
        "INSERT",
        "followed",
        "INSERT OR REPLACE INTO followed VALUES (?)",
    );
    says("BEGIN IMMEDIATE", "BEGIN", "-", "BEGIN IMMEDIATE");
    says("COMMIT", "COMMIT", "-", "COMMIT");
    says("DELETE FROM nfts", "DELETE", "nfts", "DELETE FROM nfts");
    says(
        "UPDATE nfts SET seller = NULL, sales = sales + ? WHERE token_id = ?",
        "UPDATE",
        "nfts",
        "UPDATE nfts SET seller = NULL, sales = sales + ? WHERE token_id = ?",
    );
    says("PRAGMA journal_mode = WAL", "PRAGMA", "-", "PRAGMA journal_mode = ?");
}

#[test]
fn sqlalchemys_texts_are_read() {
    says(
        "SELECT nfts.id, nfts.owner \nFROM nfts \nWHERE nfts.id IN (?, ?, ?)",
        "SELECT",
        "nfts",
        "SELECT nfts.id, nfts.owner FROM nfts WHERE nfts.id IN (?)",
    );
    says(
        "INSERT INTO nfts (owner) VALUES (?), (?), (?) RETURNING id",
        "INSERT",
        "nfts",
        "INSERT INTO nfts(owner) VALUES (?) RETURNING id",
    );
    says(
        "\nCREATE TABLE nfts (\n\tid INTEGER NOT NULL, \n\towner VARCHAR(42) NOT NULL, \n\tPRIMARY KEY (id)\n)\n\n",
        "CREATE",
        "nfts",
        "CREATE TABLE nfts(id integer NOT NULL, owner varchar(?) NOT NULL, primary key(id))",
    );
    says("PRAGMA main.table_info(\"nfts\")", "PRAGMA", "-", "PRAGMA main.table_info(?)");
    says(
        "SELECT anon_1.id FROM (SELECT main.nfts.id AS id FROM main.nfts LIMIT 1) AS anon_1",
        "SELECT",
        "nfts",
        "SELECT anon_1.id FROM (SELECT main.nfts.id AS id FROM main.nfts LIMIT ?) AS anon_1",
    );
}

#[test]
fn nothing_of_a_literal_is_left() {
    let query = "select Owner from \"nfts\" -- secret1\n where a='secret2' and b = x'5ec3e7' \
                 and c in (-1, +2.5e3, 0x10, 'it''s secret3') /* secret4 */ and d = -7;";
    says(
        query,
        "SELECT",
        "nfts",
        "SELECT owner FROM \"nfts\" WHERE a = ? AND b = ? AND c IN (?) AND d = ?",
    );
    // MySQL's quotation marks are those of texts.
    let mysql = Statement::read("mysql", "SELECT `a` FROM `t` WHERE b = \"secret\"");
    assert_eq!(&*mysql.fingerprint, "SELECT `a` FROM `t` WHERE b = ?");
    assert_eq!(mysql.collection.as_deref(), Some("t"));
    let postgres =
        Statement::read("postgresql", "SELECT $$secret$$, E'secret' FROM a.t WHERE b=$1");
    assert_eq!(&*postgres.fingerprint, "SELECT ? FROM a.t WHERE b = ?");
    assert_eq!(postgres.collection.as_deref(), Some("t"));
}

#[test]
fn parameters_are_alike_however_their_driver_writes_them() {
    for (system, parameter) in [
        ("sqlite", "?"),
        ("sqlite", "?1"),
        ("sqlite", ":owner"),
        ("sqlite", "@owner"),
        ("postgresql", "$1"),
        ("postgresql", "%s"),
        ("postgresql", "%(owner)s"),
        ("mysql", "%s"),
        ("other_sql", "'0xab'"),
    ] {
        let text = format!("SELECT id FROM nfts WHERE owner = {parameter} AND id > 3");
        let statement = Statement::read(system, &text);
        let shape = "SELECT id FROM nfts WHERE owner = ? AND id > ?";
        assert_eq!(&*statement.fingerprint, shape, "{system} {parameter}");
        assert_eq!(statement.collection.as_deref(), Some("nfts"), "{system} {parameter}");
    }
}

#[test]
fn the_table_behind_a_view_made_on_the_spot_is_found() {
    let tables = [
        ("WITH a AS (SELECT * FROM nfts), b AS (SELECT * FROM a) SELECT * FROM b", "nfts"),
        ("WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT * FROM a", "-"),
        ("WITH a AS (SELECT 1) INSERT INTO sales SELECT * FROM a", "sales"),
        ("SELECT (SELECT max(x) FROM sales) FROM nfts JOIN sales ON 1", "nfts"),
        ("(SELECT * FROM a) UNION SELECT * FROM b", "a"),
        ("SELECT extract(year FROM made) FROM nfts", "nfts"),
        ("SELECT * FROM (nfts JOIN sales)", "nfts"),
    ];
    for (text, table) in tables {
        assert_eq!(read(text).1, table, "{text}");
    }
    assert_eq!(read("WITH a AS (SELECT 1) INSERT INTO sales SELECT * FROM a").0, "INSERT");
}

#[test]
fn what_the_parser_cannot_read_is_read_by_its_words() {
    for (text, operation, table) in [
        ("CREATE INDEX IF NOT EXISTS by_owner ON nfts (owner)", "CREATE", "nfts"),
        ("DROP TABLE IF EXISTS main.\"old nfts\"", "DROP", "old nfts"),
        ("SELECT * FROM nfts WHERE owner = 'a text that was cut", "SELECT", "nfts"),
        ("SELECT * FROM nfts WHERE ((", "SELECT", "nfts"),
        ("DELETE FROM main.nfts WHERE ~~ ?", "DELETE", "nfts"),
        ("", "-", "-"),
        ("?", "-", "-"),
        ("hello world", "-", "-"),
    ] {
        let (found, collection, _) = read(text);
        assert_eq!((&*found, &*collection), (operation, table), "{text}");
    }
    let cut = read("SELECT * FROM nfts WHERE owner = 'a secret that was cut").2;
    assert_eq!(cut, "SELECT * FROM nfts WHERE owner =…");
}

#[test]
fn long_and_deep_texts_are_bounded() {
    let longest = crate::model::Span::LONGEST_QUERY;
    for part in [
        "(",
        "SELECT (",
        "1+",
        "NOT ",
        "- ",
        "a.",
        "a AND ",
        "CASE WHEN ",
        "x IN (",
        "[",
        "a OR b AND ",
    ] {
        let text = format!("SELECT {}", part.repeat(longest / part.len()));
        let statement = Statement::read("sqlite", &text);
        assert!(statement.fingerprint.len() <= Statement::LONGEST_FINGERPRINT);
        let ended = format!("SELECT {} 1 FROM t", part.repeat(longest / part.len()));
        Statement::read("", &ended);
    }
}

#[test]
fn one_shape_however_many_values_and_rows_there_are() {
    let shape = |system: &str, text: &str| Statement::read(system, text).fingerprint;
    for (text, expected) in [
        (
            "SELECT a FROM t WHERE id IN ($1::INTEGER, $2::INTEGER, $3::INTEGER)",
            "SELECT a FROM t WHERE id IN (?)",
        ),
        (
            "SELECT a FROM t WHERE id = ANY ($1::varchar(20)[]) AND b > $2::timestamp with time zone",
            "SELECT a FROM t WHERE id = any(?) AND b > ?",
        ),
        (
            "INSERT INTO t (a, b) VALUES ($1, now()), ($2, now()), ($3, now()) RETURNING t.id",
            "INSERT INTO t(a, b) VALUES (?, now()) RETURNING t.id",
        ),
        (
            "INSERT INTO t (a, b) VALUES ($1, DEFAULT), (DEFAULT, $2), ($3, NULL)",
            "INSERT INTO t(a, b) VALUES (?, DEFAULT)",
        ),
        (
            "INSERT INTO t (a) SELECT p0::INTEGER FROM (VALUES ($1, 0), ($2, 1)) AS x(p0, n)",
            "INSERT INTO t(a) SELECT p0 :: integer FROM (VALUES (?)) AS x(p0, n)",
        ),
        (
            "SELECT a FROM t WHERE (a, b) IN ((1, 2), (3, 4))",
            "SELECT a FROM t WHERE (a, b) IN ((?))",
        ),
        ("SAVEPOINT \"s1399_x23\"", "SAVEPOINT ?"),
        ("RELEASE SAVEPOINT \"s1399_x23\"", "RELEASE SAVEPOINT ?"),
        ("ROLLBACK TO SAVEPOINT sa_savepoint_1", "ROLLBACK to SAVEPOINT ?"),
        ("DECLARE \"c_7f\" CURSOR FOR SELECT a FROM t", "declare ? cursor for SELECT a FROM t"),
        ("FETCH 100 FROM c_7f", "fetch ? FROM ?"),
    ] {
        assert_eq!(&*shape("postgresql", text), expected, "{text}");
    }
}

#[test]
fn what_is_in_double_quotes_is_a_value_unless_only_a_name_can_be_there() {
    for (system, text, expected) in [
        (
            "sqlite",
            "SELECT id FROM users WHERE email = \"a@b.c\"",
            "SELECT id FROM users WHERE email = ?",
        ),
        // Django's and Drizzle's.
        (
            "sqlite",
            "SELECT \"u\".\"id\" FROM \"u\" AS \"x\" WHERE \"u\".\"id\" IN (1, 2)",
            "SELECT \"u\".\"id\" FROM \"u\" AS \"x\" WHERE \"u\".\"id\" IN (?)",
        ),
        (
            "SQLite",
            "INSERT INTO \"u\" (\"id\", \"name\") VALUES (1, \"ann\")",
            "INSERT INTO \"u\"(\"id\", \"name\") VALUES (?)",
        ),
        (
            "sqlite",
            "CREATE TABLE \"u\" (\"id\" integer, \"a\" text DEFAULT \"x\")",
            "CREATE TABLE \"u\"(\"id\" integer, \"a\" text DEFAULT ?)",
        ),
        ("postgresql", "SELECT \"a\" FROM \"t\"", "SELECT \"a\" FROM \"t\""),
        ("MySQL", "SELECT `a` FROM t WHERE b = \"x\"", "SELECT `a` FROM t WHERE b = ?"),
        ("", "SELECT \"a\" FROM t WHERE b = \"x\"", "SELECT ? FROM t WHERE b = ?"),
    ] {
        assert_eq!(&*Statement::read(system, text).fingerprint, expected, "{system}: {text}");
    }
}

#[test]
fn of_what_is_no_sql_there_is_the_first_word() {
    for (system, text, expected) in [
        ("redis", "HSET user:42 email a@b.c", "HSET"),
        ("redis", "SET session:1 SECRET", "SET"),
        ("Redis", "get secret", "GET"),
        ("memcached", "delete secret", "DELETE"),
        ("mongodb", "{\"find\": \"secret\"}", ""),
        ("neo4j", "MATCH (n {name: 'secret'}) RETURN n", "MATCH"),
        ("newstore", "SET session:1 SECRET", "SET"),
        ("newstore", "DELETE secret", "DELETE"),
        ("newstore", "SELECT secret", "SELECT"),
        ("newdb", "SELECT a FROM t WHERE b = 'secret'", "SELECT a FROM t WHERE b = ?"),
        // Whether the backslash hides the quotation mark is not known.
        ("other_sql", "SELECT a FROM t WHERE b = 'x\\' AND c = ' secret'", "SELECT"),
    ] {
        let statement = Statement::read(system, text);
        assert_eq!(&*statement.fingerprint, expected, "{system}: {text}");
    }
}

/// Each statement has a secret in a place where a value can stand.
#[test]
fn no_secret_is_left_of_statements_in_twelve_dialects() {
    let values = [
        "SELECT a FROM t WHERE b = 'SECRET'",
        "SELECT a FROM t WHERE b = 'it''s SECRET'",
        "SELECT a FROM t WHERE b LIKE '%SECRET%' ORDER BY a",
        "SELECT a FROM t WHERE b IN ('x', 'SECRET', 'y')",
        "SELECT a FROM t WHERE b BETWEEN 'SECRET' AND 'SECRET'",
        "SELECT 'SECRET' AS a, b FROM t",
        "SELECT CASE WHEN a = 'SECRET' THEN 'SECRET' ELSE 'SECRET' END FROM t",
        "SELECT coalesce(a, 'SECRET') FROM t GROUP BY a HAVING max(b) > 'SECRET'",
        "SELECT a FROM t WHERE 'SECRET' = b LIMIT 1",
        "INSERT INTO t (a, b) VALUES ('SECRET', 1), (2, 'SECRET')",
        "INSERT INTO t SELECT 'SECRET' FROM u",
        "UPDATE t SET a = 'SECRET', b = concat('SECRET', c) WHERE d <> 'SECRET'",
        "DELETE FROM t WHERE a = 'SECRET' OR b IS NOT NULL",
        "WITH x AS (SELECT 'SECRET' AS a) SELECT a FROM x",
        "SELECT a FROM t -- SECRET",
        "SELECT a /* SECRET */ FROM t",
        "CALL login('SECRET')",
    ];
    let of_one = [
        ("sqlite", "SELECT a FROM t WHERE b = \"SECRET\""),
        ("sqlite", "SELECT \"SECRET\", a FROM t"),
        ("sqlite", "UPDATE t SET a = \"SECRET\" WHERE \"SECRET\" = b"),
        ("sqlite", "INSERT INTO t VALUES (\"SECRET\")"),
        ("sqlite", "PRAGMA key = SECRET"),
        ("sqlite", "PRAGMA key(\"SECRET\")"),
        ("sqlite", "ATTACH 'SECRET' AS x KEY 'SECRET'"),
        ("mysql", "SELECT a FROM t WHERE b = 'it\\'s SECRET' AND c = \"SECRET\""),
        ("mysql", "SELECT a FROM t WHERE b = \"say \"\"SECRET\"\"\" # SECRET"),
        ("mysql", "SET PASSWORD = 'SECRET'"),
        ("mysql", "ALTER USER 'a'@'b' IDENTIFIED BY 'SECRET'"),
        ("mysql", "SELECT a FROM t WHERE b = _utf8mb4'SECRET'"),
        ("postgresql", "SELECT $$SECRET$$, $q$ SECRET $q$, E'\\'SECRET', U&'SECRET'"),
        ("postgresql", "ALTER ROLE a WITH PASSWORD 'SECRET'"),
        ("postgresql", "COPY t FROM stdin;\n1\tSECRET\n\\.\n"),
        ("postgresql", "SET app.token TO SECRET"),
        ("postgresql", "SELECT a FROM t WHERE b @> '{\"c\": \"SECRET\"}'::jsonb"),
        ("mssql", "EXEC login SECRET, @b = N'SECRET'"),
        ("mssql", "SELECT a FROM t WHERE b = N'SECRET' AND c = \"SECRET\""),
        ("oracle", "SELECT q'[it's SECRET]' FROM dual"),
        ("bigquery", "SELECT a FROM t WHERE b = \"SECRET\" AND c = r'SECRET'"),
        ("hive", "SELECT a FROM t WHERE b = \"it\\\"s SECRET\""),
        ("clickhouse", "SELECT a FROM t WHERE b = 'it\\'s SECRET'"),
        ("other_sql", "SELECT a FROM t WHERE b = 'it\\'s SECRET'"),
        ("redis", "SET SECRET SECRET"),
        ("mongodb", "{\"insert\": \"SECRET\"}"),
        ("elasticsearch", "{\"query\": \"SECRET\"}"),
    ];
    let systems = [
        "sqlite",
        "mysql",
        "MariaDB",
        "postgresql",
        "mssql",
        "oracle",
        "snowflake",
        "bigquery",
        "clickhouse",
        "hive",
        "other_sql",
        "",
        "redis",
    ];
    let of_all = systems.iter().flat_map(|system| values.map(|text| (*system, text)));
    let all: Vec<_> = of_all.chain(of_one).collect();
    assert!(all.len() >= 200);
    for (system, text) in all {
        let statement = Statement::read(system, text);
        let shown = format!("{statement:?}");
        assert!(!shown.to_uppercase().contains("SECRET"), "{system}: {text}: {shown}");
    }
}

proptest::proptest! {
    #[test]
    fn a_fingerprint_is_its_own_fingerprint(
        words in proptest::collection::vec("SELECT|from|nfts|\\(|\\)|,|'x'|1|=|\\?|WHERE|in|-|AND|a\\.b", 0..40),
    ) {
        let once = Statement::read("sqlite", &words.join(" ")).fingerprint;
        proptest::prop_assert_eq!(&Statement::read("sqlite", &once).fingerprint, &once);
    }

    #[test]
    fn nothing_panics_and_all_is_bounded(text: String, system in "sqlite|mysql|postgresql|mssql|") {
        let statement = Statement::read(&system, &text);
        proptest::prop_assert!(statement.fingerprint.len() <= Statement::LONGEST_FINGERPRINT);
    }
}
