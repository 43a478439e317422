use super::*;
use crate::diagnostics::{FileId, Span, Spanned};
use crate::model::{Type, Value};

fn facts() -> Facts {
    let text = |s: &str| Value::Text(s.into());
    let mut facts = Facts::default();
    let mut add = |name: &str, ty, value| facts.values.insert(name.into(), (ty, value));
    add("target_date", Type::Date, text("2025-12-12"));
    add("today", Type::Date, text("2025-12-12"));
    add("min_games", Type::Int64, Value::Int64(5));
    add("ids", Type::Array(Box::new(Type::Int64)), Value::Array(vec![Value::Int64(1), Value::Int64(2)]));
    add("nothing", Type::Date, Value::Null);
    facts.vars.insert("champion_system".into(), (Type::String, text("it's")));
    facts
}

fn query(sql: &str) -> Query {
    let span = Span { file: FileId(0), start: 0, end: sql.len() as u32 };
    Query {
        name: Spanned { value: "q".into(), span },
        sql: sql.into(),
        sql_span: span,
        sql_file: Some("sql/q.sql".into()),
        optional: false,
        default: None,
        max_bytes_billed: None,
        columns: None,
        tables: Vec::new(),
    }
}

fn try_sql(sql: &str) -> Result<Statement, Vec<Diagnostic>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("exports/sql")).unwrap();
    std::fs::write(dir.path().join("exports/sql/m.sql"), "{% macro on_day(d) %}game_date = {{ d }}{% endmacro %}")
        .unwrap();
    std::fs::write(dir.path().join("exports/sql/i.sql"), "a = {{ min_games }}").unwrap();
    std::fs::write(dir.path().join("exports/sql/bad.sql"), "\na = {{ min_gmaes }}").unwrap();
    render("e.q", &query(sql), &facts(), dir.path()).map(|r| r.statement)
}

fn sql(text: &str) -> (String, Vec<(String, Type)>) {
    let s = try_sql(text).unwrap();
    (s.sql, s.params.into_iter().map(|p| (p.name, p.ty)).collect())
}

fn found(text: &str) -> Diagnostic {
    try_sql(text).unwrap_err().remove(0)
}

#[test]
fn facts_become_typed_parameters_of_their_name() {
    let (text, params) =
        sql("SELECT {{ target_date }}, @today, {{ vars.champion_system }}, {{min_games}}, {{ nothing }}");
    assert_eq!(text, "SELECT @target_date, @today, @vars_champion_system, @min_games, @nothing");
    assert_eq!(params[0], ("target_date".into(), Type::Date));
    assert_eq!(params[2], ("vars_champion_system".into(), Type::String));
    assert_eq!(params[4], ("nothing".into(), Type::Date));
}

#[test]
fn other_values_are_numbered_and_equal_ones_are_one() {
    let (text, params) = sql("SELECT {{ min_games + 1 }}, {{ 6 }}, {{ 'a' }}, {{ none }}, {{ target_date ~ 'x' }}");
    assert_eq!(text, "SELECT @p1, @p1, @p2, NULL, @p3");
    assert_eq!(params[2], ("p3".into(), Type::String));
}

#[test]
fn lists_after_in_are_unnested() {
    assert_eq!(sql("a IN {{ ids }} OR b in @ids").0, "a IN UNNEST(@ids) OR b in UNNEST(@ids)");
    assert_eq!(sql("a IN UNNEST({{ ['x', 'y'] }})").0, "a IN UNNEST(@p1)");
    assert_eq!(found("a IN {{ [] }}").message, "an empty list has no type");
}

#[test]
fn macros_and_includes_bind_too_and_keep_types() {
    let (text, params) =
        sql("{% import 'sql/m.sql' as m %}WHERE {{ m.on_day(target_date) }} AND {% include 'sql/i.sql' %}");
    assert_eq!(text, "WHERE game_date = @target_date AND a = @min_games");
    assert_eq!(params[0].1, Type::Date);
    // A macro's text glued to a value stays SQL and value.
    assert_eq!(sql("{% macro f() %}a = {% endmacro %}{{ f() ~ target_date }}").0, "a = @target_date");
}

