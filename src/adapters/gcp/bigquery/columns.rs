//! Cells of a page, put into columns as they are met: no tree of JSON is made in between.

use crate::model::{Column, Data, Field, StrColumn, Type};
use crate::sql::values;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A column under way.
pub struct Builder {
    name: String,
    cells: Cells,
    /// Which of the cells so far are NULL; empty until the first one is.
    nulls: Vec<bool>,
    len: usize,
}

enum Cells {
    Bool(Vec<bool>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Numeric(Vec<i128>),
    /// Everything whose text is kept: STRING, JSON, BYTES (base64 in both), BIGNUMERIC, INTERVAL, GEOGRAPHY, RANGE.
    Text(StrColumn),
    Date(Vec<i32>),
    Time(Vec<i64>),
    DateTime(Vec<i64>),
    Timestamp(Vec<i64>),
    List(Vec<u32>, Box<Builder>),
    Struct(Vec<Builder>),
}

impl Builder {
    pub fn new(field: &Field) -> Self {
        Self::of(field.name.clone(), &field.ty)
    }

    fn of(name: String, ty: &Type) -> Self {
        let cells = match ty {
            Type::Bool => Cells::Bool(Vec::new()),
            Type::Int64 => Cells::Int64(Vec::new()),
            Type::Float64 => Cells::Float64(Vec::new()),
            Type::Numeric => Cells::Numeric(Vec::new()),
            Type::Date => Cells::Date(Vec::new()),
            Type::Time => Cells::Time(Vec::new()),
            Type::DateTime => Cells::DateTime(Vec::new()),
            Type::Timestamp => Cells::Timestamp(Vec::new()),
            Type::Array(item) => Cells::List(vec![0], Box::new(Self::of(name.clone(), item))),
            Type::Struct(fields) => {
                Cells::Struct(fields.iter().map(|f| Self::of(format!("{name}.{}", f.name), &f.ty)).collect())
            }
            Type::String
            | Type::Json
            | Type::Bytes
            | Type::BigNumeric
            | Type::Interval
            | Type::Geography
            | Type::Range(_) => Cells::Text(StrColumn::default()),
        };
        Self { name, cells, nulls: Vec::new(), len: 0 }
    }

    /// The column with all its cells.
    pub fn finish(self) -> Column {
        let data = match self.cells {
            Cells::Bool(v) => Data::Bool(v),
            Cells::Int64(v) => Data::Int64(v),
            Cells::Float64(v) => Data::Float64(v),
            Cells::Numeric(values) => Data::Decimal { scale: 9, values },
            Cells::Text(v) => Data::Str(v),
            Cells::Date(v) => Data::Date(v),
            Cells::Time(v) => Data::Time(v),
            Cells::DateTime(v) => Data::DateTime(v),
            Cells::Timestamp(v) => Data::Timestamp(v),
            Cells::List(offsets, child) => Data::List { offsets, child: Box::new(child.finish()) },
            Cells::Struct(children) => Data::Struct(children.into_iter().map(Builder::finish).collect()),
        };
        let nulls = (!self.nulls.is_empty()).then_some(self.nulls);
        Column { data, nulls }
    }

    fn pushed(&mut self) {
        self.len += 1;
        if !self.nulls.is_empty() {
            self.nulls.push(false);
        }
    }

    fn push_null(&mut self) {
        match &mut self.cells {
            Cells::Bool(v) => v.push(false),
            Cells::Int64(v) | Cells::Time(v) | Cells::DateTime(v) | Cells::Timestamp(v) => v.push(0),
            Cells::Float64(v) => v.push(0.0),
            Cells::Numeric(v) => v.push(0),
            Cells::Text(v) => v.push(""),
            Cells::Date(v) => v.push(0),
            Cells::List(offsets, child) => offsets.push(child.len as u32),
            Cells::Struct(children) => children.iter_mut().for_each(Builder::push_null),
        }
        if self.nulls.is_empty() {
            self.nulls = vec![false; self.len];
        }
        self.nulls.push(true);
        self.len += 1;
    }

