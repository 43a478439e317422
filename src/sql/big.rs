//! BIGNUMERIC: a 256-bit integer of 10^-38.
//!
//! In the engine it is a BLOB of 32 bytes, big-endian with the sign bit turned, so that the bytes' order is the numbers' order and
//! comparing, grouping, joining and MIN need nothing of their own.

use super::values::DecimalText;
use num_bigint::{BigInt, Sign};

/// Digits after the point.
const SCALE: u32 = 38;

/// The longest text that is read: a FLOAT64 has 1074 digits after the point.
const LONGEST: usize = 4096;

/// 10^38: one unit.
pub fn one() -> BigInt {
    BigInt::from(10u8).pow(SCALE)
}

/// Whether a number of units is a BIGNUMERIC.
pub fn checked(value: BigInt) -> Result<BigInt, String> {
    if value.to_signed_bytes_be().len() > 32 { Err("BIGNUMERIC overflow".into()) } else { Ok(value) }
}

/// The engine's bytes of a number within range.
pub fn encode(value: &BigInt) -> Vec<u8> {
    let bytes = value.to_signed_bytes_be();
    let fill = if value.sign() == Sign::Minus { 0xFF } else { 0 };
    let mut out = vec![fill; 32usize.saturating_sub(bytes.len())];
    out.extend(bytes);
    out[0] ^= 0x80;
    out
}

pub fn decode(bytes: &[u8]) -> BigInt {
    let mut bytes = bytes.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
    BigInt::from_signed_bytes_be(&bytes)
}

/// `x / y`, rounded half away from zero; `y` is not zero.
pub fn rounded_div(x: &BigInt, y: &BigInt) -> BigInt {
    let (quotient, rest) = (x / y, x % y);
    let up = rest.magnitude() * 2u8 >= *y.magnitude();
    match (up, x.sign() == y.sign()) {
        (false, _) => quotient,
        (true, true) => quotient + 1,
        (true, false) => quotient - 1,
    }
}

/// Rounds half away from zero to `digits` digits after the point.
pub fn round(x: &BigInt, digits: i64) -> BigInt {
    match unit(digits) {
        None => BigInt::ZERO,
        Some(unit) => rounded_div(x, &unit) * unit,
    }
}

/// Cuts what is beyond `digits` digits after the point.
pub fn trunc(x: &BigInt, digits: i64) -> BigInt {
    match unit(digits) {
        None => BigInt::ZERO,
        Some(unit) => x - x % unit,
    }
}

fn unit(digits: i64) -> Option<BigInt> {
    let power = i64::from(SCALE).saturating_sub(digits).max(0);
    u32::try_from(power).ok().filter(|p| *p <= 80).map(|p| BigInt::from(10u8).pow(p))
}

/// The number of a text; digits beyond 38 after the point are rounded half away from zero.
pub fn parse(text: &str) -> Option<BigInt> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let DecimalText { negative, int, frac, exponent } = DecimalText::of(text)?;
    let digits = format!("{int}{frac}");
    let significant = digits.trim_start_matches('0');
    let shift = exponent - frac.len() as i64 + i64::from(SCALE);
    if significant.is_empty() {
        return Some(BigInt::ZERO);
    }
    let size = significant.len() as i64 + shift;
    if size > 80 {
        return None;
    }
    if size < 0 {
        return Some(BigInt::ZERO);
    }
    let all: BigInt = significant.parse().ok()?;
    let ten = BigInt::from(10u8);
    let power = ten.pow(u32::try_from(shift.unsigned_abs()).ok()?);
    let value = if shift >= 0 { all * power } else { rounded_div(&all, &power) };
    checked(if negative { -value } else { value }).ok()
}

/// The exact value of a float, rounded half away from zero.
pub fn of_float(value: f64) -> Option<BigInt> {
    // A double has at most 1074 digits after the point.
    if value.is_finite() { parse(&format!("{value:.1074}")) } else { None }
}

/// The shortest decimal text.
pub fn text(value: &BigInt) -> String {
    decimal(value, SCALE)
}

/// `value` × 10^-scale as text.
fn decimal(value: &BigInt, scale: u32) -> String {
    let one = BigInt::from(10u8).pow(scale);
    let sign = if value.sign() == Sign::Minus { "-" } else { "" };
    let abs = BigInt::from(value.magnitude().clone());
    let (int, frac) = (&abs / &one, &abs % &one);
    if frac.sign() == Sign::NoSign {
        return format!("{sign}{int}");
    }
    let text = format!("{sign}{int}.{:0>width$}", frac.to_string(), width = scale as usize);
    text.trim_end_matches('0').to_owned()
}

/// The float that is nearest to `value` × 10^-scale.
pub fn nearest(value: &BigInt, scale: u32) -> f64 {
    decimal(value, scale).parse().unwrap_or(f64::NAN)
}

/// The float that is nearest to `x / y` × 10^-scale, to 40 digits.
pub fn ratio(x: &BigInt, y: &BigInt, scale: i64) -> f64 {
    if x.sign() == Sign::NoSign {
        return 0.0;
    }
    let digits = |v: &BigInt| v.magnitude().to_string().len() as i64;
    let more = (40 + digits(y) - digits(x)).max(0);
    let power = BigInt::from(10u8).pow(u32::try_from(more).unwrap_or(0));
    format!("{}e{}", x * power / y, -more - scale).parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for text in ["0", "-1.5", "123456789012345678901234567890.00000000000000000000000000000000000001"] {
            assert_eq!(super::text(&parse(text).unwrap()), text);
        }
        assert_eq!(text(&parse("5e-39").unwrap()), "0.00000000000000000000000000000000000001");
        assert_eq!(text(&parse("-4e-39").unwrap()), "0");
        let max = "578960446186580977117854925043439539266.34992332820282019728792003956564819967";
        assert_eq!(text(&parse(max).unwrap()), max);
        assert!(parse(&max.replace("967", "968")).is_none());
        assert!(parse(&format!("-{}", max.replace("967", "968"))).is_some());
        assert!(parse("1e99999").is_none());
    }

    #[test]
    fn bytes_are_in_the_order_of_the_numbers() {
        let numbers: Vec<BigInt> =
            ["-1e38", "-2", "-1e-38", "0", "1e-38", "1", "3e38"].map(|t| parse(t).unwrap()).into();
        for pair in numbers.windows(2) {
            assert!(encode(&pair[0]) < encode(&pair[1]));
        }
        assert!(numbers.iter().all(|n| decode(&encode(n)) == *n));
    }

    #[test]
    fn rounding_is_away_from_zero() {
        let at = |t: &str, digits| text(&round(&parse(t).unwrap(), digits));
        assert_eq!([at("2.5", 0), at("-2.5", 0), at("-2.4", 0), at("15", -1)], ["3", "-3", "-2", "20"]);
        assert_eq!(nearest(&parse("0.1").unwrap(), 38), 0.1);
        assert_eq!(ratio(&BigInt::from(1), &BigInt::from(-3), 0), -1.0 / 3.0);
    }
}
