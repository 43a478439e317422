//! The operators and functions under test: how each is written, and its meaning as the language's documentation has it.

use super::value::{Ty, Ty::*, Value, numeric_text};
use jiff::civil::Date as Day;
use num_bigint::BigInt;

/// The meaning of an operator. Arguments of `Strict` and `Safe` are not NULL: where one is, so is the result.
pub enum Rule {
    Strict(fn(&[Value]) -> Option<Value>),
    /// NULL where it fails.
    Safe(fn(&[Value]) -> Option<Value>),
    /// Sees NULL and never fails itself.
    Seeing(fn(&[Value]) -> Value),
    And,
    Or,
    /// The first argument chooses.
    If,
    /// Pairs of condition and result, and the result else.
    Case,
    Coalesce,
    /// The first argument among the others.
    In,
    Between,
}

pub struct Op {
    /// `{0}` is the first argument.
    pub sql: &'static str,
    pub out: Ty,
    pub args: &'static [Ty],
    pub rule: Rule,
}

const fn strict(sql: &'static str, out: Ty, args: &'static [Ty], f: fn(&[Value]) -> Option<Value>) -> Op {
    Op { sql, out, args, rule: Rule::Strict(f) }
}

const fn safe(sql: &'static str, out: Ty, args: &'static [Ty], f: fn(&[Value]) -> Option<Value>) -> Op {
    Op { sql, out, args, rule: Rule::Safe(f) }
}

const fn lazy(sql: &'static str, out: Ty, args: &'static [Ty], rule: Rule) -> Op {
    Op { sql, out, args, rule }
}

fn i(v: &Value) -> i64 {
    if let Value::Int(v) = v { *v } else { unreachable!("the types are checked by the generator") }
}

fn n(v: &Value) -> BigInt {
    if let Value::Num(v) = v { v.clone() } else { unreachable!("the types are checked by the generator") }
}

fn f(v: &Value) -> f64 {
    if let Value::Float(v) = v { *v } else { unreachable!("the types are checked by the generator") }
}

fn s(v: &Value) -> &str {
    if let Value::Str(v) = v { v } else { unreachable!("the types are checked by the generator") }
}

fn d(v: &Value) -> Day {
    if let Value::Date(v) = v { *v } else { unreachable!("the types are checked by the generator") }
}

fn int(v: i128) -> Option<Value> {
    i64::try_from(v).ok().map(Value::Int)
}

fn num(v: BigInt) -> Option<Value> {
    (v.magnitude() < BigInt::from(10).pow(38).magnitude()).then_some(Value::Num(v))
}

fn one() -> BigInt {
    BigInt::from(1_000_000_000)
}

/// Half away from zero.
fn rounded(x: &BigInt, by: &BigInt) -> BigInt {
    let double = BigInt::from(2) * x;
    let half = if (double < BigInt::ZERO) == (*by < BigInt::ZERO) { by.clone() } else { -by.clone() };
    (double + half) / (BigInt::from(2) * by)
}

/// A float's result: from finite numbers only finite ones.
fn float(v: f64, from: &[Value]) -> Option<Value> {
    let finite = from.iter().all(|x| !matches!(x, Value::Float(x) if !x.is_finite()));
    (v.is_finite() || !finite).then_some(Value::Float(v))
}

fn text(v: impl Into<String>) -> Option<Value> {
    Some(Value::Str(v.into()))
}

fn flag(v: bool) -> Option<Value> {
    Some(Value::Bool(v))
}

fn count(text: &str) -> i64 {
    text.chars().count() as i64
}

fn cut(text: &str, from: usize, len: usize) -> String {
    text.chars().skip(from).take(len).collect()
}

fn substr(a: &[Value]) -> Option<Value> {
    let (text, at) = (s(&a[0]), i(&a[1]));
    let len = a.get(2).map_or(i64::MAX, i);
    if len < 0 {
        return None;
    }
    let size = count(text);
    let from = if at > 0 {
        at - 1
    } else if at == 0 || at < -size {
        0
    } else {
        size + at
    };
    Some(Value::Str(cut(text, from.min(size) as usize, len.min(size) as usize)))
}

