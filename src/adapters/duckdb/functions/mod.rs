//! The functions that GoogleSQL has and DuckDB lacks, or means otherwise; one entry a function.

mod bigs;
mod bytes;
mod casts;
mod dates;
mod formats;
mod json;
mod json_edits;
mod lists;
mod numbers;
mod patterns;
mod texts;

use super::scalar::{Arg, Out, Phys, ScalarFunction};

/// All of them, registered when the engine opens.
pub static FUNCTIONS: &[&[ScalarFunction]] = &[
    bigs::FUNCTIONS,
    bytes::FUNCTIONS,
    casts::FUNCTIONS,
    dates::FUNCTIONS,
    formats::FUNCTIONS,
    json::FUNCTIONS,
    json_edits::FUNCTIONS,
    lists::FUNCTIONS,
    numbers::FUNCTIONS,
    patterns::FUNCTIONS,
    texts::FUNCTIONS,
];

type Outcome = Result<Out, String>;

/// A function whose result is NULL if any argument is.
const fn strict(
    name: &'static str,
    params: &'static [Phys],
    returns: Phys,
    call: fn(&[Arg<'_>]) -> Outcome,
) -> ScalarFunction {
    ScalarFunction { name, params, returns, sees_null: false, call }
}

/// A function that sees NULL.
const fn lenient(
    name: &'static str,
    params: &'static [Phys],
    returns: Phys,
    call: fn(&[Arg<'_>]) -> Outcome,
) -> ScalarFunction {
    ScalarFunction { name, params, returns, sees_null: true, call }
}

fn text<'a>(args: &[Arg<'a>], i: usize) -> &'a str {
    match args.get(i) {
        Some(Arg::Str(s)) => s,
        _ => "",
    }
}

fn int(args: &[Arg<'_>], i: usize) -> i64 {
    match args.get(i) {
        Some(Arg::I64(v)) => *v,
        _ => 0,
    }
}

fn float(args: &[Arg<'_>], i: usize) -> f64 {
    match args.get(i) {
        Some(Arg::F64(v)) => *v,
        _ => f64::NAN,
    }
}

fn numeric(args: &[Arg<'_>], i: usize) -> i128 {
    match args.get(i) {
        Some(Arg::Numeric(v)) => *v,
        _ => 0,
    }
}

fn blob<'a>(args: &[Arg<'a>], i: usize) -> &'a [u8] {
    match args.get(i) {
        Some(Arg::Blob(v)) => v,
        _ => &[],
    }
}

fn date(args: &[Arg<'_>], i: usize) -> i32 {
    match args.get(i) {
        Some(Arg::Date(v)) => *v,
        _ => 0,
    }
}

fn micros(args: &[Arg<'_>], i: usize) -> i64 {
    match args.get(i) {
        Some(Arg::Micros(v)) => *v,
        _ => 0,
    }
}

fn is_true(args: &[Arg<'_>], i: usize) -> bool {
    matches!(args.get(i), Some(Arg::Bool(true)))
}
