//! BYTES where a text's functions cannot serve.

use super::texts::LONGEST;
use super::{Outcome, blob, int, is_true, strict};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_pad_b", &[Phys::Blob, Phys::I64, Phys::Blob, Phys::Bool], Phys::Blob, |a| {
        let (bytes, pattern, n) = (blob(a, 0), blob(a, 2), length(int(a, 1), 1)?);
        if pattern.is_empty() {
            return Err("the pattern in LPAD or RPAD is empty".into());
        }
        if n <= bytes.len() {
            return Ok(Out::Blob(bytes[..n].to_vec()));
        }
        let padding = pattern.iter().copied().cycle().take(n - bytes.len());
        Ok(Out::Blob(if is_true(a, 3) {
            padding.chain(bytes.iter().copied()).collect()
        } else {
            bytes.iter().copied().chain(padding).collect()
        }))
    }),
    strict("gs_repeat_b", &[Phys::Blob, Phys::I64], Phys::Blob, |a| {
        let bytes = blob(a, 0);
        Ok(Out::Blob(if bytes.is_empty() { Vec::new() } else { bytes.repeat(length(int(a, 1), bytes.len())?) }))
    }),
    strict("gs_bytes_of_code_points", &[Phys::I64List], Phys::Blob, |a| {
        let Some(Arg::I64List(list)) = a.first() else { return Ok(Out::Null) };
        if list.contains(&None) {
            return Ok(Out::Null);
        }
        let bytes: Result<Vec<u8>, String> =
            list.iter().flatten().map(|n| u8::try_from(*n).map_err(|_| format!("{n} is no byte"))).collect();
        bytes.map(Out::Blob)
    }),
    // STRING_AGG of BYTES.
    strict("gs_join_b", &[Phys::BlobList, Phys::Blob], Phys::Blob, join),
];

/// A length that is not negative and not too long.
fn length(n: i64, unit: usize) -> Result<usize, String> {
    if n < 0 {
        return Err("a length is negative".into());
    }
    if n.saturating_mul(unit as i64) > LONGEST {
        return Err("the result is too long".into());
    }
    Ok(n as usize)
}

fn join(a: &[Arg<'_>]) -> Outcome {
    let Some(Arg::BlobList(items)) = a.first() else { return Ok(Out::Null) };
    let items: Vec<&[u8]> = items.iter().flatten().copied().collect();
    Ok(Out::Blob(items.join(blob(a, 1))))
}
