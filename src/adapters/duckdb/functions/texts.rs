//! Functions of text.

use super::{Outcome, blob, int, is_true, lenient, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use base64::Engine as _;

const S: &[Phys] = &[Phys::Str];
const SI: &[Phys] = &[Phys::Str, Phys::I64];
const SS: &[Phys] = &[Phys::Str, Phys::Str];
const SSS: &[Phys] = &[Phys::Str, Phys::Str, Phys::Str];

/// The longest text that REPEAT and the padding functions make.
pub(super) const LONGEST: i64 = 1 << 20;

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_substr", &[Phys::Str, Phys::I64, Phys::I64], Phys::Str, |a| {
        let s = text(a, 0);
        let chars: Vec<(usize, char)> = s.char_indices().collect();
        let Some((from, to)) = slice(chars.len(), int(a, 1), int(a, 2))? else { return Ok(Out::Str(String::new())) };
        let byte = |i: usize| chars.get(i).map_or(s.len(), |c| c.0);
        Ok(Out::Str(s[byte(from)..byte(to)].to_owned()))
    }),
    strict("gs_substr_b", &[Phys::Blob, Phys::I64, Phys::I64], Phys::Blob, |a| {
        let b = blob(a, 0);
        Ok(Out::Blob(slice(b.len(), int(a, 1), int(a, 2))?.map_or(Vec::new(), |(f, t)| b[f..t].to_vec())))
    }),
    strict("gs_case_b", &[Phys::Blob, Phys::Bool], Phys::Blob, |a| {
        let b = blob(a, 0);
        Ok(Out::Blob(if is_true(a, 1) { b.to_ascii_uppercase() } else { b.to_ascii_lowercase() }))
    }),
    strict("gs_bytes_text", &[Phys::Blob, Phys::Str], Phys::Str, |a| {
        let b = blob(a, 0);
        match text(a, 1).to_ascii_lowercase().as_str() {
            "hex" => Ok(Out::Str(b.iter().map(|b| format!("{b:02x}")).collect())),
            "base2" => Ok(Out::Str(b.iter().map(|b| format!("{b:08b}")).collect())),
            "base64" => Ok(Out::Str(base64::engine::general_purpose::STANDARD.encode(b))),
            "ascii" if !b.is_ascii() => Err("these BYTES are no ASCII".into()),
            "ascii" | "utf8" | "utf-8" => {
                String::from_utf8(b.to_vec()).map(Out::Str).map_err(|_| "these BYTES are no valid UTF-8".to_owned())
            }
            other => Err(format!("the format {other:?} is not supported")),
        }
    }),
    strict("gs_text_bytes", SS, Phys::Blob, |a| {
        let s = text(a, 0);
        match text(a, 1).to_ascii_lowercase().as_str() {
            "base2" if s.len().is_multiple_of(8) && s.bytes().all(|b| matches!(b, b'0' | b'1')) => {
                let bytes = (0..s.len()).step_by(8).map(|i| u8::from_str_radix(&s[i..i + 8], 2));
                bytes.collect::<Result<Vec<u8>, _>>().map(Out::Blob).map_err(|e| e.to_string())
            }
            "ascii" if !s.is_ascii() => Err("this text is no ASCII".into()),
            "ascii" | "utf8" | "utf-8" => Ok(Out::Blob(s.as_bytes().to_vec())),
            other => Err(format!("this text in the format {other:?} is bad or not supported")),
        }
    }),
    strict("gs_left", SI, Phys::Str, |a| {
        let n = usize::try_from(int(a, 1)).map_err(|_| "the length in LEFT is negative".to_owned())?;
        Ok(Out::Str(text(a, 0).chars().take(n).collect()))
    }),
    strict("gs_right", SI, Phys::Str, |a| {
        let n = usize::try_from(int(a, 1)).map_err(|_| "the length in RIGHT is negative".to_owned())?;
        let len = text(a, 0).chars().count();
        Ok(Out::Str(text(a, 0).chars().skip(len.saturating_sub(n)).collect()))
    }),
    strict("gs_trim", S, Phys::Str, |a| Ok(Out::Str(text(a, 0).trim().to_owned()))),
    strict("gs_ltrim", S, Phys::Str, |a| Ok(Out::Str(text(a, 0).trim_start().to_owned()))),
    strict("gs_rtrim", S, Phys::Str, |a| Ok(Out::Str(text(a, 0).trim_end().to_owned()))),
    strict("gs_trim_chars", SSS, Phys::Str, |a| {
        let set: Vec<char> = text(a, 1).chars().collect();
        let s = text(a, 0);
        let out = match text(a, 2) {
            "left" => s.trim_start_matches(&set[..]),
            "right" => s.trim_end_matches(&set[..]),
            _ => s.trim_matches(&set[..]),
        };
        Ok(Out::Str(out.to_owned()))
    }),
    strict("gs_replace", SSS, Phys::Str, |a| {
        Ok(Out::Str(if text(a, 1).is_empty() {
            text(a, 0).to_owned()
        } else {
            text(a, 0).replace(text(a, 1), text(a, 2))
        }))
    }),
    strict("gs_reverse", S, Phys::Str, |a| Ok(Out::Str(text(a, 0).chars().rev().collect()))),
    strict("gs_repeat", SI, Phys::Str, |a| {
        let n = int(a, 1);
        if n < 0 {
            return Err("the count in REPEAT is negative".into());
        }
        if n.saturating_mul(text(a, 0).len() as i64) > LONGEST {
            return Err("the result of REPEAT is too long".into());
        }
        Ok(Out::Str(if text(a, 0).is_empty() { String::new() } else { text(a, 0).repeat(n as usize) }))
    }),
    strict("gs_pad", &[Phys::Str, Phys::I64, Phys::Str, Phys::Bool], Phys::Str, |a| {
        let (s, n, pad) = (text(a, 0), int(a, 1), text(a, 2));
        if n < 0 {
            return Err("the length in LPAD or RPAD is negative".into());
        }
        if pad.is_empty() {
            return Err("the pattern in LPAD or RPAD is empty".into());
        }
        if n > LONGEST {
            return Err("the result of LPAD or RPAD is too long".into());
        }
        let len = s.chars().count();
        let n = n as usize;
        if n <= len {
            return Ok(Out::Str(s.chars().take(n).collect()));
        }
        let fill: String = pad.chars().cycle().take(n - len).collect();
        Ok(Out::Str(if is_true(a, 3) { fill + s } else { s.to_owned() + &fill }))
    }),
    strict("gs_strpos", SS, Phys::I64, |a| {
        let s = text(a, 0);
        Ok(Out::I64(s.find(text(a, 1)).map_or(0, |i| s[..i].chars().count() as i64 + 1)))
    }),
    strict("gs_instr", &[Phys::Str, Phys::Str, Phys::I64, Phys::I64], Phys::I64, instr),
    strict("gs_split", SS, Phys::StrList, |a| {
        let (s, by) = (text(a, 0), text(a, 1));
        let parts: Vec<Option<String>> = if s.is_empty() {
            vec![Some(String::new())]
        } else if by.is_empty() {
            s.chars().map(|c| Some(c.to_string())).collect()
        } else {
            s.split(by).map(|p| Some(p.to_owned())).collect()
        };
        Ok(Out::StrList(parts))
    }),
    strict("gs_initcap", S, Phys::Str, |a| {
        let mut out = String::new();
        let mut start = true;
        for c in text(a, 0).chars() {
            if start {
                out.extend(c.to_uppercase())
            } else {
                out.extend(c.to_lowercase())
            }
            start = c.is_whitespace() || "[](){}/|<>!?@\"^#$&~_,.:;*%+-".contains(c);
        }
        Ok(Out::Str(out))
    }),
    strict("gs_ascii", S, Phys::I64, |a| match text(a, 0).chars().next() {
        None => Ok(Out::I64(0)),
        Some(c) if c.is_ascii() => Ok(Out::I64(c as i64)),
        Some(_) => Err("the first character is no ASCII character".into()),
    }),
    strict("gs_unicode", S, Phys::I64, |a| {
        Ok(Out::I64(text(a, 0).chars().next().map_or(0, |c| i64::from(u32::from(c)))))
    }),
    strict("gs_chr", &[Phys::I64], Phys::Str, |a| match int(a, 0) {
        0 => Ok(Out::Str(String::new())),
        n => u32::try_from(n)
            .ok()
            .and_then(char::from_u32)
            .map(|c| Out::Str(c.to_string()))
            .ok_or_else(|| format!("{n} is no code point")),
    }),
    strict("gs_translate", SSS, Phys::Str, |a| {
        let (from, to): (Vec<char>, Vec<char>) = (text(a, 1).chars().collect(), text(a, 2).chars().collect());
        if from.iter().enumerate().any(|(i, c)| from[..i].contains(c)) {
            return Err("a character is twice in TRANSLATE's second argument".into());
        }
        let map = |c: char| match from.iter().position(|f| *f == c) {
            Some(i) => to.get(i).copied(),
            None => Some(c),
        };
        Ok(Out::Str(text(a, 0).chars().filter_map(map).collect()))
    }),
    strict("gs_code_points", S, Phys::I64List, |a| {
        Ok(Out::I64List(text(a, 0).chars().map(|c| Some(i64::from(u32::from(c)))).collect()))
    }),
    strict("gs_from_code_points", &[Phys::I64List], Phys::Str, |a| {
        let Some(Arg::I64List(list)) = a.first() else { return Ok(Out::Null) };
        let mut out = String::new();
        for item in list {
            let Some(n) = item else { return Ok(Out::Null) };
            let c = u32::try_from(*n).ok().and_then(char::from_u32);
            out.push(c.ok_or_else(|| format!("{n} is no code point"))?);
        }
        Ok(Out::Str(out))
    }),
    strict("gs_from_hex", S, Phys::Blob, |a| {
        let s = text(a, 0);
        let padded = if s.len() % 2 == 1 { format!("0{s}") } else { s.to_owned() };
        if !padded.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("this is no hexadecimal text".into());
        }
        let bytes = (0..padded.len()).step_by(2).map(|i| u8::from_str_radix(&padded[i..i + 2], 16));
        bytes.collect::<Result<Vec<u8>, _>>().map(Out::Blob).map_err(|e| e.to_string())
    }),
    strict("gs_from_base64", S, Phys::Blob, |a| {
        base64::engine::general_purpose::STANDARD
            .decode(text(a, 0))
            .map(Out::Blob)
            .map_err(|e| format!("bad base64: {e}"))
    }),
    lenient("gs_array_text", &[Phys::StrList, Phys::Str, Phys::Str], Phys::Str, |a| {
        let (Some(Arg::StrList(list)), Some(Arg::Str(by))) = (a.first(), a.get(1)) else { return Ok(Out::Null) };
        let null = match a.get(2) {
            Some(Arg::Str(s)) => Some(*s),
            _ => None,
        };
        let parts: Vec<&str> = list.iter().filter_map(|i| i.or(null)).collect();
        Ok(Out::Str(parts.join(by)))
    }),
];

