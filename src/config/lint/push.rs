//! What comes by push is not what the service pulls.

use crate::config::Project;
use crate::config::model::BusTarget;
use crate::diagnostics::Diagnostic;

/// Warns of `service.push` beside a bus on Pub/Sub, where the service pulls every topic that it listens to: a push subscription
/// on one of them brings each message a second time.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let Some(push) = &project.service.push else { return Vec::new() };
    let on_pubsub = project.targets.iter().filter(|target| matches!(target.bus, BusTarget::PubSub { .. }));
    on_pubsub
        .map(|target| {
            let message = format!("the target `{}` has its bus on Pub/Sub, from where the service pulls", target.name.value);
            Diagnostic::warning("push-and-pull", message, push.span)
                .also(target.name.span, "this target")
                .help("a push subscription on a topic under `topics:` would bring each of its messages twice: push only what comes from elsewhere, or leave `push` out")
        })
        .collect()
}
