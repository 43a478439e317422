//! A stream of messages to `phase6 serve`, and the judgement of what became of them: `design/semantics.md` §8 over the stores and
//! topics alone, wherever they lie and whatever happened to the processes in between.

use crate::harness::{Sandbox, root};
use jiff::civil::Date;
use phase6::adapters::faulty::Random;
use phase6::engine::invariants::{self as published, Violation};
use phase6::engine::watermark::Watermark;
use phase6::model::completion::CompletionMessage;
use phase6::ports::bus::{Bus, Message, NewMessage, Subscription};
use phase6::ports::store::ObjectStore;
use phase6::service::invariants as served;
#[cfg(feature = "gcp")]
use phase6::service::settings::{DEAD_LETTER, WORKER};
use phase6::state::State;
use phase6::state::requests::RequestStatus;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const PROJECT: &str = r#"version: 1
calendar: {timezone: America/New_York, day_starts_at: "04:00"}
targets:
TARGETS
topics: {predictions_complete: upstream, export_trigger: trigger, export_complete: complete}
triggers:
  - name: orchestrator
    topic: predictions_complete
    schema: schemas/messages/predictions-complete.schema.json
    dedupe_by: =message.metadata.batch_id
    when:
      - {if: '=message.status in ["success", "partial"]', else: status is neither success nor partial}
    publish:
      topic: export_trigger
      message: {export_types: [days, cards], target_date: =message.game_date, update_latest: true, upstream_batch_id: =message.metadata.batch_id}
"#;

const DAYS: &str = r"export: days
description: A document for each day, and the latest of them.
params: {target_date: date}
queries:
  teams: {sql: 'SELECT team, wins FROM `league.teams` ORDER BY team'}
shape: {date: =target_date, made: =now, teams: {$each: teams, $fields: [team, wins]}}
files: [{path: 'days/{{ target_date }}.json', aliases: [{path: days/latest.json}]}]
";

const CARDS: &str = r"export: cards
description: A card for each team, and a list of them.
params: {target_date: date}
queries:
  teams: {sql: 'SELECT team, wins FROM `league.teams` ORDER BY team'}
documents:
  - name: card
    each: teams by team
    shape: {team: =key, date: =target_date}
    files: [{path: 'cards/{{ key }}.json'}]
  - name: index
    index_of: card
    shape: {date: =target_date, teams: {$each: teams, $value: =row.team}}
    files: [{path: cards/index.json}]
";

/// What a job asks for.
const BEAT: &str = r"export: beat
description: A document that a job asks for.
params: {target_date: date}
queries:
  teams: {sql: 'SELECT team, wins FROM `league.teams` ORDER BY team'}
shape: {date: =target_date, made: =now, best: {$row: teams, $value: =row.team}}
files: [{path: 'beat/{{ target_date }}.json'}]
";

const TEAMS: [&str; 3] = ["BOS", "DEN", "LAL"];

/// The gate's subscription.
pub const TRIGGER: &str = "phase6-orchestrator";

/// The exports, on a target of one YAML line; further lines (`scheduler:`) as they are.
pub fn sandbox(target: &str, more: &str) -> Sandbox {
    let sandbox = Sandbox::empty();
    sandbox.write("phase6_publishing.yaml", &(PROJECT.replace("TARGETS", &format!("  local: {target}")) + more));
    sandbox.write("exports/days.yaml", DAYS);
    sandbox.write("exports/cards.yaml", CARDS);
    sandbox.write("exports/beat.yaml", BEAT);
    sandbox.write("warehouse/league/teams.csv", "team,wins\nBOS,3\nDEN,2\nLAL,1\n");
    let table = "CREATE TABLE league.teams (team STRING NOT NULL, wins INT64 NOT NULL);\n";
    sandbox.write("schemas/tables/league.sql", table);
    let contract = "schemas/messages/predictions-complete.schema.json";
    sandbox.write(contract, &std::fs::read_to_string(root().join(contract)).unwrap());
    sandbox
}

