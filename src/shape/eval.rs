//! Expressions at run time.

use super::expr::Expr;
use super::filters;
use super::parse::Op;
use super::run::{Ctx, Frame, RowSet};
use super::value::{Val, pow10, rescale};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

/// Why an expression has no value; the node that holds it knows the place.
pub type EvalError = String;

impl Expr {
    pub fn eval<'a>(&self, ctx: &Ctx<'a>, frame: &Frame<'a>) -> Result<Val<'a>, EvalError> {
        Ok(match self {
            Expr::Const(value) => value.clone(),
            Expr::Cell { slot, column } => {
                let (table, row) = frame.rows[*slot];
                let table = ctx.table(table as usize);
                Val::cell(&table.columns[*column], Some(&table.fields[*column].ty), row as usize)
            }
            Expr::Row(slot) => {
                let (table, row) = frame.rows[*slot];
                Val::Row { table, row }
            }
            Expr::Value(slot) => frame.values[*slot].clone(),
            Expr::Set(slot) => Val::Rows(frame.sets[*slot].clone()),
            Expr::Query(table) => Val::Rows(RowSet::all(*table, ctx.len(*table))),
            Expr::LoopIndex(slot) => Val::Int(i64::from(frame.loops[*slot].0) + 1),
            Expr::LoopFirst(slot) => Val::Bool(frame.loops[*slot].0 == 0),
            Expr::LoopLast(slot) => Val::Bool(frame.loops[*slot].0 + 1 == frame.loops[*slot].1),
            Expr::Doc(name) => ctx.doc(name),
            Expr::Count(path) => Val::Int(ctx.count(path)),
            Expr::Attr(of, name) => attribute(&of.eval(ctx, frame)?, name, ctx)?,
            Expr::Item(of, index) => item(&of.eval(ctx, frame)?, &index.eval(ctx, frame)?)?,
            Expr::Neg(of) => negate(of.eval(ctx, frame)?)?,
            Expr::Not(of) => Val::Bool(!of.eval(ctx, frame)?.truthy()),
            Expr::Binary(Op::And, a, b) => {
                let left = a.eval(ctx, frame)?;
                if left.truthy() { b.eval(ctx, frame)? } else { left }
            }
            Expr::Binary(Op::Or, a, b) => {
                let left = a.eval(ctx, frame)?;
                if left.truthy() { left } else { b.eval(ctx, frame)? }
            }
            Expr::Binary(op, a, b) => binary(*op, &a.eval(ctx, frame)?, &b.eval(ctx, frame)?)?,
            Expr::If(condition, then, otherwise) => {
                if condition.eval(ctx, frame)?.truthy() {
                    then.eval(ctx, frame)?
                } else {
                    otherwise.eval(ctx, frame)?
                }
            }
            Expr::Filter(filter, of, args) => {
                let value = of.eval(ctx, frame)?;
                let args = args.iter().map(|a| a.eval(ctx, frame)).collect::<Result<Vec<_>, _>>()?;
                filters::apply(*filter, value, &args, ctx)?
            }
            Expr::Test(test, of, args, negated) => {
                let value = of.eval(ctx, frame)?;
                let args = args.iter().map(|a| a.eval(ctx, frame)).collect::<Result<Vec<_>, _>>()?;
                Val::Bool(filters::check(*test, &value, &args)? != *negated)
            }
            Expr::List(items) => {
                Val::List(Rc::new(items.iter().map(|i| i.eval(ctx, frame)).collect::<Result<_, _>>()?))
            }
            Expr::Dict(entries) => Val::Dict(Rc::new(
                entries
                    .iter()
                    .map(|(k, v)| Ok((k.eval(ctx, frame)?, v.eval(ctx, frame)?)))
                    .collect::<Result<_, EvalError>>()?,
            )),
        })
    }
}

/// An attribute of a value; of nothing it is nothing.
pub fn attribute<'a>(value: &Val<'a>, name: &str, ctx: &Ctx<'a>) -> Result<Val<'a>, EvalError> {
    match value {
        Val::Null => Ok(Val::Null),
        Val::Row { table, row } => {
            let table = ctx.table(*table as usize);
            match table.column(name) {
                Some(column) => Ok(Val::cell(&table.columns[column], Some(&table.fields[column].ty), *row as usize)),
                None => Err(format!("the row has no column `{name}`")),
            }
        }
        Val::Struct { columns, fields, row } => {
            let index = fields.and_then(|f| f.iter().position(|f| f.name.eq_ignore_ascii_case(name)));
            match index {
                Some(i) => Ok(Val::cell(&columns[i], fields.map(|f| &f[i].ty), *row as usize)),
                None => Err(format!("the struct has no field `{name}`")),
            }
        }
        Val::Json(json) => Ok(json.get(name).map_or(Val::Null, |v| json_value(v.clone()))),
        Val::Dict(entries) => {
            let key = Val::Str(Cow::Borrowed(name));
            Ok(entries.iter().find(|(k, _)| k.same_key(&key)).map_or(Val::Null, |(_, v)| v.clone()))
        }
        other => Err(format!("{} has no attribute `{name}`", other.kind())),
    }
}

