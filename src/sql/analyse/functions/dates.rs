//! Date and time functions with parts: `DATE_ADD(d, INTERVAL 1 DAY)`, `DATE_TRUNC(d, WEEK(MONDAY))`, EXTRACT.

use super::super::typed::{Typed, text};
use super::super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::{Call, Expr, ExprKind};
use crate::sql::error::SqlError;
use std::ops::Range;

const DATE_PARTS: &[&str] = &["DAY", "WEEK", "MONTH", "QUARTER", "YEAR"];
const TIME_PARTS: &[&str] = &["MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"];
const WEEK_DAYS: &[&str] = &["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"];

/// A part as it is written: `DAY`, `WEEK(MONDAY)`.
fn part_of(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(name) => Some(name.name.to_ascii_uppercase()),
        ExprKind::Call(call) if call.name == "WEEK" => match call.args.as_slice() {
            [(None, Expr { kind: ExprKind::Name(day), .. })] => {
                let day = day.name.to_ascii_uppercase();
                WEEK_DAYS.contains(&day.as_str()).then(|| format!("WEEK({day})"))
            }
            _ => None,
        },
        _ => None,
    }
}

fn prefix_type(name: &str) -> Option<(Type, &str)> {
    let (prefix, rest) = name.split_once('_')?;
    let ty = match prefix {
        "DATE" => Type::Date,
        "DATETIME" => Type::DateTime,
        "TIMESTAMP" => Type::Timestamp,
        "TIME" => Type::Time,
        _ => return None,
    };
    Some((ty, rest))
}

fn short(ty: &Type) -> &'static str {
    match ty {
        Type::Date => "date",
        Type::DateTime => "dt",
        Type::Time => "time",
        _ => "ts",
    }
}

