// SPDX-License-Identifier: MIT OR Apache-2.0

//! Chooses what executes the guest.
//!
//! `/dev/kvm` can exist, open and make a virtual machine, and the guest die at its first instruction; so the
//! only answer that counts is a guest that booted under it. The answer is kept in the cache for as long as
//! the host runs, with the QEMU and kernel it was found with.

use std::fs;
use std::path::Path;
use std::time::Duration;

use landfall_guest::{Cancel, Prepared};
use serde::{Deserialize, Serialize};

use crate::guest::qemu::command::Engine;
use crate::guest::{
    Accelerator, Deadlines, Guest, GuestFailed, GuestOptions, PoolOptions, Start, What,
};

/// How long a guest may take to boot under KVM. It takes about a second where KVM works.
const DEADLINE: Duration = Duration::from_secs(10);
/// Name of the remembered answer in the cache directory.
const REMEMBERED: &str = "accelerator.json";

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What to use.
    pub engine: Engine,
    /// Why, in a few words.
    pub reason: String,
    /// A guest was booted just now to find out.
    #[serde(skip)]
    pub probed: bool,
}

/// Most answers that are kept: one for each kernel that guests boot.
const KEPT: usize = 16;

/// What was found since the host booted, the newest first.
#[derive(Default, Serialize, Deserialize)]
struct Remembered {
    boot: String,
    answers: Vec<Answer>,
}

/// A choice and what it holds for.
#[derive(Serialize, Deserialize)]
struct Answer {
    qemu: String,
    kernel: String,
    choice: Choice,
}

/// Chooses. With [`Accelerator::Auto`] and a `/dev/kvm` that was not tried since the host booted, this boots
/// a small guest, and keeps the answer; it is not an error if it cannot be kept, but the reason says so.
///
/// # Errors
/// If cancelled, or if the host or the set-up fails any guest.
pub fn choose(
    wanted: Accelerator,
    prepared: &Prepared,
    cancel: &Cancel,
) -> Result<Choice, GuestFailed> {
    let choice = |engine, reason: &str| Choice {
        engine,
        reason: reason.to_owned(),
        probed: false,
    };
    match wanted {
        Accelerator::Only(engine) => return Ok(choice(engine, "asked for")),
        Accelerator::Auto => {}
    }
    if !prepared.architecture.is_hosts() {
        return Ok(choice(
            Engine::Tcg,
            "guests are of another architecture than this host",
        ));
    }
    if let Err(error) = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "no /dev/kvm here",
            std::io::ErrorKind::PermissionDenied => "no permission for /dev/kvm",
            _ => "/dev/kvm does not open",
        };
        return Ok(choice(Engine::Tcg, reason));
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let path = prepared.writable.join(REMEMBERED);
    let known = recall(&path).filter(|known| !boot.is_empty() && known.boot == boot);
    let mut remembered = known.unwrap_or_default();
    let (qemu, kernel) = (&prepared.qemu.version, &prepared.kernel_release);
    let is_this = |answer: &Answer| (&answer.qemu, &answer.kernel) == (qemu, kernel);
    if let Some(known) = remembered.answers.iter().find(|answer| is_this(answer)) {
        return Ok(known.choice.clone());
    }
    let mut choice = probe(prepared, cancel)?;
    let answer = Answer {
        qemu: qemu.clone(),
        kernel: kernel.clone(),
        choice: choice.clone(),
    };
    remembered.boot = boot;
    remembered.answers.insert(0, answer);
    remembered.answers.truncate(KEPT);
    if let Err(error) = remember(&path, &remembered) {
        let path = path.display();
        choice.reason += &format!("; to be tried again each time: {path}: {error}");
    }
    Ok(choice)
}

fn recall(path: &Path) -> Option<Remembered> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes beside and renames, so that nobody reads half of it.
pub(super) fn remember(path: &Path, what: &impl Serialize) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    std::io::Write::write_all(&mut file, &serde_json::to_vec_pretty(what)?)?;
    file.persist(path)?;
    Ok(())
}

/// Boots a guest without cards under KVM.
fn probe(prepared: &Prepared, cancel: &Cancel) -> Result<Choice, GuestFailed> {
    let scratch = tempfile::tempdir().ok();
    let options = GuestOptions {
        engine: Engine::Kvm,
        start: Start::Cold,
        cards: Vec::new(),
        pool: PoolOptions {
            size: 0,
            ..PoolOptions::default()
        },
        deadlines: Deadlines {
            boot: DEADLINE,
            ..Deadlines::default()
        },
        evidence: crate::guest::EvidenceOptions {
            directory: scratch.as_ref().map(|scratch| scratch.path().to_owned()),
            keep: false,
        },
        ..GuestOptions::default()
    };
    let choice = |engine, reason: String| Choice {
        engine,
        reason,
        probed: true,
    };
    match Guest::configure(options).boot(prepared, cancel) {
        Ok(guest) => {
            // It booted, which is all that was asked.
            let _ = guest.quit();
            Ok(choice(Engine::Kvm, "a guest booted under it".to_owned()))
        }
        Err(failed) if matches!(*failed.what, What::Interrupted) || failed.what.is_hosts() => {
            Err(failed)
        }
        Err(failed) => {
            let why = match (&*failed.what, &failed.kernel_line) {
                (What::TimedOut { waited, .. }, _) => {
                    format!(
                        "a guest did not boot under it within {} s",
                        waited.as_secs()
                    )
                }
                (_, Some(line)) => line.trim().to_owned(),
                (what, None) => what.to_string(),
            };
            Ok(choice(
                Engine::Tcg,
                format!("KVM does not work here: {why}"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_recalled_and_a_broken_one_is_not() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join(REMEMBERED);
        let choice = Choice {
            engine: Engine::Tcg,
            reason: "why".to_owned(),
            probed: false,
        };
        let what = |choice| Remembered {
            boot: "b".to_owned(),
            answers: vec![Answer {
                qemu: "q".to_owned(),
                kernel: "k".to_owned(),
                choice,
            }],
        };
        assert!(recall(&path).is_none());

        remember(&path, &what(choice.clone())).unwrap();
        assert_eq!(recall(&path).unwrap().answers[0].choice, choice);

        fs::write(&path, "{").unwrap();
        assert!(recall(&path).is_none());

        let elsewhere = cache.path().join("none").join(REMEMBERED);
        assert!(remember(&elsewhere, &what(choice)).is_err());
    }
}
