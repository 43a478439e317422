//! `phase6 pull`: shows what is in a topic, and with `--ack` takes it.

use super::args::{Format, Global, PullArgs};
use super::context::{self, fail};
use super::exit::Exit;
use crate::config::{Project, forms};
use crate::ports::bus::{Delivery, Subscription};
use crate::ports::clock::SystemClock;
use crate::service::settings::{Settings, subscriptions};
use base64::Engine as _;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

pub fn run(global: &Global, args: &PullArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &PullArgs) -> Result<Exit, Exit> {
    let project = context::load(global)?.project;
    let topic = context::topic(&project, &args.topic)?;
    let wait = forms::duration(&args.wait)
        .map_err(|e| fail(Exit::Usage, format!("--wait {}: {e}; write it as 30s or 5m", args.wait)))?;
    let subscription = subscription(&project, args, &topic)?;
    let bus = context::bus(&project, global, Arc::new(SystemClock))?;
    context::runtime()?.block_on(async {
        context::make_subscriptions(&project, bus.as_ref()).await?;
        if let Some(own) = &subscription.own {
            bus.make(own).await.map_err(context::bus_failed)?;
        }
        let pulled = bus.pull(&subscription.name, usize::from(args.max), wait).await.map_err(context::bus_failed)?;
        show(global, &pulled);
        for delivery in &pulled {
            let done = if args.ack {
                bus.ack(&delivery.lease).await
            } else {
                bus.hand_back(&delivery.lease, Duration::ZERO).await
            };
            done.map_err(context::bus_failed)?;
        }
        bus.close().await;
        Ok(Exit::Ok)
    })
}

/// Where to pull from.
struct Source {
    name: String,
    /// This command's own subscription, to be made.
    own: Option<Subscription>,
}

fn subscription(project: &Project, args: &PullArgs, topic: &str) -> Result<Source, Exit> {
    let own = format!("phase6-pull-{topic}");
    let Some(name) = args.subscription.clone().filter(|name| *name != own) else {
        let own = Subscription {
            name: own,
            topic: topic.to_owned(),
            lease: Duration::from_secs(60),
            backoff: (Duration::ZERO, Duration::ZERO),
            max_attempts: 100,
            dead_letter_topic: None,
            from_earliest: true,
        };
        return Ok(Source { name: own.name.clone(), own: Some(own) });
    };
    let all = subscriptions(project, &Settings::default());
    match all.iter().find(|s| s.name == name) {
        Some(found) if found.topic == topic => Ok(Source { name, own: None }),
        Some(found) => Err(fail(
            Exit::Usage,
            format!("the subscription `{name}` is of the topic `{}`, not `{topic}`", found.topic),
        )),
        None => {
            let known: Vec<&str> =
                all.iter().filter(|s| s.topic == topic).map(|s| s.name.as_str()).chain([own.as_str()]).collect();
            let known = known.join(", ");
            Err(fail(Exit::Usage, format!("the topic `{topic}` has no subscription `{name}`: there are {known}")))
        }
    }
}

fn show(global: &Global, pulled: &[Delivery]) {
    match global.format {
        Format::Json => println!("{:#}", Value::Array(pulled.iter().map(as_json).collect())),
        Format::Jsonl => pulled.iter().for_each(|d| println!("{}", as_json(d))),
        _ if pulled.is_empty() => {
            if !global.quiet {
                eprintln!("no messages");
            }
        }
        _ => pulled.iter().for_each(|d| print!("{}", as_text(d))),
    }
}

/// The body under the name that says what it is: `message` (JSON), `text`, or `data` (base64, as Pub/Sub names it).
fn body(bytes: &[u8]) -> (&'static str, Value) {
    match std::str::from_utf8(bytes) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(value) => ("message", value),
            Err(_) => ("text", text.into()),
        },
        Err(_) => ("data", base64::engine::general_purpose::STANDARD.encode(bytes).into()),
    }
}

fn as_json(delivery: &Delivery) -> Value {
    let message = &delivery.message;
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("messageId", message.id.as_str().into());
    set("publishTime", message.published_at.to_string().into());
    set("topic", message.topic.as_str().into());
    set("deliveryAttempt", delivery.attempt.into());
    set("attributes", json!(message.attributes));
    let (name, value) = body(&message.body);
    set(name, value);
    object.into()
}

fn as_text(delivery: &Delivery) -> String {
    let message = &delivery.message;
    let mut text = format!("{}  {}  attempt {}\n", message.id, message.published_at, delivery.attempt);
    for (name, value) in &message.attributes {
        // Control characters of others stay off the terminal.
        let _ = writeln!(text, "  {}={}", name.escape_debug(), value.escape_debug());
    }
    let shown = match body(&message.body) {
        ("message", value) => format!("{value:#}"),
        ("data", value) => format!("base64 {}", value.as_str().unwrap_or_default()),
        (_, value) => value.as_str().unwrap_or_default().escape_debug().to_string().replace("\\n", "\n"),
    };
    for line in shown.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}