impl Analyser<'_> {
    pub(super) fn date_function(&mut self, call: &Call, at: &Range<usize>) -> Res<Option<(Typed, Vec<Typed>)>> {
        if let Some(clock) = self.clock(call, at)? {
            return Ok(Some((clock, Vec::new())));
        }
        if call.name == "LAST_DAY" && !call.args.is_empty() {
            let part = match call.args.get(1) {
                Some((_, part)) => part_of(part).ok_or_else(|| SqlError::invalid("this is no date part", &part.at))?,
                None => "MONTH".into(),
            };
            let mut d = self.expr(&call.args[0].1)?;
            if d.ty == Type::DateTime {
                d = Typed::new(format!("CAST({} AS DATE)", d.sql), Type::Date);
            }
            let d = self.coerce(d, &Type::Date)?;
            let out =
                Typed::new(format!("gs_last_day({}, {})", d.sql, text(&part)), Type::Date).nullable(d.nullable).at(at);
            return Ok(Some((out, vec![d])));
        }
        if let "GENERATE_DATE_ARRAY" | "GENERATE_TIMESTAMP_ARRAY" = call.name.as_str() {
            return self.generated(call, at).map(Some);
        }
        let Some((ty, what)) = prefix_type(&call.name) else { return Ok(None) };
        let args: Vec<&Expr> = call.args.iter().map(|(_, e)| e).collect();
        match (what, args.as_slice()) {
            ("ADD" | "SUB", [x, interval]) => {
                let x = self.expr(x)?;
                // DATE_ADD takes DATETIME and TIMESTAMP as well.
                let ty = if matches!(x.ty, Type::DateTime | Type::Timestamp) && ty == Type::Date {
                    x.ty.clone()
                } else {
                    ty
                };
                let x = self.coerce(x, &ty)?;
                let out = self.shift(x.clone(), interval, what == "SUB", at)?;
                Ok(Some((out, vec![x])))
            }
            ("DIFF", [a, b, part]) => {
                let part = self.part(part, &ty, true)?;
                let (a, b) = (self.expr(a)?, self.expr(b)?);
                let (a, b) = (self.coerce(a, &ty)?, self.coerce(b, &ty)?);
                let sql = format!("gs_{}_diff({}, {}, {})", short(&ty), a.sql, b.sql, text(&part));
                let out = Typed::new(sql, Type::Int64).nullable(a.nullable || b.nullable).at(at);
                Ok(Some((out, vec![a, b])))
            }
            ("TRUNC", [x, part, zone @ ..]) if zone.len() <= 1 => {
                let x = self.expr(x)?;
                // DATE_TRUNC takes DATETIME and TIMESTAMP as well.
                let ty = if matches!(x.ty, Type::DateTime | Type::Timestamp) && ty == Type::Date {
                    x.ty.clone()
                } else {
                    ty
                };
                let part = self.part(part, &ty, true)?;
                let x = self.coerce(x, &ty)?;
                let mut args = vec![x.clone()];
                let zone = match zone {
                    [z] => {
                        let z = self.expr(z)?;
                        let z = self.coerce(z, &Type::String)?;
                        args.push(z.clone());
                        z.sql
                    }
                    _ => "'UTC'".into(),
                };
                let sql = if ty == Type::Timestamp {
                    format!("gs_ts_trunc({}, {}, {zone})", x.sql, text(&part))
                } else {
                    format!("gs_{}_trunc({}, {})", short(&ty), x.sql, text(&part))
                };
                Ok(Some((Typed::new(sql, ty).nullable(x.nullable).at(at), args)))
            }
            ("BUCKET", [x, interval, origin @ ..]) if origin.len() <= 1 => {
                let x = self.expr(x)?;
                let ty =
                    if matches!(x.ty, Type::DateTime | Type::Timestamp) && matches!(ty, Type::Date | Type::DateTime) {
                        x.ty.clone()
                    } else {
                        ty
                    };
                let x = self.coerce(x, &ty)?;
                let ExprKind::Interval { value, from, to: None } = &interval.kind else {
                    return Err(SqlError::unsupported("this interval", &interval.at));
                };
                let unit = from.name.to_ascii_uppercase();
                let micros = match &value.kind {
                    ExprKind::Int(n) => n.parse::<f64>().ok(),
                    ExprKind::Str(n) => n.parse::<f64>().ok(),
                    _ => None,
                };
                let (Some(n), Some(size)) = (micros, micros_of(&unit)) else {
                    return Err(SqlError::unsupported("this interval", &interval.at));
                };
                let micros = (n * size as f64).round() as i64;
                let months = matches!(unit.as_str(), "MONTH" | "QUARTER" | "YEAR");
                if micros <= 0
                    || months && n.fract() != 0.0
                    || (ty == Type::Date && TIME_PARTS.contains(&unit.as_str()))
                {
                    return Err(SqlError::unsupported("this interval", &interval.at));
                }
                let bucket = if months { "gs_dt_bucket_months" } else { "gs_dt_bucket" };
                let origin = match origin {
                    [o] => {
                        let o = self.expr(o)?;
                        self.coerce(o, &ty)?.sql
                    }
                    _ => super::super::coerce::constant(&ty, "1950-01-01").unwrap_or_default(),
                };
                let sql = match ty {
                    Type::Date => format!(
                        "CAST({bucket}(CAST({} AS TIMESTAMP), CAST({micros} AS BIGINT), CAST({origin} AS TIMESTAMP)) AS DATE)",
                        x.sql
                    ),
                    Type::DateTime => format!("{bucket}({}, CAST({micros} AS BIGINT), {origin})", x.sql),
                    Type::Timestamp => format!(
                        "CAST({bucket}(CAST({} AS TIMESTAMP), CAST({micros} AS BIGINT), CAST({origin} AS TIMESTAMP)) AS TIMESTAMPTZ)",
                        x.sql
                    ),
                    _ => return Ok(None),
                };
                Ok(Some((Typed::new(sql, ty).nullable(x.nullable).at(at), vec![x])))
            }
            _ => Ok(None),
        }
    }

    /// GENERATE_DATE_ARRAY and GENERATE_TIMESTAMP_ARRAY.
    fn generated(&mut self, call: &Call, at: &Range<usize>) -> Res<(Typed, Vec<Typed>)> {
        let ty = if call.name == "GENERATE_DATE_ARRAY" { Type::Date } else { Type::Timestamp };
        let (from, to, interval) = match call.args.as_slice() {
            [(None, from), (None, to)] if ty == Type::Date => (from, to, None),
            [(None, from), (None, to), (None, interval)] => (from, to, Some(interval)),
            _ => return Err(SqlError::invalid(format!("these arguments of {}", call.name), at)),
        };
        let (from, to) = (self.expr(from)?, self.expr(to)?);
        let (from, to) = (self.coerce(from, &ty)?, self.coerce(to, &ty)?);
        let mut args = vec![from, to];
        let (step, part) = match interval.map(|i| (&i.kind, &i.at)) {
            None => ("CAST(1 AS BIGINT)".to_owned(), "DAY".to_owned()),
            Some((ExprKind::Interval { value, from: part, to: None }, _)) => {
                let part_name = part.name.to_ascii_uppercase();
                let known = if ty == Type::Date { DATE_PARTS } else { TIME_PARTS };
                if !known.contains(&part_name.as_str()) && part_name != "DAY" {
                    return Err(SqlError::invalid(format!("`{part_name}` is no step of {}", call.name), &part.at));
                }
                let n = self.expr(value)?;
                let n = self.coerce(n, &Type::Int64)?;
                args.push(n.clone());
                (n.sql, part_name)
            }
            Some((_, place)) => return Err(SqlError::unsupported("this interval", place)),
        };
        let sql = format!(
            "list_transform(gs_generate_dt(CAST({} AS TIMESTAMP), CAST({} AS TIMESTAMP), {step}, '{part}'), \
             lambda gs_d: CAST(make_timestamp(gs_d) AS {}))",
            args[0].sql,
            args[1].sql,
            super::super::typed::phys(&ty)
        );
        Ok((Typed::new(sql, Type::Array(Box::new(ty))).at(at), args))
    }

    fn clock(&mut self, call: &Call, at: &Range<usize>) -> Res<Option<Typed>> {
        let ty = match call.name.as_str() {
            "CURRENT_DATE" => Type::Date,
            "CURRENT_TIMESTAMP" => Type::Timestamp,
            "CURRENT_DATETIME" => Type::DateTime,
            "CURRENT_TIME" => Type::Time,
            _ => return Ok(None),
        };
        self.clocks.push(super::super::Clock { function: call.name.clone(), at: at.clone() });
        let now = match call.args.as_slice() {
            [] => "CAST(now() AS TIMESTAMP)".to_owned(),
            [(None, zone)] if ty != Type::Timestamp => {
                let zone = self.expr(zone)?;
                let zone = self.coerce(zone, &Type::String)?;
                format!("gs_ts_civil(now(), {})", zone.sql)
            }
            _ => return Err(SqlError::invalid(format!("these arguments of {}", call.name), at)),
        };
        let sql = match ty {
            Type::Timestamp => "now()".to_owned(),
            Type::DateTime => now,
            ref ty => format!("CAST({now} AS {})", super::super::typed::phys(ty)),
        };
        Ok(Some(Typed::new(sql, ty).nullable(false).at(at)))
    }

    /// A part that is allowed for a type.
    fn part(&mut self, expr: &Expr, ty: &Type, weeks: bool) -> Res<String> {
        let part = part_of(expr).ok_or_else(|| SqlError::invalid("this is no date part", &expr.at))?;
        let date = DATE_PARTS.contains(&part.as_str())
            || weeks && (part.starts_with("WEEK(") || part == "ISOWEEK" || part == "ISOYEAR");
        let time = TIME_PARTS.contains(&part.as_str());
        let allowed = match ty {
            Type::Date => date,
            Type::Time => time,
            _ => date || time,
        };
        if allowed { Ok(part) } else { Err(SqlError::invalid(format!("`{part}` is no part of a {ty}"), &expr.at)) }
    }

    /// `x + INTERVAL n part`.
    fn shift(&mut self, x: Typed, interval: &Expr, negative: bool, at: &Range<usize>) -> Res<Typed> {
        let ExprKind::Interval { value, from, to: None } = &interval.kind else {
            return Err(SqlError::unsupported("this interval", &interval.at));
        };
        let part = from.name.to_ascii_uppercase();
        let allowed = match x.ty {
            Type::Date => DATE_PARTS.contains(&part.as_str()),
            Type::Time => TIME_PARTS.contains(&part.as_str()),
            Type::Timestamp => TIME_PARTS.contains(&part.as_str()) || part == "DAY",
            _ => DATE_PARTS.contains(&part.as_str()) || TIME_PARTS.contains(&part.as_str()),
        };
        if !allowed {
            return Err(SqlError::invalid(format!("`{part}` cannot be added to a {}", x.ty), &from.at));
        }
        let n = self.expr(value)?;
        let n = self.coerce(n, &Type::Int64)?;
        let n_sql = if negative { format!("(- {})", n.sql) } else { n.sql.clone() };
        let sql = format!("gs_{}_add({}, {n_sql}, {})", short(&x.ty), x.sql, text(&part));
        Ok(Typed::new(sql, x.ty.clone()).nullable(x.nullable || n.nullable).at(at))
    }

    /// A DATE with an INTERVAL is a DATETIME.
    pub(in super::super) fn date_with_interval(
        &mut self,
        x: Typed,
        interval: &Expr,
        minus: bool,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let x = if x.ty == Type::Date { self.coerce(x, &Type::DateTime)? } else { x };
        if !matches!(x.ty, Type::DateTime | Type::Timestamp) {
            return Err(SqlError::unsupported(format!("an INTERVAL with a {}", x.ty), at));
        }
        self.shift(x, interval, minus, at)
    }

    /// A DATE and a number of days.
    pub(in super::super) fn days(&mut self, date: Typed, days: Typed, minus: bool, at: &Range<usize>) -> Res<Typed> {
        let n = if minus { format!("(- {})", days.sql) } else { days.sql.clone() };
        let sql = format!("gs_date_add({}, {n}, 'DAY')", date.sql);
        Ok(Typed::new(sql, Type::Date).nullable(date.nullable || days.nullable).at(at))
    }

    pub(in super::super) fn extract(
        &mut self,
        part: &Expr,
        expr: &Expr,
        zone: Option<&Expr>,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let name = part_of(part).ok_or_else(|| SqlError::invalid("this is no part of a date or time", &part.at))?;
        let x = self.expr(expr)?;
        let zone = match zone {
            Some(z) => {
                let z = self.expr(z)?;
                Some(self.coerce(z, &Type::String)?)
            }
            None => None,
        };
        let civil = match (&x.ty, &zone) {
            (Type::Date, None) => format!("CAST({} AS TIMESTAMP)", x.sql),
            (Type::DateTime, None) => x.sql.clone(),
            (Type::Time, None) => format!("gs_make_dt(DATE '1970-01-01', {})", x.sql),
            (Type::Timestamp, None) => format!("CAST({} AS TIMESTAMP)", x.sql),
            (Type::Timestamp, Some(z)) => format!("gs_ts_civil({}, {})", x.sql, z.sql),
            (ty, _) => return Err(SqlError::unsupported(format!("EXTRACT from a {ty}"), at)),
        };
        let date_part = DATE_PARTS.contains(&name.as_str())
            || name.starts_with("WEEK(")
            || matches!(name.as_str(), "ISOWEEK" | "ISOYEAR" | "DAYOFWEEK" | "DAYOFYEAR");
        let time_part = TIME_PARTS.contains(&name.as_str());
        let out = match name.as_str() {
            "DATE" if matches!(x.ty, Type::DateTime | Type::Timestamp) => {
                Typed::new(format!("CAST({civil} AS DATE)"), Type::Date)
            }
            "TIME" if matches!(x.ty, Type::DateTime | Type::Timestamp) => {
                Typed::new(format!("CAST({civil} AS TIME)"), Type::Time)
            }
            "DATETIME" if x.ty == Type::Timestamp => Typed::new(civil, Type::DateTime),
            _ if date_part && x.ty != Type::Time || time_part && x.ty != Type::Date => {
                Typed::new(format!("gs_extract({civil}, {})", text(&name)), Type::Int64)
            }
            _ => return Err(SqlError::invalid(format!("`{name}` is no part of a {}", x.ty), &part.at)),
        };
        let fails = x.fails || zone.is_some();
        let mut out = out.nullable(x.nullable).at(at);
        out.fails = fails;
        Ok(out)
    }
}

fn micros_of(unit: &str) -> Option<i64> {
    Some(match unit {
        "MICROSECOND" => 1,
        "MILLISECOND" => 1000,
        "SECOND" => 1_000_000,
        "MINUTE" => 60_000_000,
        "HOUR" => 3_600_000_000,
        "DAY" => 86_400_000_000,
        "WEEK" => 604_800_000_000,
        // Of months their number.
        "MONTH" => 1,
        "QUARTER" => 3,
        "YEAR" => 12,
        _ => return None,
    })
}