/// JSON scalars as plain values.
pub fn json_value(json: serde_json::Value) -> Val<'static> {
    use serde_json::Value as J;
    match json {
        J::Null => Val::Null,
        J::Bool(v) => Val::Bool(v),
        J::String(v) => Val::Str(Cow::Owned(v)),
        J::Number(n) => match n.as_i64() {
            Some(v) => Val::Int(v),
            None => Val::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        other => Val::Json(Rc::new(other)),
    }
}

fn item<'a>(value: &Val<'a>, index: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let place = |len: usize| -> Option<usize> {
        let Val::Int(i) = index else { return None };
        let i = if *i < 0 { *i + len as i64 } else { *i };
        usize::try_from(i).ok().filter(|i| *i < len)
    };
    Ok(match value {
        Val::Null => Val::Null,
        Val::List(items) => place(items.len()).map_or(Val::Null, |i| items[i].clone()),
        Val::Slice { child, ty, start, end } => {
            place((end - start) as usize).map_or(Val::Null, |i| Val::cell(child, *ty, *start as usize + i))
        }
        Val::Rows(rows) => {
            place(rows.len()).map_or(Val::Null, |i| Val::Row { table: rows.table as u32, row: rows.row(i) })
        }
        Val::Dict(entries) => entries.iter().find(|(k, _)| k.same_key(index)).map_or(Val::Null, |(_, v)| v.clone()),
        Val::Json(json) => match index {
            Val::Str(key) => json.get(key.as_ref()).map_or(Val::Null, |v| json_value(v.clone())),
            _ => json.as_array().and_then(|a| place(a.len()).map(|i| a[i].clone())).map_or(Val::Null, json_value),
        },
        Val::Str(text) => {
            let chars: Vec<char> = text.chars().collect();
            place(chars.len()).map_or(Val::Null, |i| Val::Str(Cow::Owned(chars[i].to_string())))
        }
        other => return Err(format!("{} has no items", other.kind())),
    })
}

fn negate(value: Val<'_>) -> Result<Val<'_>, EvalError> {
    Ok(match value {
        Val::Null => Val::Null,
        Val::Int(v) => Val::Int(v.checked_neg().ok_or("INT64 overflow")?),
        Val::Float(v) => Val::Float(-v),
        Val::Dec(v, s) => Val::Dec(-v, s),
        other => return Err(format!("{} cannot be negated", other.kind())),
    })
}

/// `a op b`: NULL goes through arithmetic, comparisons of order with NULL are false.
pub fn binary<'a>(op: Op, a: &Val<'a>, b: &Val<'a>) -> Result<Val<'a>, EvalError> {
    Ok(match op {
        Op::Eq => Val::Bool(a.same_key(b)),
        Op::Ne => Val::Bool(!a.same_key(b)),
        Op::Lt => Val::Bool(ordered(a, b)? == Some(Ordering::Less)),
        Op::Le => Val::Bool(matches!(ordered(a, b)?, Some(Ordering::Less | Ordering::Equal))),
        Op::Gt => Val::Bool(ordered(a, b)? == Some(Ordering::Greater)),
        Op::Ge => Val::Bool(matches!(ordered(a, b)?, Some(Ordering::Greater | Ordering::Equal))),
        Op::In => Val::Bool(contains(b, a)?),
        Op::NotIn => Val::Bool(!contains(b, a)?),
        Op::Concat => {
            if a.is_null() || b.is_null() {
                Val::Null
            } else {
                Val::Str(Cow::Owned(format!("{}{}", a.text(), b.text())))
            }
        }
        _ if a.is_null() || b.is_null() => Val::Null,
        _ => arithmetic(op, a, b)?,
    })
}

fn ordered(a: &Val<'_>, b: &Val<'_>) -> Result<Option<Ordering>, EvalError> {
    if a.is_null() || b.is_null() {
        return Ok(None);
    }
    match a.compare(b) {
        Some(order) => Ok(Some(order)),
        None if a.as_f64().is_some_and(f64::is_nan) || b.as_f64().is_some_and(f64::is_nan) => Ok(None),
        None => Err(format!("{} and {} have no order", a.kind(), b.kind())),
    }
}

fn contains<'a>(whole: &Val<'a>, part: &Val<'a>) -> Result<bool, EvalError> {
    match whole {
        Val::Str(text) => Ok(!part.is_null() && text.contains(part.text().as_ref())),
        Val::Dict(entries) => Ok(entries.iter().any(|(k, _)| k.same_key(part))),
        other => Ok(filters::items(other)?.iter().any(|i| i.same_key(part))),
    }
}

