//! Random typed expressions, their text and what they come to.

use super::ops::{Op, Rule, at_least, equal, giving};
use super::value::{Outcome, TYPES, Ty, Value};
use proptest::prelude::*;

/// How many columns each type has in the table that expressions read.
pub const COLUMNS: usize = 3;

#[derive(Clone)]
pub enum Tree {
    Literal(Ty, Value),
    /// Column `index` of a type.
    Column(Ty, usize),
    Apply(&'static Op, Vec<Tree>),
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sql())
    }
}

/// A row: for each type its columns.
pub type Row = Vec<Vec<Value>>;

pub fn column(ty: Ty, index: usize) -> String {
    format!("{}{index}", ty.name().chars().next().unwrap_or('x').to_ascii_lowercase())
}

impl Tree {
    pub fn sql(&self) -> String {
        match self {
            Tree::Literal(ty, value) => value.sql(*ty),
            Tree::Column(ty, index) => column(*ty, *index),
            Tree::Apply(op, args) => {
                let mut out = String::new();
                let mut rest = op.sql;
                while let Some(at) = rest.find('{') {
                    out.push_str(&rest[..at]);
                    let index: usize = rest[at + 1..at + 2].parse().unwrap_or(0);
                    out.push_str(&args[index].sql());
                    rest = &rest[at + 3..];
                }
                out + rest
            }
        }
    }

    /// What it comes to in a row. DuckDB computes constants while planning: one that fails may end the statement even where
    /// it is not needed.
    pub fn outcome(&self, row: &Row) -> Outcome {
        match self.meaning(row) {
            Outcome::Is(_) if self.constant().1 => Outcome::Open,
            outcome => outcome,
        }
    }

    /// Whether it reads no column, and whether a part that reads none fails.
    fn constant(&self) -> (bool, bool) {
        let Tree::Apply(_, args) = self else { return (matches!(self, Tree::Literal(..)), false) };
        let parts: Vec<(bool, bool)> = args.iter().map(Tree::constant).collect();
        let constant = parts.iter().all(|p| p.0);
        let fails = constant && !matches!(self.meaning(&Row::new()), Outcome::Is(_));
        (constant, fails || parts.iter().any(|p| p.1))
    }

    fn meaning(&self, row: &Row) -> Outcome {
        match self {
            Tree::Literal(_, value) => Outcome::Is(value.clone()),
            Tree::Column(ty, index) => {
                let at = TYPES.iter().position(|t| t == ty).unwrap_or(0);
                Outcome::Is(row[at][*index].clone())
            }
            Tree::Apply(op, args) => apply(op, args, row),
        }
    }
}

fn apply(op: &Op, args: &[Tree], row: &Row) -> Outcome {
    let of = |tree: &Tree| tree.meaning(row);
    match op.rule {
        Rule::Strict(meaning) => eager(args, row, meaning),
        Rule::Safe(meaning) => eager(args, row, |values| Some(meaning(values).unwrap_or(Value::Null))),
        Rule::Seeing(meaning) => match all(args, row) {
            Ok(values) => Outcome::Is(meaning(&values)),
            // DuckDB answers `x IS NULL` from its statistics where they tell, and does not compute x.
            Err(_) => Outcome::Open,
        },
        Rule::And => join(of(&args[0]), of(&args[1]), false),
        Rule::Or => join(of(&args[0]), of(&args[1]), true),
        Rule::If => match of(&args[0]) {
            Outcome::Is(Value::Bool(true)) => of(&args[1]),
            Outcome::Is(_) => of(&args[2]),
            other => other,
        },
        Rule::Case => {
            for pair in args.chunks(2) {
                match (of(&pair[0]), pair.get(1)) {
                    (last, None) => return last,
                    (Outcome::Is(Value::Bool(true)), Some(then)) => return of(then),
                    (Outcome::Is(_), _) => {}
                    (other, _) => return other,
                }
            }
            Outcome::Is(Value::Null)
        }
        Rule::Coalesce => {
            let known = args.iter().map(of).find(|o| *o != Outcome::Is(Value::Null));
            known.unwrap_or(Outcome::Is(Value::Null))
        }
        Rule::In => {
            let pairs = args[1..].iter().map(|item| compared(of(&args[0]), of(item), equal));
            pairs.fold(Outcome::Is(Value::Bool(false)), |a, b| join(a, b, true))
        }
        Rule::Between => {
            let (x, low, high) = (of(&args[0]), of(&args[1]), of(&args[2]));
            join(compared(x.clone(), low, at_least), compared(high, x, at_least), false)
        }
    }
}

fn compared(a: Outcome, b: Outcome, meaning: fn(&Value, &Value) -> Value) -> Outcome {
    match (a, b) {
        (Outcome::Is(a), Outcome::Is(b)) => Outcome::Is(meaning(&a, &b)),
        // A comparison with NULL may be known before the other side is computed.
        (Outcome::Is(Value::Null), _) | (_, Outcome::Is(Value::Null)) | (Outcome::Open, _) | (_, Outcome::Open) => {
            Outcome::Open
        }
        _ => Outcome::Fails,
    }
}

