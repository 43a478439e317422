//! Progress of long work on a terminal: what is done, of how many.

use super::args::{Format, Global};
use crate::model::report::ExportReport;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// A bar on a terminal, nothing elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new(global: &Global, steps: usize) -> Self {
        let wanted = steps > 1 && !global.quiet && global.format == Format::Human && std::io::stderr().is_terminal();
        let bar = wanted.then(|| {
            let bar = ProgressBar::new(steps as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    pub fn done(&self, export: &ExportReport) {
        self.step(&export.export);
    }

    /// One more piece of work is done.
    pub fn step(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(name.to_owned());
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
