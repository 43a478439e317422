//! Dead letters: what is refused, and what the bus gave up delivering, is set aside whole with its reason.

use super::consumer::{Answer, Handler};
use super::{Service, Trouble, plan, settings, worker};
use crate::model::message::TriggerMessage;
use crate::ports::bus::{Delivery, Subscription};
use crate::ports::cancel::Cancel;
use crate::state::State;
use crate::state::dead_letters::DeadLetter;
use crate::telemetry::{DeadLettered, TraceContext};
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// Sets a message aside. The record's name is the message's, so that a redelivery writes it again instead of twice.
pub async fn bury(
    service: &Service,
    delivery: &Delivery,
    subscription: &str,
    reason: &str,
    run_id: Option<&str>,
) -> Result<(), Trouble> {
    let message = &delivery.message;
    let letter = DeadLetter {
        id: plan::run_id(message),
        topic: message.topic.clone(),
        subscription: subscription.to_owned(),
        message_id: message.id.clone(),
        published_at: message.published_at,
        attributes: message.attributes.clone(),
        size: message.body.len() as u64,
        reason: reason.to_owned(),
        attempts: delivery.attempt,
        dead_at: service.clock.now(),
        run_id: run_id.map(str::to_owned),
    };
    service.state.bury(&letter, &message.body).await?;
    service.telemetry.emit(&DeadLettered {
        id: &letter.id,
        topic: &letter.topic,
        subscription,
        message_id: &letter.message_id,
        reason,
        attempts: letter.attempts,
        run_id,
        trace: TraceContext::of(&message.attributes).as_ref(),
    });
    Ok(())
}

/// Takes the messages of the dead-letter topic into the records.
pub struct Undertaker {
    pub service: Service,
}

#[async_trait]
impl Handler for Undertaker {
    async fn handle(&self, delivery: &Delivery, _cancel: &Cancel) -> Answer {
        match self.take(delivery).await {
            Ok(()) => Answer::Ack,
            Err(Trouble(reason)) => {
                self.service.comes_again(settings::DEAD_LETTER, delivery, Duration::from_secs(5), &reason)
            }
        }
    }
}

impl Undertaker {
    async fn take(&self, delivery: &Delivery) -> Result<(), Trouble> {
        let setup = self.service.live.now();
        let subscriptions = settings::subscriptions(&setup.project, &setup.settings);
        let original = identify(&self.service.state, original(delivery, &subscriptions)).await?;
        let attempts = delivery.message.attributes.get(&source("DeliveryCount"));
        let reason = format!(
            "it was delivered {} times without an answer: its worker died each time, or never came to an end",
            attempts.map_or("many", String::as_str)
        );
        let run_id = plan::run_id(&original.message);
        let of_run = self.service.state.request(&run_id).await?;
        bury(&self.service, &original, &subscription_of(delivery), &reason, of_run.as_ref().map(|r| r.run_id.as_str()))
            .await?;
        match of_run {
            Some(record) if !record.status.is_final() => worker::give_up(&self.service, record, &reason).await,
            _ => Ok(()),
        }
    }
}

fn source(name: &str) -> String {
    format!("CloudPubSubDeadLetterSource{name}")
}

/// The subscription that gave the message up, without the project that some buses put before it.
fn subscription_of(delivery: &Delivery) -> String {
    let name = delivery.message.attributes.get(&source("Subscription")).map_or("", String::as_str);
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The message as it was before the bus moved it: a dead-letter copy has an id and a publish time of its own. Pub/Sub does not
/// say which topic it was on, but of which subscription; the id stays the copy's where the bus does not tell it.
fn original(delivery: &Delivery, subscriptions: &[Subscription]) -> Delivery {
    let mut original = delivery.clone();
    let subscription = subscription_of(delivery);
    let of_subscription = subscriptions.iter().find(|s| s.name == subscription).map(|s| s.topic.clone());
    let message = &mut original.message;
    let mut take = |name: &str| message.attributes.remove(&source(name));
    let (id, topic, time) = (take("MessageId"), take("Topic"), take("TopicPublishTime"));
    let attempts = take("DeliveryCount").and_then(|n| n.parse().ok());
    take("Subscription");
    take("SubscriptionProject");
    message.id = id.unwrap_or_else(|| message.id.clone());
    message.topic = topic.or(of_subscription).unwrap_or_else(|| message.topic.clone());
    message.published_at = time.and_then(|t| t.parse::<Timestamp>().ok()).unwrap_or(message.published_at);
    original.attempt = attempts.unwrap_or(original.attempt);
    original
}

/// Where the bus does not tell the message's id: a run that was begun for it has recorded everything else of it.
async fn identify(state: &State, mut original: Delivery) -> Result<Delivery, Trouble> {
    let message = &original.message;
    if state.request(&plan::run_id(message)).await?.is_some() {
        return Ok(original);
    }
    let Ok(body) = TriggerMessage::read(&message.body) else { return Ok(original) };
    let body = serde_json::to_value(body).unwrap_or_default();
    for id in state.request_ids_beginning(&plan::run_ids_of(message.published_at)).await? {
        let Some(record) = state.request(&id).await? else { continue };
        let cause = &record.cause;
        let same = cause.topic.as_ref() == Some(&message.topic)
            && cause.published_at == Some(message.published_at)
            && cause.attributes == message.attributes
            && cause.message == body;
        if let Some(id) = cause.message_id.as_ref().filter(|_| same && !record.status.is_final()) {
            original.message.id = id.clone();
            break;
        }
    }
    Ok(original)
}

#[cfg(test)]
mod tests;
