// SPDX-License-Identifier: MIT OR Apache-2.0

//! Work on many things side by side.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` on each of `items`, at most `at_once` at a time (`None`: as many as there are CPUs), and gives what came of
/// it in their order.
///
/// # Errors
/// The first failure in that order. After a failure no further ones are begun.
pub fn all<T: Sync, R: Send, E: Send>(
    items: &[T],
    at_once: Option<NonZeroUsize>,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    all_with(items, at_once, || (), |(), item| work(item))
}

/// Likewise, each thread with a state of its own that `state` makes.
///
/// # Errors
/// As [`all`].
pub fn all_with<T: Sync, S, R: Send, E: Send>(
    items: &[T],
    at_once: Option<NonZeroUsize>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = at_once.or(thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get).min(items.len());
    let next = AtomicUsize::new(0);
    let worker = || {
        let (mut state, mut done) = (state(), Vec::new());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            let result = work(&mut state, item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            done.push((index, result));
        }
    };
    let mut done = thread::scope(|scope| {
        // The caller is one of them.
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut done = worker();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_a_failure_ends_it() {
        let two = NonZeroUsize::new(2);
        let items: Vec<u32> = (0..100).collect();
        let doubled = all(&items, two, |item| Ok::<_, u32>(item * 2));
        assert_eq!(doubled, Ok((0..100).map(|item| item * 2).collect()));

        let begun = AtomicUsize::new(0);
        let failed = all(&items, two, |&item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if item == 3 { Err(item) } else { Ok(item) }
        });
        assert_eq!(failed, Err(3));
        assert!(begun.into_inner() < items.len());
    }

    #[test]
    fn each_thread_has_its_own_state_and_all_items_are_done_once() {
        let items = vec![1; 1000];
        let counted = all_with(
            &items,
            NonZeroUsize::new(3),
            || 0,
            |seen, item| {
                *seen += item;
                Ok::<_, ()>(*seen)
            },
        );
        let counted = counted.expect("none fails");
        assert_eq!(counted.len(), 1000);
        // What each thread has counted ends with its last; each number comes at most once for each thread.
        let ones = counted.iter().filter(|seen| **seen == 1).count();
        assert!((1..=3).contains(&ones), "{ones}");
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(all(&[0; 0], None, |_| Err::<(), ()>(())), Ok(Vec::new()));
    }
}
