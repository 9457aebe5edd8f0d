// SPDX-License-Identifier: MIT OR Apache-2.0

//! The part of the QEMU Machine Protocol that Landfall uses, typed.
//!
//! One line of JSON is one message. Reading is [`Message::parse`], total over whatever comes; writing is
//! [`Command::line`]. Waiting for answers is the guest's business, which has other things to watch too.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::command;

/// What QEMU is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ends the negotiation; must be the first.
    Capabilities,
    /// Answers a run state such as `running`.
    QueryStatus,
    /// Ends QEMU.
    Quit,
    /// Stops the virtual CPUs.
    Stop,
    /// Starts them again.
    Continue,
    /// Resets the machine as its button does. With `-no-reboot`, QEMU ends instead.
    SystemReset,
    /// Plugs card `index`, which is served at `socket`, into its root port.
    PlugCard {
        /// Which card; also which port.
        index: usize,
        /// Where it is served.
        socket: PathBuf,
        /// Its register writes are not posted: the CPU waits for each.
        synchronous: bool,
    },

    /// Answers which [`Capability`] this QEMU has.
    QueryCapabilities,
    /// Switches these capabilities on for the migration that follows.
    SetCapabilities(Vec<Capability>),
    /// Takes an open file, which is sent along; see [`lent`].
    AddFile,
    /// How many threads move memory, where [`Capability::Multifd`] is on.
    SetChannels(u8),
    /// Saves a stopped machine to a file that it was lent; [`Event::Migration`] tells how it goes.
    Save(PathBuf),
    /// Restores a machine that was started for it (`-incoming defer`) from such a file, which it was lent.
    Restore(PathBuf),
    /// Answers how the migration went, with `error-desc` if it failed.
    QueryMigration,
    /// Asks the guest to let card `index` go; [`Event::DeviceDeleted`] follows.
    UnplugCard {
        /// Which card.
        index: usize,
    },
    /// The root port of card `index` finds a fatal error on its link (a malformed packet) and tells the guest's kernel,
    /// as PCIe's advanced error reporting has it. Answers with words for people, which begin with `OK` if that was done.
    InjectFatalError {
        /// Which card.
        index: usize,
    },
}

/// What a migration can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Tells of its progress by [`Event::Migration`].
    Events,
    /// Leaves shared memory to whoever shares it.
    IgnoreShared,
    /// Writes each page at a place of its own, so that all can be read at once.
    MappedRam,
    /// Moves memory with several threads.
    Multifd,
}

impl Capability {
    /// QEMU's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::IgnoreShared => "x-ignore-shared",
            Self::MappedRam => "mapped-ram",
            Self::Multifd => "multifd",
        }
    }

    /// Whether it is among those that [`Command::QueryCapabilities`] was answered with.
    pub fn is_in(self, answer: &Value) -> bool {
        let known = answer.as_array().into_iter().flatten();
        known
            .filter_map(|known| known.get("capability")?.as_str())
            .any(|name| name == self.name())
    }
}

impl Command {
    /// The line to send, its end included. `id` comes back with the answer.
    pub fn line(&self, id: u64) -> String {
        let (execute, arguments) = match self {
            Self::Capabilities => ("qmp_capabilities", Value::Null),

            Self::Quit => ("quit", Value::Null),
            Self::Stop => ("stop", Value::Null),
            Self::Continue => ("cont", Value::Null),
            Self::SystemReset => ("system_reset", Value::Null),
            Self::PlugCard {
                index,
                socket,
                synchronous,
            } => {
                let mut device = command::card_device(*index, socket);
                if *synchronous {
                    device["x-no-posted-writes"] = true.into();
                }
                ("device_add", device)
            }
            Self::QueryStatus => ("query-status", Value::Null),
            Self::UnplugCard { index } => ("device_del", json!({ "id": command::card(*index) })),
            Self::QueryCapabilities => ("query-migrate-capabilities", Value::Null),
            Self::SetCapabilities(on) => {
                let on = on
                    .iter()
                    .map(|on| json!({ "capability": on.name(), "state": true }));
                let capabilities: Vec<_> = on.collect();
                (
                    "migrate-set-capabilities",
                    json!({ "capabilities": capabilities }),
                )
            }
            Self::SetChannels(count) => (
                "migrate-set-parameters",
                json!({ "multifd-channels": count }),
            ),
            Self::AddFile => ("add-fd", Value::Null),
            Self::Save(file) => ("migrate", json!({ "uri": file_uri(file) })),
            Self::Restore(file) => ("migrate-incoming", json!({ "uri": file_uri(file) })),
            Self::QueryMigration => ("query-migrate", Value::Null),
            Self::InjectFatalError { index } => {
                let port = command::port(*index);
                let line = format!("pcie_aer_inject_error {port} MALF_TLP");
                ("human-monitor-command", json!({ "command-line": line }))
            }
        };
        let mut message = json!({ "execute": execute, "id": id });
        if arguments != Value::Null {
            message["arguments"] = arguments;
        }
        format!("{message}\n")
    }
}

/// The name under which QEMU opens the file that [`Command::AddFile`] gave it; `None` if that is no answer to it.
pub fn lent(answer: &Value) -> Option<PathBuf> {
    let set = answer.get("fdset-id")?.as_u64()?;
    Some(format!("/dev/fdset/{set}").into())
}

fn file_uri(file: &Path) -> String {
    format!("file:{}", file.display())
}