fn all(args: &[Tree], row: &Row) -> Result<Vec<Value>, Outcome> {
    let outcomes: Vec<Outcome> = args.iter().map(|a| a.meaning(row)).collect();
    if outcomes.contains(&Outcome::Open) {
        return Err(Outcome::Open);
    }
    let failed = outcomes.contains(&Outcome::Fails);
    let values: Vec<Value> =
        outcomes.into_iter().filter_map(|o| if let Outcome::Is(v) = o { Some(v) } else { None }).collect();
    if failed {
        // What is NULL because of one argument need not compute the others.
        return Err(if values.contains(&Value::Null) { Outcome::Open } else { Outcome::Fails });
    }
    Ok(values)
}

fn eager(args: &[Tree], row: &Row, meaning: impl Fn(&[Value]) -> Option<Value>) -> Outcome {
    match all(args, row) {
        Ok(values) if values.contains(&Value::Null) => Outcome::Is(Value::Null),
        Ok(values) => meaning(&values).map_or(Outcome::Fails, Outcome::Is),
        Err(other) => other,
    }
}

/// AND (decided by FALSE) and OR (decided by TRUE).
fn join(a: Outcome, b: Outcome, decides: bool) -> Outcome {
    let decided = Outcome::Is(Value::Bool(decides));
    let computed = |o: &Outcome| matches!(o, Outcome::Is(_));
    if !computed(&a) || !computed(&b) {
        // Which side is computed first is not said, nor whether the other is computed at all. As a condition NULL decides as well.
        let open = [&a, &b].iter().any(|o| **o == Outcome::Open || **o == decided || **o == Outcome::Is(Value::Null));
        return if open { Outcome::Open } else { Outcome::Fails };
    }
    if a == decided || b == decided {
        return decided;
    }
    if a == Outcome::Is(Value::Null) || b == Outcome::Is(Value::Null) {
        return Outcome::Is(Value::Null);
    }
    Outcome::Is(Value::Bool(!decides))
}

/// Values that are on the edge of something.
pub fn value(ty: Ty) -> BoxedStrategy<Value> {
    let some = match ty {
        Ty::Int => prop_oneof![
            4 => (-6i64..7).prop_map(Value::Int),
            1 => prop::sample::select(vec![i64::MAX, i64::MIN, i64::MAX - 1, 1 << 53, (1 << 53) + 1, -3_000_000_000, 5_000]).prop_map(Value::Int),
        ]
        .boxed(),
        Ty::Num => prop::sample::select(vec![
            "0", "1", "-1", "1.5", "-2.5", "0.000000001", "99999999999999999999999999999.999999999", "-99999999999999999999999999999.999999999",
            "12345.678901234", "0.5", "-0.005", "3", "1e15", "33333333333333.333333333",
        ])
        .prop_map(|text| {
            let scaled: BigDecimal = text.into();
            Value::Num(scaled.0)
        })
        .boxed(),
        Ty::Float => prop::sample::select(vec![
            0.0, -0.0, 1.0, -1.5, 2.5, 0.1, 1e300, -1e300, f64::MAX, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9e18, 1e19, 3.0,
        ])
        .prop_map(Value::Float)
        .boxed(),
        Ty::Str => prop::sample::select(vec![
            "", "a", "ab", "banana", "-a-", " a ", "é", "日本語", "it's", "a\\b", "%", "12", "-7", "1.5", "true", "False", "2020-02-29", "2021-02-29",
            "9223372036854775808", "x",
        ])
        .prop_map(|t| Value::Str(t.to_owned()))
        .boxed(),
        Ty::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Ty::Date => prop::sample::select(vec!["0001-01-01", "9999-12-31", "2020-02-29", "1969-12-31", "1970-01-01", "2024-01-31", "2023-12-31", "1900-02-28"])
            .prop_map(|t| Value::Date(t.parse().expect("a date")))
            .boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 6 => some].boxed()
}

/// A NUMERIC's text in billionths.
struct BigDecimal(num_bigint::BigInt);

impl From<&str> for BigDecimal {
    fn from(text: &str) -> Self {
        if text == "1e15" {
            return Self(num_bigint::BigInt::from(10).pow(24));
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        Self(format!("{whole}{fraction:0<9}").parse().expect("digits"))
    }
}

pub fn row() -> impl Strategy<Value = Row> {
    TYPES.map(|ty| prop::collection::vec(value(ty), COLUMNS)).to_vec()
}

/// An expression of any type, at most `depth` operators deep.
pub fn tree(depth: usize) -> BoxedStrategy<Tree> {
    let leaf = |ty: Ty| {
        prop_oneof![
            value(ty).prop_map(move |v| Tree::Literal(ty, v)),
            (0..COLUMNS).prop_map(move |i| Tree::Column(ty, i)),
        ]
        .boxed()
    };
    let mut level: Vec<BoxedStrategy<Tree>> = TYPES.map(leaf).to_vec();
    for _ in 0..depth {
        let below = level.clone();
        let of = |ty: Ty| below[TYPES.iter().position(|t| *t == ty).unwrap_or(0)].clone();
        level = TYPES
            .iter()
            .map(|ty| {
                let below = of(*ty);
                let choices: Vec<BoxedStrategy<Tree>> = giving(*ty)
                    .into_iter()
                    .map(|op| {
                        let args: Vec<_> = op.args.iter().map(|a| of(*a)).collect();
                        args.prop_map(move |args| Tree::Apply(op, args)).boxed()
                    })
                    .collect();
                prop_oneof![1 => below, 4 => proptest::strategy::Union::new(choices)].boxed()
            })
            .collect();
    }
    proptest::strategy::Union::new(level).boxed()
}
