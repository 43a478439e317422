//! Steps in words: what a person reads before saying yes.

use super::compare::{Action, Step};
use super::plan::Plan;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Old and new values longer than this are shortened, in characters.
const LONGEST: usize = 90;

/// The plan for people. What is as it has to be is only counted.
pub fn text(plan: &Plan, steps: &[Step], others: &BTreeMap<&'static str, usize>) -> String {
    let mut text = format!(
        "Deployment {} (target {}): project {}, region {}\n\n",
        plan.name, plan.target, plan.project, plan.region
    );
    for step in steps.iter().filter(|s| s.action != Action::Nothing || s.note.is_some()) {
        let _ = writeln!(text, "  {} {:18} {}", sign(step.action), step.what, step.name);
        for change in &step.changes {
            let (old, new) = (short(&change.old), short(&change.new));
            let _ = writeln!(text, "        {}: {old} -> {new}", change.field);
        }
        if let Some(note) = &step.note {
            let _ = writeln!(text, "        {note}");
        }
    }
    let mut fine: BTreeMap<&str, usize> = BTreeMap::new();
    for step in steps.iter().filter(|s| s.action == Action::Nothing && s.note.is_none()) {
        *fine.entry(step.what).or_default() += 1;
    }
    if !fine.is_empty() {
        let all: Vec<String> = fine.iter().map(|(what, n)| format!("{what} {n}")).collect();
        let _ = writeln!(text, "  = as it has to be: {}", all.join(", "));
    }
    if !others.is_empty() {
        let all: Vec<String> = others.iter().map(|(what, n)| format!("{n} {what}")).collect();
        let _ = writeln!(text, "  . not ours, not looked at: {}", all.join(", "));
    }
    let _ = writeln!(text, "\n{}", summary(steps));
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn sign(action: Action) -> char {
    match action {
        Action::Create => '+',
        Action::Change => '~',
        Action::Nothing => '=',
        Action::Foreign => 'f',
        Action::Delete => '-',
        Action::LeftOver => '?',
        Action::Blocked => '!',
    }
}

fn count(steps: &[Step], action: Action) -> usize {
    steps.iter().filter(|s| s.action == action).count()
}

/// `create 12 (+), change 1 (~), …`.
pub fn summary(steps: &[Step]) -> String {
    let words = [
        (Action::Create, "create"),
        (Action::Change, "change"),
        (Action::Delete, "delete"),
        (Action::Nothing, "nothing to do"),
        (Action::Foreign, "foreign"),
        (Action::LeftOver, "left over"),
        (Action::Blocked, "blocked"),
    ];
    let all = words.map(|(action, word)| (count(steps, action), word, sign(action)));
    let seen = all.iter().enumerate().filter(|(i, (n, ..))| *i < 4 || *n > 0);
    let parts: Vec<String> = seen.map(|(_, (n, word, sign))| format!("{word} {n} ({sign})")).collect();
    parts.join(", ")
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same for machines.
pub fn json(plan: &Plan, steps: &[Step], others: &BTreeMap<&'static str, usize>) -> Value {
    let mut counts = serde_json::Map::new();
    for step in steps {
        let word =
            serde_json::to_value(step.action).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let n = counts.get(&word).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(word, (n + 1).into());
    }
    json!({
        "deployment": plan.name,
        "target": plan.target,
        "project": plan.project,
        "region": plan.region,
        "counts": counts,
        "steps": steps,
        "not_ours": others,
        "notes": plan.notes,
    })
}
