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
    says("PRAGMA journal_mode = WAL", "PRAGMA", "-", "PRAGMA journal_mode = wal");
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
    says("PRAGMA main.table_info(\"nfts\")", "PRAGMA", "-", "PRAGMA main.table_info(\"nfts\")");
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
