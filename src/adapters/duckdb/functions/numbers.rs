//! Arithmetic: NUMERIC exactly, integers with errors, floats by GoogleSQL's rules.

use super::{Outcome, float, int, lenient, numeric, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use crate::sql::values::{NUMERIC_MAX, NUMERIC_ONE};

const NN: &[Phys] = &[Phys::Numeric, Phys::Numeric];
const NI: &[Phys] = &[Phys::Numeric, Phys::I64];
const II: &[Phys] = &[Phys::I64, Phys::I64];
const FF: &[Phys] = &[Phys::F64, Phys::F64];

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_num_mul", NN, Phys::Numeric, |a| {
        let (x, y) = (numeric(a, 0), numeric(a, 1));
        made(divided(wide_mul(x.unsigned_abs(), y.unsigned_abs()), NUMERIC_ONE as u128), (x < 0) != (y < 0))
    }),
    strict("gs_num_div", NN, Phys::Numeric, |a| {
        let (x, y) = (numeric(a, 0), numeric(a, 1));
        if y == 0 {
            return Err("division by zero".into());
        }
        made(divided(wide_mul(x.unsigned_abs(), NUMERIC_ONE as u128), y.unsigned_abs()), (x < 0) != (y < 0))
    }),
    // A sum that may have wrapped around at 2^127, and its size as a float.
    strict("gs_num_sum", &[Phys::Numeric, Phys::F64], Phys::Numeric, |a| in_range(unwrapped(a))),
    strict("gs_num_avg", &[Phys::Numeric, Phys::F64, Phys::I64], Phys::Numeric, |a| {
        let sum = unwrapped(a).ok_or("an average over a sum this large is not supported")?;
        let n = i128::from(int(a, 2).max(1));
        let up = i128::from((sum % n).unsigned_abs() * 2 >= n.unsigned_abs());
        in_range(Some(sum / n + up * sum.signum()))
    }),
    strict("gs_num_mod", NN, Phys::Numeric, |a| match numeric(a, 1) {
        0 => Err("division by zero".into()),
        y => Ok(Out::Numeric(numeric(a, 0) % y)),
    }),
    strict("gs_num_idiv", NN, Phys::Numeric, |a| match numeric(a, 1) {
        0 => Err("division by zero".into()),
        y => in_range((numeric(a, 0) / y).checked_mul(NUMERIC_ONE)),
    }),
    strict("gs_num_round", NI, Phys::Numeric, |a| in_range(round(numeric(a, 0), int(a, 1)))),
    strict("gs_num_trunc", NI, Phys::Numeric, |a| {
        let x = numeric(a, 0);
        Ok(Out::Numeric(unit(int(a, 1)).map_or(0, |u| x - x % u)))
    }),
    strict("gs_num_ceil", &[Phys::Numeric], Phys::Numeric, |a| {
        in_range(Some(
            numeric(a, 0).div_euclid(NUMERIC_ONE) * NUMERIC_ONE
                + if numeric(a, 0).rem_euclid(NUMERIC_ONE) > 0 { NUMERIC_ONE } else { 0 },
        ))
    }),
    strict("gs_num_floor", &[Phys::Numeric], Phys::Numeric, |a| {
        in_range(Some(numeric(a, 0).div_euclid(NUMERIC_ONE) * NUMERIC_ONE))
    }),
    strict("gs_mod", II, Phys::I64, |a| match int(a, 1) {
        0 => Err("division by zero".into()),
        y => Ok(Out::I64(int(a, 0).checked_rem(y).unwrap_or(0))),
    }),
    strict("gs_div", II, Phys::I64, |a| match int(a, 1) {
        0 => Err("division by zero".into()),
        y => int(a, 0).checked_div(y).map(Out::I64).ok_or_else(|| "INT64 overflow".to_owned()),
    }),
    // A window frame's offset.
    lenient("gs_bound_int", &[Phys::I64], Phys::I64, |a| match a.first() {
        Some(Arg::I64(n)) if *n >= 0 => Ok(Out::I64(*n)),
        _ => Err("a window frame's offset must not be NULL or negative".into()),
    }),
    lenient("gs_bound_float", &[Phys::F64], Phys::F64, |a| match a.first() {
        Some(Arg::F64(n)) if *n >= 1e290 => Err("a window frame's offset this large is not supported".into()),
        Some(Arg::F64(n)) if *n >= 0.0 => Ok(Out::F64(*n)),
        _ => Err("a window frame's offset must not be NULL, NaN or negative".into()),
    }),
    strict("gs_floor_div", II, Phys::I64, |a| Ok(Out::I64(int(a, 0).div_euclid(int(a, 1).max(1))))),
    strict("gs_shl", II, Phys::I64, |a| shift(a, |x, n| x << n)),
    strict("gs_shr", II, Phys::I64, |a| shift(a, |x, n| ((x as u64) >> n) as i64)),
    strict("gs_int_add", II, Phys::I64, |a| whole(int(a, 0).checked_add(int(a, 1)))),
    strict("gs_int_sub", II, Phys::I64, |a| whole(int(a, 0).checked_sub(int(a, 1)))),
    strict("gs_int_mul", II, Phys::I64, |a| whole(int(a, 0).checked_mul(int(a, 1)))),
    strict("gs_num_add", NN, Phys::Numeric, |a| in_range(numeric(a, 0).checked_add(numeric(a, 1)))),
    strict("gs_num_sub", NN, Phys::Numeric, |a| in_range(numeric(a, 0).checked_sub(numeric(a, 1)))),
    strict("gs_float_add", FF, Phys::F64, |a| finite(a, float(a, 0) + float(a, 1))),
    strict("gs_float_sub", FF, Phys::F64, |a| finite(a, float(a, 0) - float(a, 1))),
    strict("gs_float_mul", FF, Phys::F64, |a| finite(a, float(a, 0) * float(a, 1))),
    strict("gs_float_div", FF, Phys::F64, |a| {
        if float(a, 1) == 0.0 { Err("division by zero".into()) } else { finite(a, float(a, 0) / float(a, 1)) }
    }),
    strict("gs_float_compare", &[Phys::F64, Phys::F64, Phys::Str], Phys::Bool, |a| {
        let (x, y) = (float(a, 0), float(a, 1));
        Ok(Out::Bool(match text(a, 2) {
            "<" => x < y,
            "<=" => x <= y,
            ">" => x > y,
            ">=" => x >= y,
            "<>" => x != y,
            _ => x == y,
        }))
    }),
    strict("gs_safe_divide", FF, Phys::F64, |a| {
        let (x, y) = (float(a, 0), float(a, 1));
        let r = x / y;
        Ok(if y == 0.0 || r.is_infinite() && x.is_finite() && y.is_finite() { Out::Null } else { Out::F64(r) })
    }),
    strict("gs_ieee_divide", FF, Phys::F64, |a| Ok(Out::F64(float(a, 0) / float(a, 1)))),
    strict("gs_round", &[Phys::F64, Phys::I64], Phys::F64, |a| digits(a, f64::round)),
    strict("gs_trunc", &[Phys::F64, Phys::I64], Phys::F64, |a| digits(a, f64::trunc)),
    strict("gs_pow", FF, Phys::F64, pow),
    strict("gs_log", FF, Phys::F64, |a| {
        let (x, base) = (float(a, 0), float(a, 1));
        if x.is_nan() || base.is_nan() {
            return Ok(Out::F64(f64::NAN));
        }
        if x <= 0.0 || base <= 0.0 || base == 1.0 {
            return Err("the logarithm of these numbers is not defined".into());
        }
        if base.is_infinite() {
            return Ok(Out::F64(if x.is_infinite() { f64::NAN } else { 0.0 * -x.ln().signum().min(0.0) }));
        }
        Ok(Out::F64(x.ln() / base.ln()))
    }),
    strict("gs_math", &[Phys::F64, Phys::Str], Phys::F64, math),
    strict("gs_generate", &[Phys::I64, Phys::I64, Phys::I64], Phys::I64List, |a| {
        let (from, to, step) = (int(a, 0), int(a, 1), int(a, 2));
        if step == 0 {
            return Err("the step must not be zero".into());
        }
        let mut out = Vec::new();
        let mut next = Some(from);
        while let Some(v) = next.filter(|v| if step > 0 { *v <= to } else { *v >= to }) {
            if out.len() >= 1_000_000 {
                return Err("an array of more than a million elements".into());
            }
            out.push(Some(v));
            next = v.checked_add(step);
        }
        Ok(Out::I64List(out))
    }),
    strict("gs_range_bucket", &[Phys::I64, Phys::I64List], Phys::I64, |a| {
        let Some(Arg::I64List(list)) = a.get(1) else { return Ok(Out::Null) };
        let list: Option<Vec<i64>> = list.iter().copied().collect();
        let list = list.ok_or("RANGE_BUCKET over NULL")?;
        if list.windows(2).any(|w| w[0] > w[1]) {
            return Err("RANGE_BUCKET needs a sorted array".into());
        }
        Ok(Out::I64(list.partition_point(|v| *v <= int(a, 0)) as i64))
    }),
];

