//! BIGNUMERIC: a BLOB of 32 bytes (`sql::big`).

use super::{Outcome, blob, float, int, numeric, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use crate::sql::{big, values};
use num_bigint::{BigInt, Sign};

const B: &[Phys] = &[Phys::Blob];
const BB: &[Phys] = &[Phys::Blob, Phys::Blob];
const BI: &[Phys] = &[Phys::Blob, Phys::I64];

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_str_big", &[Phys::Str], Phys::Blob, |a| {
        big::parse(text(a, 0)).map_or_else(|| Err(format!("bad BIGNUMERIC value: {:?}", text(a, 0))), |v| made(&v))
    }),
    strict("gs_int_big", &[Phys::I64], Phys::Blob, |a| made(&(BigInt::from(int(a, 0)) * big::one()))),
    strict("gs_num_big", &[Phys::Numeric], Phys::Blob, |a| made(&of_numeric(numeric(a, 0)))),
    strict("gs_float_big", &[Phys::F64], Phys::Blob, |a| {
        big::of_float(float(a, 0))
            .map_or_else(|| Err("the FLOAT64 is out of range for BIGNUMERIC".into()), |v| made(&v))
    }),
    strict("gs_big_text", B, Phys::Str, |a| Ok(Out::Str(big::text(&number(a, 0))))),
    strict("gs_big_float", B, Phys::F64, |a| Ok(Out::F64(big::nearest(&number(a, 0), 38)))),
    strict("gs_big_int", B, Phys::I64, |a| {
        let whole = big::rounded_div(&number(a, 0), &big::one());
        i64::try_from(whole).map(Out::I64).map_err(|_| "the BIGNUMERIC is out of range for INT64".into())
    }),
    strict("gs_big_num", B, Phys::Numeric, |a| {
        let value = big::rounded_div(&number(a, 0), &BigInt::from(10u8).pow(29));
        let value = i128::try_from(value).ok().filter(|v| v.abs() <= values::NUMERIC_MAX);
        value.map(Out::Numeric).ok_or_else(|| "the BIGNUMERIC is out of range for NUMERIC".into())
    }),
    strict("gs_big_add", BB, Phys::Blob, |a| made(&(number(a, 0) + number(a, 1)))),
    strict("gs_big_sub", BB, Phys::Blob, |a| made(&(number(a, 0) - number(a, 1)))),
    strict("gs_big_mul", BB, Phys::Blob, |a| made(&big::rounded_div(&(number(a, 0) * number(a, 1)), &big::one()))),
    strict("gs_big_div", BB, Phys::Blob, |a| made(&big::rounded_div(&(number(a, 0) * big::one()), &divisor(a)?))),
    strict("gs_big_idiv", BB, Phys::Blob, |a| made(&(number(a, 0) / divisor(a)? * big::one()))),
    strict("gs_big_mod", BB, Phys::Blob, |a| made(&(number(a, 0) % divisor(a)?))),
    strict("gs_big_neg", B, Phys::Blob, |a| made(&-number(a, 0))),
    strict("gs_big_abs", B, Phys::Blob, |a| made(&BigInt::from(number(a, 0).magnitude().clone()))),
    strict("gs_big_sign", B, Phys::Blob, |a| {
        made(&match number(a, 0).sign() {
            Sign::Minus => -big::one(),
            Sign::NoSign => BigInt::ZERO,
            Sign::Plus => big::one(),
        })
    }),
    strict("gs_big_round", BI, Phys::Blob, |a| made(&big::round(&number(a, 0), int(a, 1)))),
    strict("gs_big_trunc", BI, Phys::Blob, |a| made(&big::trunc(&number(a, 0), int(a, 1)))),
    strict("gs_big_ceil", B, Phys::Blob, |a| {
        let x = number(a, 0);
        let down = big::trunc(&x, 0);
        made(&if down < x { down + big::one() } else { down })
    }),
    strict("gs_big_floor", B, Phys::Blob, |a| {
        let x = number(a, 0);
        let down = big::trunc(&x, 0);
        made(&if down > x { down - big::one() } else { down })
    }),
    // The root rounded half away from zero: of twice the digits, so that what is cut off is known.
    strict("gs_big_sqrt", B, Phys::Blob, |a| {
        let x = number(a, 0);
        if x.sign() == Sign::Minus {
            return Err("the square root of a negative number".into());
        }
        let root = BigInt::sqrt(&(x * big::one() * BigInt::from(4u8)));
        made(&((root + 1) / 2))
    }),
    strict("gs_big_pow", BB, Phys::Blob, |a| pow(&number(a, 0), &number(a, 1))),
    strict("gs_parse_big", &[Phys::Str], Phys::Blob, |a| {
        let parsed = loose(text(a, 0)).and_then(|t| big::parse(&t));
        parsed.map_or_else(|| Err(format!("bad BIGNUMERIC value: {:?}", text(a, 0))), |v| made(&v))
    }),
    strict("gs_parse_num", &[Phys::Str], Phys::Numeric, |a| {
        let parsed = loose(text(a, 0)).and_then(|t| values::parse_numeric(&t));
        parsed.map(Out::Numeric).ok_or_else(|| format!("bad NUMERIC value: {:?}", text(a, 0)))
    }),
    strict("gs_big_fit", &[Phys::Blob, Phys::I64, Phys::I64], Phys::Blob, |a| {
        let (precision, scale) = (int(a, 1), int(a, 2));
        let rounded = big::round(&number(a, 0), scale);
        let limit = BigInt::from(10u8).pow(u32::try_from((precision - scale + 38).clamp(0, 200)).unwrap_or(0));
        if BigInt::from(rounded.magnitude().clone()) >= limit {
            return Err(format!("the value does not fit BIGNUMERIC({precision}, {scale})"));
        }
        made(&rounded)
    }),
    strict("gs_big_sum", &[Phys::BlobList], Phys::Blob, |a| match list(a) {
        numbers if numbers.is_empty() => Ok(Out::Null),
        numbers => made(&numbers.iter().sum()),
    }),
    strict("gs_big_avg", &[Phys::BlobList], Phys::Blob, |a| match list(a) {
        numbers if numbers.is_empty() => Ok(Out::Null),
        numbers => made(&big::rounded_div(&numbers.iter().sum(), &BigInt::from(numbers.len()))),
    }),
];