/// What was sent, and what was heard on the three topics.
pub struct Stream {
    pub bus: Arc<dyn Bus>,
    pub public: Arc<dyn ObjectStore>,
    pub state: State,
    pub random: Random,
    /// Ids by topic.
    sent: BTreeMap<&'static str, BTreeSet<String>>,
    /// The last body of each topic, sent again now and then.
    last: BTreeMap<&'static str, String>,
    /// By topic and id.
    heard: BTreeMap<&'static str, BTreeMap<String, Message>>,
    /// Heard messages that were not answered when last looked at.
    open: BTreeSet<(&'static str, String)>,
}

/// How it all ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub upstream: usize,
    pub triggers: usize,
    pub requests: usize,
    pub duplicates: usize,
    /// Requests that did not succeed, with the reason.
    pub failed: Vec<String>,
    pub completions: usize,
    pub dead_letters: usize,
}

const TOPICS: [&str; 3] = ["upstream", "trigger", "complete"];

fn witness(topic: &str) -> Subscription {
    Subscription {
        name: format!("witness-{topic}"),
        topic: topic.to_owned(),
        lease: Duration::from_secs(60),
        backoff: (Duration::from_secs(60), Duration::from_secs(60)),
        max_attempts: 5,
        dead_letter_topic: None,
        from_earliest: true,
    }
}

impl Stream {
    /// Listens to the topics from now on.
    pub async fn new(bus: Arc<dyn Bus>, public: Arc<dyn ObjectStore>, state: State, seed: u64) -> Stream {
        for topic in TOPICS {
            bus.ensure(&witness(topic)).await.unwrap();
        }
        let (sent, last, heard, open) = Default::default();
        Stream { bus, public, state, random: Random::new(seed), sent, last, heard, open }
    }

    pub async fn publish(&mut self, topic: &'static str, body: String) {
        let message = NewMessage { body: body.clone().into_bytes(), ..NewMessage::default() };
        let id = self.bus.publish(topic, &message).await.unwrap();
        self.sent.entry(topic).or_default().insert(id);
        self.last.insert(topic, body);
    }

    /// Mostly good messages, some a second time, some that a rule or a check turns away.
    pub async fn send(&mut self, n: usize) {
        let topic = if self.random.below(3) == 0 { "upstream" } else { "trigger" };
        let day = format!("2025-12-{:02}", 1 + self.random.below(20));
        let kind = self.random.below(20);
        let body = match (topic, kind) {
            (_, 0..4) if self.last.contains_key(topic) => self.last[topic].clone(),
            (_, 4) => "no JSON".to_owned(),
            ("upstream", _) => {
                let status = if kind == 5 { "failed" } else { "success" };
                let metadata = json!({"batch_id": format!("batch-{n}"), "completion_pct": 99.5});
                json!({"status": status, "game_date": day, "metadata": metadata}).to_string()
            }
            (_, 5) => json!({"export_types": ["nothing"], "target_date": day}).to_string(),
            _ => {
                let exports = [json!(["days"]), json!(["cards"]), json!(["days", "cards"])]
                    [self.random.below(3) as usize]
                    .clone();
                let latest = self.random.below(4) > 0;
                json!({"export_types": exports, "target_date": day, "correlation_id": format!("c-{n}"), "update_latest": latest})
                    .to_string()
            }
        };
        self.publish(topic, body).await;
    }

    /// Takes what came on the topics since.
    pub async fn hear(&mut self) {
        for topic in TOPICS {
            loop {
                let pulled = self.bus.pull(&witness(topic).name, 1000, Duration::from_millis(20)).await.unwrap();
                if pulled.is_empty() {
                    break;
                }
                for delivery in pulled {
                    self.bus.ack(&delivery.lease).await.unwrap();
                    let message = delivery.message;
                    if topic != "complete" && !self.heard.entry(topic).or_default().contains_key(&message.id) {
                        self.open.insert((topic, message.id.clone()));
                    }
                    self.heard.entry(topic).or_default().insert(message.id.clone(), message);
                }
            }
        }
    }

