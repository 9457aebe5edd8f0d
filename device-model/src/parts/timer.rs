// SPDX-License-Identifier: MIT OR Apache-2.0

//! Something that is due.

use std::time::Duration;

use crate::contract::Next;

/// A timer in a device's own time ([`Host::now`](crate::contract::Host::now)): off, once, or again and again. It does
/// nothing by itself; a step asks it, and says to the machine when to be called again.
///
/// ```
/// use std::time::Duration;
/// use landfall_device::contract::Next;
/// use landfall_device::parts::Timer;
///
/// let ms = Duration::from_millis;
/// let mut timer = Timer::default();
/// timer.every(ms(0), ms(10));
/// assert_eq!((timer.due(ms(9)), timer.next()), (0, Next::At(ms(10))));
/// assert_eq!((timer.due(ms(35)), timer.next()), (3, Next::At(ms(40))));
/// timer.stop();
/// assert_eq!((timer.due(ms(99)), timer.next()), (0, Next::Idle));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    at: Option<Duration>,
    /// From one time to the next; zero: there is no next.
    period: Duration,
}

impl Timer {
    /// Is due once, `after` from `now` on. What it was set to before is forgotten.
    pub fn once(&mut self, now: Duration, after: Duration) {
        *self = Self {
            at: Some(now.saturating_add(after)),
            period: Duration::ZERO,
        };
    }

    /// Is due `period` from `now` on, and again each `period`; a period of zero switches it off. What it was set to before
    /// is forgotten.
    pub fn every(&mut self, now: Duration, period: Duration) {
        self.once(now, period);
        self.period = period;
        if period.is_zero() {
            self.stop();
        }
    }

    /// Is never due.
    pub fn stop(&mut self) {
        *self = Self::default();
    }

    /// Whether it will be due some time.
    pub const fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// How often it became due since it was asked last, `now` included. It is due no more then, or in the next period: what
    /// was missed does not come in a burst.
    pub fn due(&mut self, now: Duration) -> u64 {
        let Some(at) = self.at.filter(|at| *at <= now) else {
            return 0;
        };
        if self.period.is_zero() {
            self.stop();
            return 1;
        }
        let more = (now - at).as_nanos() / self.period.as_nanos();
        let times = u64::try_from(more).unwrap_or(u64::MAX).saturating_add(1);
        // The rest of a period after which it was due last.
        let since = (now - at).as_nanos() % self.period.as_nanos();
        let since = Duration::from_nanos(u64::try_from(since).unwrap_or(u64::MAX));
        self.at = Some(now.saturating_sub(since).saturating_add(self.period));
        times
    }

    /// What a step returns for it.
    pub fn next(&self) -> Next {
        self.at.map_or(Next::Idle, Next::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn once_is_once_and_the_end_of_time_is_no_panic() {
        let ms = Duration::from_millis;
        let mut timer = Timer::default();
        assert!(!timer.is_set());
        timer.once(ms(5), ms(5));
        assert!(timer.is_set());
        assert_eq!([9, 10, 11].map(|now| timer.due(ms(now))), [0, 1, 0]);
        timer.every(Duration::MAX, ms(1));
        assert_eq!(timer.due(Duration::MAX), 1);
        timer.every(ms(1), Duration::ZERO);
        assert!(!timer.is_set());
    }

    proptest! {
        /// However often it is asked, it is due once for each period that has passed.
        #[test]
        fn every_period_is_counted_once(
            period in 1u64..1000, asked in proptest::collection::vec(0u64..5000, 1..50),
        ) {
            let nanoseconds = Duration::from_nanos;
            let mut timer = Timer::default();
            timer.every(Duration::ZERO, nanoseconds(period));
            let (mut now, mut due) = (0, 0);
            for after in asked {
                now += after;
                due += timer.due(nanoseconds(now));
                prop_assert_eq!(due, now / period);
                prop_assert_eq!(timer.next(), Next::At(nanoseconds((now / period + 1) * period)));
            }
        }
    }
}