/// What QEMU says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Its first line.
    Greeting,
    /// A command succeeded.
    Return {
        /// The command's number; `None` if it named none.
        id: Option<u64>,
        /// What it answers.
        value: Value,
    },
    /// A command failed.
    Error {
        /// The command's number.
        id: Option<u64>,
        /// QEMU's words.
        description: String,
    },
    /// Something happened.
    Event(Event),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The machine was shut down; `guest` tells who did it.
    Shutdown {
        /// The guest asked for it, rather than the monitor or a signal.
        guest: bool,
        /// QEMU's word for the reason, such as `guest-reset`.
        reason: String,
    },
    /// The guest told that its kernel panicked.
    GuestPanicked,
    /// A migration came to another state, such as `active`, `completed` or `failed`.
    Migration {
        /// Which.
        status: String,
    },
    /// A device is gone from the machine.
    DeviceDeleted {
        /// Its id; `None` for parts of a device.
        device: Option<String>,
    },
    /// Any other.
    Other(String),
}

/// A line that is no QMP message.
#[derive(Debug, thiserror::Error)]
#[error("QEMU's monitor said something that is no QMP message: {line:?}")]
pub struct NotQmp {
    /// Its first 200 characters.
    pub line: String,
}

/// The shapes a message can have.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<RawError>,
    event: Option<String>,
    data: Option<Value>,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    desc: String,
}

impl Message {
    /// Parses one line.
    ///
    /// # Errors
    /// If it is no message.
    pub fn parse(line: &str) -> Result<Self, NotQmp> {
        let not_qmp = || NotQmp {
            line: line.chars().take(200).collect(),
        };
        let raw: Raw = serde_json::from_str(line).map_err(|_| not_qmp())?;
        if let Some(error) = raw.error {
            return Ok(Self::Error {
                id: raw.id,
                description: error.desc,
            });
        }
        if let Some(name) = raw.event {
            return Ok(Self::Event(Event::from_parts(&name, raw.data.as_ref())));
        }
        if raw.greeting.is_some() {
            return Ok(Self::Greeting);
        }
        let value = raw.value.ok_or_else(not_qmp)?;
        Ok(Self::Return { id: raw.id, value })
    }
}

impl Event {
    fn from_parts(name: &str, data: Option<&Value>) -> Self {
        let text = |key: &str| {
            data.and_then(|data| data.get(key))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        match name {
            "SHUTDOWN" => Self::Shutdown {
                guest: data
                    .and_then(|data| data.get("guest"))
                    .and_then(Value::as_bool)
                    .unwrap_or(false),
                reason: text("reason").unwrap_or_default(),
            },
            "GUEST_PANICKED" => Self::GuestPanicked,
            "MIGRATION" => Self::Migration {
                status: text("status").unwrap_or_default(),
            },
            "DEVICE_DELETED" => Self::DeviceDeleted {
                device: text("device"),
            },
            other => Self::Other(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_each_shape_are_told_apart() {
        let greeting = r#"{"QMP": {"version": {"qemu": {"major": 11}}, "capabilities": ["oob"]}}"#;
        assert_eq!(Message::parse(greeting).unwrap(), Message::Greeting);

        let done = Message::parse(r#"{"return": {}, "id": 7}"#).unwrap();
        assert_eq!(
            done,
            Message::Return {
                id: Some(7),
                value: json!({})
            }
        );

        let error = r#"{"id": 8, "error": {"class": "GenericError", "desc": "no such bus"}}"#;
        let description = "no such bus".to_owned();
        assert_eq!(
            Message::parse(error).unwrap(),
            Message::Error {
                id: Some(8),
                description
            }
        );

        let event = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN",
            "data": {"guest": true, "reason": "guest-reset"}}"#;
        let reason = "guest-reset".to_owned();
        let shutdown = Event::Shutdown {
            guest: true,
            reason,
        };
        assert_eq!(Message::parse(event).unwrap(), Message::Event(shutdown));
    }

    #[test]
    fn what_is_no_message_is_refused_and_quoted() {
        for line in ["", "{}", "[1]", "hello", r#"{"return"#, r#"{"id": -1}"#] {
            assert_eq!(Message::parse(line).unwrap_err().line, line);
        }
    }

    #[test]
    fn a_migration_tells_its_state_and_capabilities_are_found_by_name() {
        let event = r#"{"event": "MIGRATION", "data": {"status": "completed"}}"#;
        let status = "completed".to_owned();
        let expected = Message::Event(Event::Migration { status });
        assert_eq!(Message::parse(event).unwrap(), expected);

        let known = json!([{ "capability": "mapped-ram", "state": false }]);
        assert!(Capability::MappedRam.is_in(&known));
        assert!(!Capability::IgnoreShared.is_in(&known));
        assert!(!Capability::IgnoreShared.is_in(&Value::Null));
    }

    #[test]
    fn an_error_is_of_the_port_that_its_card_sits_in() {
        let line = Command::InjectFatalError { index: 1 }.line(5);
        assert!(
            line.contains(r#""pcie_aer_inject_error port1 MALF_TLP""#),
            "{line}"
        );
    }

    #[test]
    fn a_file_that_was_lent_has_a_name() {
        let answer = json!({ "fdset-id": 2, "fd": 17 });
        assert_eq!(lent(&answer).as_deref(), Some(Path::new("/dev/fdset/2")));
        assert_eq!(lent(&json!({ "fdset-id": "x" })), None);
        assert_eq!(lent(&Value::Null), None);
    }

    #[test]
    fn a_command_is_one_line() {
        assert_eq!(Command::Quit.line(3), "{\"execute\":\"quit\",\"id\":3}\n");
        let plug = Command::PlugCard {
            index: 1,
            socket: "/tmp/card1".into(),
            synchronous: false,
        }
        .line(4);
        assert!(
            plug.contains(r#""driver":"vfio-user-pci""#) && plug.ends_with("}\n"),
            "{plug}"
        );
    }
}
