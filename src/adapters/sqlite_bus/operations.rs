//! What the bus's calls do in the database. Each runs inside the transaction that `worker` has begun.

use super::RETENTION;
use super::errors::Failure;
use super::schema;
use super::worker::Effort;
use crate::ports::bus::{
    Backlog, BusError, BusErrorKind, Delivery, LeaseId, Message, NewMessage, Subscription, dead_letter_attributes,
};
use crate::ports::clock::Clock;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A pull stops at so many bytes of bodies, so that no number of large messages fills the memory.
const PULL_BYTES: usize = 32_000_000;
/// Messages that one batch of a sweep deletes.
const SWEEP_BATCH: u32 = 200;

/// The connection and what its operations need.
pub struct Operations {
    connection: Connection,
    clock: Arc<dyn Clock>,
    bus: String,
    /// Whether this transaction makes something due.
    wakes: Cell<bool>,
    /// Transactions so far.
    #[cfg(test)]
    commits: Cell<u64>,
    /// The database's file, which somebody may remove while it is in use.
    file: schema::Identity,
    /// Whether commits are synced at the moment.
    synced: Cell<bool>,
}

/// A subscription's row.
struct Queue {
    id: i64,
    settings: Subscription,
}

/// A lease's token, read: `message.attempt`.
pub struct Lease {
    subscription: String,
    message: i64,
    attempt: u32,
}

impl Lease {
    pub fn parse(lease: &LeaseId) -> Result<Self, BusError> {
        let parts = lease.token.split_once('.').map(|(message, attempt)| (message.parse(), attempt.parse()));
        let Some((Ok(message), Ok(attempt))) = parts else {
            let reason = format!("`{}` is no lease of an embedded bus", lease.token);
            return Err(BusError::new(BusErrorKind::Invalid, reason));
        };
        Ok(Self { subscription: lease.subscription.clone(), message, attempt })
    }
}

/// A waiting message, read for delivery.
struct Due {
    number: i64,
    attempt: u32,
    message: Message,
}

impl Operations {
    pub fn new(opened: schema::Opened, clock: Arc<dyn Clock>, bus: String) -> Self {
        let schema::Opened { connection, file } = opened;
        Self {
            connection,
            clock,
            bus,
            file,
            wakes: Cell::new(false),
            #[cfg(test)]
            commits: Cell::new(0),
            synced: Cell::new(true),
        }
    }

    pub fn bus(&self) -> &str {
        &self.bus
    }

    pub fn take_wakes(&self) -> bool {
        self.wakes.take()
    }

    /// Refuses to go on with a file that nobody else can see.
    pub fn check_file(&self) -> Result<(), BusError> {
        if self.file.is_in_place() {
            return Ok(());
        }
        let reason = format!("the {} was removed or replaced while it was in use: start again", self.bus);
        Err(BusError::new(BusErrorKind::Fatal, reason))
    }

    pub fn begin(&self, effort: Effort) -> rusqlite::Result<()> {
        if effort == Effort::Read {
            return Ok(());
        }
        let synced = effort == Effort::Synced;
        if self.synced.replace(synced) != synced {
            self.connection.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?;
        }
        self.execute("BEGIN IMMEDIATE", [])?;
        Ok(())
    }

    pub fn commit(&self, effort: Effort) -> rusqlite::Result<()> {
        if effort > Effort::Read {
            self.execute("COMMIT", [])?;
            #[cfg(test)]
            self.commits.set(self.commits.get() + 1);
        }
        Ok(())
    }

