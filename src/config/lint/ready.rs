//! A condition for running is asked no more often than its message can be delivered.

use crate::config::forms::duration_text;
use crate::config::model::{GIVE_UP_AFTER, MOST_ASKED, shortest_pause};
use crate::config::{Project, ReadyDecl};
use crate::diagnostics::Diagnostic;

/// Warns of pauses that the service will not keep because they are too short for how long it goes on.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    project.exports.iter().flat_map(|export| &export.ready).filter_map(too_often).collect()
}

fn too_often(ready: &ReadyDecl) -> Option<Diagnostic> {
    let written = ready.retry_every.as_ref()?;
    let end = ready.give_up_after.unwrap_or(GIVE_UP_AFTER);
    let shortest = shortest_pause(end);
    if written.value >= shortest {
        return None;
    }
    let (pause, end, shortest) = (duration_text(written.value), duration_text(end), duration_text(shortest));
    let message = format!("asked every {pause}, the condition would be asked more than {MOST_ASKED} times in {end}");
    let help = format!("the service asks it every {shortest}: write that or more, or a shorter `give_up_after`");
    Some(Diagnostic::warning("asked-too-often", message, written.span).help(help))
}