/// A BIGNUMERIC argument.
pub(super) fn number(args: &[Arg<'_>], i: usize) -> BigInt {
    big::decode(blob(args, i))
}

/// A NUMERIC as BIGNUMERIC.
pub(super) fn of_numeric(value: i128) -> BigInt {
    BigInt::from(value) * BigInt::from(10u8).pow(29)
}

pub(super) fn made(value: &BigInt) -> Outcome {
    big::checked(value.clone()).map(|v| Out::Blob(big::encode(&v)))
}

fn divisor(args: &[Arg<'_>]) -> Result<BigInt, String> {
    let y = number(args, 1);
    if y.sign() == Sign::NoSign { Err("division by zero".into()) } else { Ok(y) }
}

/// A whole power, exactly; other powers are not known to enough digits.
fn pow(x: &BigInt, y: &BigInt) -> Outcome {
    let one = big::one();
    if (y % &one).sign() != Sign::NoSign {
        return Err("a power of a NUMERIC that is no whole number is not supported".into());
    }
    let n = i32::try_from(y / &one).map_err(|_| "BIGNUMERIC overflow")?;
    let size = big::nearest(x, 38).abs();
    if x.sign() == Sign::NoSign && n < 0 {
        return Err("division by zero in POW".into());
    }
    if *x == one || x.sign() == Sign::NoSign || n == 0 {
        return made(&if n == 0 { one } else { x.clone() });
    }
    if *x == -&one {
        return made(&if n % 2 == 0 { one } else { -one });
    }
    let estimate = size.log10() * f64::from(n);
    if estimate > 40.0 {
        return Err("BIGNUMERIC overflow".into());
    }
    if estimate < -40.0 {
        return made(&BigInt::ZERO);
    }
    if n.unsigned_abs() > 5000 {
        return Err("a power this high is not supported".into());
    }
    let (power, scale) = (x.pow(n.unsigned_abs()), one.pow(n.unsigned_abs()));
    made(&if n > 0 { big::rounded_div(&(power * &one), &scale) } else { big::rounded_div(&(scale * &one), &power) })
}

/// PARSE_NUMERIC's text: spaces, commas and a sign behind are allowed.
fn loose(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, body) = if let Some(body) = text.strip_prefix(sign_char) {
        (&text[..1], body.trim_start())
    } else if let Some(body) = text.strip_suffix(sign_char) {
        (&text[text.len() - 1..], body.trim_end())
    } else {
        ("", text)
    };
    // A comma stands among the digits before the point.
    let whole = body.find(['.', 'e', 'E']).unwrap_or(body.len());
    if body.starts_with(',') || body.starts_with(sign_char) || body[whole..].contains(',') {
        return None;
    }
    Some(format!("{sign}{}", body.replace(',', "")))
}

fn sign_char(c: char) -> bool {
    c == '-' || c == '+'
}

/// The numbers of a list, without NULL.
fn list(args: &[Arg<'_>]) -> Vec<BigInt> {
    match args.first() {
        Some(Arg::BlobList(items)) => items.iter().flatten().map(|b| big::decode(b)).collect(),
        _ => Vec::new(),
    }
}
