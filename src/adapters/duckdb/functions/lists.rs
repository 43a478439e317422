//! Aggregates that DuckDB lacks, over the list of the values: percentiles by GoogleSQL's rules and exact statistics.

use super::bigs::{made, number, of_numeric};
use super::{float, int, is_true, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use crate::sql::big;
use num_bigint::{BigInt, Sign};

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_pct_cont", &[Phys::F64List, Phys::F64, Phys::Bool], Phys::F64, |a| {
        let (numbers, nulls) = floats(a);
        let Some(last) = (numbers.len() + nulls).checked_sub(1).filter(|_| !numbers.is_empty()) else {
            return Ok(Out::Null);
        };
        let (index, left, right) = place(float(a, 1), last)?;
        Ok(match index.checked_sub(nulls) {
            Some(i) if right > 0.0 => Out::F64(numbers[i] * left + numbers[i + 1] * right),
            Some(i) => Out::F64(numbers[i]),
            None if index + 1 == nulls && right != 0.0 => Out::F64(numbers[0]),
            None => Out::Null,
        })
    }),
    strict("gs_pct_cont_big", &[Phys::BlobList, Phys::Blob, Phys::Bool], Phys::Blob, |a| {
        let (mut numbers, nulls) = bigs(a);
        numbers.sort();
        let Some(last) = (numbers.len() + nulls).checked_sub(1).filter(|_| !numbers.is_empty()) else {
            return Ok(Out::Null);
        };
        let (fraction, one) = (number(a, 1), big::one());
        if fraction.sign() == Sign::Minus || fraction > one {
            return Err("a percentile must be between 0 and 1".into());
        }
        let product = fraction * BigInt::from(last);
        let index = usize::try_from(&product / &one).map_err(|_| "a percentile is out of range".to_owned())?;
        let right = product % &one;
        match index.checked_sub(nulls) {
            Some(i) if right.sign() == Sign::Plus => {
                let sum = &numbers[i] * (&one - &right) + &numbers[i + 1] * right;
                made(&big::rounded_div(&sum, &one))
            }
            Some(i) => made(&numbers[i]),
            None if index + 1 == nulls && right.sign() == Sign::Plus => made(&numbers[0]),
            None => Ok(Out::Null),
        }
    }),
    strict("gs_pct_disc", &[Phys::F64List, Phys::F64, Phys::Bool], Phys::F64, |a| {
        let (numbers, nulls) = floats(a);
        Ok(disc(float(a, 1), numbers.len(), nulls)?.map_or(Out::Null, |i| Out::F64(numbers[i])))
    }),
    // Which of the sorted values PERCENTILE_DISC takes, counted from 1.
    strict("gs_pct_disc_place", &[Phys::F64, Phys::I64, Phys::I64], Phys::I64, |a| {
        let (count, nulls) = (usize::try_from(int(a, 1)).unwrap_or(0), usize::try_from(int(a, 2)).unwrap_or(0));
        Ok(disc(float(a, 0), count, nulls)?.map_or(Out::Null, |i| Out::I64(i as i64 + 1)))
    }),
    strict("gs_big_spread", &[Phys::BlobList, Phys::Str], Phys::F64, |a| Ok(spread(&bigs(a).0, 76, text(a, 1)))),
    strict("gs_num_spread", &[Phys::NumericList, Phys::Str], Phys::F64, |a| {
        Ok(spread(&numerics(a, 0), 76, text(a, 1)))
    }),
    strict("gs_big_pairs", &[Phys::BlobList, Phys::BlobList, Phys::Str], Phys::F64, |a| {
        Ok(pairs(&bigs(&a[..1]).0, &bigs(&a[1..2]).0, text(a, 2)))
    }),
    strict("gs_num_pairs", &[Phys::NumericList, Phys::NumericList, Phys::Str], Phys::F64, |a| {
        Ok(pairs(&numerics(a, 0), &numerics(a, 1), text(a, 2)))
    }),
];

