//! GoogleSQL on the embedded engine: the same meaning or a refusal.
//!
//! `parse` reads a statement into the tree of `ast`; `analyse` resolves its names and types and writes DuckDB's SQL at the same
//! time. Whatever is not surely the same on DuckDB is refused with its place.

mod analyse;
pub mod ast;
pub mod big;
mod catalog;
pub mod error;
pub mod json;
pub mod parse;
pub mod template;
pub mod values;

pub use analyse::{Clock, Lowered, Reading, lower};
pub use catalog::{Catalog, MapCatalog, TableInfo};
pub use error::{SqlError, SqlErrorKind};

#[cfg(test)]
mod never_panics;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Field, Type};

    fn catalog() -> MapCatalog {
        let field = |name: &str, ty| Field { name: name.into(), ty, nullable: true };
        [TableInfo {
            name: "nba.games".into(),
            fields: vec![field("game_id", Type::String), field("game_date", Type::Date), field("points", Type::Int64)],
            partition_by: Some("game_date".into()),
        }]
        .into_iter()
        .collect()
    }

    #[test]
    fn a_plain_query_becomes_plain_operators() {
        let params = [("day".to_owned(), Type::Date)];
        let out = lower("SELECT points + 1 AS p FROM nba.games WHERE game_date = @day", &params, &catalog()).unwrap();
        assert_eq!(
            out.sql,
            "SELECT (t1.\"points\" + CAST(1 AS BIGINT)) AS \"c1\" FROM \"nba\".\"games\" AS t1 \
             WHERE (t1.\"game_date\" = CAST($day AS DATE))"
        );
        assert_eq!(out.fields[0].name, "p");
        assert_eq!(out.tables, ["nba.games"]);
        assert_eq!(out.params, ["day"]);
        assert!(out.readings[0].bounded);
    }

    #[test]
    fn an_unknown_column_has_its_place_and_a_hint() {
        let sql = "SELECT point FROM nba.games";
        let error = lower(sql, &[], &catalog()).unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Invalid);
        assert_eq!(&sql[error.at.unwrap()], "point");
        assert_eq!(error.help.as_deref(), Some("did you mean `points`?"));
    }

    #[test]
    fn what_is_not_known_is_refused_and_clocks_are_seen() {
        assert_eq!(lower("SELECT ST_AREA(1)", &[], &catalog()).unwrap_err().kind, SqlErrorKind::Unsupported);
        let out = lower("SELECT CURRENT_DATE(), 1 FROM nba.games", &[], &catalog()).unwrap();
        assert_eq!(out.clocks[0].function, "CURRENT_DATE");
        assert!(!out.readings[0].bounded);
        assert_eq!(out.fields[1].name, "f1_");
    }
}
