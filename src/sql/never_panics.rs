//! Broken statements: whatever is done to a statement's text, `lower` answers with a statement or an error that lies within the
//! text, does not panic and does not take long.

use super::{MapCatalog, TableInfo, lower};
use crate::model::{Field, Type};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Statements that use much of the language.
const OWN: &[&str] = &[
    "SELECT * EXCEPT (a) REPLACE (b + 1 AS b), t.c.d[OFFSET(0)] FROM x.t AS t, UNNEST(t.list) AS l WITH OFFSET o WHERE a BETWEEN 1 AND 2",
    "WITH RECURSIVE q AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM q WHERE n < 5) SELECT n FROM q ORDER BY n DESC NULLS LAST LIMIT 3",
    "SELECT a, SUM(b) OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM x.t QUALIFY ROW_NUMBER() OVER w = 1 WINDOW w AS (ORDER BY b)",
    "SELECT IF(a > 1, 'x', NULL), CASE a WHEN 1 THEN 1.5 ELSE NUMERIC '2' END, SAFE_CAST(s AS INT64), CAST([1, 2] AS ARRAY<FLOAT64>) FROM x.t",
    "SELECT a FROM x.t GROUP BY ROLLUP (a, s) HAVING COUNT(DISTINCT b) > 0 UNION ALL (SELECT 1 EXCEPT DISTINCT SELECT 2)",
    "SELECT * FROM x.t PIVOT (SUM(b) FOR s IN ('u', 'v' AS w)) JOIN x.t AS z USING (a) LEFT JOIN x.t AS y ON y.a = z.a AND NOT y.b IS NULL",
    "SELECT DATE_ADD(DATE '2020-01-31', INTERVAL 1 MONTH) - 1, EXTRACT(WEEK(MONDAY) FROM d), d + INTERVAL @n DAY, STRUCT(1 AS i, ('a', b\"\\x00\")) FROM x.t",
    "SELECT ARRAY_AGG(a IGNORE NULLS ORDER BY b LIMIT 2), ARRAY(SELECT AS STRUCT a, b FROM x.t), EXISTS (SELECT 1), a IN UNNEST([1]), s LIKE ANY ('a%', '_') FROM x.t",
    "SELECT r'''raw\\''', \"\"\"long\n\"\"\", 0x1F, 1e-3, -9223372036854775808, JSON '{\"a\": [1]}', TIMESTAMP '2020-01-01 00:00:00+02' -- end\n/* x */ # y",
];

fn catalog() -> MapCatalog {
    let field = |name: &str, ty| Field { name: name.into(), ty, nullable: true };
    let fields = vec![
        field("a", Type::Int64),
        field("b", Type::Float64),
        field("s", Type::String),
        field("d", Type::Date),
        field("list", Type::Array(Box::new(Type::Int64))),
    ];
    [TableInfo { name: "x.t".into(), fields, partition_by: Some("d".into()) }].into_iter().collect()
}

/// The statements of the project's own exports, and those above.
fn statements() -> Vec<String> {
    let mut out: Vec<String> = OWN.iter().map(|s| (*s).to_owned()).collect();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("exports");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            // Whatever stands between a `sql:` and the next key: the templates' braces are broken SQL as good as any.
            let text = std::fs::read_to_string(path).unwrap();
            out.extend(text.split("sql: |").skip(1).map(|s| s.split("\n\n").next().unwrap_or_default().to_owned()));
        }
    }
    assert!(out.len() > OWN.len(), "the exports' statements were found");
    out
}

/// Runs of word characters, of blanks, and other characters alone.
fn tokens(sql: &str) -> Vec<String> {
    let kind = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            1
        } else if c.is_whitespace() {
            2
        } else {
            0
        }
    };
    let mut out: Vec<String> = Vec::new();
    let mut last = 0;
    for c in sql.chars() {
        match out.last_mut() {
            Some(word) if last != 0 && kind(c) == last => word.push(c),
            _ => out.push(c.to_string()),
        }
        last = kind(c);
    }
    out
}

