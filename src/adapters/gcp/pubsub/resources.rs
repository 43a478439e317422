//! Topics and subscriptions as Pub/Sub keeps them: what is wanted, what is there, and the difference.

use crate::ports::bus::{BusError, BusErrorKind, Subscription};
use google_cloud_pubsub::model;
use google_cloud_wkt::Duration as WireDuration;
use std::time::Duration;

/// How long a topic keeps messages for subscriptions that begin at the earliest, and a subscription those that nobody
/// acknowledges: what the embedded bus keeps, and the longest that costs nothing extra for subscriptions.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The field of a subscription's lease, as the update mask names it.
pub const LEASE: &str = "ack_deadline_seconds";

/// What Pub/Sub calls things.
#[derive(Debug, Clone)]
pub struct Names {
    pub project: String,
}

impl Names {
    pub fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }

    pub fn subscription(&self, name: &str) -> String {
        format!("projects/{}/subscriptions/{name}", self.project)
    }

    /// The topic of a subscription, in short where it is of this project.
    pub fn short_topic(&self, path: &str) -> String {
        path.strip_prefix(&self.topic("")).unwrap_or(path).to_owned()
    }
}

/// Refuses what Pub/Sub would refuse, before anything is made.
/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions>
pub fn check(wanted: &Subscription) -> Result<(), BusError> {
    wanted.check()?;
    let name = &wanted.name;
    let refuse = |what: String| Err(BusError::new(BusErrorKind::Invalid, format!("subscription `{name}` {what}")));
    let (lease, (min, max)) = (wanted.lease, wanted.backoff);
    if !(10..=600).contains(&lease.as_secs()) {
        return refuse(format!("has a lease of {} s: Pub/Sub takes 10 to 600 s", lease.as_secs_f64()));
    }
    if min > max || max > Duration::from_secs(600) {
        return refuse(format!("has a backoff of {min:?} to {max:?}: Pub/Sub takes 0 to 600 s, the least first"));
    }
    if wanted.dead_letter_topic.is_some() && !(5..=100).contains(&wanted.max_attempts) {
        return refuse(format!("has {} attempts before the dead letter: Pub/Sub takes 5 to 100", wanted.max_attempts));
    }
    Ok(())
}

/// The topic as it is made.
pub fn topic(names: &Names, name: &str) -> model::Topic {
    model::Topic::new().set_name(names.topic(name)).set_message_retention_duration(wire(RETENTION))
}

/// The subscription as it is made.
pub fn subscription(names: &Names, wanted: &Subscription) -> model::Subscription {
    let (min, max) = wanted.backoff;
    let dead_letter = wanted.dead_letter_topic.as_ref().map(|topic| {
        model::DeadLetterPolicy::new()
            .set_dead_letter_topic(names.topic(topic))
            .set_max_delivery_attempts(i32::try_from(wanted.max_attempts).unwrap_or(i32::MAX))
    });
    model::Subscription::new()
        .set_name(names.subscription(&wanted.name))
        .set_topic(names.topic(&wanted.topic))
        .set_ack_deadline_seconds(i32::try_from(wanted.lease.as_secs()).unwrap_or(600))
        .set_message_retention_duration(wire(RETENTION))
        // Without it, a subscription that is idle for 31 days is deleted. A policy without a term is never.
        .set_expiration_policy(model::ExpirationPolicy::new())
        .set_retry_policy(model::RetryPolicy::new().set_minimum_backoff(wire(min)).set_maximum_backoff(wire(max)))
        .set_or_clear_dead_letter_policy(dead_letter)
}

/// The fields in which an existing subscription is not what is wanted, as Pub/Sub's update mask names them. A longer retention
/// is somebody's decision and stays.
pub fn differences(existing: &model::Subscription, wanted: &model::Subscription) -> Vec<&'static str> {
    let retention = |s: &model::Subscription| s.message_retention_duration.map_or(RETENTION, duration);
    let never = |s: &model::Subscription| s.expiration_policy.as_ref().is_some_and(|p| p.ttl.is_none());
    let backoff = |s: &model::Subscription| {
        let retry = s.retry_policy.as_ref();
        retry.map(|r| (r.minimum_backoff.map(duration), r.maximum_backoff.map(duration)))
    };
    let dead = |s: &model::Subscription| {
        s.dead_letter_policy.as_ref().map(|d| (d.dead_letter_topic.clone(), d.max_delivery_attempts))
    };
    [
        (LEASE, existing.ack_deadline_seconds == wanted.ack_deadline_seconds),
        ("message_retention_duration", retention(existing) >= retention(wanted)),
        ("expiration_policy", never(existing)),
        ("retry_policy", backoff(existing) == backoff(wanted)),
        ("dead_letter_policy", dead(existing) == dead(wanted)),
    ]
    .into_iter()
    .filter(|(_, same)| !same)
    .map(|(field, _)| field)
    .collect()
}

pub fn wire(duration: Duration) -> WireDuration {
    let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or(0);
    WireDuration::clamp(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos)
}

pub fn duration(wire: WireDuration) -> Duration {
    Duration::new(u64::try_from(wire.seconds()).unwrap_or(0), u32::try_from(wire.nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Subscription {
        Subscription {
            name: "phase6-export".into(),
            topic: "trigger".into(),
            lease: Duration::from_secs(60),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            max_attempts: 100,
            dead_letter_topic: Some("dead".into()),
            from_earliest: false,
        }
    }

    fn names() -> Names {
        Names { project: "p".into() }
    }

    #[test]
    fn each_difference_is_named_and_a_longer_retention_is_none() {
        let right = subscription(&names(), &wanted());
        assert_eq!(differences(&right, &right), [""; 0]);
        let month = right.clone().set_message_retention_duration(wire(4 * RETENTION));
        assert_eq!(differences(&month, &right), [""; 0]);
        let gcloud = model::Subscription::new()
            .set_ack_deadline_seconds(10)
            .set_expiration_policy(model::ExpirationPolicy::new().set_ttl(wire(Duration::from_secs(31 * 24 * 3600))))
            .set_message_retention_duration(wire(RETENTION / 7));
        let all = [
            "ack_deadline_seconds",
            "message_retention_duration",
            "expiration_policy",
            "retry_policy",
            "dead_letter_policy",
        ];
        assert_eq!(differences(&gcloud, &right), all);
    }

    #[test]
    fn what_pubsub_refuses_is_refused_before_it_is_asked() {
        let kind = |change: &dyn Fn(&mut Subscription)| {
            let mut subscription = wanted();
            change(&mut subscription);
            check(&subscription).err().map(|e| e.kind)
        };
        assert_eq!(kind(&|_| ()), None);
        let invalid = Some(BusErrorKind::Invalid);
        assert_eq!(kind(&|s| s.lease = Duration::from_secs(9)), invalid);
        assert_eq!(kind(&|s| s.lease = Duration::from_secs(601)), invalid);
        assert_eq!(kind(&|s| s.backoff.1 = Duration::from_secs(601)), invalid);
        assert_eq!(kind(&|s| s.max_attempts = 4), invalid);
        assert_eq!(kind(&|s| (s.max_attempts, s.dead_letter_topic) = (4, None)), None, "nothing counts them");
    }
}
