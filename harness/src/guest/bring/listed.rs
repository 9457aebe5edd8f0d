// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest's `modules.dep`: which modules it has, and what each needs. It comes from the guest, and may hold anything.

use std::collections::BTreeMap;

/// Most modules; a kernel has some thousands.
const MOST: usize = 16_384;

/// Files of modules below `/lib/modules/RELEASE`, each with those that it needs, nearest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed(BTreeMap<String, (String, Vec<String>)>);

impl Listed {
    /// Reads the list; lines that are none are passed over.
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let module = |(file, needs): (&str, &str)| {
            let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
            (name_of(file), (file.trim().to_owned(), needs))
        };
        let named = |(file, _): &(&str, &str)| !name_of(file).is_empty();
        Self(lines.filter(named).take(MOST).map(module).collect())
    }

    /// Names of what a module needs, furthest first; `None` if it is not there.
    pub(super) fn needs(&self, name: &str) -> Option<Vec<String>> {
        let (_, needs) = self.0.get(name)?;
        Some(needs.iter().rev().map(|file| name_of(file)).collect())
    }

    /// Enters a module, in place of one of its name. `needs`, furthest first, must be there.
    pub(super) fn enter(&mut self, name: &str, file: String, needs: &[String]) {
        let place = |name: &String| self.0.get(name).map(|(file, _)| file.clone());
        let needs = needs.iter().rev().filter_map(place).collect();
        self.0.insert(name.to_owned(), (file, needs));
    }

    /// The list as the guest reads it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (file, needs) in self.0.values() {
            text.push_str(file);
            text.push(':');
            for need in needs {
                text.push(' ');
                text.push_str(need);
            }
            text.push('\n');
        }
        text
    }
}

/// A module's own name from its file.
fn name_of(file: &str) -> String {
    let name = file.trim().rsplit('/').next().unwrap_or_default();
    name.split(".ko")
        .next()
        .unwrap_or_default()
        .replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "extra/a.ko: kernel/near-one.ko kernel/far.ko\nkernel/far.ko:\nkernel/near-one.ko: kernel/far.ko\n";

    #[test]
    fn a_module_is_entered_behind_what_it_needs() {
        let mut listed = Listed::read(LIST);
        assert_eq!(listed.text(), LIST);
        assert_eq!(
            listed.needs("a"),
            Some(vec!["far".to_owned(), "near_one".to_owned()])
        );
        assert_eq!(listed.needs("b"), None);

        let needs = ["far", "near_one", "a"].map(str::to_owned);
        listed.enter("b", "brought/b.ko".to_owned(), &needs);
        listed.enter("far", "brought/far.ko".to_owned(), &[]);

        let text = listed.text();
        assert!(
            text.contains("brought/b.ko: extra/a.ko kernel/near-one.ko kernel/far.ko\n"),
            "{text}"
        );
        assert!(
            text.contains("brought/far.ko:\n") && !text.contains("\nkernel/far.ko:"),
            "{text}"
        );
    }

    proptest::proptest! {
        /// Whatever a guest lists, it is read, bounded, and what is written is read as the same.
        #[test]
        fn no_list_makes_it_panic(text in "([a-z/.: -]{0,30}\n|.{0,20}\n){0,30}") {
            let listed = Listed::read(&text);

            proptest::prop_assert!(listed.0.len() <= text.lines().count());
            proptest::prop_assert_eq!(Listed::read(&listed.text()), listed);
        }
    }
}
