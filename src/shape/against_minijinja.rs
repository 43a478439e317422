//! Holds expressions to minijinja, whose syntax they borrow, over the part where both mean the same: whole numbers, truth,
//! texts. Fractions and NULL are left out on purpose: ours are exact and pass through arithmetic.

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

proptest! {
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
