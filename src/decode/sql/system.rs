//! Which systems speak SQL, and how: what a quotation mark means is not the same everywhere.

use sqlparser::dialect::{
    BigQueryDialect, ClickHouseDialect, DatabricksDialect, Dialect, DuckDbDialect, GenericDialect,
    HiveDialect, MsSqlDialect, MySqlDialect, OracleDialect, PostgreSqlDialect, RedshiftSqlDialect,
    SQLiteDialect, SnowflakeDialect,
};

/// What a system's statements are written in.
#[derive(Clone, Copy)]
pub(super) enum Language {
    Sql(Sql),
    /// A system that is not listed here: SQL if it reads as such.
    Unknown,
    /// Commands of a store of documents, keys or graphs.
    Other,
}

#[derive(Clone, Copy)]
pub(super) struct Sql {
    pub(super) dialect: &'static dyn Dialect,
    /// A word in double quotes is a name, never a text.
    pub(super) quotes_names: bool,
    /// What a backslash before a quotation mark means is known.
    pub(super) knows_escapes: bool,
}

impl Sql {
    /// The parser's own idea of it, where the dialect is not known.
    pub(super) const GENERIC: Self =
        Self { dialect: &GenericDialect {}, quotes_names: false, knows_escapes: false };
}

/// By `db.system.name` or the older `db.system`, in any case.
pub(super) fn language(system: &str) -> Language {
    let sql =
        |dialect, quotes_names| Language::Sql(Sql { dialect, quotes_names, knows_escapes: true });
    match &*system.to_ascii_lowercase() {
        // Takes a word in double quotes that is no name for a text.
        "sqlite" => sql(&SQLiteDialect {}, false),
        "mysql" | "mariadb" | "tidb" | "singlestore" | "memsql" => sql(&MySqlDialect {}, false),
        "postgresql" | "postgres" | "cockroachdb" | "timescaledb" | "yugabytedb" | "greenplum"
        | "edb" => sql(&PostgreSqlDialect {}, true),
        "aws.redshift" | "redshift" => sql(&RedshiftSqlDialect {}, true),
        // A setting makes texts of its double quotes.
        "microsoft.sql_server" | "mssql" | "sqlserver" => sql(&MsSqlDialect {}, false),
        "oracle.db" | "oracle" => sql(&OracleDialect {}, true),
        "snowflake" => sql(&SnowflakeDialect {}, true),
        "clickhouse" => sql(&ClickHouseDialect {}, true),
        "duckdb" => sql(&DuckDbDialect {}, true),
        "gcp.bigquery" | "bigquery" => sql(&BigQueryDialect {}, false),
        "databricks" => sql(&DatabricksDialect {}, false),
        // Has escapes, which the tokenizer does not know.
        "hive" => Language::Sql(Sql { dialect: &HiveDialect {}, ..Sql::GENERIC }),
        "ibm.db2" | "db2" | "trino" | "presto" | "h2database" | "h2" | "hsqldb" | "derby"
        | "vertica" | "exasol" | "sap.hana" | "hanadb" => sql(&GenericDialect {}, true),
        "other_sql" | "sql" | "gcp.spanner" | "spanner" | "cassandra" | "firebirdsql"
        | "firebird" | "ibm.informix" | "informix" | "ibm.netezza" | "netezza" | "teradata"
        | "sybase" | "sap.maxdb" | "maxdb" | "actian.ingres" | "ingres" | "interbase"
        | "intersystems.cache" | "cache" | "softwareag.adabas" | "adabas" | "phoenix"
        | "questdb" => Language::Sql(Sql::GENERIC),
        "redis" | "valkey" | "keydb" | "dragonfly" | "memcached" | "mongodb" | "elasticsearch"
        | "opensearch" | "couchdb" | "couchbase" | "aws.dynamodb" | "dynamodb" | "neo4j"
        | "neptune" | "azure.cosmosdb" | "cosmosdb" | "hbase" | "influxdb" | "geode" | "etcd"
        | "firestore" | "milvus" | "qdrant" | "pinecone" | "weaviate" | "chroma" => Language::Other,
        _ => Language::Unknown,
    }
}
