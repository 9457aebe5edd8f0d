// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every input that is kept, through the function that the fuzzer calls with it.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};

use landfall_fuzz_targets::{TARGETS, control};

/// Most files of a corpus, and most bytes of all of them.
const MOST: (usize, u64) = (60, 200 << 10);

fn fuzz() -> PathBuf {
    // Where it is now: an archive of tests may have been built elsewhere.
    let now = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    now.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")))
        .join("..")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let listed = fs::read_dir(directory).unwrap_or_else(|why| panic!("{directory:?}: {why}"));
    listed
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("a name of letters"))
        .collect()
}

/// What panicked on any thread since it was asked last; by one input at a time.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ONE: Mutex<()> = Mutex::new(());

/// What was said of an input, on the threads of what is tried as well: a server that lost one may still answer.
fn panics(run: fn(&[u8]), input: &[u8]) -> Vec<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.lock().expect("a list").push(info.to_string());
            told(info);
        }));
    });
    let _one = ONE.lock().unwrap_or_else(|held| held.into_inner());
    PANICS.lock().expect("a list").clear();
    // What was unwound shows in the list.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| run(input)));
    std::mem::take(&mut PANICS.lock().expect("a list"))
}

fn replay(target: &str) {
    let (_, run) = TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .expect(target);
    let corpus = fuzz().join("corpus").join(target);
    let names = names(&corpus);
    assert!(names.len() > 3, "{target} has hardly an input");
    let mut bytes = 0;
    for name in &names {
        let input = fs::read(corpus.join(name)).expect("readable");
        bytes += input.len() as u64;
        let said = panics(*run, &input);
        assert!(said.is_empty(), "{target}/{name}: {said:#?}");
    }
    let (files, most) = MOST;
    assert!(names.len() <= files, "{target}: {} files", names.len());
    assert!(bytes <= most, "{target}: {bytes} bytes");
}

/// A test for each: those that run at once do so in a process each, or wait for each other.
macro_rules! corpora {
    ($($target:ident)*) => {
        /// The names of the tests below.
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*
    };
}

corpora! { agent archives bundle config project proxy registers scenario stream wire }

/// No corpus, fuzzer or function without the others.
#[test]
fn each_target_is_whole() {
    let mut functions: BTreeSet<_> = TARGETS.map(|(name, _)| name.to_owned()).into();
    assert_eq!(names(&fuzz().join("corpus")), functions);
    functions.insert("control".to_owned());
    let fuzzers: BTreeSet<_> = functions.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), fuzzers);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("readable");
    for name in &functions {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    functions.remove("control");
    let replayed: BTreeSet<_> = REPLAYED.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(replayed, functions);
}

/// A panic is seen, wherever it is.
#[test]
fn a_panic_on_any_thread_is_seen() {
    let elsewhere = |_: &[u8]| {
        let thread = std::thread::spawn(|| panic!("elsewhere"));
        assert!(thread.join().is_err());
    };
    assert!(panics(elsewhere, b"")[0].contains("elsewhere"));
    assert!(panics(control, b"\x11\xfa\x4d\x1aDMA")[0].contains("planted"));
    assert!(panics(control, b"\x11\xfa\x4d\x1aDM").is_empty());
}