fn arithmetic<'a>(op: Op, a: &Val<'a>, b: &Val<'a>) -> Result<Val<'a>, EvalError> {
    if let (Val::Str(x), Val::Str(y), Op::Add) = (a, b, op) {
        return Ok(Val::Str(Cow::Owned(format!("{x}{y}"))));
    }
    if let (Val::Int(x), Val::Int(y)) = (a, b) {
        return integers(op, *x, *y);
    }
    if let (Some(x), Some(y)) = (a.as_dec(), b.as_dec())
        && op != Op::Pow
    {
        return decimals(op, x, y);
    }
    let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) else {
        return Err(format!("{} and {} cannot be computed with", a.kind(), b.kind()));
    };
    if y == 0.0 && matches!(op, Op::Div | Op::FloorDiv | Op::Rem) {
        return Err("division by zero".into());
    }
    Ok(Val::Float(match op {
        Op::Add => x + y,
        Op::Sub => x - y,
        Op::Mul => x * y,
        Op::Div => x / y,
        Op::FloorDiv => (x / y).floor(),
        Op::Rem => x - (x / y).floor() * y,
        _ => x.powf(y),
    }))
}

fn integers<'a>(op: Op, x: i64, y: i64) -> Result<Val<'a>, EvalError> {
    let overflow = || format!("INT64 overflow: {x} {op:?} {y}");
    let whole = |v: i128| i64::try_from(v).map(Val::Int).map_err(|_| overflow());
    if y == 0 && matches!(op, Op::Div | Op::FloorDiv | Op::Rem) {
        return Err("division by zero".into());
    }
    Ok(match op {
        Op::Add => Val::Int(x.checked_add(y).ok_or_else(overflow)?),
        Op::Sub => Val::Int(x.checked_sub(y).ok_or_else(overflow)?),
        Op::Mul => Val::Int(x.checked_mul(y).ok_or_else(overflow)?),
        Op::Div => Val::Float(x as f64 / y as f64),
        Op::FloorDiv => whole(floored(x.into(), y.into()).0)?,
        Op::Rem => whole(floored(x.into(), y.into()).1)?,
        _ => match u32::try_from(y) {
            Ok(y) => Val::Int(x.checked_pow(y).ok_or_else(overflow)?),
            Err(_) => Val::Float((x as f64).powi(i32::try_from(y).unwrap_or(i32::MIN))),
        },
    })
}

/// Quotient and rest of a division that rounds down, as minijinja's and Python's: the rest has the divisor's sign.
fn floored(a: i128, b: i128) -> (i128, i128) {
    let (quotient, rest) = (a.wrapping_div(b), a.wrapping_rem(b));
    if rest != 0 && (rest < 0) != (b < 0) { (quotient - 1, rest + b) } else { (quotient, rest) }
}

/// Exact decimals. A quotient has nine digits behind the point, as NUMERIC's has, rounded half away from zero.
fn decimals<'a>(op: Op, (x, sx): (i128, u8), (y, sy): (i128, u8)) -> Result<Val<'a>, EvalError> {
    let overflow = || "NUMERIC overflow".to_owned();
    let scale = sx.max(sy);
    let same = || Some((rescale(x, sx, scale)?, rescale(y, sy, scale)?));
    if y == 0 && matches!(op, Op::Div | Op::FloorDiv | Op::Rem) {
        return Err("division by zero".into());
    }
    Ok(match op {
        Op::Add | Op::Sub => {
            let (a, b) = same().ok_or_else(overflow)?;
            let sum = if op == Op::Add { a.checked_add(b) } else { a.checked_sub(b) };
            Val::Dec(sum.ok_or_else(overflow)?, scale)
        }
        Op::Mul => {
            let product = x.checked_mul(y).ok_or_else(overflow)?;
            Val::Dec(product, sx.checked_add(sy).filter(|s| *s <= 38).ok_or_else(overflow)?)
        }
        Op::Div => {
            const DIGITS: u8 = 9;
            let (a, b) = same().ok_or_else(overflow)?;
            let scaled = a.checked_mul(pow10(u32::from(DIGITS)).ok_or_else(overflow)?).ok_or_else(overflow)?;
            Val::Dec(divide_half_away(scaled, b), DIGITS)
        }
        Op::FloorDiv => {
            let (a, b) = same().ok_or_else(overflow)?;
            Val::Dec(floored(a, b).0, 0)
        }
        _ => {
            let (a, b) = same().ok_or_else(overflow)?;
            Val::Dec(floored(a, b).1, scale)
        }
    })
}

/// `a / b`, rounded half away from zero.
pub fn divide_half_away(a: i128, b: i128) -> i128 {
    let (quotient, rest) = (a / b, a % b);
    let up = rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs();
    if rest != 0 && up { quotient + if (a < 0) == (b < 0) { 1 } else { -1 } } else { quotient }
}
