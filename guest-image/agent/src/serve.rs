// SPDX-License-Identifier: MIT OR Apache-2.0

//! Does what the harness asks, one request after the other.

use std::sync::Arc;

use landfall_agent::protocol::{Event, FromGuest, Hello, Reply, Request, VERSION};
use nix::time::{ClockId, clock_gettime};

use crate::card::Cards;
use crate::pool::Pools;
use crate::port::Port;
use crate::reaper::Reaper;
use crate::{Outcome, console, exec, files, modules, power, resume, timing};

/// Serves one harness after the other, for as long as the guest lives.
pub(crate) fn serve(port: &Arc<Port>, reaper: &Arc<Reaper>) {
    let mut cards = Cards::default();
    let mut pools = Pools::default();
    loop {
        let mut requests = match port.connect(&FromGuest::Hello(hello())) {
            Ok(requests) => requests,
            Err(error) => {
                console::say(&format!("landfall-agent: port: {error}"));
                std::thread::sleep(std::time::Duration::from_millis(100));
                continue;
            }
        };
        loop {
            match requests.next() {
                Ok(Some(request)) => {
                    let last = request.request == Request::PowerOff;
                    let outcome = answer(request.request, port, &mut cards, &mut pools, reaper);
                    port.send(&FromGuest::Reply {
                        id: request.id,
                        outcome,
                    });
                    if last {
                        power::off();
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    console::say(&format!("landfall-agent: port: {error}"));
                    break;
                }
            }
        }
        port.disconnect();
    }
}

fn answer(
    request: Request,
    port: &Arc<Port>,
    cards: &mut Cards,
    pools: &mut Pools,
    reaper: &Arc<Reaper>,
) -> Outcome<Reply> {
    match request {
        Request::Ping => Ok(Reply::Done),
        Request::Resume { unix_ns, entropy } => {
            resume::resume(unix_ns, entropy).map(|()| Reply::Hello(hello()))
        }
        Request::StartShell => {
            let (reaper, port) = (Arc::clone(reaper), Arc::clone(port));
            crate::start("shell", move || {
                console::shell(&reaper);
                port.send(&FromGuest::Event(Event::ShellEnded));
            });
            Ok(Reply::Done)
        }
        Request::LoadModule { name, parameters } => modules::load(&name, &parameters),
        Request::UnloadModule { name } => modules::unload(&name),
        Request::ReadFile { path, offset, max } => files::read(&path, offset, max),
        Request::MakeFile { path, mode } => files::make(&path, mode),
        Request::WriteFile { path, offset, data } => files::write(&path, offset, &data),
        Request::ListDirectory { path } => files::list(&path),
        Request::Run { argv, timeout_ms } => exec::run(&argv, timeout_ms, reaper),
        Request::WaitForPath { path, timeout_ms } => files::wait_for(&path, timeout_ms),
        Request::WaitWhile {
            path,
            text,
            timeout_ms,
        } => files::wait_while(&path, &text, timeout_ms),
        Request::Capture(request) => cards.answer(request),
        Request::Time {
            function,
            what,
            count,
        } => timing::time(&function, &what, count),
        Request::Pool(request) => pools.answer(request, reaper),
        Request::PowerOff => {
            nix::unistd::sync();
            Ok(Reply::Done)
        }
    }
}

fn hello() -> Hello {
    let kernel = nix::sys::utsname::uname()
        .map(|names| names.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let uptime_ns = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .ok()
        .and_then(|time| {
            let seconds = u64::try_from(time.tv_sec()).ok()?;
            let rest = u64::try_from(time.tv_nsec()).ok()?;
            Some(seconds * 1_000_000_000 + rest)
        })
        .unwrap_or(0);
    Hello {
        protocol: VERSION,
        kernel,
        uptime_ns,
    }
}
