// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a build of a module said, without what only concerns the kernel's own build.

/// Most lines kept.
const MOST: usize = 400;
/// Most lines of an error.
const TOLD: usize = 60;
/// Longest line, bytes.
const LONGEST: usize = 2000;

/// Hears the lines of a build.
#[derive(Debug)]
pub(crate) struct Said {
    /// Where the sources lie, with a `/` at its end: paths are told from there.
    place: String,
    lines: Vec<String>,
}

impl Said {
    pub(crate) fn new(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn hear(&mut self, line: &str) {
        if is_noise(line) || self.lines.len() >= MOST {
            return;
        }
        let line: String = line.trim_end().chars().take(LONGEST).collect();
        let line = line
            .replace(&self.place, "")
            .replace(self.place.trim_end_matches('/'), ".")
            .replace("/work/source/", "KERNEL/");
        self.lines.push(line);
    }

    /// Each warning with the lines that belong to it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = Vec::new();
        let mut inside = false;
        for line in &self.lines {
            if is_warning(line) {
                warnings.push(line.clone());
                inside = true;
            } else if inside && line.starts_with(' ') {
                if let Some(last) = warnings.last_mut() {
                    last.push('\n');
                    last.push_str(line);
                }
            } else {
                inside = false;
            }
        }
        warnings
    }

    /// What was said from the first error on, what introduces it included; the last lines if nothing speaks of one.
    pub(crate) fn errors(&self) -> Vec<String> {
        let first = self.lines.iter().position(|line| is_error(line));
        let begin = match first {
            // `In file included from`, `In function`.
            Some(first) => {
                let before = self.lines.iter().take(first).rev();
                first - before.take_while(|line| introduces(line)).count()
            }
            None => self.lines.len().saturating_sub(TOLD),
        };
        self.lines.iter().skip(begin).take(TOLD).cloned().collect()
    }
}

fn is_warning(line: &str) -> bool {
    line.contains("warning:") || line.starts_with("warning[") || line.starts_with("WARNING: ")
}

fn is_error(line: &str) -> bool {
    line.contains("error:")
        || line.starts_with("error[")
        || line.starts_with("ERROR: ")
        || line.contains("***")
}

fn introduces(line: &str) -> bool {
    line.starts_with("In file included from")
        || line.trim_start().starts_with("from ")
        || line.contains(": In function ")
        || line.ends_with(": At top level:")
}

/// What make says of its way, and that it gives up because a compiler did.
fn is_noise(line: &str) -> bool {
    let of_make = line.starts_with("make[") || line.starts_with("make: ");
    let gives_up = of_make && line.contains("***") && line.contains("] Error ");
    let on_its_way = of_make && !line.contains("***");
    // `  CC [M]  main.o`
    let step = line.strip_prefix("  ").is_some_and(|rest| {
        let word = rest.split(' ').next().unwrap_or_default();
        word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase())
    });
    gives_up || on_its_way || step || line.trim().is_empty() || line.starts_with("$ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: &str = r#"$ "unshare"
make: Entering directory '/work/source'
  CC [M]  main.o
/work/modules/driver/main.c: In function 'f':
/work/modules/driver/main.c:3:13: warning: unused variable 'x' [-Wunused-variable]
    3 |         int x;
      |             ^
In file included from /work/modules/driver/main.c:1:
part/a.h:5:1: error: unknown type name 'y'
    5 | y z;
make[3]: *** [/work/source/scripts/Makefile.build:287: main.o] Error 1
make: *** [Makefile:248: __sub-make] Error 2
"#;

    fn said(text: &str) -> Said {
        let mut said = Said::new("/work/modules/driver/");
        text.lines().for_each(|line| said.hear(line));
        said
    }

    #[test]
    fn the_compilers_words_are_told_with_paths_as_the_user_knows_them() {
        let said = said(BUILD);

        let warning = "main.c:3:13: warning: unused variable 'x' [-Wunused-variable]\n    3 |         int x;\n      |             ^";
        assert_eq!(said.warnings(), [warning]);
        let error = [
            "In file included from main.c:1:",
            "part/a.h:5:1: error: unknown type name 'y'",
            "    5 | y z;",
        ];
        assert_eq!(said.errors(), error);
    }

    #[test]
    fn what_make_or_modpost_refuse_is_told_too() {
        let rule = "make[3]: *** No rule to make target 'none.o', needed by 'x.o'.  Stop.";
        assert_eq!(said(rule).errors(), [rule]);
        let symbol = "ERROR: modpost: \"foo\" [x.ko] undefined!";
        assert_eq!(
            said(&format!("  MODPOST Module.symvers\n{symbol}\n")).errors(),
            [symbol]
        );
        assert_eq!(said("nothing of note\n").errors(), ["nothing of note"]);
    }

    proptest::proptest! {
        /// Whatever a makefile prints, what is kept is bounded.
        #[test]
        fn what_is_kept_is_bounded(
            lines in proptest::collection::vec("(make: |  CC |x.c:1: (error|warning): )?.{0,20}", 0..30),
            times in 1_usize..30,
        ) {
            let mut said = Said::new("/x/");
            (0..times).for_each(|_| lines.iter().for_each(|line| said.hear(line)));

            proptest::prop_assert!(said.lines.len() <= MOST && said.errors().len() <= TOLD);
            proptest::prop_assert!(said.warnings().len() <= MOST);
        }
    }
}
