//! `phase6 dead-letter`: messages that could not be worked; look at them, send them again, or drop them.

use super::args::{DeadLetterArgs, DeadLetterCommand, Global};
use super::context;
use super::exit::Exit;
use super::output::{self, table, time};
use crate::model::message::attributes;
use crate::ports::bus::{Bus, NewMessage};
use crate::ports::clock::SystemClock;
use crate::state::State;
use crate::state::dead_letters::DeadLetter;
use serde::Serialize;
use std::sync::Arc;

pub fn run(global: &Global, args: &DeadLetterArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &DeadLetterArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    let state = context::state(&loaded.project, global)?;
    let runtime = context::runtime()?;
    let away = |e: crate::state::StateError| context::fail(Exit::Unavailable, e);
    match &args.command {
        None | Some(DeadLetterCommand::List) => {
            let letters = runtime.block_on(state.dead_letters()).map_err(away)?;
            output::records(global, &letters, list);
        }
        Some(DeadLetterCommand::Show { id }) => {
            let letter = runtime.block_on(find(&state, id))?;
            let body = runtime.block_on(state.dead_letter_body(id)).map_err(away)?;
            output::record(global, &Shown { letter, body: text(&body) }, human);
        }
        Some(DeadLetterCommand::Drop { ids }) => {
            for id in ids {
                runtime.block_on(find(&state, id))?;
                runtime.block_on(state.drop_dead_letter(id)).map_err(away)?;
                println!("dropped {id}");
            }
        }
        Some(DeadLetterCommand::Replay { ids, all }) => {
            let bus = context::bus(&loaded.project, global, Arc::new(SystemClock))?;
            runtime.block_on(context::make_subscriptions(&loaded.project, bus.as_ref()))?;
            let ids = match all {
                true => runtime.block_on(state.dead_letters()).map_err(away)?.into_iter().map(|l| l.id).collect(),
                false => ids.clone(),
            };
            for id in &ids {
                let message = runtime.block_on(replay(&state, bus.as_ref(), id))?;
                println!("replayed {id} as message {message}");
            }
        }
    }
    Ok(Exit::Ok)
}

/// A dead letter with its body.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    letter: DeadLetter,
    body: String,
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

async fn find(state: &State, id: &str) -> Result<DeadLetter, Exit> {
    match state.dead_letter(id).await {
        Ok(Some(letter)) => Ok(letter),
        Ok(None) => {
            Err(context::fail(Exit::Usage, format!("there is no dead letter `{id}`: see `phase6 dead-letter list`")))
        }
        Err(error) => Err(context::fail(Exit::Unavailable, error)),
    }
}

/// Publishes the message again, with its attributes and the time from which its date words are resolved; forgets the dead letter
/// only after that.
async fn replay(state: &State, bus: &dyn Bus, id: &str) -> Result<String, Exit> {
    let letter = find(state, id).await?;
    let away = |e: String| context::fail(Exit::Unavailable, e);
    let body = state.dead_letter_body(id).await.map_err(|e| away(e.to_string()))?;
    let mut attributes = letter.attributes.clone();
    attributes.entry(attributes::CAUSE_TIME.to_owned()).or_insert_with(|| letter.published_at.to_string());
    // What was given up twice begins anew.
    attributes.remove(attributes::CONTINUES);
    if let Some(run) = &letter.run_id {
        // Its own cause has been answered, by a failure: the replay is another one.
        let cause = attributes.get(attributes::CAUSE_ID).unwrap_or(&letter.message_id).clone();
        attributes.insert(attributes::CAUSE_ID.to_owned(), format!("{cause}/replay-of-{run}"));
        attributes.insert(attributes::RETRY_OF.to_owned(), run.clone());
    }
    let message = NewMessage { body, attributes };
    let published = bus.publish(&letter.topic, &message).await.map_err(|e| away(e.to_string()))?;
    state.drop_dead_letter(id).await.map_err(|e| away(e.to_string()))?;
    Ok(published)
}

fn list(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "there are no dead letters\n".to_owned();
    }
    let row = |l: &DeadLetter| vec![l.id.clone(), l.topic.clone(), time(l.dead_at), l.reason.clone()];
    table(&["dead letter", "topic", "since", "reason"], &letters.iter().map(row).collect::<Vec<_>>())
}

fn human(shown: &Shown) -> String {
    let l = &shown.letter;
    let mut text = format!(
        "dead letter  {}\ntopic        {}\nmessage      {} of {}\nattempts     {}\nsince        {}\nreason       {}\n",
        l.id,
        l.topic,
        l.message_id,
        time(l.published_at),
        l.attempts,
        time(l.dead_at),
        l.reason
    );
    if let Some(run) = &l.run_id {
        text.push_str(&format!("run          {run}\n"));
    }
    for (name, value) in &l.attributes {
        text.push_str(&format!("attribute    {name}={value}\n"));
    }
    let body: String = shown.body.chars().take(4000).collect();
    text.push_str(&format!("\n{body}{}\n", if body.len() < shown.body.len() { " …" } else { "" }));
    text
}