/// The half-open range of SUBSTR, or nothing.
fn slice(len: usize, from: i64, count: i64) -> Result<Option<(usize, usize)>, String> {
    if count < 0 {
        return Err("the length in SUBSTR is negative".into());
    }
    let len = len as i64;
    let start = if from > 0 {
        from - 1
    } else if from == 0 || from < -len {
        0
    } else {
        len + from
    };
    if start >= len {
        return Ok(None);
    }
    Ok(Some((start as usize, start.saturating_add(count).min(len) as usize)))
}

fn instr(a: &[Arg<'_>]) -> Outcome {
    let (position, occurrence) = (int(a, 2), int(a, 3));
    if position == 0 || occurrence < 1 {
        return Err("INSTR needs a position other than 0 and a positive occurrence".into());
    }
    let (s, sub): (Vec<char>, Vec<char>) = (text(a, 0).chars().collect(), text(a, 1).chars().collect());
    if sub.is_empty() || s.len() < sub.len() {
        return Ok(Out::I64(0));
    }
    let last = (s.len() - sub.len()) as i64;
    let hit = |i: i64| s[i as usize..i as usize + sub.len()] == sub[..];
    let found = if position > 0 {
        (position - 1..=last).filter(|i| hit(*i)).nth(occurrence as usize - 1)
    } else {
        let from = (s.len() as i64 + position).min(last);
        (0..=from).rev().filter(|i| hit(*i)).nth(occurrence as usize - 1)
    };
    Ok(Out::I64(found.map_or(0, |i| i + 1)))
}
