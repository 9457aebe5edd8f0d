// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which guests a test of a project is done on.

use std::collections::BTreeSet;

use landfall_guest::Architecture;

/// Guests of an architecture and a kernel series; `None`: whichever they are anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guests {
    /// What they are, by Debian's name.
    pub architecture: Option<String>,
    /// The series of their kernel.
    pub kernel: Option<String>,
}

impl Guests {
    /// Every combination of these, in their order; with none, the usual ones alone.
    ///
    /// # Errors
    /// The key that makes no sense, and why not.
    pub(super) fn all(
        architectures: &[String],
        kernels: &[String],
    ) -> Result<Vec<Self>, (&'static str, String)> {
        once("architectures", architectures)?;
        once("kernels", kernels)?;
        let each = |names: &[String]| -> Vec<Option<String>> {
            match names {
                [] => vec![None],
                names => names.iter().cloned().map(Some).collect(),
            }
        };
        let mut all = Vec::new();
        for architecture in each(architectures) {
            let there = match &architecture {
                None => landfall_guest::kernel_series(),
                Some(name) => Architecture::of(name)
                    .ok_or_else(|| {
                        let there = Architecture::names().join(", ");
                        let why = format!("there are no guests of {name:?}; there are {there}");
                        ("architectures", why)
                    })?
                    .series(),
            };
            for kernel in each(kernels) {
                if let Some(name) = &kernel
                    && !there.contains(&name.as_str())
                {
                    let of = architecture.as_ref().map(|name| format!(" for {name}"));
                    let (of, there) = (of.unwrap_or_default(), there.join(", "));
                    let why = format!("there is no series {name:?}{of}; there are {there}");
                    return Err(("kernels", why));
                }
                all.push(Self {
                    architecture: architecture.clone(),
                    kernel,
                });
            }
        }
        Ok(all)
    }

    /// What is behind the name of a test that is done on several.
    pub(super) fn suffix(&self) -> String {
        let kernel = self.kernel.as_ref().map(|name| format!(", Linux {name}"));
        let architecture = self.architecture.as_ref().map(|name| format!(", {name}"));
        architecture.unwrap_or_default() + &kernel.unwrap_or_default()
    }

    /// Whether these can be those of a command line, which says them, or does not.
    pub fn can_be(&self, asked: &Self) -> bool {
        let same = |own: &Option<String>, asked: &Option<String>| {
            own.is_none() || asked.is_none() || own == asked
        };
        same(&self.architecture, &asked.architecture) && same(&self.kernel, &asked.kernel)
    }

    /// These, and what they leave open by another's word.
    #[must_use]
    pub fn or(&self, asked: &Self) -> Self {
        Self {
            architecture: self.architecture.clone().or(asked.architecture.clone()),
            kernel: self.kernel.clone().or(asked.kernel.clone()),
        }
    }
}

fn once(key: &'static str, names: &[String]) -> Result<(), (&'static str, String)> {
    match names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        true => Err((key, "each is said once".to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(architectures: &[&str], kernels: &[&str]) -> Result<Vec<String>, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (architectures, kernels): (Vec<String>, Vec<String>) =
            (owned(architectures), owned(kernels));
        let all = Guests::all(&architectures, &kernels);
        let all = all.map_err(|(key, why)| format!("{key}: {why}"))?;
        Ok(all.iter().map(Guests::suffix).collect())
    }

    #[test]
    fn a_test_is_done_on_every_combination_that_there_is() {
        assert_eq!(all(&[], &[]).unwrap(), [""]);
        assert_eq!(
            all(&["amd64", "arm64"], &["7.3", "6.12"]).unwrap(),
            [
                ", amd64, Linux 7.3",
                ", amd64, Linux 6.12",
                ", arm64, Linux 7.3",
                ", arm64, Linux 6.12"
            ]
        );
        let none = all(&["arm64"], &["6.1"]).unwrap_err();
        assert!(none.contains("no series \"6.1\" for arm64; there are 7.3"));
        assert!(all(&["vax"], &[]).unwrap_err().contains("amd64, arm64"));
        assert!(all(&["arm64", "arm64"], &[]).unwrap_err().contains("once"));
    }

    #[test]
    fn what_a_test_leaves_open_is_the_command_lines_to_say() {
        let of = |architecture: Option<&str>, kernel: Option<&str>| Guests {
            architecture: architecture.map(str::to_owned),
            kernel: kernel.map(str::to_owned),
        };
        let test = of(Some("arm64"), None);
        assert!(test.can_be(&of(None, Some("7.3"))));
        assert!(!test.can_be(&of(Some("amd64"), None)));
        assert_eq!(
            test.or(&of(None, Some("7.3"))),
            of(Some("arm64"), Some("7.3"))
        );
    }
}