fn pad(a: &[Value], left: bool) -> Option<Value> {
    let (value, len, pattern) = (s(&a[0]), i(&a[1]), s(&a[2]));
    if len < 0 || pattern.is_empty() || len > 1000 {
        return None;
    }
    let more = (len - count(value)).max(0) as usize;
    let padding: String = pattern.chars().cycle().take(more).collect();
    let value = cut(value, 0, len as usize);
    text(if left { padding + &value } else { value + &padding })
}

/// Digits with a sign, nothing else: what every reading of the language agrees on.
fn parsed_int(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

fn parsed_num(text: &str) -> Option<BigInt> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let plain = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !plain(digits) || !plain(fraction) || digits.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let value: BigInt = format!("{digits}{fraction:0<9}").parse().ok()?;
    Some(if whole.starts_with('-') { -value } else { value })
}

fn parsed_date(text: &str) -> Option<Day> {
    let text = text.trim();
    (text.len() == 10).then(|| text.parse().ok()).flatten()
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|k| like(&text[k..], rest)),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest),
        [c, rest @ ..] => text.first() == Some(c) && like(&text[1..], rest),
    }
}

/// Years 1 to 9999.
fn day(v: Result<Day, jiff::Error>) -> Option<Value> {
    v.ok().filter(|v| v.year() >= 1).map(Value::Date)
}

fn shifted(a: &[Value], unit: fn(i64) -> Option<jiff::Span>) -> Option<Value> {
    day(d(&a[0]).checked_add(unit(i(&a[1]))?))
}

fn spans(n: i64, make: fn(i64) -> Result<jiff::Span, jiff::Error>) -> Option<jiff::Span> {
    make(n).ok()
}

/// The order of two values of a type, none with NaN.
fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Num(a), Value::Num(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

pub fn equal(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        _ => Value::Bool(order(a, b).is_some_and(std::cmp::Ordering::is_eq)),
    }
}

pub fn at_least(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        _ => Value::Bool(order(a, b).is_some_and(std::cmp::Ordering::is_ge)),
    }
}

fn nan(a: &[Value]) -> bool {
    a.iter().any(|v| matches!(v, Value::Float(v) if v.is_nan()))
}

fn extreme(a: &[Value], greatest: bool) -> Option<Value> {
    if nan(a) {
        return Some(Value::Float(f64::NAN));
    }
    let wanted = if greatest { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less };
    Some(if order(&a[1], &a[0]) == Some(wanted) { a[1].clone() } else { a[0].clone() })
}

fn nullif(a: &[Value]) -> Value {
    if equal(&a[0], &a[1]) == Value::Bool(true) { Value::Null } else { a[0].clone() }
}

fn same(a: &[Value]) -> bool {
    a[0] == a[1] || nan(&a[..1]) && nan(&a[1..])
}

/// What every type has.
macro_rules! common {
    ($t:ident) => {
        [
            strict("({0} = {1})", Bool, &[$t, $t], |a| Some(equal(&a[0], &a[1]))),
            strict("({0} != {1})", Bool, &[$t, $t], |a| flag(equal(&a[0], &a[1]) != Value::Bool(true))),
            strict("({0} < {1})", Bool, &[$t, $t], |a| flag(order(&a[0], &a[1]).is_some_and(|o| o.is_lt()))),
            strict("({0} <= {1})", Bool, &[$t, $t], |a| flag(order(&a[0], &a[1]).is_some_and(|o| o.is_le()))),
            strict("({0} > {1})", Bool, &[$t, $t], |a| flag(order(&a[0], &a[1]).is_some_and(|o| o.is_gt()))),
            strict("({0} >= {1})", Bool, &[$t, $t], |a| Some(at_least(&a[0], &a[1]))),
            lazy("({0} IS NULL)", Bool, &[$t], Rule::Seeing(|a| Value::Bool(a[0] == Value::Null))),
            lazy("({0} IS NOT DISTINCT FROM {1})", Bool, &[$t, $t], Rule::Seeing(|a| Value::Bool(same(a)))),
            lazy("({0} IN ({1}, {2}, {3}))", Bool, &[$t, $t, $t, $t], Rule::In),
            lazy("({0} BETWEEN {1} AND {2})", Bool, &[$t, $t, $t], Rule::Between),
            lazy("IF({0}, {1}, {2})", $t, &[Bool, $t, $t], Rule::If),
            lazy("CASE WHEN {0} THEN {1} WHEN {2} THEN {3} ELSE {4} END", $t, &[Bool, $t, Bool, $t, $t], Rule::Case),
            lazy("COALESCE({0}, {1}, {2})", $t, &[$t, $t, $t], Rule::Coalesce),
            lazy("NULLIF({0}, {1})", $t, &[$t, $t], Rule::Seeing(nullif)),
            strict("GREATEST({0}, {1})", $t, &[$t, $t], |a| extreme(a, true)),
            strict("LEAST({0}, {1})", $t, &[$t, $t], |a| extreme(a, false)),
        ]
    };
}

