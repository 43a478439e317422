//! How new a document is: what decides whether one may replace another.

use jiff::Timestamp;
use jiff::civil::Date;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Of an undated path (`latest.json`, `players/x.json`): target date, as-of, run; of a dated path: as-of, run.
///
/// As-of is when the query started at the warehouse, by the machine's clock and not by `--now`: it says which of two
/// answers for one date is the fresher. Run ids break ties, so they should sort by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// `None` for a dated path, whose objects all have the same date.
    pub target_date: Option<Date>,
    pub as_of: Timestamp,
    pub run_id: String,
}

impl Watermark {
    /// Whether this document is the newer one. A path that changed between dated and undated compares by as-of.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let dates = match (self.target_date, other.target_date) {
            (Some(mine), Some(theirs)) => mine.cmp(&theirs),
            _ => Ordering::Equal,
        };
        dates.then(self.as_of.cmp(&other.as_of)).then_with(|| self.run_id.cmp(&other.run_id)) == Ordering::Greater
    }
}

/// `2025-12-12 2025-12-12T18:00:00Z run-7`; `-` for no date.
impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target_date {
            Some(date) => write!(f, "{date} {} {}", self.as_of, self.run_id),
            None => write!(f, "- {} {}", self.as_of, self.run_id),
        }
    }
}

impl FromStr for Watermark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a watermark");
        let mut parts = text.splitn(3, ' ');
        let (Some(date), Some(as_of), Some(run_id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let target_date = match date {
            "-" => None,
            date => Some(date.parse().map_err(|_| wrong())?),
        };
        Ok(Self { target_date, as_of: as_of.parse().map_err(|_| wrong())?, run_id: run_id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(text: &str) -> Watermark {
        text.parse().unwrap()
    }

    #[test]
    fn the_text_comes_back() {
        for text in ["2025-12-12 2025-12-12T18:00:00Z run 7", "- 2025-12-12T18:00:00.000000123Z r"] {
            assert_eq!(mark(text).to_string(), text);
        }
        for bad in ["", "x", "2025-13-01 2025-12-12T18:00:00Z r", "- yesterday r", "- 2025-12-12T18:00:00Z"] {
            assert!(bad.parse::<Watermark>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_date_rules_then_the_query_then_the_run() {
        let order = [
            "2025-12-11 2025-12-13T00:00:00Z z",
            "2025-12-12 2025-12-12T01:00:00Z b",
            "2025-12-12 2025-12-12T02:00:00Z a",
            "2025-12-12 2025-12-12T02:00:00Z b",
        ];
        for pair in order.windows(2) {
            assert!(mark(pair[1]).is_newer_than(&mark(pair[0])) && !mark(pair[0]).is_newer_than(&mark(pair[1])));
        }
        assert!(!mark(order[0]).is_newer_than(&mark(order[0])));
    }
}