    /// Requests of whose end no completion message tells; a duplicate has none.
    async fn untold(&self) -> Vec<String> {
        let told: BTreeSet<String> = self.messages("complete").map(|m| completion(m).run_id).collect();
        let requests = self.state.requests(usize::MAX).await.unwrap();
        let of_its_own = requests.into_iter().filter(|r| r.status != RequestStatus::Duplicate);
        let untold = of_its_own.filter(|r| !told.contains(&r.run_id));
        untold
            .map(|r| format!("{} ({:?}, cause {}, message {:?})", r.run_id, r.status, r.cause.id, r.cause.message_id))
            .collect()
    }

    fn has(&self, topic: &str, id: &str) -> bool {
        self.heard.get(topic).is_some_and(|heard| heard.contains_key(id))
    }

    fn messages(&self, topic: &str) -> impl Iterator<Item = &Message> {
        self.heard.get(topic).into_iter().flat_map(BTreeMap::values)
    }

    /// How many completion messages were heard.
    pub fn completions(&self) -> usize {
        self.messages("complete").count()
    }

    /// Everything that must be true when all has come to its end.
    pub async fn judge(&mut self) -> (Vec<Violation>, Summary) {
        // What was published is not heard at once.
        for _ in 0..100 {
            self.hear().await;
            if self.untold().await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for (topic, sent) in &self.sent {
            assert!(sent.iter().all(|id| self.has(topic, id)), "`{topic}` kept all {} messages", sent.len());
        }
        let mut found = self.of_requests().await;
        found.extend(self.of_documents().await);
        (found, self.summary().await)
    }

    async fn of_requests(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for message in self.messages("upstream").chain(self.messages("trigger")) {
            found.extend(served::acknowledged_is_answered(&self.state, message).await);
        }
        let requests = self.state.requests(usize::MAX).await.unwrap();
        let ids: Vec<String> = requests.iter().filter_map(|r| r.cause.message_id.clone()).collect();
        found.extend(served::everything_came_to_an_end(&self.state, &ids).await);
        found.extend(served::one_run_for_each_cause(&self.state).await);
        for message in self.messages("complete") {
            found.extend(served::completion_equals_record(&self.state, &completion(message)).await);
        }
        let untold = self.untold().await.into_iter();
        found.extend(
            untold.map(|run| Violation { invariant: 3, what: format!("nobody was told of the end of run {run}") }),
        );
        found
    }

    async fn of_documents(&self) -> Vec<Violation> {
        let public = self.public.as_ref();
        let mut found = published::only_valid_documents(public, belongs).await;
        found.extend(published::no_path_goes_back(public).await);
        let day = |mark: &Watermark| mark.target_date.map(|date| format!("days/{date}.json")).into_iter().collect();
        found.extend(published::no_pointer_runs_ahead(public, "days/latest.json", day).await);
        let cards = |_: &Watermark| TEAMS.iter().map(|team| format!("cards/{team}.json")).collect();
        found.extend(published::no_pointer_runs_ahead(public, "cards/index.json", cards).await);
        for export in ["days", "cards", "beat"] {
            found.extend(published::one_release_for_each_run_key(&self.state, export).await);
            found.extend(published::releases_name_what_exists(public, &self.state, export).await);
        }
        found
    }

    async fn summary(&self) -> Summary {
        let requests = self.state.requests(usize::MAX).await.unwrap();
        let of = |status| requests.iter().filter(|r| r.status == status).count();
        let bad = requests.iter().filter(|r| !matches!(r.status, RequestStatus::Duplicate | RequestStatus::Success));
        Summary {
            upstream: self.messages("upstream").count(),
            triggers: self.messages("trigger").count(),
            requests: requests.len(),
            duplicates: of(RequestStatus::Duplicate),
            failed: bad
                .map(|r| {
                    format!(
                        "{}: {:?}: {:?}",
                        r.run_id,
                        r.status,
                        r.tasks.iter().map(|t| &t.report.reason).collect::<Vec<_>>()
                    )
                })
                .collect(),
            completions: self.completions(),
            dead_letters: self.state.dead_letter_count().await.unwrap() as usize,
        }
    }
}

/// For processes that only the state can be asked about: a bus of the cloud does not tell what waits.
#[cfg(feature = "gcp")]
impl Stream {
    /// How many messages have no answer yet, as far as the state says; at most `look` of them are looked at.
    pub async fn open(&mut self, look: usize) -> usize {
        self.hear().await;
        let looked: Vec<_> = self.open.iter().take(look).cloned().collect();
        for (topic, id) in looked {
            let message = &self.heard[topic][&id];
            let trouble = served::acknowledged_is_answered(&self.state, message).await;
            if trouble.is_none() {
                self.open.remove(&(topic, id));
            }
        }
        let sent = self.sent.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic, id)));
        let waiting = self.open.len() + sent.filter(|(topic, id)| !self.has(topic, id)).count();
        // What a gate asked for has still to be heard, and whose end is recorded has still to be told.
        if waiting > 0 { waiting } else { self.unheard().await + self.untold().await.len() }
    }

    /// Messages that a gate published and that were not heard yet.
    async fn unheard(&self) -> usize {
        let decisions = self.state.decisions(usize::MAX).await.unwrap();
        decisions.iter().filter_map(|d| d.output_message.as_ref()).filter(|id| !self.has("trigger", id)).count()
    }

    /// What is open, for the message of a test that waits in vain.
    pub async fn tell(&self) -> String {
        let mut text = String::new();
        for (topic, id) in self.open.iter().take(5) {
            let message = &self.heard[topic][id];
            let record = self.state.request(&phase6::service::plan::run_id(message)).await;
            let body = String::from_utf8_lossy(&message.body).into_owned();
            text += &format!(
                "{topic} {id} {body}: {:?}\n",
                record.map(|r| r.map(|r| (r.status, r.reason, r.attempts, r.next_attempt)))
            );
        }
        text + &format!("untold: {:?}", self.untold().await)
    }

    /// The slots of a job's ticks that were published, repeated ones included.
    pub fn ticks(&self, job: &str) -> Vec<jiff::Timestamp> {
        let prefix = format!("tick/{job}/");
        let cause = |m: &Message| {
            m.attributes.get(phase6::model::message::attributes::CAUSE_ID)?.strip_prefix(&prefix)?.parse().ok()
        };
        self.messages("trigger").filter_map(cause).collect()
    }

    /// 9. No subscription has anything left, leased or not: nothing is delivered within the term of a lease.
    pub async fn nothing_left(&self, within: Duration) -> Vec<Violation> {
        let left = async |name: &'static str| {
            let left = self.bus.pull(name, 10, within).await.unwrap();
            left.into_iter().map(move |left| Violation {
                invariant: 9,
                what: format!("message {} of `{name}` came again, attempt {}", left.message.id, left.attempt),
            })
        };
        let (triggers, work, dead) = tokio::join!(left(TRIGGER), left(WORKER), left(DEAD_LETTER));
        triggers.chain(work).chain(dead).collect()
    }
}

fn completion(message: &Message) -> CompletionMessage {
    serde_json::from_slice(&message.body).unwrap()
}

/// Each document is whole and says where it belongs.
fn belongs(path: &str, bytes: &[u8]) -> Result<(), String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let date: Date =
        document["date"].as_str().unwrap_or_default().parse().map_err(|_| format!("no date: {document}"))?;
    let name = path.trim_end_matches(".json");
    let right = match name.split_once('/') {
        Some(("days", "latest")) => document["teams"].as_array().is_some_and(|t| t.len() == TEAMS.len()),
        Some(("days" | "beat", day)) => date.to_string() == day,
        Some(("cards", "index")) => document["teams"] == json!(TEAMS),
        Some(("cards", team)) => document["team"] == team,
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("is not what belongs there: {document}")) }
}
