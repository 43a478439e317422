//! Partial answers: `fields=nextPageToken,items(name,metadata/key)`.

use serde_json::{Map, Value};

/// A selection: the names that stay, each with its own selection; `None` is everything.
#[derive(Debug, PartialEq)]
struct Selection(Vec<(String, Option<Selection>)>);

/// Leaves in `value` what `text` selects. The error is why the text is not a selection.
pub fn select(value: Value, text: &str) -> Result<Value, String> {
    let mut rest = text;
    let selection = parse(&mut rest)?;
    if !rest.is_empty() {
        return Err(format!("Invalid field selection {text}"));
    }
    Ok(apply(value, &selection))
}

fn parse(rest: &mut &str) -> Result<Selection, String> {
    let mut names = Vec::new();
    loop {
        let end = rest.find([',', '(', ')', '/']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err("Invalid field selection: a name is missing".to_owned());
        }
        *rest = after;
        let inner = match rest.chars().next() {
            Some('(') => {
                *rest = &rest[1..];
                let inner = parse(rest)?;
                *rest = rest.strip_prefix(')').ok_or("Invalid field selection: `)` is missing")?;
                Some(inner)
            }
            Some('/') => {
                *rest = &rest[1..];
                let end = rest.find([',', ')']).unwrap_or(rest.len());
                let (mut path, after) = rest.split_at(end);
                *rest = after;
                Some(parse(&mut path)?)
            }
            _ => None,
        };
        names.push((name.to_owned(), inner));
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None => return Ok(Selection(names)),
        }
    }
}

fn apply(value: Value, selection: &Selection) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| apply(item, selection)).collect()),
        Value::Object(mut object) => {
            if selection.0.iter().any(|(name, _)| name == "*") {
                return Value::Object(object);
            }
            let chosen = selection.0.iter().filter_map(|(name, inner)| {
                let value = object.remove(name)?;
                Some((name.clone(), inner.as_ref().map_or(value.clone(), |inner| apply(value, inner))))
            });
            Value::Object(chosen.collect::<Map<_, _>>())
        }
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_selected_is_left() {
        let all =
            json!({"kind": "x", "items": [{"name": "a", "size": "1", "metadata": {"k": "v", "l": "w"}}], "next": "t"});
        let some = select(all.clone(), "next,items(name,metadata/k)").unwrap();
        assert_eq!(some, json!({"next": "t", "items": [{"name": "a", "metadata": {"k": "v"}}]}));
        assert!(select(all.clone(), "items(name").is_err());
        assert!(select(all, "items(name))").is_err());
    }
}
