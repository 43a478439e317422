//! CAST between texts and values.

use super::{Outcome, blob, float, int, micros, numeric, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use crate::sql::values;

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_fail", &[Phys::Str], Phys::Bool, |a| Err(text(a, 0).to_owned())),
    strict("gs_str_bool", &[Phys::Str], Phys::Bool, |a| match text(a, 0).trim().to_ascii_lowercase().as_str() {
        "true" => Ok(Out::Bool(true)),
        "false" => Ok(Out::Bool(false)),
        _ => bad(a, "BOOL"),
    }),
    strict("gs_str_int", &[Phys::Str], Phys::I64, |a| {
        values::parse_int(text(a, 0)).map_or_else(|| bad(a, "INT64"), |v| Ok(Out::I64(v)))
    }),
    strict("gs_str_float", &[Phys::Str], Phys::F64, |a| {
        values::parse_float(text(a, 0)).map_or_else(|| bad(a, "FLOAT64"), |v| Ok(Out::F64(v)))
    }),
    strict("gs_str_num", &[Phys::Str], Phys::Numeric, |a| {
        values::parse_numeric(text(a, 0)).map_or_else(|| bad(a, "NUMERIC"), |v| Ok(Out::Numeric(v)))
    }),
    strict("gs_str_date", &[Phys::Str], Phys::Date, |a| {
        let micros = values::parse_datetime(text(a, 0));
        micros.map_or_else(|| bad(a, "DATE"), |v| Ok(Out::Date(v.div_euclid(values::DAY) as i32)))
    }),
    strict("gs_str_time", &[Phys::Str], Phys::Time, |a| {
        values::parse_time(text(a, 0)).map_or_else(|| bad(a, "TIME"), |v| Ok(Out::Micros(v)))
    }),
    strict("gs_str_dt", &[Phys::Str], Phys::DateTime, |a| {
        values::parse_datetime(text(a, 0)).map_or_else(|| bad(a, "DATETIME"), |v| Ok(Out::Micros(v)))
    }),
    strict("gs_str_ts", &[Phys::Str, Phys::Str], Phys::Timestamp, |a| {
        values::parse_timestamp(text(a, 0), text(a, 1)).map_or_else(|| bad(a, "TIMESTAMP"), |v| Ok(Out::Micros(v)))
    }),
    strict("gs_float_text", &[Phys::F64], Phys::Str, |a| Ok(Out::Str(values::float_text(float(a, 0))))),
    strict("gs_num_text", &[Phys::Numeric], Phys::Str, |a| Ok(Out::Str(values::numeric_text(numeric(a, 0))))),
    strict("gs_time_text", &[Phys::Time], Phys::Str, |a| Ok(Out::Str(values::time_text(micros(a, 0))))),
    strict("gs_dt_text", &[Phys::DateTime], Phys::Str, |a| Ok(Out::Str(values::datetime_text(micros(a, 0))))),
    strict("gs_ts_text", &[Phys::Timestamp, Phys::Str], Phys::Str, |a| {
        let zone = values::zone(text(a, 1)).ok_or_else(|| format!("unknown time zone `{}`", text(a, 1)))?;
        values::timestamp_text(micros(a, 0), &zone)
            .map(Out::Str)
            .ok_or_else(|| "this TIMESTAMP cannot be written".to_owned())
    }),
    strict("gs_utf8", &[Phys::Blob], Phys::Str, |a| {
        String::from_utf8(blob(a, 0).to_vec()).map(Out::Str).map_err(|_| "these BYTES are no valid UTF-8".to_owned())
    }),
    strict("gs_utf8_lossy", &[Phys::Blob], Phys::Str, |a| Ok(Out::Str(lossy(blob(a, 0))))),
    strict("gs_float_num", &[Phys::F64], Phys::Numeric, float_numeric),
    strict("gs_num_fit", &[Phys::Numeric, Phys::I64, Phys::I64], Phys::Numeric, |a| {
        let (p, s) = (int(a, 1), int(a, 2));
        let rounded = super::numbers::round(numeric(a, 0), s).ok_or("numeric overflow")?;
        let limit = 10i128.checked_pow(u32::try_from(p - s + 9).unwrap_or(99)).unwrap_or(i128::MAX);
        if rounded.abs() >= limit {
            Err(format!("the value does not fit NUMERIC({p}, {s})"))
        } else {
            Ok(Out::Numeric(rounded))
        }
    }),
];

fn bad(args: &[Arg<'_>], ty: &str) -> Outcome {
    Err(format!("bad {ty} value: {:?}", text(args, 0)))
}

/// Every byte that is no part of valid UTF-8 becomes U+FFFD.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exact value of a float, rounded half away from zero to billionths.
fn float_numeric(a: &[Arg<'_>]) -> Outcome {
    let value = float(a, 0);
    if !value.is_finite() || value.abs() >= 1e29 {
        return Err("the FLOAT64 is out of range for NUMERIC".into());
    }
    // Rust prints as many exact digits as asked; the rounding is done on the text.
    let text = format!("{value:.60}");
    values::parse_numeric(&text).map(Out::Numeric).ok_or_else(|| "the FLOAT64 is out of range for NUMERIC".to_owned())
}
