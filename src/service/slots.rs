//! The instants at which a schedule is due in its zone: its *slots*. Pure; the clock is the caller's.
//!
//! The rule at clock changes (`design/semantics.md` §4):
//! - A schedule of fixed times (neither minute nor hour begins with `*`) never loses and never repeats one: a time in the skipped
//!   hour is due once, at the instant when the clock jumps (several of them, and a time at that very instant, are one slot); a time
//!   in the repeated hour is due the first time. The same holds for a skipped day.
//! - A schedule of intervals follows real time: whatever minute the wall shows is due when it is shown.

use crate::model::schedule::Schedule;
use jiff::civil::{Date, DateTime, time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// A schedule in its zone.
#[derive(Debug, Clone)]
pub struct Slots {
    pub schedule: Schedule,
    pub zone: TimeZone,
}

/// How far ahead a day is looked for: the 29th of February on a Sunday comes again after 40 years at most (around 2100).
const HORIZON_YEARS: i16 = 41;

impl Slots {
    /// The first slot after an instant; `None` when there is none within the horizon.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if self.schedule.is_interval() { self.next_shown(after) } else { self.next_fixed(after) }
    }

    /// The slots after `from`, up to and including `to`, in order.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next(from), |slot| self.next(*slot)).take_while(move |slot| *slot <= to)
    }

    /// Fixed times: each is a civil time of a day, and each civil time has one instant, in the same order.
    fn next_fixed(&self, after: Timestamp) -> Option<Timestamp> {
        let here = self.zone.to_datetime(after);
        let mut date = here.date();
        let mut from = (here.hour(), here.minute());
        let horizon = date.year().saturating_add(HORIZON_YEARS);
        while date.year() <= horizon {
            if self.schedule.has_date(date) {
                let instants = self.times_from(from).filter_map(|(h, m)| self.instant(date.at(h, m, 0, 0)));
                if let Some(slot) = instants.into_iter().find(|slot| *slot > after) {
                    return Some(slot);
                }
            }
            date = self.following_date(date)?;
            from = (0, 0);
        }
        None
    }

    /// The times of a day from (hour, minute) on.
    fn times_from(&self, (hour, minute): (i8, i8)) -> impl Iterator<Item = (i8, i8)> {
        let hours = (hour..24).filter(|h| self.schedule.has_hour(*h));
        hours.flat_map(move |h| {
            let first = if h == hour { minute } else { 0 };
            (first..60).filter(|m| self.schedule.has_minute(*m)).map(move |m| (h, m))
        })
    }

    /// The next date, over months that are none of the schedule's.
    fn following_date(&self, date: Date) -> Option<Date> {
        let next = date.tomorrow().ok()?;
        if self.schedule.has_month(next.month()) {
            return Some(next);
        }
        next.first_of_month().checked_add(1.month()).ok()
    }

    /// The instant of a civil time: the first of two, and the jump of the clock for one that is skipped.
    fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(civil).ok()
            }
            AmbiguousOffset::Gap { before, after } => {
                // With the later offset the time lies before the jump, with the earlier one behind it.
                let (mut low, mut high) =
                    (after.to_timestamp(civil).ok()?.as_second(), before.to_timestamp(civil).ok()?.as_second());
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    let jumped = self.zone.to_datetime(Timestamp::from_second(middle).ok()?) > civil;
                    if jumped { high = middle } else { low = middle }
                }
                Timestamp::from_second(high).ok()
            }
        }
    }

    /// Intervals: the first instant at which the wall shows one of the schedule's minutes.
    fn next_shown(&self, after: Timestamp) -> Option<Timestamp> {
        let first = Timestamp::from_second(after.as_second()).ok()?;
        let horizon = self.zone.to_datetime(after).year().saturating_add(HORIZON_YEARS);
        let mut at = self.ahead(first, self.zone.to_datetime(first), |here| {
            here.with().second(0).build().ok()?.checked_add(1.minute()).ok()
        })?;
        loop {
            let here = self.zone.to_datetime(at);
            if here.year() > horizon {
                return None;
            }
            at = if !self.schedule.has_date(here.date()) {
                self.ahead(at, here, |here| Some(self.following_date(here.date())?.to_datetime(time(0, 0, 0, 0))))?
            } else if !self.schedule.has_hour(here.hour()) {
                self.ahead(at, here, |here| here.with().minute(0).second(0).build().ok()?.checked_add(1.hour()).ok())?
            } else if here.second() != 0 || !self.schedule.has_minute(here.minute()) {
                self.ahead(at, here, |here| here.with().second(0).build().ok()?.checked_add(1.minute()).ok())?
            } else {
                return Some(at);
            };
        }
    }

    /// The instant at which the wall will show what `goal` makes of `here`, but no later than the next clock change: there it has
    /// to be looked at anew.
    fn ahead(&self, at: Timestamp, here: DateTime, goal: impl Fn(DateTime) -> Option<DateTime>) -> Option<Timestamp> {
        let wait: SignedDuration = here.duration_until(goal(here)?);
        let there = at.checked_add(wait).ok()?;
        match self.zone.following(at).next() {
            Some(change) if change.timestamp() < there => Some(change.timestamp()),
            _ => Some(there),
        }
    }
}

#[cfg(test)]
mod tests;