static COMMON: [[Op; 16]; 6] = [common!(Int), common!(Num), common!(Float), common!(Str), common!(Bool), common!(Date)];

static NUMBERS: &[Op] = &[
    strict("({0} + {1})", Int, &[Int, Int], |a| int(i128::from(i(&a[0])) + i128::from(i(&a[1])))),
    strict("({0} - {1})", Int, &[Int, Int], |a| int(i128::from(i(&a[0])) - i128::from(i(&a[1])))),
    strict("({0} * {1})", Int, &[Int, Int], |a| int(i128::from(i(&a[0])) * i128::from(i(&a[1])))),
    strict("(- {0})", Int, &[Int], |a| int(-i128::from(i(&a[0])))),
    strict("ABS({0})", Int, &[Int], |a| int(i128::from(i(&a[0])).abs())),
    strict("SIGN({0})", Int, &[Int], |a| Some(Value::Int(i(&a[0]).signum()))),
    strict("DIV({0}, {1})", Int, &[Int, Int], |a| i(&a[0]).checked_div(i(&a[1])).map(Value::Int)),
    strict("MOD({0}, {1})", Int, &[Int, Int], |a| {
        if i(&a[1]) == 0 { None } else { Some(Value::Int(i(&a[0]).wrapping_rem(i(&a[1])))) }
    }),
    strict("({0} & {1})", Int, &[Int, Int], |a| Some(Value::Int(i(&a[0]) & i(&a[1])))),
    strict("({0} ^ {1})", Int, &[Int, Int], |a| Some(Value::Int(i(&a[0]) ^ i(&a[1])))),
    safe("SAFE_ADD({0}, {1})", Int, &[Int, Int], |a| i(&a[0]).checked_add(i(&a[1])).map(Value::Int)),
    safe("SAFE_MULTIPLY({0}, {1})", Int, &[Int, Int], |a| i(&a[0]).checked_mul(i(&a[1])).map(Value::Int)),
    safe("SAFE_NEGATE({0})", Int, &[Int], |a| i(&a[0]).checked_neg().map(Value::Int)),
    safe("SAFE.DIV({0}, {1})", Int, &[Int, Int], |a| i(&a[0]).checked_div(i(&a[1])).map(Value::Int)),
    strict("({0} + {1})", Num, &[Num, Num], |a| num(n(&a[0]) + n(&a[1]))),
    strict("({0} - {1})", Num, &[Num, Num], |a| num(n(&a[0]) - n(&a[1]))),
    strict("({0} * {1})", Num, &[Num, Num], |a| num(rounded(&(n(&a[0]) * n(&a[1])), &one()))),
    strict("({0} / {1})", Num, &[Num, Num], |a| {
        if n(&a[1]) == BigInt::ZERO { None } else { num(rounded(&(n(&a[0]) * one()), &n(&a[1]))) }
    }),
    strict(
        "MOD({0}, {1})",
        Num,
        &[Num, Num],
        |a| if n(&a[1]) == BigInt::ZERO { None } else { num(n(&a[0]) % n(&a[1])) },
    ),
    strict("(- {0})", Num, &[Num], |a| num(-n(&a[0]))),
    strict("ABS({0})", Num, &[Num], |a| num(BigInt::from(n(&a[0]).magnitude().clone()))),
    strict("ROUND({0})", Num, &[Num], |a| num(rounded(&n(&a[0]), &one()) * one())),
    strict("ROUND({0}, 2)", Num, &[Num], |a| {
        num(rounded(&n(&a[0]), &BigInt::from(10_000_000)) * BigInt::from(10_000_000))
    }),
    strict("ROUND({0}, -1)", Num, &[Num], |a| num(rounded(&n(&a[0]), &(one() * 10)) * one() * 10)),
    strict("TRUNC({0}, 1)", Num, &[Num], |a| num(n(&a[0]) / BigInt::from(100_000_000) * BigInt::from(100_000_000))),
    strict("CEIL({0})", Num, &[Num], |a| {
        let down = n(&a[0]) / one() * one();
        num(if down < n(&a[0]) { down + one() } else { down })
    }),
    strict("FLOOR({0})", Num, &[Num], |a| {
        let down = n(&a[0]) / one() * one();
        num(if down > n(&a[0]) { down - one() } else { down })
    }),
    safe("SAFE_DIVIDE({0}, {1})", Num, &[Num, Num], |a| {
        if n(&a[1]) == BigInt::ZERO { None } else { num(rounded(&(n(&a[0]) * one()), &n(&a[1]))) }
    }),
    strict("({0} + {1})", Num, &[Int, Num], |a| num(BigInt::from(i(&a[0])) * one() + n(&a[1]))),
    strict("({0} + {1})", Float, &[Float, Float], |a| float(f(&a[0]) + f(&a[1]), a)),
    strict("({0} - {1})", Float, &[Float, Float], |a| float(f(&a[0]) - f(&a[1]), a)),
    strict("({0} * {1})", Float, &[Float, Float], |a| float(f(&a[0]) * f(&a[1]), a)),
    strict(
        "({0} / {1})",
        Float,
        &[Float, Float],
        |a| if f(&a[1]) == 0.0 { None } else { float(f(&a[0]) / f(&a[1]), a) },
    ),
    strict("({0} / {1})", Float, &[Int, Int], |a| {
        if i(&a[1]) == 0 { None } else { float(i(&a[0]) as f64 / i(&a[1]) as f64, a) }
    }),
    strict("({0} * {1})", Float, &[Int, Float], |a| float(i(&a[0]) as f64 * f(&a[1]), a)),
    strict("IEEE_DIVIDE({0}, {1})", Float, &[Float, Float], |a| Some(Value::Float(f(&a[0]) / f(&a[1])))),
    safe("SAFE_DIVIDE({0}, {1})", Float, &[Float, Float], |a| {
        if f(&a[1]) == 0.0 { None } else { float(f(&a[0]) / f(&a[1]), a) }
    }),
    strict("(- {0})", Float, &[Float], |a| Some(Value::Float(-f(&a[0])))),
    strict("ABS({0})", Float, &[Float], |a| Some(Value::Float(f(&a[0]).abs()))),
    strict("FLOOR({0})", Float, &[Float], |a| Some(Value::Float(f(&a[0]).floor()))),
    strict("CEIL({0})", Float, &[Float], |a| Some(Value::Float(f(&a[0]).ceil()))),
    strict("TRUNC({0})", Float, &[Float], |a| Some(Value::Float(f(&a[0]).trunc()))),
    strict("ROUND({0})", Float, &[Float], |a| Some(Value::Float(f(&a[0]).round()))),
    strict("SQRT({0})", Float, &[Float], |a| if f(&a[0]) < 0.0 { None } else { Some(Value::Float(f(&a[0]).sqrt())) }),
    strict("IS_NAN({0})", Bool, &[Float], |a| flag(f(&a[0]).is_nan())),
    strict("IS_INF({0})", Bool, &[Float], |a| flag(f(&a[0]).is_infinite())),
];