#[test]
fn dates_compare() {
    assert_eq!(sql("{% if target_date >= today %}1{% else %}{{ 2 }}{% endif %}").0, "1");
    assert_eq!(sql("{% if target_date < '2025-12-13' %}1{% else %}{{ 2 }}{% endif %}").0, "1");
}

#[test]
fn a_value_in_quotes_comments_or_names_is_a_finding_with_its_place() {
    for text in [
        "'{{ today }}'",
        "\"\"\"a\"{{ today }}\"\"\"",
        "`t{{ today }}`",
        "r'\\'{{ today }}'",
        "-- {{ today }}\n1",
        "/* {{ today }} */",
    ] {
        assert_eq!(found(text).code, "value-in-quotes", "{text}");
        let span = found(text).labels[0].span;
        assert_eq!(text[span.range()].trim(), "today", "{text}");
    }
    assert_eq!(found("t_{{ today }}").code, "value-in-name");
    assert_eq!(found("{{ today }}{{ today }}").code, "value-in-name");
    assert_eq!(sql("'@nobody' -- @nobody\n, {{ 1 }}").0, "'@nobody' -- @nobody\n, @p1");
}

#[test]
fn unknown_names_are_findings_with_a_suggestion() {
    let f = found("SELECT {{ tagret_date }}");
    assert_eq!((f.code, f.help.as_deref()), ("unknown-name", Some("did you mean `target_date`?")));
    assert_eq!(f.labels[0].span.start, 10);
    assert_eq!(found("{{ vars.champoin_system }}").help.unwrap(), "did you mean `vars.champion_system`?");
    assert_eq!(found("SELECT @tagret_date").help.unwrap(), "did you mean `target_date`?");
    assert_eq!(found("{% if min_gmaes + 1 > 2 %}{% endif %}").help.unwrap(), "did you mean `min_games`?");
    let f = found("SELECT {% include 'sql/bad.sql' %}");
    assert!(f.labels[0].text.contains("exports/sql/bad.sql"), "{f:?}");
    assert_eq!(found("{% include 'sql/none.sql' %}").code, "missing-file");
    assert_eq!(found("{% include '../secret' %}").code, "missing-file");
    assert_eq!(found("{{ today | safe }}").code, "sql-template");
    assert_eq!(
        found("{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}").code,
        "sql-template"
    );
}

#[test]
fn places_lead_back_to_what_was_written() {
    let q = query("SELECT {{ target_date }}, wrong FROM t");
    let r = render("q", &q, &facts(), Path::new("/nowhere")).unwrap();
    let at = r.statement.sql.find("wrong").unwrap();
    let span = r.map.place(at..at + 5, &q, None).0;
    assert_eq!(&q.sql[span.range()], "wrong");
    let mut sources = Sources::default();
    let yaml = "sql: |\n    SELECT 1,\n      {{ a }}\n";
    let file = sources.add("a.yaml", yaml);
    let mut q = query("SELECT 1,\n  {{ a }}\n");
    q.sql_span = Span { file, start: 5, end: yaml.len() as u32 };
    q.sql_file = None;
    let f = render_in("q", &q, &facts(), Path::new("/nowhere"), Some(&sources)).unwrap_err().remove(0);
    assert_eq!(&yaml[f.labels[0].span.range()], "a");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
    #[test]
    fn no_template_panics_and_no_value_becomes_text(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "{{ today }}", "{{ vars.champion_system }}", "'", "\"", "`", "--", "\n", "/*", "*/", "@today", "@", "{{", "}}", "{%",
            "{% if today %}", "{% endif %}", "{{ x }}", "{{ ids | join(vars.champion_system) }}", "é", "\u{e000}", "IN ", "\\", " ",
            "{% set x %}a{% endset %}", "{% macro x() %}b{% endmacro %}", "{{ x ~ vars.champion_system }}",
        ]), 0..12)
    ) {
        let text: String = parts.concat();
        if let Ok(r) = render("q", &query(&text), &facts(), Path::new("/nowhere")) {
            proptest::prop_assert!(!r.statement.sql.contains("it's"));
            proptest::prop_assert!(!r.statement.sql.contains(super::env::OPEN));
            for at in 0..=r.statement.sql.len() {
                r.map.place(at..at + 1, &query(&text), None);
            }
        }
    }
}
