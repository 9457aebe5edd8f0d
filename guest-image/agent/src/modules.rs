// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading modules with what they depend on, and unloading them.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;

use landfall_agent::protocol::{GuestError, Reply};
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};

use crate::kmsg::Mark;
use crate::{Outcome, console, failed, refused};

/// Set for a file that the kernel has to decompress itself (`MODULE_INIT_COMPRESSED_FILE`).
const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

/// Loads `name`, what it depends on first. One that is loaded already counts as done, as with modprobe.
pub(crate) fn load(name: &str, parameters: &str) -> Outcome<Reply> {
    let operation = || format!("load module {name}");
    let directory = directory().map_err(|error| failed(operation(), error))?;
    let list = fs::read_to_string(format!("{directory}/modules.dep"))
        .map_err(|error| failed(format!("read {directory}/modules.dep"), error))?;
    let order = order(&list, name).ok_or_else(|| {
        refused(
            operation(),
            Errno::ENOENT,
            "the guest's image has no such module",
        )
    })?;
    for path in order {
        let own = stem(path);
        if Path::new("/sys/module")
            .join(&own)
            .join("initstate")
            .exists()
        {
            continue;
        }
        let given = if own == normal(name) { parameters } else { "" };
        let mark = Mark::now();
        insert(&format!("{directory}/{path}"), given).map_err(|error| {
            let logged = mark.map(Mark::since).unwrap_or_default();
            with_kernels_words(failed(format!("load module {own}"), error), &logged)
        })?;
    }
    Ok(Reply::Done)
}

/// Loads the modules that the agent's own port needs, where the kernel has not all of it built in: the image names them.
pub(crate) fn load_for_port() {
    let names = fs::read_to_string("/etc/port-modules").unwrap_or_default();
    for name in names.lines() {
        if let Err(error) = load(name, "") {
            console::say(&format!(
                "landfall-agent: {}: {}",
                error.operation, error.message
            ));
        }
    }
}

/// Unloads `name`; `EWOULDBLOCK` if it is in use.
pub(crate) fn unload(name: &str) -> Outcome<Reply> {
    let operation = || format!("unload module {name}");
    let own = CString::new(normal(name))
        .map_err(|_| refused(operation(), Errno::EINVAL, "the name has a NUL in it"))?;
    delete_module(&own, DeleteModuleFlags::O_NONBLOCK)
        .map(|()| Reply::Done)
        .map_err(|error| failed(operation(), error))
}

/// Puts what the kernel logged before the errno's own words, which say little of a module.
fn with_kernels_words(error: GuestError, logged: &[String]) -> GuestError {
    let words = logged.iter().chain([&error.message]);
    let words: Vec<&str> = words.map(String::as_str).collect();
    GuestError {
        message: words.join("; "),
        ..error
    }
}

fn insert(path: &str, parameters: &str) -> std::io::Result<()> {
    let file = File::open(path)?;
    let parameters = CString::new(parameters)?;
    let flags = if path.ends_with(".ko") {
        ModuleInitFlags::empty()
    } else {
        COMPRESSED
    };
    match finit_module(&file, &parameters, flags) {
        // Another request, or the kernel itself, was faster.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn directory() -> std::io::Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("/lib/modules/{}", release.trim()))
}

/// Files to insert for `name`, in order, from the lines of `modules.dep` (`file: what it needs, nearest first`).
fn order<'a>(list: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let wanted = normal(name);
    let (file, needs) = list
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(file, _)| stem(file) == wanted)?;
    Some(needs.split_ascii_whitespace().rev().chain([file]).collect())
}

/// A module's own name from its file: `kernel/a-b.ko.xz` is `a_b`.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split(".ko").next().unwrap_or(file))
}

/// The kernel writes `_` for `-` in a module's name.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "extra/landfall_pool.ko:\n\
        extra/landfall_capture.ko: kernel/far-one.ko.xz extra/landfall_pool.ko\n";

    #[test]
    fn what_a_module_needs_comes_first_furthest_first() {
        let files = order(LIST, "landfall-capture");

        let expected = [
            "extra/landfall_pool.ko",
            "kernel/far-one.ko.xz",
            "extra/landfall_capture.ko",
        ];
        assert_eq!(files, Some(expected.to_vec()));
        assert_eq!(stem("kernel/far-one.ko.xz"), "far_one");
    }

    #[test]
    fn the_kernels_words_come_before_those_of_the_errno() {
        let error = || failed("load module x", Errno::ENOEXEC);

        let said = with_kernels_words(error(), &["x: version magic 'a'".to_owned()]);
        assert!(said.message.starts_with("x: version magic 'a'; "), "{said}");
        assert_eq!(said.errno, Errno::ENOEXEC as i32);
        assert_eq!(with_kernels_words(error(), &[]), error());
    }

    #[test]
    fn an_unknown_module_has_no_order() {
        assert_eq!(order(LIST, "landfall_captur"), None);
    }
}
