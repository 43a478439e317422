//! SQL templates: text with `{{ value }}`s and `@name`s becomes a statement whose values are typed parameters.
//!
//! A value never becomes SQL text. While the template runs each value is written as a mark (two private-use characters around
//! a number); afterwards one pass over the text, which knows quotes and comments, turns the marks into parameters.

mod env;
mod place;
mod scan;

use crate::config::Query;
use crate::diagnostics::{Diagnostic, Sources, nearest};
use crate::model::{Facts, Statement};
use std::ops::Range;
use std::path::Path;

pub use place::Origins;

/// A statement and where its text comes from.
#[derive(Debug)]
pub struct Rendered {
    pub statement: Statement,
    pub map: Origins,
}

/// Something wrong, by its place in a template's text.
#[derive(Debug)]
struct Problem {
    code: &'static str,
    message: String,
    /// The included file below `exports/`; none for the query itself.
    file: Option<String>,
    at: Range<usize>,
    help: Option<String>,
}

/// Renders a query. Inline SQL's findings point to the whole text; [`render_in`] points into it.
pub fn render(name: &str, query: &Query, facts: &Facts, root: &Path) -> Result<Rendered, Vec<Diagnostic>> {
    render_in(name, query, facts, root, None)
}

/// Renders a query; with the sources, findings in inline SQL have their exact place.
pub fn render_in(
    name: &str,
    query: &Query,
    facts: &Facts,
    root: &Path,
    sources: Option<&Sources>,
) -> Result<Rendered, Vec<Diagnostic>> {
    if !query.sql.contains(['{', '@', env::OPEN, env::CLOSE]) {
        let statement = Statement::new(name, query.sql.clone(), Vec::new());
        return Ok(Rendered { statement, map: Origins::plain(query.sql.len()) });
    }
    let outcome = env::run(query, facts, root)
        .map_err(|problem| vec![problem])
        .and_then(|run| scan::bind(&run, facts).map(|(sql, params, shifts)| (run, sql, params, shifts)));
    match outcome {
        Ok((run, sql, params, shifts)) => {
            Ok(Rendered { statement: Statement::new(name, sql, params), map: Origins::new(&run, shifts) })
        }
        Err(problems) => Err(problems.into_iter().map(|p| p.diagnostic(query, sources)).collect()),
    }
}

impl Problem {
    fn diagnostic(self, query: &Query, sources: Option<&Sources>) -> Diagnostic {
        let (span, note) = place::locate(query, self.file.as_deref(), self.at, sources);
        let mut found = Diagnostic::error(self.code, self.message, span);
        if let Some(note) = note {
            found = found.label(note);
        }
        found.help = self.help;
        found
    }
}

/// The nearest name as a help line, or what there is.
fn suggestion(written: &str, facts: &Facts) -> String {
    let names: Vec<String> = facts.names().collect();
    match nearest(written, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests;
