//! Texts in addresses.

/// A text as one segment of a path or one value of a query: everything but RFC 3986's unreserved characters is percent-encoded.
pub fn segment(text: &str) -> String {
    encoded(text, b"")
}

/// A path, whose segments stay apart.
pub fn path(text: &str) -> String {
    encoded(text, b"/")
}

fn encoded(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_no_slash_and_a_path_has() {
        assert_eq!(path("a/b <c>"), "a/b%20%3Cc%3E");
        assert_eq!(segment("tick/x~é"), "tick%2Fx~%C3%A9");
    }
}
