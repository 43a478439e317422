//! `phase6 publish`: a message to a topic, also beside a running service.

use super::args::{Format, Global, PublishArgs};
use super::context::{self, fail};
use super::exit::Exit;
use crate::ports::bus::{Bus, NewMessage};
use crate::ports::clock::{Clock, FixedClock, SystemClock};
use crate::service::contract::Contract;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::Arc;
use std::task::Poll;

pub fn run(global: &Global, args: &PublishArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &PublishArgs) -> Result<Exit, Exit> {
    let project = context::load(global)?.project;
    let topic = context::topic(&project, &args.topic)?;
    let attributes = attributes(&args.attributes)?;
    let bus = context::bus(&project, global, clock(global)?)?;
    let runtime = context::runtime()?;
    runtime.block_on(context::make_subscriptions(&project, bus.as_ref()))?;
    let contract = Contract::of(&project, &topic).map_err(|reason| fail(Exit::Usage, reason))?;
    let now = context::cause_time(global)?;
    let publish = |bodies: Vec<Vec<u8>>| {
        let broken: Vec<String> = bodies.iter().filter_map(|body| contract.broken(body, now)).collect();
        for reason in broken.iter().filter(|_| args.check || !global.quiet) {
            eprintln!("phase6: {}: {reason}", if args.check { "not published" } else { "warning" });
        }
        if args.check && !broken.is_empty() {
            return Err(Exit::Failed);
        }
        let messages: Vec<NewMessage> =
            bodies.into_iter().map(|body| NewMessage { body, attributes: attributes.clone() }).collect();
        runtime.block_on(together(bus.as_ref(), &topic, &messages)).map(|ids| say(global, &ids))
    };
    if args.jsonl {
        let mut lines = std::io::stdin().lock().lines();
        loop {
            let bodies = next_lines(&mut lines)?;
            if bodies.is_empty() {
                return Ok(Exit::Ok);
            }
            publish(bodies)?;
        }
    }
    publish(vec![body(args)?])?;
    Ok(Exit::Ok)
}

/// Messages that go to the bus together, so that they share its sync.
const TOGETHER: usize = 256;

/// The bodies of the next lines; empty lines are none. Nothing is left when standard input ends.
fn next_lines(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<Vec<Vec<u8>>, Exit> {
    let mut bodies = Vec::new();
    while bodies.len() < TOGETHER
        && let Some(line) = lines.next()
    {
        let line = line.map_err(|e| fail(Exit::Usage, format!("standard input cannot be read: {e}")))?;
        if !line.trim().is_empty() {
            bodies.push(line.into_bytes());
        }
    }
    Ok(bodies)
}

/// Publishes all; every publish is begun, in order, before the first is awaited.
async fn together(bus: &dyn Bus, topic: &str, messages: &[NewMessage]) -> Result<Vec<String>, Exit> {
    let mut under_way: Vec<_> = messages.iter().map(|message| Some(bus.publish(topic, message))).collect();
    let mut ids = vec![String::new(); messages.len()];
    std::future::poll_fn(|task| {
        for (id, slot) in ids.iter_mut().zip(&mut under_way) {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(task) {
                Poll::Ready(Ok(published)) => (*id, *slot) = (published, None),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(context::bus_failed(error))),
                Poll::Pending => {}
            }
        }
        if under_way.iter().all(Option::is_none) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(ids)
}

fn say(global: &Global, ids: &[String]) {
    match global.format {
        Format::Json | Format::Jsonl => println!("{}", json!({ "messageIds": ids })),
        _ if global.quiet => {}
        _ => ids.iter().for_each(|id| println!("{id}")),
    }
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
