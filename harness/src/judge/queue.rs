// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests side by side.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
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
    let threads = at_once.or(thread::available_parallelism().ok());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.map_or(1, NonZeroUsize::get).min(items.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
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
}