static TEXTS: &[Op] = &[
    strict("({0} || {1})", Str, &[Str, Str], |a| text(format!("{}{}", s(&a[0]), s(&a[1])))),
    strict("CONCAT({0}, {1}, {0})", Str, &[Str, Str], |a| text(format!("{0}{1}{0}", s(&a[0]), s(&a[1])))),
    strict("UPPER({0})", Str, &[Str], |a| text(s(&a[0]).to_uppercase())),
    strict("LOWER({0})", Str, &[Str], |a| text(s(&a[0]).to_lowercase())),
    strict("REVERSE({0})", Str, &[Str], |a| text(s(&a[0]).chars().rev().collect::<String>())),
    strict("TRIM({0})", Str, &[Str], |a| text(s(&a[0]).trim())),
    strict("LTRIM({0}, 'a-')", Str, &[Str], |a| text(s(&a[0]).trim_start_matches(['a', '-']))),
    strict("REPLACE({0}, {1}, {2})", Str, &[Str, Str, Str], |a| {
        text(if s(&a[1]).is_empty() { s(&a[0]).to_owned() } else { s(&a[0]).replace(s(&a[1]), s(&a[2])) })
    }),
    strict("SUBSTR({0}, {1})", Str, &[Str, Int], substr),
    strict("SUBSTR({0}, {1}, {2})", Str, &[Str, Int, Int], substr),
    strict("LEFT({0}, {1})", Str, &[Str, Int], |a| {
        usize::try_from(i(&a[1])).ok().and_then(|len| text(cut(s(&a[0]), 0, len)))
    }),
    strict("RIGHT({0}, {1})", Str, &[Str, Int], |a| {
        let len = usize::try_from(i(&a[1])).ok()?;
        text(cut(s(&a[0]), (count(s(&a[0])) as usize).saturating_sub(len), len))
    }),
    strict("LPAD({0}, MOD({1}, 20), {2})", Str, &[Str, Int, Str], |a| {
        pad(&[a[0].clone(), Value::Int(i(&a[1]) % 20), a[2].clone()], true)
    }),
    strict("RPAD({0}, MOD({1}, 20), {2})", Str, &[Str, Int, Str], |a| {
        pad(&[a[0].clone(), Value::Int(i(&a[1]) % 20), a[2].clone()], false)
    }),
    strict("REPEAT({0}, MOD({1}, 4))", Str, &[Str, Int], |a| {
        usize::try_from(i(&a[1]) % 4).ok().and_then(|times| text(s(&a[0]).repeat(times)))
    }),
    strict("LENGTH({0})", Int, &[Str], |a| Some(Value::Int(count(s(&a[0]))))),
    strict("BYTE_LENGTH({0})", Int, &[Str], |a| Some(Value::Int(s(&a[0]).len() as i64))),
    strict("STRPOS({0}, {1})", Int, &[Str, Str], |a| {
        Some(Value::Int(s(&a[0]).find(s(&a[1])).map_or(0, |at| count(&s(&a[0])[..at]) + 1)))
    }),
    strict("STARTS_WITH({0}, {1})", Bool, &[Str, Str], |a| flag(s(&a[0]).starts_with(s(&a[1])))),
    strict("ENDS_WITH({0}, {1})", Bool, &[Str, Str], |a| flag(s(&a[0]).ends_with(s(&a[1])))),
    strict("({0} LIKE '%a_')", Bool, &[Str], |a| flag(like(&s(&a[0]).chars().collect::<Vec<_>>(), &['%', 'a', '_']))),
    strict("({0} NOT LIKE '-%')", Bool, &[Str], |a| flag(!s(&a[0]).starts_with('-'))),
];