#[derive(Debug, Clone)]
enum Change {
    Delete(usize, usize),
    Repeat(usize, usize, usize),
    Swap(usize, usize),
    Insert(usize, String),
    /// A piece of another statement.
    Graft(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0usize..400;
    let scraps = prop::sample::select(vec![
        "(",
        ")",
        "((",
        "[",
        "]",
        ",",
        ".",
        "*",
        "'",
        "\"\"\"",
        "`",
        "@",
        "-",
        "||",
        ";",
        "/*",
        "--",
        "NULL",
        "SELECT",
        "FROM",
        "CASE",
        "END",
        "OVER (",
        "UNNEST(",
        "INTERVAL",
        "CAST(",
        "AS",
        "1e999",
        "0x",
        "b'\\xFF'",
        "'\\u0000'",
        "9223372036854775808",
        "é",
        "\u{0}",
        "WITH",
        "IN",
    ]);
    prop_oneof![
        (place.clone(), 1usize..6).prop_map(|(a, n)| Change::Delete(a, n)),
        (place.clone(), 1usize..8, 1usize..40).prop_map(|(a, n, times)| Change::Repeat(a, n, times)),
        (place.clone(), place.clone()).prop_map(|(a, b)| Change::Swap(a, b)),
        (place.clone(), scraps).prop_map(|(a, s)| Change::Insert(a, s.to_owned())),
        (place.clone(), "\\PC{0,6}").prop_map(|(a, s)| Change::Insert(a, s)),
        (place.clone(), place, 1usize..30).prop_map(|(a, b, n)| Change::Graft(a, b, n)),
    ]
}

fn apply(words: &mut Vec<String>, other: &[String], change: Change) {
    let len = words.len().max(1);
    match change {
        Change::Delete(a, n) => {
            let a = a % len;
            words.drain(a.min(words.len())..(a + n).min(words.len()));
        }
        Change::Repeat(a, n, times) => {
            let a = (a % len).min(words.len());
            let piece = words[a..(a + n).min(words.len())].to_vec();
            let pieces = std::iter::repeat_n(piece, times).flatten().collect::<Vec<_>>();
            words.splice(a..a, pieces);
        }
        Change::Swap(a, b) if !words.is_empty() => words.swap(a % len, b % len),
        Change::Swap(..) => {}
        Change::Insert(a, s) => words.insert((a % len).min(words.len()), s),
        Change::Graft(a, b, n) => {
            let b = b % other.len().max(1);
            let piece = other[b.min(other.len())..(b + n).min(other.len())].to_vec();
            let a = (a % len).min(words.len());
            words.splice(a..a, piece);
        }
    }
}

/// Lowers it, and holds the answer to what every answer must be.
fn check(sql: &str) {
    let start = Instant::now();
    if let Err(error) = lower(sql, &[("n".to_owned(), Type::Int64)], &catalog()) {
        assert!(!error.message.is_empty());
        if let Some(at) = error.at {
            assert!(
                at.start <= at.end && sql.get(at.clone()).is_some(),
                "{at:?} lies outside of {sql:?}: {}",
                error.message
            );
        }
    }
    let spent = start.elapsed();
    assert!(spent < Duration::from_secs(60), "{spent:?} for {sql:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_statements_are_answered(one in 0usize..100, two in 0usize..100, changes in prop::collection::vec(change(), 1..5)) {
        let all = statements();
        let mut words = tokens(&all[one % all.len()]);
        let other = tokens(&all[two % all.len()]);
        for change in changes {
            apply(&mut words, &other, change);
        }
        check(&words.concat());
    }

    #[test]
    fn noise_is_answered(sql in "\\PC{0,60}", tail in prop::collection::vec(any::<char>(), 0..20)) {
        check(&sql);
        check(&format!("SELECT {sql}"));
        check(&tail.into_iter().collect::<String>());
    }
}

/// A piece `n` times on either side of a core.
fn deep(before: &str, core: &str, after: &str, n: usize) -> String {
    format!("SELECT {}{core}{}", before.repeat(n), after.repeat(n))
}

#[test]
fn depth_is_answered() {
    for n in [20, 150, 3_900] {
        for (before, core, after) in [
            ("(", "1", ")"),
            ("(", "SELECT 1", ")"),
            ("((SELECT ", "1", ") + 1)"),
            ("(SELECT a FROM x.t WHERE a = ", "1", ")"),
            ("EXISTS (SELECT 1 FROM x.t AS t WHERE t.a IN (1) AND ", "true", ")"),
            ("ARRAY(SELECT ", "1", ")"),
            ("[", "1", "]"),
            ("(1, ", "2", ")"),
            ("STRUCT(", "1", ")"),
            ("NOT ", "true", ""),
            ("- ", "1", ""),
            ("~", "1", ""),
            ("CASE WHEN true THEN ", "1", " END"),
            ("IF(true, ", "1", ", 2)"),
            ("COALESCE(", "1.5", ", 2)"),
            ("GREATEST(", "1.5", ", 2)"),
            ("SAFE.ABS(", "1.5", ")"),
            ("CAST(", "1", " AS FLOAT64)"),
            ("SAFE_CAST(", "1", " AS INT64)"),
            ("", "1", " + 1.5"),
            ("", "1.5", " / 1.5"),
            ("", "1.5", " AND 1.5"),
            ("", "'a'", " || 'b'"),
            ("", "true", " OR false"),
            ("", "a", ".b"),
            ("", "[1]", "[0]"),
            ("", "1", " IS NULL"),
            ("(", "1.5", " / 1.5)"),
            ("(", "1.5", " < 1.5)"),
            ("(", "1.5", " BETWEEN 1 AND 2)"),
            ("(", "[1.5]", " = [2.5])"),
            ("(DATE '2020-01-01' + ", "1", ")"),
            ("", "1", " UNION ALL SELECT 1"),
            ("", "1", ", 1"),
            ("1 FROM (SELECT ", "1", ")"),
            ("1 FROM (", "x.t", ")"),
            ("1 FROM x.t", "", " CROSS JOIN x.t"),
            ("1 FROM x.t", "", " JOIN x.t ON true"),
            ("1 FROM x.t", "", " JOIN x.t"),
            ("1 FROM x.t", "", " PIVOT (SUM(b) FOR a IN (1))"),
            ("1 FROM UNNEST(", "[1]", ")"),
            ("CAST(NULL AS ARRAY<", "INT64", ">)"),
            ("CAST(NULL AS STRUCT<a ", "INT64", ">)"),
            ("SUM(", "1", ")"),
            ("SUM(a) OVER (ORDER BY ", "a", ")"),
        ] {
            check(&deep(before, core, after, n));
        }
        let with = |head: &str| format!("{}SELECT 1{}", head.repeat(n), ") SELECT * FROM q".repeat(n));
        check(&with("WITH q AS ("));
        check(&with("WITH RECURSIVE q AS (SELECT 1 UNION ALL "));
    }
}
