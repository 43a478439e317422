//! `phase6 publish`: a message to a topic, also beside a running service.

use super::args::{Format, Global, PublishArgs};
use super::context::{self, fail};
use super::exit::Exit;
use crate::ports::bus::NewMessage;
use crate::ports::clock::{Clock, FixedClock, SystemClock};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

pub fn run(global: &Global, args: &PublishArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &PublishArgs) -> Result<Exit, Exit> {
    let project = context::load(global)?.project;
    let topic = context::topic(&project, &args.topic)?;
    let message = NewMessage { body: body(args)?, attributes: attributes(&args.attributes)? };
    let bus = context::bus(&project, global, clock(global)?)?;
    let id = context::runtime()?.block_on(async {
        context::ensure_subscriptions(&project, bus.as_ref()).await?;
        bus.publish(&topic, &message).await.map_err(context::bus_failed)
    })?;
    match global.format {
        Format::Json | Format::Jsonl => println!("{}", json!({ "messageIds": [id] })),
        _ if global.quiet => {}
        _ => println!("{id}"),
    }
    Ok(Exit::Ok)
}

/// The publish time: now, or `--now` where that is not to come.
fn clock(global: &Global) -> Result<Arc<dyn Clock>, Exit> {
    if global.now.is_none() {
        return Ok(Arc::new(SystemClock));
    }
    let time = context::cause_time(global)?;
    if time > SystemClock.now() {
        return Err(fail(Exit::Usage, format!("--now {time} is to come: nothing can have been published then")));
    }
    Ok(Arc::new(FixedClock(time)))
}

fn body(args: &PublishArgs) -> Result<Vec<u8>, Exit> {
    match args.message.as_deref() {
        None => Ok(Vec::new()),
        Some("-") => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|e| fail(Exit::Usage, format!("standard input cannot be read: {e}")))?;
            Ok(bytes)
        }
        Some(text) => match text.strip_prefix('@') {
            Some(file) => std::fs::read(file).map_err(|e| fail(Exit::Usage, format!("--message {text}: {e}"))),
            None => Ok(text.into()),
        },
    }
}

fn attributes(pairs: &[String]) -> Result<BTreeMap<String, String>, Exit> {
    let mut attributes = BTreeMap::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(fail(Exit::Usage, format!("--attribute {pair}: write NAME=VALUE")));
        };
        if attributes.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(fail(Exit::Usage, format!("--attribute {pair}: `{name}` was given already")));
        }
    }
    Ok(attributes)
}