/// The sorted numbers of the first argument, NaN first, and how many NULLs there are, if the third says that they count.
fn floats(a: &[Arg<'_>]) -> (Vec<f64>, usize) {
    let Some(Arg::F64List(items)) = a.first() else { return (Vec::new(), 0) };
    let mut numbers: Vec<f64> = items.iter().flatten().copied().collect();
    numbers.sort_by(|x, y| match (x.is_nan(), y.is_nan()) {
        (false, false) => x.total_cmp(y),
        (x, y) => y.cmp(&x),
    });
    let nulls = if is_true(a, 2) { items.len() - numbers.len() } else { 0 };
    (numbers, nulls)
}

fn bigs(a: &[Arg<'_>]) -> (Vec<BigInt>, usize) {
    let Some(Arg::BlobList(items)) = a.first() else { return (Vec::new(), 0) };
    let numbers: Vec<BigInt> = items.iter().flatten().map(|b| big::decode(b)).collect();
    let nulls = if is_true(a, 2) { items.len() - numbers.len() } else { 0 };
    (numbers, nulls)
}

fn numerics(a: &[Arg<'_>], i: usize) -> Vec<BigInt> {
    match a.get(i) {
        Some(Arg::NumericList(items)) => items.iter().flatten().map(|v| of_numeric(*v)).collect(),
        _ => Vec::new(),
    }
}

/// The whole part of `fraction × last`, computed exactly, and the weights of that place and the next.
fn place(fraction: f64, last: usize) -> Result<(usize, f64, f64), String> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err("a percentile must be between 0 and 1".into());
    }
    if fraction == 0.0 || fraction == 1.0 {
        return Ok((if fraction == 0.0 { 0 } else { last }, 1.0, 0.0));
    }
    let bits = fraction.to_bits();
    let (power, low) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
    let (mantissa, exponent) = if power == 0 { (low, 1074) } else { (low | 1 << 52, 1075 - power) };
    let product = u128::from(mantissa) * last as u128;
    if exponent >= 128 {
        let right = product as f64 * 2f64.powi(-exponent / 2) * 2f64.powi(-(exponent - exponent / 2));
        return Ok((0, 1.0 - right, right));
    }
    let scale = 1u128 << exponent;
    let rest = product & (scale - 1);
    let index = (product >> exponent) as usize;
    let part = |v: u128| v as f64 * 2f64.powi(-exponent);
    // The smaller weight is the exact one.
    Ok(if rest > scale >> 1 {
        (index, part(scale - rest), 1.0 - part(scale - rest))
    } else {
        (index, 1.0 - part(rest), part(rest))
    })
}

fn disc(fraction: f64, count: usize, nulls: usize) -> Result<Option<usize>, String> {
    let (index, _, right) = place(fraction, count + nulls)?;
    let index = if index > 0 && right == 0.0 { index - 1 } else { index };
    Ok(index.checked_sub(nulls).filter(|i| *i < count))
}

/// n·Σxy - Σx·Σy: the covariance times n².
fn moment(x: &[BigInt], y: &[BigInt]) -> BigInt {
    let products: BigInt = x.iter().zip(y).map(|(x, y)| x * y).sum();
    BigInt::from(x.len()) * products - x.iter().sum::<BigInt>() * y.iter().sum::<BigInt>()
}

/// n² or n(n - 1); `None` where there are too few values.
fn divisor(n: usize, sample: bool) -> Option<BigInt> {
    let other = if sample { n.checked_sub(1)? } else { n };
    (other > 0).then(|| BigInt::from(n) * BigInt::from(other))
}

fn spread(x: &[BigInt], scale: i64, name: &str) -> Out {
    let Some(divisor) = divisor(x.len(), name.ends_with("samp")) else { return Out::Null };
    let variance = big::ratio(&moment(x, x), &divisor, scale);
    Out::F64(if name.starts_with("var") { variance } else { variance.sqrt() })
}

fn pairs(x: &[BigInt], y: &[BigInt], name: &str) -> Out {
    let Some(divisor) = divisor(x.len(), name != "covar_pop") else { return Out::Null };
    let both = moment(x, y);
    if name != "corr" {
        return Out::F64(big::ratio(&both, &divisor, 76));
    }
    let (xx, yy) = (big::nearest(&moment(x, x), 0), big::nearest(&moment(y, y), 0));
    Out::F64(if xx == 0.0 || yy == 0.0 { f64::NAN } else { big::nearest(&both, 0) / (xx.sqrt() * yy.sqrt()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_exact() {
        assert_eq!(place(0.5, 3).unwrap(), (1, 0.5, 0.5));
        assert_eq!(place(0.25, 4).unwrap(), (1, 1.0, 0.0));
        assert_eq!(place(5e-324, 10).unwrap().0, 0);
        assert!(place(f64::NAN, 3).is_err());
        assert_eq!(disc(0.5, 4, 0).unwrap(), Some(1));
        assert_eq!(disc(0.0, 1, 2).unwrap(), None);
    }

    #[test]
    fn statistics_are_exact() {
        let x: Vec<BigInt> = ["1e24", "1000000000000000000000000.2"].iter().map(|t| big::parse(t).unwrap()).collect();
        assert_eq!(spread(&x, 76, "var_pop"), Out::F64(0.01));
        assert_eq!(spread(&x[..1], 76, "stddev_samp"), Out::Null);
        assert_eq!(pairs(&x, &x, "corr"), Out::F64(1.0));
    }
}
