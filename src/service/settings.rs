//! The service's numbers, with the subscriptions that a project needs.

use super::gate::TRIGGER_TOPIC;
use crate::config::Project;
use crate::config::model::{GIVE_UP_AFTER, RETRY_EVERY};
use crate::ports::bus::Subscription;
use std::time::Duration;

/// The key under `topics:` that gets completion messages.
pub const COMPLETE_TOPIC: &str = "export_complete";

/// The worker's subscription.
pub const WORKER: &str = "phase6-export";

/// Topic and subscription of what the bus gave up delivering.
pub const DEAD_LETTER: &str = "phase6-dead-letter";

/// The service's numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests that are worked at once.
    pub requests: usize,
    /// Exports that run at once, over all requests.
    pub exports: usize,
    /// How long a delivery is leased; extended while it is worked.
    pub lease: Duration,
    /// How long one pull waits; also how long a shutdown may go unnoticed.
    pub pull_wait: Duration,
    /// How long a whole request may take.
    pub run_timeout: Duration,
    /// Attempts of an export on transient errors.
    pub max_attempts: u32,
    /// How long transient and not-ready exports are tried again, from the first attempt, where the export does not say.
    pub give_up_after: Duration,
    /// The pause before a not-ready export is asked again, where it does not say.
    pub retry_every: Duration,
    /// Whether a scheduler of our own runs; without it the jobs' slots are settled when an outside clock's ticks come.
    pub own_clock: bool,
    /// The first pause after a transient error; doubled with each attempt, at most five minutes.
    pub backoff: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests: 4,
            exports: 2,
            lease: Duration::from_secs(60),
            pull_wait: Duration::from_millis(500),
            run_timeout: Duration::from_secs(30 * 60),
            max_attempts: 5,
            give_up_after: GIVE_UP_AFTER,
            retry_every: RETRY_EVERY,
            own_clock: true,
            backoff: Duration::from_secs(1),
        }
    }
}

/// The subscriptions of a project: one for each trigger, the worker's, and the dead letters'.
pub fn subscriptions(project: &Project, settings: &Settings) -> Vec<Subscription> {
    let subscription = |name: String, topic: &str| Subscription {
        name,
        topic: topic.to_owned(),
        lease: settings.lease,
        // Pub/Sub adds it to every delay that a message is handed back with, so that it is short; it slows crashes.
        backoff: (Duration::from_secs(1), Duration::from_secs(60)),
        // The most that Pub/Sub takes. It is for messages that kill their worker; what waits in good order is a delivery each time
        // too, and its pauses leave room for that (`retry`).
        max_attempts: 100,
        dead_letter_topic: Some(DEAD_LETTER.to_owned()),
        from_earliest: false,
    };
    let mut all = Vec::new();
    for trigger in project.trigger_decls() {
        if let Some(topic) = project.topic(&trigger.topic.value) {
            all.push(subscription(trigger_subscription(&trigger.name.value), topic));
        }
    }
    if let Some(topic) = project.topic(TRIGGER_TOPIC) {
        all.push(subscription(WORKER.to_owned(), topic));
    }
    all.push(Subscription { dead_letter_topic: None, ..subscription(DEAD_LETTER.to_owned(), DEAD_LETTER) });
    all
}

/// The subscription of a trigger.
pub fn trigger_subscription(trigger: &str) -> String {
    format!("phase6-{trigger}")
}