/// The sum, unless it is so large that it may have wrapped around.
fn unwrapped(a: &[Arg<'_>]) -> Option<i128> {
    // 2^127 billionths are 1.7e29.
    (float(a, 1).abs() < 1.6e29).then(|| numeric(a, 0))
}

fn whole(value: Option<i64>) -> Outcome {
    value.map(Out::I64).ok_or_else(|| "INT64 overflow".to_owned())
}

/// Finite numbers give a finite number.
fn finite(a: &[Arg<'_>], result: f64) -> Outcome {
    if result.is_infinite() && float(a, 0).is_finite() && float(a, 1).is_finite() {
        return Err("floating point overflow".into());
    }
    Ok(Out::F64(result))
}

fn in_range(value: Option<i128>) -> Outcome {
    value.filter(|v| v.abs() <= NUMERIC_MAX).map(Out::Numeric).ok_or_else(|| "numeric overflow".to_owned())
}

/// The power of ten at which `digits` digits after the point end, in billionths; `None` if beyond all numbers.
fn unit(digits: i64) -> Option<i128> {
    if digits >= 9 {
        return Some(1);
    }
    u32::try_from(9 - digits).ok().filter(|e| *e <= 38).map(|e| 10i128.pow(e))
}

/// Rounds half away from zero.
pub fn round(x: i128, digits: i64) -> Option<i128> {
    let Some(unit) = unit(digits) else { return Some(0) };
    let rest = x % unit;
    let down = x - rest;
    let up = (rest.unsigned_abs()) * 2 >= unit.unsigned_abs() && unit > 1;
    if !up {
        return Some(down);
    }
    down.checked_add(if x < 0 { -unit } else { unit }).filter(|v| v.abs() <= NUMERIC_MAX)
}

/// 128 × 128 bits: (high, low).
fn wide_mul(x: u128, y: u128) -> (u128, u128) {
    const MASK: u128 = u64::MAX as u128;
    let (xh, xl, yh, yl) = (x >> 64, x & MASK, y >> 64, y & MASK);
    let ll = xl * yl;
    let (lh, hl) = (xl * yh, xh * yl);
    let middle = (ll >> 64) + (lh & MASK) + (hl & MASK);
    ((xh * yh) + (lh >> 64) + (hl >> 64) + (middle >> 64), (middle << 64) | (ll & MASK))
}

/// 256 bits by 128, rounded half up; `None` if the quotient has more than 127 bits.
fn divided((high, low): (u128, u128), by: u128) -> Option<i128> {
    if high >= by {
        return None;
    }
    let (mut rest, mut quotient) = (high, 0u128);
    for bit in (0..128).rev() {
        let carry = rest >> 127;
        rest = (rest << 1) | (low >> bit & 1);
        quotient <<= 1;
        if carry == 1 || rest >= by {
            rest = rest.wrapping_sub(by);
            quotient |= 1;
        }
    }
    let up = rest >= by - rest;
    i128::try_from(quotient).ok()?.checked_add(i128::from(up))
}

fn made(value: Option<i128>, negative: bool) -> Outcome {
    in_range(value.map(|v| if negative { -v } else { v }))
}

fn shift(a: &[Arg<'_>], op: fn(i64, u32) -> i64) -> Outcome {
    let n = int(a, 1);
    if n < 0 {
        return Err("a shift by a negative number".into());
    }
    Ok(Out::I64(if n >= 64 { 0 } else { op(int(a, 0), n as u32) }))
}

fn digits(a: &[Arg<'_>], op: fn(f64) -> f64) -> Outcome {
    let (x, n) = (float(a, 0), int(a, 1));
    if !x.is_finite() || n > 300 {
        return Ok(Out::F64(x));
    }
    if n < -308 {
        return Ok(Out::F64(0.0));
    }
    let scale = 10f64.powi(n.unsigned_abs() as i32);
    let out = if n >= 0 {
        let scaled = x * scale;
        if !scaled.is_finite() || scaled.abs() >= 9e15 { x } else { op(scaled) / scale }
    } else {
        op(x / scale) * scale
    };
    if out.is_finite() { Ok(Out::F64(out)) } else { Err("floating point overflow".into()) }
}

fn pow(a: &[Arg<'_>]) -> Outcome {
    let (x, y) = (float(a, 0), float(a, 1));
    let r = x.powf(y);
    if r.is_nan() && !x.is_nan() && !y.is_nan() {
        return Err("this power is not defined".into());
    }
    if x == 0.0 && y < 0.0 {
        return Err("division by zero in POW".into());
    }
    if r.is_infinite() && x.is_finite() && y.is_finite() {
        return Err("floating point overflow".into());
    }
    Ok(Out::F64(r))
}

fn math(a: &[Arg<'_>]) -> Outcome {
    let x = float(a, 0);
    let name = text(a, 1);
    if x.is_nan() {
        return Ok(Out::F64(x));
    }
    let undefined = || Err(format!("{name} of {x} is not defined"));
    let r = match name {
        "sqrt" if x < 0.0 => return undefined(),
        "sqrt" => x.sqrt(),
        "cbrt" => x.cbrt(),
        "exp" => x.exp(),
        "ln" | "log10" if x <= 0.0 => return undefined(),
        "ln" => x.ln(),
        "log10" => x.log10(),
        "sin" | "cos" | "tan" | "sec" | "csc" | "cot" if x.is_infinite() && !matches!(name, "sec" | "csc" | "cot") => {
            return undefined();
        }
        "sec" | "csc" | "cot" if x.is_infinite() => f64::NAN,
        "csc" | "cot" | "csch" | "coth" if x == 0.0 => return undefined(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "sec" => 1.0 / x.cos(),
        "csc" => 1.0 / x.sin(),
        "cot" => 1.0 / x.tan(),
        "asin" | "acos" if x.abs() > 1.0 => return undefined(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "tanh" => x.tanh(),
        "sech" => 1.0 / x.cosh(),
        "csch" => 1.0 / x.sinh(),
        "coth" => 1.0 / x.tanh(),
        _ => return Err(format!("unknown function `{name}`")),
    };
    if r.is_infinite() && x.is_finite() { Err("floating point overflow".into()) } else { Ok(Out::F64(r)) }
}