    pub fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // SQLite rolls back by itself where it cannot be told to.
            drop(self.execute("ROLLBACK", []));
        }
    }

    pub fn commits_of_others(&self) -> rusqlite::Result<i64> {
        self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.connection.prepare_cached(sql)?.execute(values)
    }

    fn now(&self) -> i64 {
        self.clock.now().as_microsecond()
    }

    fn queue(&self, name: &str) -> Result<Queue, Failure> {
        let sql = "SELECT s.id, t.name, s.lease, s.backoff_min, s.backoff_max, s.max_attempts, s.dead_letter_topic,
                          s.from_earliest
                   FROM subscription s JOIN topic t ON t.id = s.topic WHERE s.name = ?";
        let read = |row: &rusqlite::Row<'_>| {
            let settings = Subscription {
                name: name.to_owned(),
                topic: row.get(1)?,
                lease: duration(row.get(2)?),
                backoff: (duration(row.get(3)?), duration(row.get(4)?)),
                max_attempts: row.get(5)?,
                dead_letter_topic: row.get(6)?,
                from_earliest: row.get(7)?,
            };
            Ok(Queue { id: row.get(0)?, settings })
        };
        let found = self.connection.prepare_cached(sql)?.query_row([name], read).optional()?;
        found.ok_or_else(|| {
            let reason = format!("the {} has no subscription `{name}`", self.bus);
            Failure::Refused(BusError::new(BusErrorKind::NotFound, reason))
        })
    }

    /// The topic's number; it is made where it is absent.
    fn topic(&self, name: &str) -> rusqlite::Result<i64> {
        let mut find = self.connection.prepare_cached("SELECT id FROM topic WHERE name = ?")?;
        if let Some(id) = find.query_row([name], |row| row.get(0)).optional()? {
            return Ok(id);
        }
        self.execute("INSERT INTO topic(name) VALUES(?)", [name])?;
        Ok(self.connection.last_insert_rowid())
    }

    fn existing(&self, name: &str) -> Result<Option<Queue>, Failure> {
        match self.queue(name) {
            Ok(queue) => Ok(Some(queue)),
            Err(Failure::Refused(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    pub fn make(&self, wanted: &Subscription) -> Result<(), Failure> {
        if self.existing(&wanted.name)?.is_some() { Ok(()) } else { self.ensure(wanted) }
    }

    pub fn ensure(&self, wanted: &Subscription) -> Result<(), Failure> {
        let existing = self.existing(&wanted.name)?;
        if let Some(queue) = existing.as_ref().filter(|q| q.settings.topic != wanted.topic) {
            let (name, topic) = (&wanted.name, &queue.settings.topic);
            let reason = format!("subscription `{name}` belongs to the topic `{topic}` and cannot be moved");
            return Err(BusError::new(BusErrorKind::Invalid, reason).into());
        }
        if existing.as_ref().is_some_and(|q| q.settings == *wanted) {
            // Nothing to write, nothing to sync.
            return Ok(());
        }
        let topic = self.topic(&wanted.topic)?;
        if let Some(dead_letter) = &wanted.dead_letter_topic {
            self.topic(dead_letter)?;
        }
        self.execute(
            "INSERT INTO subscription(name, topic, lease, backoff_min, backoff_max, max_attempts, dead_letter_topic,
                                      from_earliest)
             VALUES(?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT(name) DO UPDATE SET lease = excluded.lease, backoff_min = excluded.backoff_min,
                 backoff_max = excluded.backoff_max, max_attempts = excluded.max_attempts,
                 dead_letter_topic = excluded.dead_letter_topic, from_earliest = excluded.from_earliest",
            params![
                wanted.name,
                topic,
                micros(wanted.lease),
                micros(wanted.backoff.0),
                micros(wanted.backoff.1),
                wanted.max_attempts,
                wanted.dead_letter_topic,
                wanted.from_earliest
            ],
        )?;
        if existing.is_none() && wanted.from_earliest {
            self.execute(
                "INSERT INTO waiting(subscription, message, due, leased_until, attempt)
                 SELECT ?, id, published, 0, 0 FROM message WHERE topic = ?",
                [self.connection.last_insert_rowid(), topic],
            )?;
            self.wakes.set(true);
        }
        Ok(())
    }

    pub fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, Failure> {
        let topic = self.topic(topic)?;
        let now = self.now();
        let attributes = serde_json::to_string(&message.attributes).expect("texts by texts are JSON");
        self.execute(
            "INSERT INTO message(topic, published, attributes, body) VALUES(?, ?, ?, ?)",
            params![topic, now, attributes, message.body],
        )?;
        let number = self.connection.last_insert_rowid();
        self.execute(
            "INSERT INTO waiting(subscription, message, due, leased_until, attempt)
             SELECT id, ?, ?, 0, 0 FROM subscription WHERE topic = ?",
            [number, now, topic],
        )?;
        self.wakes.set(true);
        Ok(number.to_string())
    }

    /// How long until the next message may be delivered: zero when it may be now, none when nothing waits.
    pub fn until_due(&self, subscription: &str) -> Result<Option<Duration>, Failure> {
        let queue = self.queue(subscription)?;
        let sql = "SELECT due FROM waiting WHERE subscription = ? ORDER BY due LIMIT 1";
        let due = self.connection.prepare_cached(sql)?.query_row([queue.id], |row| row.get::<_, i64>(0)).optional()?;
        Ok(due.map(|due| duration(due.saturating_sub(self.now()))))
    }

    pub fn pull(&self, subscription: &str, max: usize) -> Result<Vec<Delivery>, Failure> {
        let queue = self.queue(subscription)?;
        let now = self.now();
        let mut deliveries = Vec::new();
        for due in self.read_due(&queue, now, max)? {
            if queue.settings.is_last(due.attempt) {
                self.bury(&queue, &due)?;
                continue;
            }
            let attempt = due.attempt + 1;
            self.lease(&queue, due.number, attempt, now, queue.settings.lease)?;
            let token = format!("{}.{attempt}", due.number);
            let lease = LeaseId { subscription: subscription.to_owned(), token };
            deliveries.push(Delivery { message: due.message, lease, attempt });
        }
        Ok(deliveries)
    }

    fn read_due(&self, queue: &Queue, now: i64, max: usize) -> Result<Vec<Due>, Failure> {
        let sql = "SELECT w.message, w.attempt, t.name, m.published, m.attributes, m.body
                   FROM waiting w JOIN message m ON m.id = w.message JOIN topic t ON t.id = m.topic
                   WHERE w.subscription = ? AND w.due <= ? ORDER BY w.due, w.message LIMIT ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let mut rows = statement.query([queue.id, now, limit])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while bytes < PULL_BYTES
            && let Some(row) = rows.next()?
        {
            let due = self.due(row)?;
            bytes += due.message.body.len();
            found.push(due);
        }
        Ok(found)
    }

    fn due(&self, row: &rusqlite::Row<'_>) -> Result<Due, Failure> {
        let damaged = |what: &str| {
            let reason = format!("the {} is damaged: a message has unreadable {what}", self.bus);
            Failure::Refused(BusError::new(BusErrorKind::Fatal, reason))
        };
        let number: i64 = row.get(0)?;
        let attributes: BTreeMap<String, String> =
            serde_json::from_str(row.get_ref(4)?.as_str().map_err(|_| damaged("attributes"))?)
                .map_err(|_| damaged("attributes"))?;
        let message = Message {
            id: number.to_string(),
            topic: row.get(2)?,
            published_at: Timestamp::from_microsecond(row.get(3)?).map_err(|_| damaged("times"))?,
            attributes,
            body: row.get(5)?,
        };
        Ok(Due { number, attempt: row.get(1)?, message })
    }

    /// Sets the lease of delivery `attempt` to end `term` from now; what comes after its end follows from the settings.
    fn lease(&self, queue: &Queue, number: i64, attempt: u32, now: i64, term: Duration) -> Result<(), Failure> {
        let settings = &queue.settings;
        let pause = if settings.is_last(attempt) { Duration::ZERO } else { settings.pause_after(attempt) };
        let until = now.saturating_add(micros(term));
        self.execute(
            "UPDATE waiting SET due = ?, leased_until = ?, attempt = ? WHERE subscription = ? AND message = ?",
            params![until.saturating_add(micros(pause)), until, attempt, queue.id, number],
        )?;
        Ok(())
    }

    /// Publishes the message's copy to the dead-letter topic and forgets it here.
    fn bury(&self, queue: &Queue, due: &Due) -> Result<(), Failure> {
        if let Some(topic) = &queue.settings.dead_letter_topic {
            let attributes = dead_letter_attributes(&due.message, &queue.settings.name, due.attempt);
            self.publish(topic, &NewMessage { body: due.message.body.clone(), attributes })?;
        }
        self.forget(queue, due.number)
    }

    fn forget(&self, queue: &Queue, number: i64) -> Result<(), Failure> {
        self.execute("DELETE FROM waiting WHERE subscription = ? AND message = ?", [queue.id, number])?;
        Ok(())
    }

    /// Whether the lease still holds its message, and where.
    fn held(&self, lease: &Lease) -> Result<Option<Queue>, Failure> {
        let queue = self.queue(&lease.subscription)?;
        let sql = "SELECT 1 FROM waiting
                   WHERE subscription = ? AND message = ? AND attempt = ? AND leased_until > 0";
        let held = self.connection.prepare_cached(sql)?.exists(params![queue.id, lease.message, lease.attempt])?;
        Ok(held.then_some(queue))
    }

    pub fn ack(&self, lease: &Lease) -> Result<(), Failure> {
        match self.held(lease)? {
            Some(queue) => self.forget(&queue, lease.message),
            None => Ok(()),
        }
    }

    pub fn hand_back(&self, lease: &Lease, delay: Duration) -> Result<(), Failure> {
        let Some(queue) = self.held(lease)? else { return Ok(()) };
        self.wakes.set(true);
        if queue.settings.is_last(lease.attempt) {
            let sql = "SELECT w.message, w.attempt, t.name, m.published, m.attributes, m.body
                       FROM waiting w JOIN message m ON m.id = w.message JOIN topic t ON t.id = m.topic
                       WHERE w.subscription = ? AND w.message = ?";
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([queue.id, lease.message])?;
            return match rows.next()? {
                Some(row) => self.bury(&queue, &self.due(row)?),
                None => Ok(()),
            };
        }
        let due = self.now().saturating_add(micros(delay));
        self.put_back(&queue, lease, due, lease.attempt)
    }

    fn put_back(&self, queue: &Queue, lease: &Lease, due: i64, attempt: u32) -> Result<(), Failure> {
        self.execute(
            "UPDATE waiting SET due = ?, leased_until = 0, attempt = ? WHERE subscription = ? AND message = ?",
            params![due, attempt, queue.id, lease.message],
        )?;
        Ok(())
    }

    /// Puts back what was leased for a puller who is gone, as if it had not been delivered.
    pub fn never_delivered(&self, leases: &[LeaseId]) -> Result<(), Failure> {
        for lease in leases {
            let lease = Lease::parse(lease)?;
            if let Some(queue) = self.held(&lease)? {
                self.put_back(&queue, &lease, self.now(), lease.attempt - 1)?;
            }
        }
        self.wakes.set(true);
        Ok(())
    }

    pub fn extend(&self, lease: &Lease, term: Duration) -> Result<bool, Failure> {
        let Some(queue) = self.held(lease)? else { return Ok(false) };
        self.lease(&queue, lease.message, lease.attempt, self.now(), term)?;
        Ok(true)
    }

    pub fn backlog(&self, subscription: &str) -> Result<Backlog, Failure> {
        let queue = self.queue(subscription)?;
        let sql = "SELECT count(*), count(*) FILTER (WHERE leased_until > ?), min(message)
                   FROM waiting WHERE subscription = ?";
        let (messages, leased, oldest): (i64, i64, Option<i64>) = self
            .connection
            .prepare_cached(sql)?
            .query_row([self.now(), queue.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let oldest = match oldest {
            Some(number) => {
                let mut find = self.connection.prepare_cached("SELECT published FROM message WHERE id = ?")?;
                Timestamp::from_microsecond(find.query_row([number], |row| row.get(0))?).ok()
            }
            None => None,
        };
        let count = |n: i64| u64::try_from(n).unwrap_or_default();
        Ok(Backlog { messages: count(messages), leased: Some(count(leased)), oldest })
    }

    /// Deletes a batch of what is older than the retention and waits nowhere, or only where somebody looks on; `true` when
    /// there may be more.
    pub fn sweep(&self) -> rusqlite::Result<bool> {
        let before = self.now().saturating_sub(micros(RETENTION));
        let sql = "SELECT id FROM message m WHERE published < ? AND NOT EXISTS (
                       SELECT 1 FROM waiting w JOIN subscription s ON s.id = w.subscription
                       WHERE w.message = m.id AND NOT s.from_earliest) LIMIT ?";
        // Looked for outside of the transaction: an idle bus is not written to.
        let old: Vec<i64> = self
            .connection
            .prepare_cached(sql)?
            .query_map(params![before, SWEEP_BATCH], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        if old.is_empty() {
            return Ok(false);
        }
        self.begin(Effort::Write)?;
        let swept = old.iter().try_for_each(|number| self.sweep_one(*number));
        swept.and_then(|()| self.commit(Effort::Write)).inspect_err(|_| self.roll_back())?;
        Ok(old.len() >= SWEEP_BATCH as usize)
    }

    fn sweep_one(&self, number: i64) -> rusqlite::Result<()> {
        self.execute(
            "DELETE FROM waiting WHERE message = ?
                 AND subscription IN (SELECT id FROM subscription WHERE from_earliest)",
            [number],
        )?;
        self.execute(
            "DELETE FROM message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM waiting WHERE message = ?1)",
            [number],
        )?;
        Ok(())
    }
}

#[cfg(test)]
impl Operations {
    pub fn commits(&self) -> u64 {
        self.commits.get()
    }

    /// Makes the database full.
    pub fn limit_pages(&self, pages: u32) -> rusqlite::Result<()> {
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
