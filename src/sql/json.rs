//! JSON texts as GoogleSQL reads and writes them.

use serde_json::Value;

/// The compact text of a value.
pub fn text(value: &Value) -> String {
    value.to_string()
}

/// Fails if a number in a valid JSON text is neither a 64-bit integer nor what a double is written as.
pub fn exact(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let (mut i, mut quoted) = (0, false);
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let len = bytes[i..]
                    .iter()
                    .take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .count();
                let number = &text[i..i + len];
                if !held(number) {
                    return Err(format!("the JSON number {number} cannot be kept without loss"));
                }
                i += len - 1;
            }
            _ => {}
        }
        i += 1;
    }
    Ok(())
}

fn held(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    number.parse::<f64>().is_ok_and(|f| f.is_finite() && digits(number) == digits(&format!("{f:e}")))
}

/// The significant digits and the power of ten of the first of them.
fn digits(number: &str) -> (String, i64) {
    let body = number.trim_start_matches(['-', '+']);
    let (mantissa, exponent) = body.split_once(['e', 'E']).unwrap_or((body, "0"));
    let (int, frac) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{int}{frac}");
    let significant = all.trim_start_matches('0');
    let power = int.len() as i64 - (all.len() - significant.len()) as i64 + exponent.parse::<i64>().unwrap_or(0);
    let significant = significant.trim_end_matches('0');
    if significant.is_empty() { (String::new(), 0) } else { (significant.to_owned(), power) }
}

#[cfg(test)]
mod tests {
    use super::exact;

    #[test]
    fn numbers_that_lose_digits_are_found() {
        for good in ["1", "[1.5, -2e300]", "18446744073709551615", "{\"a\": \"2.2412421353246235436\"}", "0.10", "1e2"]
        {
            assert!(exact(good).is_ok(), "{good}");
        }
        for bad in ["2.2412421353246235436", "[18446744073709551617]", "1e999"] {
            assert!(exact(bad).is_err(), "{bad}");
        }
    }
}