static CASTS: &[Op] = &[
    strict("CAST({0} AS STRING)", Str, &[Int], |a| text(i(&a[0]).to_string())),
    strict("CAST({0} AS STRING)", Str, &[Num], |a| text(numeric_text(&n(&a[0])))),
    strict("CAST({0} AS STRING)", Str, &[Bool], |a| text(if a[0] == Value::Bool(true) { "true" } else { "false" })),
    strict("CAST({0} AS STRING)", Str, &[Date], |a| text(d(&a[0]).to_string())),
    strict("CAST({0} AS INT64)", Int, &[Bool], |a| Some(Value::Int(i64::from(a[0] == Value::Bool(true))))),
    strict("CAST({0} AS BOOL)", Bool, &[Int], |a| flag(i(&a[0]) != 0)),
    strict("CAST({0} AS INT64)", Int, &[Num], |a| i64::try_from(rounded(&n(&a[0]), &one())).ok().map(Value::Int)),
    strict("CAST({0} AS INT64)", Int, &[Float], |a| {
        let whole = f(&a[0]).round();
        // 2^63 is a float, the greatest INT64 is none.
        (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole).then_some(Value::Int(whole as i64))
    }),
    strict("CAST({0} AS NUMERIC)", Num, &[Int], |a| num(BigInt::from(i(&a[0])) * one())),
    strict("CAST({0} AS FLOAT64)", Float, &[Int], |a| Some(Value::Float(i(&a[0]) as f64))),
    strict("CAST({0} AS FLOAT64)", Float, &[Num], |a| numeric_text(&n(&a[0])).parse().ok().map(Value::Float)),
    strict("CAST({0} AS INT64)", Int, &[Str], |a| parsed_int(s(&a[0])).map(Value::Int)),
    safe("SAFE_CAST({0} AS INT64)", Int, &[Str], |a| parsed_int(s(&a[0])).map(Value::Int)),
    strict("CAST({0} AS NUMERIC)", Num, &[Str], |a| parsed_num(s(&a[0])).and_then(num)),
    safe("SAFE_CAST({0} AS NUMERIC)", Num, &[Str], |a| parsed_num(s(&a[0])).and_then(num)),
    safe("SAFE_CAST({0} AS BOOL)", Bool, &[Str], |a| match s(&a[0]).trim().to_ascii_lowercase().as_str() {
        "true" => flag(true),
        "false" => flag(false),
        _ => None,
    }),
    strict("CAST({0} AS DATE)", Date, &[Str], |a| parsed_date(s(&a[0])).map(Value::Date)),
    safe("SAFE_CAST({0} AS DATE)", Date, &[Str], |a| parsed_date(s(&a[0])).map(Value::Date)),
    strict("EXTRACT(YEAR FROM {0})", Int, &[Date], |a| Some(Value::Int(d(&a[0]).year().into()))),
    strict("EXTRACT(DAYOFWEEK FROM {0})", Int, &[Date], |a| {
        Some(Value::Int(i64::from(d(&a[0]).weekday().to_sunday_one_offset())))
    }),
    strict("DATE_DIFF({0}, {1}, DAY)", Int, &[Date, Date], |a| {
        d(&a[1]).until(d(&a[0])).ok().map(|span| Value::Int(span.get_days().into()))
    }),
    strict("DATE_DIFF({0}, {1}, MONTH)", Int, &[Date, Date], |a| {
        let months = |v: &Value| i64::from(d(v).year()) * 12 + i64::from(d(v).month());
        Some(Value::Int(months(&a[0]) - months(&a[1])))
    }),
    strict("DATE_ADD({0}, INTERVAL {1} DAY)", Date, &[Date, Int], |a| {
        shifted(a, |n| spans(n, |n| jiff::Span::new().try_days(n)))
    }),
    strict("DATE_SUB({0}, INTERVAL MOD({1}, 30) MONTH)", Date, &[Date, Int], |a| {
        shifted(&[a[0].clone(), Value::Int(-(i(&a[1]) % 30))], |n| spans(n, |n| jiff::Span::new().try_months(n)))
    }),
    strict("DATE_ADD({0}, INTERVAL {1} YEAR)", Date, &[Date, Int], |a| {
        shifted(a, |n| spans(n, |n| jiff::Span::new().try_years(n)))
    }),
    strict("({0} + {1})", Date, &[Date, Int], |a| shifted(a, |n| spans(n, |n| jiff::Span::new().try_days(n)))),
    strict("DATE_TRUNC({0}, MONTH)", Date, &[Date], |a| Some(Value::Date(d(&a[0]).first_of_month()))),
    strict("DATE_TRUNC({0}, WEEK)", Date, &[Date], |a| {
        let back = i64::from(d(&a[0]).weekday().to_sunday_zero_offset());
        day(d(&a[0]).checked_sub(jiff::Span::new().days(back)))
    }),
    strict("LAST_DAY({0})", Date, &[Date], |a| Some(Value::Date(d(&a[0]).last_of_month()))),
    lazy("({0} AND {1})", Bool, &[Bool, Bool], Rule::And),
    lazy("({0} OR {1})", Bool, &[Bool, Bool], Rule::Or),
    strict("(NOT {0})", Bool, &[Bool], |a| flag(a[0] != Value::Bool(true))),
    lazy("({0} IS TRUE)", Bool, &[Bool], Rule::Seeing(|a| Value::Bool(a[0] == Value::Bool(true)))),
    lazy("({0} IS NOT FALSE)", Bool, &[Bool], Rule::Seeing(|a| Value::Bool(a[0] != Value::Bool(false)))),
];

/// All operators that give a type.
pub fn giving(ty: Ty) -> Vec<&'static Op> {
    COMMON.iter().flatten().chain(NUMBERS).chain(TEXTS).chain(CASTS).filter(|op| op.out == ty).collect()
}