    fn push_text(&mut self, text: &str) -> Option<()> {
        match &mut self.cells {
            Cells::Text(v) => v.push(text),
            Cells::Int64(v) => v.push(text.parse().ok()?),
            Cells::Float64(v) => v.push(float(text)?),
            Cells::Bool(v) => v.push(match text {
                "true" => true,
                "false" => false,
                _ => return None,
            }),
            Cells::Numeric(v) => v.push(numeric(text)?),
            Cells::Date(v) => v.push(date(text.as_bytes()).or_else(|| values::parse_date(text))?),
            Cells::Time(v) => v.push(values::parse_time(text)?),
            Cells::DateTime(v) => v.push(values::parse_datetime(text)?),
            // Whole microseconds: `formatOptions.useInt64Timestamp` is always asked for.
            Cells::Timestamp(v) => v.push(text.parse().ok()?),
            Cells::List(..) | Cells::Struct(_) => return None,
        }
        self.pushed();
        Some(())
    }
}

/// A FLOAT64's text; `NaN`, `Infinity` and `-Infinity` are such texts too.
fn float(text: &str) -> Option<f64> {
    match text.as_bytes().last()? {
        b'0'..=b'9' => text.parse().ok(),
        _ => values::parse_float(text),
    }
}

/// A NUMERIC in billionths; the common short ones in 64-bit arithmetic.
fn numeric(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let (negative, body) = match bytes.first()? {
        b'-' => (true, &bytes[1..]),
        _ => (false, bytes),
    };
    if body.len() > 10 {
        return values::parse_numeric(text);
    }
    let (mut value, mut fraction) = (0i64, None);
    for byte in body {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + i64::from(byte - b'0');
                fraction = fraction.map(|digits: u32| digits + 1);
            }
            b'.' if fraction.is_none() => fraction = Some(0),
            _ => return values::parse_numeric(text),
        }
    }
    let digits = fraction.unwrap_or(0);
    if body.is_empty() || digits > 9 {
        return values::parse_numeric(text);
    }
    let value = i128::from(value) * i128::from(10i64.pow(9 - digits));
    Some(if negative { -value } else { value })
}

/// `YYYY-MM-DD`, as BigQuery writes every date; other texts are left to the general reader.
fn date(text: &[u8]) -> Option<i32> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let year = digit(y0)? * 1000 + digit(y1)? * 100 + digit(y2)? * 10 + digit(y3)?;
    values::days_of(year, digit(m0)? * 10 + digit(m1)?, digit(d0)? * 10 + digit(d1)?)
}

/// `{"f": [{"v": …}, …]}`: a row, or a STRUCT's value.
pub struct Row<'a>(pub &'a mut [Builder]);

/// `[{"v": …}, …]`: the cells of a row.
struct Fields<'a>(&'a mut [Builder]);

/// `{"v": …}`.
struct Cell<'a>(&'a mut Builder);

/// What stands behind `"v"`.
struct Content<'a>(&'a mut Builder);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row with its cells under `f`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Cells if !seen => {
                    map.next_value_seed(Fields(&mut *self.0))?;
                    seen = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if seen { Ok(()) } else { Err(A::Error::custom("a row has no cells")) }
    }
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of cells")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut cells: A) -> Result<(), A::Error> {
        let columns = self.0.len();
        for (i, builder) in self.0.iter_mut().enumerate() {
            if cells.next_element_seed(Cell(builder))?.is_none() {
                return Err(A::Error::custom(format!("a row has {i} cells, the schema {columns} columns")));
            }
        }
        match cells.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(A::Error::custom(format!("a row has more cells than the schema's {columns} columns"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cell with its value under `v`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Value if !seen => {
                    map.next_value_seed(Content(&mut *self.0))?;
                    seen = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if seen { Ok(()) } else { Err(A::Error::custom("a cell has no value")) }
    }
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = match &self.0.cells {
            Cells::List(..) => "a list of cells",
            Cells::Struct(_) => "a row with its cells under `f`",
            _ => "a text or null",
        };
        write!(f, "{wanted} in the column `{}`", self.0.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push_null();
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.push_text(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            E::custom(format!("`{shown}` is no value of the column `{}`", self.0.name))
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let name = self.0.name.clone();
        let Cells::List(offsets, child) = &mut self.0.cells else {
            return Err(A::Error::custom(format!("the column `{name}` holds no lists, and one came")));
        };
        while items.next_element_seed(Cell(&mut *child))?.is_some() {}
        let end = u32::try_from(child.len).map_err(|_| A::Error::custom(format!("`{name}` has too many elements")))?;
        offsets.push(end);
        self.0.pushed();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Cells::Struct(children) = &mut self.0.cells else {
            return Err(A::Error::custom(format!("the column `{}` holds no records, and one came", self.0.name)));
        };
        Row(children).visit_map(map)?;
        self.0.pushed();
        Ok(())
    }
}

/// The two keys of rows and cells; others are passed over.
enum Key {
    Cells,
    Value,
    Other,
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                Ok(match text {
                    "f" => Key::Cells,
                    "v" => Key::Value,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}
