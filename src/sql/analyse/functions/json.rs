//! JSON: values as JSON, functions that change JSON, named arguments.

use super::super::typed::{Lit, Typed, field_names, quoted, text};
use super::super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::{Call, Expr};
use crate::sql::error::SqlError;
use std::ops::Range;

/// How numbers that a double cannot hold are written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wide {
    /// TO_JSON_STRING.
    Text,
    /// TO_JSON.
    Number,
    /// TO_JSON(…, stringify_wide_numbers => TRUE).
    Quoted,
}

/// The arguments of a call, the named ones apart.
struct Args<'e> {
    plain: Vec<Typed>,
    named: Vec<(String, &'e Expr)>,
}

impl Args<'_> {
    fn all(self) -> Vec<Typed> {
        self.plain
    }
}

impl Analyser<'_> {
    pub(super) fn json_function(&mut self, call: &Call, at: &Range<usize>) -> Res<Option<(Typed, Vec<Typed>)>> {
        let names: &[&str] = match call.name.as_str() {
            "TO_JSON" => &["STRINGIFY_WIDE_NUMBERS"],
            "TO_JSON_STRING" | "JSON_ARRAY" | "JSON_OBJECT" | "JSON_REMOVE" => &[],
            "JSON_SET" => &["CREATE_IF_MISSING"],
            "JSON_ARRAY_INSERT" => &["INSERT_EACH_ELEMENT"],
            "JSON_ARRAY_APPEND" => &["APPEND_EACH_ELEMENT"],
            "JSON_STRIP_NULLS" => &["INCLUDE_ARRAYS", "REMOVE_EMPTY"],
            "JSON_KEYS" => &["MODE"],
            "PARSE_JSON" | "FLOAT64" => &["WIDE_NUMBER_MODE"],
            _ => return Ok(None),
        };
        let mut args = Args { plain: Vec::new(), named: Vec::new() };
        for (name, expr) in &call.args {
            match name {
                None => args.plain.push(self.expr(expr)?),
                Some(n) if names.contains(&n.name.to_ascii_uppercase().as_str()) => {
                    args.named.push((n.name.to_ascii_uppercase(), expr));
                }
                Some(n) => {
                    let message = format!("{} has no argument `{}`", call.name, n.name);
                    return Err(SqlError::invalid(message, &n.at));
                }
            }
        }
        let Some(out) = self.json_call(call.name.as_str(), &args, at)? else { return Ok(None) };
        Ok(Some((out.at(at), args.all())))
    }

    fn json_call(&mut self, name: &str, args: &Args<'_>, at: &Range<usize>) -> Res<Option<Typed>> {
        let json = |sql: String| Typed::new(sql, Type::Json);
        Ok(Some(match (name, args.plain.as_slice()) {
            ("TO_JSON_STRING", [a]) if a.ty != Type::Json => {
                Typed::new(self.json_sql(a, Wide::Text, at)?, Type::String).nullable(false)
            }
            ("TO_JSON_STRING", [a, pretty]) if pretty.sql == "false" => {
                Typed::new(self.json_sql(a, Wide::Text, at)?, Type::String).nullable(false)
            }
            ("TO_JSON", [a]) => {
                let wide = match args.named.first() {
                    None => Wide::Number,
                    Some((_, e)) => match self.expr(e)?.sql.as_str() {
                        "true" => Wide::Quoted,
                        "false" => Wide::Number,
                        _ => return Err(SqlError::unsupported("stringify_wide_numbers that is no literal", &e.at)),
                    },
                };
                json(self.json_sql(a, wide, at)?).nullable(false)
            }
            ("JSON_ARRAY", all) => {
                let mut parts = Vec::new();
                for arg in all {
                    parts.push(self.json_sql(arg, Wide::Number, at)?);
                }
                let inner = if parts.is_empty() { String::new() } else { format!("{} || ", parts.join(" || ',' || ")) };
                json(format!("('[' || {inner}']')")).nullable(false)
            }
            ("JSON_OBJECT", [keys, values]) if matches!(keys.ty, Type::Array(_)) => {
                self.object_of_arrays(keys, values, at)?
            }
            ("JSON_OBJECT", all) if all.len().is_multiple_of(2) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for pair in all.chunks(2) {
                    keys.push(self.coerce(pair[0].clone(), &Type::String)?.sql);
                    values.push(self.json_sql(&pair[1], Wide::Number, at)?);
                }
                let list = |l: Vec<String>| format!("CAST([{}] AS VARCHAR[])", l.join(", "));
                json(format!("gs_json_object({}, {})", list(keys), list(values))).nullable(false)
            }
            ("JSON_REMOVE", [j, paths @ ..]) if !paths.is_empty() => {
                let mut sql = self.json_arg(j)?;
                for path in paths {
                    sql = format!("gs_json_remove({sql}, {})", self.coerce(path.clone(), &Type::String)?.sql);
                }
                json(sql)
            }
            ("JSON_SET", [j, pairs @ ..]) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
                let create = self.flag(args, "CREATE_IF_MISSING", "true")?;
                let mut sql = self.json_arg(j)?;
                for pair in pairs.chunks(2) {
                    let path = self.coerce(pair[0].clone(), &Type::String)?.sql;
                    let value = self.json_sql(&pair[1], Wide::Number, at)?;
                    sql = format!("gs_json_set({sql}, {path}, {value}, {create})");
                }
                json(sql)
            }
            ("JSON_ARRAY_INSERT" | "JSON_ARRAY_APPEND", [j, pairs @ ..])
                if !pairs.is_empty() && pairs.len().is_multiple_of(2) =>
            {
                let insert = name == "JSON_ARRAY_INSERT";
                let each =
                    self.flag(args, if insert { "INSERT_EACH_ELEMENT" } else { "APPEND_EACH_ELEMENT" }, "true")?;
                let mut sql = self.json_arg(j)?;
                for pair in pairs.chunks(2) {
                    let path = self.coerce(pair[0].clone(), &Type::String)?.sql;
                    let value = self.json_sql(&pair[1], Wide::Number, at)?;
                    let is_array = matches!(pair[1].ty, Type::Array(_)) && !pair[1].is_null_literal();
                    let absent = if is_array { format!("({}) IS NULL", pair[1].sql) } else { "false".into() };
                    sql = format!("gs_json_add({sql}, {path}, {value}, {insert}, {each}, {is_array}, {absent})");
                }
                json(sql)
            }
            ("JSON_STRIP_NULLS", [j, rest @ ..]) if rest.len() <= 3 => {
                let mut all = vec![self.json_arg(j)?];
                all.push(match rest.first() {
                    Some(path) => self.coerce(path.clone(), &Type::String)?.sql,
                    None => "'$'".into(),
                });
                for (i, (name, default)) in [("INCLUDE_ARRAYS", "true"), ("REMOVE_EMPTY", "false")].iter().enumerate() {
                    all.push(match rest.get(i + 1) {
                        Some(flag) => self.coerce(flag.clone(), &Type::Bool)?.sql,
                        None => self.flag(args, name, default)?,
                    });
                }
                json(format!("gs_json_strip({})", all.join(", ")))
            }
            ("JSON_KEYS", [j, rest @ ..]) if rest.len() <= 1 => {
                let j = self.json_arg(j)?;
                let depth = match rest.first() {
                    Some(depth) => self.coerce(depth.clone(), &Type::Int64)?.sql,
                    None => "CAST(1000 AS BIGINT)".into(),
                };
                let mode = self.word(args, "'strict'")?;
                Typed::new(format!("gs_json_keys({j}, {depth}, {mode})"), Type::Array(Box::new(Type::String)))
            }
            ("PARSE_JSON", [t]) => {
                let t = self.coerce(t.clone(), &Type::String)?;
                let mode = self.word(args, "'exact'")?;
                json(format!("gs_parse_json({}, {mode})", t.sql))
            }
            ("FLOAT64", [j]) => {
                let j = self.json_arg(j)?;
                let mode = self.word(args, "'round'")?;
                Typed::new(format!("gs_json_float({j}, {mode})"), Type::Float64)
            }
            _ => return Ok(None),
        }))
    }

    fn json_arg(&mut self, j: &Typed) -> Res<String> {
        Ok(self.coerce(j.clone(), &Type::Json)?.sql)
    }

    /// A named BOOL.
    fn flag(&mut self, args: &Args<'_>, name: &str, default: &str) -> Res<String> {
        match args.named.iter().find(|(n, _)| n == name) {
            None => Ok(default.to_owned()),
            Some((_, e)) => {
                let t = self.expr(e)?;
                Ok(self.coerce(t, &Type::Bool)?.sql)
            }
        }
    }

    /// The only named argument, a text.
    fn word(&mut self, args: &Args<'_>, default: &str) -> Res<String> {
        match args.named.first() {
            None => Ok(default.to_owned()),
            Some((_, e)) => {
                let t = self.expr(e)?;
                Ok(self.coerce(t, &Type::String)?.sql)
            }
        }
    }

    fn object_of_arrays(&mut self, keys: &Typed, values: &Typed, at: &Range<usize>) -> Res<Typed> {
        let keys = self.coerce(keys.clone(), &Type::Array(Box::new(Type::String)))?;
        let Type::Array(item) = values.ty.clone() else {
            return Err(SqlError::invalid("JSON_OBJECT needs two arrays", at));
        };
        let values = if values.is_null_literal() {
            super::super::typed::null_of(&Type::Array(Box::new(Type::String)))
        } else {
            let name = self.fresh("gs_j");
            let element = self.json_sql(&Typed::new(name.clone(), *item), Wide::Number, at)?;
            format!("list_transform({}, lambda {name}: {element})", values.sql)
        };
        Ok(Typed::new(format!("gs_json_object({}, CAST({values} AS VARCHAR[]))", keys.sql), Type::Json).nullable(false))
    }

    /// The JSON text of a value.
    fn json_sql(&mut self, t: &Typed, wide: Wide, at: &Range<usize>) -> Res<String> {
        let x = t.strict_sql();
        let of_text = |sql: String| format!("gs_json_of_text({sql})");
        let sql = match &t.ty {
            _ if t.lit == Lit::Error => format!("CAST({x} AS VARCHAR)"),
            _ if t.is_null_literal() => return Ok("'null'".into()),
            Type::Bool => format!("CAST({x} AS VARCHAR)"),
            Type::Int64 if wide == Wide::Number => format!("CAST({x} AS VARCHAR)"),
            Type::Int64 => format!("gs_json_of_int({x})"),
            Type::Float64 => format!("gs_json_of_float({x})"),
            Type::Numeric | Type::BigNumeric => {
                let big = if t.ty == Type::Numeric { format!("gs_num_big({x})") } else { x.clone() };
                let mode = match wide {
                    Wide::Text => "text",
                    Wide::Number => "number",
                    Wide::Quoted => "quoted",
                };
                format!("gs_json_of_big({big}, '{mode}')")
            }
            Type::String => of_text(x),
            Type::Date => of_text(format!("CAST({x} AS VARCHAR)")),
            Type::Time => of_text(format!("gs_time_text({x})")),
            Type::DateTime => of_text(format!("replace(gs_dt_text({x}), ' ', 'T')")),
            Type::Timestamp => of_text(format!("replace(replace(gs_ts_text({x}, 'UTC'), ' ', 'T'), '+00', 'Z')")),
            Type::Bytes => of_text(format!("to_base64({x})")),
            Type::Json => x.clone(),
            Type::Array(item) => {
                let name = self.fresh("gs_j");
                let element = Typed::new(name.clone(), (**item).clone()).at(at);
                let element = self.json_sql(&element, wide, at)?;
                format!("('[' || array_to_string(list_transform({x}, lambda {name}: {element}), ',') || ']')")
            }
            Type::Struct(fields) => {
                let mut parts = Vec::new();
                for (field, name) in fields.iter().zip(field_names(fields)) {
                    let part = Typed::new(format!("({x}).{}", quoted(&name)), field.ty.clone());
                    let value = self.json_sql(&part, wide, at)?;
                    let key = serde_json::Value::String(field.name.clone()).to_string();
                    parts.push(format!("{} || {value}", text(&format!("{key}:"))));
                }
                if parts.is_empty() {
                    return Err(SqlError::unsupported("JSON of an empty struct", at));
                }
                let made = format!("('{{' || {} || '}}')", parts.join(" || ',' || "));
                format!("CASE WHEN ({x}) IS NULL THEN NULL ELSE {made} END")
            }
            ty => return Err(SqlError::unsupported(format!("JSON of a {ty}"), at)),
        };
        Ok(format!("coalesce({sql}, 'null')"))
    }
}
