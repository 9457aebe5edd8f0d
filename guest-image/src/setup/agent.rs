// SPDX-License-Identifier: MIT OR Apache-2.0

//! The agent for guests that this Landfall was not built with one for: built from its own sources, at set-up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::architecture::{Architecture, HOST};
use crate::event::Step;
use crate::host::follow::Follow;
use crate::host::namespace::Namespaces;
use crate::host::process::{CommandError, Job};
use crate::image::embedded::{AGENT_SOURCES_SHA256, write_agent_sources};
use crate::setup::error::SetupError;
use crate::setup::work::{Making, Work};
use crate::store::cache::remove;
use crate::store::hash::Key;

/// Changes whenever the recipe below does.
pub(crate) const RECIPE: &str = "1";
/// Time to build it: a minute on two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// Its name in its entry.
const AGENT: &str = "agent";

/// The agent was not built.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file cannot be read or written.
    #[error("a file of the agent's sources cannot be used")]
    File(#[from] io::Error),
    /// cargo failed.
    #[error("the agent did not build")]
    Command(#[from] CommandError),
}

impl Work<'_> {
    /// Builds the agent for an architecture with the tools in the entry `rust`, unless that was done; gives its file, and the
    /// entry's name.
    pub(crate) fn agent(
        &self,
        architecture: &Architecture,
        rust: &str,
    ) -> Result<(PathBuf, String), SetupError> {
        let key = Key::new("agent")
            .text(RECIPE)
            .text(architecture.name)
            .text(AGENT_SOURCES_SHA256)
            .text(rust);
        let entry = self.cache.entry("agent", &key.finish());
        let tools = self.cache.entries().join(rust);
        let detail = format!("for {architecture}");
        self.reporter.step(Step::Agent, detail, || {
            entry.make(|path| {
                self.build_agent(path, architecture, &tools)
                    .map_err(|error| Making(error.into()))
            })
        })?;
        Ok((entry.path.join(AGENT), entry.name))
    }

    fn build_agent(
        &self,
        entry: &Path,
        architecture: &Architecture,
        tools: &Path,
    ) -> Result<(), AgentError> {
        let tree = entry.join("tree");
        write_agent_sources(&tree)?;
        let mut log = Follow::new(&self.runner.log(AGENT));
        let job = Job {
            what: "building the agent",
            log: AGENT,
            limit: LIMIT,
        };
        Namespaces::find(self.runner)
            .map_err(io::Error::other)?
            .tree(tools)
            .lend(&tree, "work/modules")
            .run(&script(architecture), self.runner, &job, &mut || {
                log.tell(&mut |text| self.reporter.line(Step::Agent, text));
            })?;
        fs::rename(tree.join(AGENT), entry.join(AGENT))?;
        Ok(remove(&tree)?)
    }
}

/// The workspace is the agent's alone here, and its packages are those that lie there.
fn script(architecture: &Architecture) -> String {
    let linker = |architecture: &Architecture| {
        let target = architecture.target.replace('-', "_").to_uppercase();
        format!(
            "CARGO_TARGET_{target}_LINKER={}-gcc-14",
            architecture.triple
        )
    };
    format!(
        "cd /work/modules\n\
         sed -i 's/^members = .*/members = [\"guest-image\\/agent\"]/' Cargo.toml\n\
         for package in packages/*.crate; do\n\
         tar --extract --gzip --no-same-owner --file $package --directory packages\n\
         mv ${{package%.crate}}.json ${{package%.crate}}/.cargo-checksum.json\n\
         rm $package\n\
         done\n\
         mkdir .cargo\n\
         echo '[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"packages\"' >.cargo/config.toml\n\
         export {} {}\n\
         export RUSTFLAGS=-Ctarget-feature=+crt-static CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols\n\
         cargo build --offline --release --bin landfall-agent --target {}\n\
         mv target/{}/release/landfall-agent {AGENT}",
        linker(HOST),
        linker(architecture),
        architecture.target,
        architecture.target,
    )
}
