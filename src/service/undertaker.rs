//! Dead letters: what is refused, and what the bus gave up delivering, is set aside whole with its reason. Only a request that waits in
//! good order goes on: the bus counts its deliveries, and knows nothing of its patience.

use super::consumer::{Answer, Handler};
use super::{Service, Setup, Trouble, plan, retry, settings, worker};
use crate::model::message::{TriggerMessage, attributes};
use crate::ports::bus::{Delivery, Message, NewMessage, Subscription};
use crate::ports::cancel::Cancel;
use crate::state::State;
use crate::state::dead_letters::DeadLetter;
use crate::state::requests::{RequestRecord, RequestStatus};
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
        let of_run = self.service.state.request(&plan::request_id(&original.message)).await?;
        if let Some(record) = of_run.as_ref().filter(|record| may_wait(record, &setup, self.service.clock.now())) {
            return self.continued(&original, record).await;
        }
        bury(&self.service, &original, &subscription_of(delivery), &reason, of_run.as_ref().map(|r| r.run_id.as_str()))
            .await?;
        match of_run {
            Some(record) if !record.status.is_final() => worker::give_up(&self.service, record, &reason).await,
            _ => Ok(()),
        }
    }

    /// Publishes the message again, as one that continues its run: the deliveries are counted anew. Published twice, after a crash,
    /// it is one run all the same.
    async fn continued(&self, original: &Delivery, record: &RequestRecord) -> Result<(), Trouble> {
        let message = &original.message;
        self.service.bus.publish(&message.topic, &continuation(message, record)).await?;
        let reason = format!("run {} still waits: a new message continues it", record.run_id);
        self.service.comes_again(settings::WORKER, original, Duration::ZERO, &reason);
        Ok(())
    }
}

/// Whether a request that the bus gave up delivering only waited: for its data, or for its turn.
fn may_wait(record: &RequestRecord, setup: &Setup, now: Timestamp) -> bool {
    let patience = retry::patience(&setup.project, &record.exports, &setup.settings);
    record.status == RequestStatus::Waiting && now < retry::after(record.started_at, patience)
}

/// The message as it was, with what its own id and publish time said of the request.
fn continuation(message: &Message, record: &RequestRecord) -> NewMessage {
    let mut kept = message.attributes.clone();
    kept.insert(attributes::CAUSE_ID.to_owned(), record.cause.id.clone());
    kept.insert(attributes::CAUSE_TIME.to_owned(), record.cause.time.to_string());
    kept.insert(attributes::CONTINUES.to_owned(), record.run_id.clone());
    NewMessage { body: message.body.clone(), attributes: kept }
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
    if state.request(&plan::request_id(message)).await?.is_some() {
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
