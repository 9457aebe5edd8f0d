// SPDX-License-Identifier: MIT OR Apache-2.0

//! Makes the cache as small as the set-up in use allows.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use serde::Serialize;

use crate::architecture;
use crate::setup::debug_kernel::{self, DebugStamp};
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::parts::Parts;
use crate::setup::plan::{OptionsError, Plan};
use crate::setup::stamp::{Base, Stamp};
use crate::store::cache::{Cache, measure, remove};
use crate::store::snapshots;

/// What [`prune`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Names of the entries.
    pub removed: Vec<String>,
    /// Bytes freed on disk.
    pub freed: u64,
}

/// Removes everything from the cache that the set-up of these options does not need: entries of other
/// set-ups and their snapshots, package indexes, logs. A debug kernel that was built for this one stays. Without a
/// finished set-up of these options nothing is needed.
///
/// # Errors
/// If another set-up is at work, or a file cannot be removed.
pub fn prune(options: &SetupOptions) -> Result<Pruned, SetupError> {
    let root = std::path::absolute(&options.cache).unwrap_or_else(|_| options.cache.clone());
    let failed = |source| SetupError::Cache {
        path: root.clone(),
        source,
    };
    let cache = Cache::new(&root);
    if !root.exists() {
        return Ok(Pruned::default());
    }
    cache.create().map_err(failed)?;
    match cache.try_lock().map_err(failed)? {
        Ok(_guard) => prune_locked(&cache, &plans(options)?).map_err(failed),
        Err(holder) => Err(SetupError::Busy {
            holder,
            waited: std::time::Duration::ZERO,
        }),
    }
}

/// What is kept: set-ups of all architectures and kernel series, unless one was asked for, or the kernel is one's own.
fn plans(options: &SetupOptions) -> Result<Vec<Plan>, OptionsError> {
    if options.architecture.is_some() || options.series.is_some() || options.kernel.is_some() {
        return Ok(vec![Plan::new(options)?]);
    }
    let mut plans = Vec::new();
    for architecture in architecture::ALL {
        for series in architecture.series() {
            plans.push(Plan::new(&SetupOptions {
                architecture: Some(architecture.name.to_owned()),
                series: Some(series.to_owned()),
                ..options.clone()
            })?);
        }
    }
    Ok(plans)
}

fn prune_locked(cache: &Cache, plans: &[Plan]) -> io::Result<Pruned> {
    let mut keep = BTreeSet::from(["lock".to_owned(), "entries".to_owned(), "setups".to_owned()]);
    let mut guests = Vec::new();
    for plan in plans {
        let Some(stamp) = Stamp::load(cache, &plan.key) else {
            continue;
        };
        guests.push(stamp.guest());
        keep.extend(stamp.entries);
        keep.extend(file_name(&Stamp::path(cache, &plan.key)));
        keep.extend(file_name(&Stamp::lock_file(cache, &plan.key)));
        keep.extend(file_name(&Parts::path(cache, &plan.key)));
        if let Some(base) = Base::load(cache, &plan.base_key) {
            keep.extend(base.entries().into_iter().cloned());
            keep.insert(format!("base-{}.json", plan.base_key));
            // It takes minutes, and other modules need no other one.
            keep.extend(debug_kernel::entry_name(&base, cache));
        }
        if let Some(debug) = DebugStamp::load(cache, &plan.key) {
            guests.push(debug.guest());
            keep.extend(debug.entries());
            keep.extend(file_name(&DebugStamp::path(cache, &plan.key)));
            let parts = Parts::path(cache, &DebugStamp::parts_key(&plan.key));
            keep.extend(file_name(&parts));
        }
    }
    let mut pruned = Pruned::default();
    for directory in [cache.root().to_owned(), cache.entries(), cache.setups()] {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !keep.contains(&name) && is_ours(&entry.path(), cache) {
                pruned.freed += measure(&entry.path())?;
                remove(&entry.path())?;
                pruned.removed.push(name);
            }
        }
    }
    for (name, bytes) in snapshots::prune(cache.root(), &guests) {
        pruned.removed.push(name);
        pruned.freed += bytes;
    }
    pruned.removed.sort();
    Ok(pruned)
}

/// Directly in the cache there may be files of others, such as of the command; they are left alone.
fn is_ours(path: &std::path::Path, cache: &Cache) -> bool {
    path.parent() != Some(cache.root()) || [cache.apt(), cache.logs()].contains(&path.to_owned())
}

fn file_name(path: &std::path::Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_set_up_needs_goes_and_what_is_not_ours_stays()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path());
        cache.create()?;
        fs::create_dir(cache.entries().join("qemu-old"))?;
        fs::write(cache.entries().join("qemu-old/file"), [1; 8192])?;
        fs::create_dir(directory.path().join("evidence"))?;

        let pruned = prune(&SetupOptions::new(directory.path()))?;

        assert_eq!(pruned.removed, ["logs", "qemu-old"]);
        assert!(pruned.freed >= 8192);
        assert!(directory.path().join("evidence").exists());
        Ok(())
    }

    #[test]
    fn a_cache_at_work_is_not_pruned() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path());
        cache.create()?;
        let _guard = cache.try_lock()?;

        let pruned = prune(&SetupOptions::new(directory.path()));

        assert!(matches!(pruned, Err(SetupError::Busy { .. })), "{pruned:?}");
        Ok(())
    }
}
