//! Pages over the state store's records: runs, gate decisions, dead letters.

use super::Page;
use crate::service::http::Door;
use crate::service::http::problem::Problem;
use minijinja::context;
use minijinja::value::Serde;

/// Records on a list's page.
const LIMIT: usize = 100;

/// Bytes of a dead letter's body that are shown.
const SHOWN_BODY: usize = 16 * 1024;

pub async fn runs(door: &Door) -> Page {
    let runs = door.state.requests(LIMIT).await?;
    Ok(context! { runs => Serde(runs), limit => LIMIT })
}

pub async fn run(door: &Door, id: &str) -> Page {
    let run = door.state.request(id).await?.ok_or_else(|| Problem::not_found("There is no such run."))?;
    Ok(context! { run => Serde(run) })
}

pub async fn gates(door: &Door) -> Page {
    let decisions = door.state.decisions(LIMIT).await?;
    Ok(context! { decisions => Serde(decisions), limit => LIMIT })
}

pub async fn gate(door: &Door, id: &str) -> Page {
    let decision = door.state.decision(id).await?;
    let decision = decision.ok_or_else(|| Problem::not_found("There is no such decision."))?;
    let mut runs = door.state.requests(LIMIT).await?;
    runs.retain(|run| run.cause.decision.as_deref() == Some(id));
    Ok(context! { d => Serde(decision), runs => Serde(runs) })
}

pub async fn letters(door: &Door) -> Page {
    let mut letters = door.state.dead_letters().await?;
    letters.truncate(LIMIT);
    Ok(context! { letters => Serde(letters) })
}

pub async fn letter(door: &Door, id: &str) -> Page {
    let letter = door.state.dead_letter(id).await?;
    let letter = letter.ok_or_else(|| Problem::not_found("There is no such dead letter."))?;
    let body = door.state.dead_letter_body(id).await?;
    let cut = (body.len() > SHOWN_BODY).then_some(SHOWN_BODY);
    let shown = &body[..body.len().min(SHOWN_BODY)];
    let text = match serde_json::from_slice::<serde_json::Value>(shown) {
        Ok(json) => serde_json::to_string_pretty(&json).unwrap_or_default(),
        Err(_) => String::from_utf8_lossy(shown).into_owned(),
    };
    Ok(context! { l => Serde(letter), body => text, cut })
}
