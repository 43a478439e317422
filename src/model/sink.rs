//! A document as a stream of events: the shape speaks, the encoder, the contract and the guards listen in one pass.

/// The node of a shape that produced a value; its place in the YAML is the shape's to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct At(pub u32);

/// A key that is known when the shape is compiled, with its JSON made once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    text: String,
    json: String,
}

impl Key {
    pub fn new(text: &str) -> Self {
        let json = serde_json::Value::from(text).to_string() + ":";
        Self { text: text.to_owned(), json }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The key as JSON with its colon: `"name":`.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// Why a document cannot be made: not a finding about its content, but a value that JSON cannot hold, or a full disk.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkError {
    /// A stable code: `not-a-number`, `integer-too-large`, `io`.
    pub code: &'static str,
    pub message: String,
    pub at: At,
}

/// Receives a document. Calls are well-formed: each object's entries are a key and a value.
pub trait Sink {
    fn begin_object(&mut self, at: At) -> Result<(), SinkError>;
    fn key(&mut self, key: &Key) -> Result<(), SinkError>;
    fn end_object(&mut self) -> Result<(), SinkError>;
    fn begin_array(&mut self, at: At) -> Result<(), SinkError>;
    fn end_array(&mut self) -> Result<(), SinkError>;
    fn null(&mut self, at: At) -> Result<(), SinkError>;
    fn bool(&mut self, value: bool, at: At) -> Result<(), SinkError>;
    fn int(&mut self, value: i64, at: At) -> Result<(), SinkError>;
    fn float(&mut self, value: f64, at: At) -> Result<(), SinkError>;
    /// A NUMERIC: `value / 10^scale`.
    fn decimal(&mut self, value: i128, scale: u8, at: At) -> Result<(), SinkError>;
    fn str(&mut self, value: &str, at: At) -> Result<(), SinkError>;
}
