//! Holds expressions to minijinja, whose syntax they borrow, over the part where both mean the same: whole numbers, truth,
//! texts, lists and the filters that both have. Fractions and NULL are left out on purpose: ours are exact and pass through
//! arithmetic. Where a filter differs by design, a test says how.

use super::run::{Ctx, evaluate};
use super::{Scope, compile_expression};
use crate::config::{Node, NodeValue};
use crate::diagnostics::{FileId, Span};
use proptest::prelude::*;

fn ours(text: &str) -> Option<String> {
    let span = Span { file: FileId(0), start: 0, end: text.len() as u32 + 1 };
    let node = Node { value: NodeValue::Str { text: format!("={text}"), plain: true }, span };
    let (expr, findings) = compile_expression(&node, &Scope::default());
    assert!(findings.is_empty(), "`{text}` is refused: {findings:?}");
    evaluate(&expr, &Ctx::new(&[], &[])).ok().map(|v| v.text().into_owned())
}

/// minijinja 3 writes `True`; ours is `true`, as in JSON.
fn theirs(text: &str) -> Option<String> {
    let env = minijinja::Environment::new();
    let value = env.compile_expression(text).and_then(|e| e.eval(())).ok()?;
    Some(value.to_string().to_lowercase())
}

fn number() -> impl Strategy<Value = String> {
    (0i64..50).prop_map(|i| i.to_string()).prop_recursive(4, 24, 3, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "//", "%"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("({a}) | abs")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} if {b} < {c} else {c})")),
        ]
    })
}

fn truth() -> impl Strategy<Value = String> {
    let op = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let comparison = (number(), op, number()).prop_map(|(a, op, b)| format!("{a} {op} {b}"));
    comparison.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} or {b}")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

/// Texts without quotes, backslashes and the characters whose titles the two see differently.
fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 äÉ.-]{0,12}".prop_map(|text| format!("\"{text}\""))
}

/// A text through the filters that both have.
fn text() -> impl Strategy<Value = String> {
    word().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["upper", "lower", "trim", "capitalize", "string"]))
                .prop_map(|(a, filter)| format!("({a}) | {filter}")),
            (inner.clone(), word(), word()).prop_map(|(a, from, to)| format!("({a}) | replace({from}, {to})")),
            (inner.clone(), word()).prop_map(|(a, b)| format!("({a}) ~ ({b})")),
            (inner.clone(), word()).prop_map(|(a, b)| format!("({a}) | default({b})")),
            (inner, prop::sample::select(vec!["first", "last"]))
                .prop_map(|(a, end)| format!("({a}) | split(\" \") | list | {end}")),
        ]
    })
}

/// A list of whole numbers, and one value of it.
fn of_list() -> impl Strategy<Value = String> {
    let list = prop::collection::vec(-20i64..20, 1..6).prop_map(|items| format!("{items:?}"));
    let through =
        prop::collection::vec(prop::sample::select(vec!["sort", "reverse | list", "unique | list", "list"]), 0..3);
    let end =
        prop::sample::select(vec!["first", "last", "length", "count", "sum", "min", "max", "join(\", \")", "join"]);
    (list, through, end).prop_map(|(list, through, end)| {
        let through: String = through.iter().map(|f| format!(" | {f}")).collect();
        format!("{list}{through} | {end}")
    })
}

proptest! {
    #[test]
    fn texts_are_minijinjas(text in text()) {
        prop_assert_eq!(ours(&text).map(|t| t.to_lowercase()), theirs(&text), "{}", text);
        prop_assert_eq!(ours(&format!("({text}) | length")), theirs(&format!("({text}) | length")), "{}", text);
    }

    #[test]
    fn lists_are_minijinjas(text in of_list()) {
        prop_assert!(theirs(&text).is_some(), "{}", text);
        prop_assert_eq!(ours(&text), theirs(&text), "{}", text);
    }

    #[test]
    fn membership_is_minijinjas(list in of_list(), n in -20i64..20) {
        let list = list.split(" |").next().unwrap_or_default().to_owned();
        for text in [format!("{n} in {list}"), format!("{n} not in {list}"), format!("{list}[0] is odd"), format!("{list} == {list}")] {
            prop_assert_eq!(ours(&text), theirs(&text), "{}", text);
        }
    }

    #[test]
    fn numbers_are_minijinjas(text in number()) {
        // where either gives up (division by zero, range) there is nothing to compare
        if let (Some(a), Some(b)) = (ours(&text), theirs(&text)) {
            prop_assert_eq!(a, b, "{}", text);
        }
    }

    #[test]
    fn truth_is_minijinjas(text in truth()) {
        if let (Some(a), Some(b)) = (ours(&text), theirs(&text)) {
            prop_assert_eq!(a, b, "{}", text);
        }
    }
}

#[test]
fn a_floored_quotient_does_not_depend_on_the_kind_of_number() {
    for (whole, float) in
        [("7 // -2", "(7 | float) // -2"), ("-7 // 2", "(-7 | float) // 2"), ("-7 // -2", "(-7 | float) // -2")]
    {
        let number = |text| ours(text).and_then(|t| t.parse::<f64>().ok());
        assert_eq!(number(whole), number(float), "{whole}");
    }
}

/// Titles: both begin each word with a capital; case is compared here, which the properties above do not.
#[test]
fn the_case_of_letters_is_minijinjas() {
    let env = minijinja::Environment::new();
    for text in ["\"nikola jokic\" | title", "\"ÉTÉ d'or\" | capitalize", "\"straße\" | upper", "\"LeBron\" | lower"]
    {
        let theirs = env.compile_expression(text).and_then(|e| e.eval(())).unwrap().to_string();
        assert_eq!(ours(text).unwrap(), theirs, "{text}");
    }
}

/// What differs by design.
#[test]
fn rounding_nothing_and_text_are_ours() {
    for (text, here, there) in [
        // Exact decimals, half away from zero; a rounded number keeps no needless `.0`.
        ("2.675 | round(2)", "2.68", "2.67"),
        ("2.5 | round", "3", "2.0"),
        ("1 / 4 * 4", "1.0", "1.0"),
        ("0.1 + 0.2", "0.3", "0.30000000000000004"),
        // NULL goes through; minijinja writes it out.
        ("none ~ \"x\"", "", "nonex"),
        ("none | upper", "", "none"),
        // The greatest of nothing is nothing for both.
        ("[] | max", "", ""),
        ("[] | sum", "0", "0"),
    ] {
        assert_eq!(ours(text).as_deref(), Some(here), "{text}");
        assert_eq!(theirs(text).as_deref(), Some(there), "{text}");
    }
}
