// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sets up a cache and prints what the library tells: `cargo run -p landfall-guest --example setup -- CACHE`.
//! With `--doctor`, `--prune` or `--refresh` after the directory, that.

use std::error::Error;
use std::time::Instant;

use landfall_guest::{Cancel, Event, SetupOptions, doctor, prepare, prune, size};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let cache = words.first().ok_or("which directory?")?;
    let has = |word: &str| words.iter().any(|given| given == word);
    let value = |word: &str| {
        words
            .iter()
            .skip_while(|given| *given != word)
            .nth(1)
            .cloned()
    };
    let options = SetupOptions {
        refresh: has("--refresh"),
        mirror: value("--mirror"),
        qemu: value("--qemu").map(Into::into),
        kernel: value("--kernel").map(Into::into),
        kdir: value("--kdir").map(Into::into),
        modules: value("--module").map(Into::into).into_iter().collect(),
        ..SetupOptions::new(cache)
    };
    if has("--doctor") {
        for finding in doctor(&options) {
            println!("{finding:?}");
        }
        return Ok(());
    }
    let began = Instant::now();
    let prepared = prepare(&options, &Cancel::default(), &mut |event| match event {
        Event::Bytes { .. } | Event::Line { .. } => {}
        event => println!("{:7.2} {event:?}", began.elapsed().as_secs_f64()),
    });
    println!("{:7.4} s", began.elapsed().as_secs_f64());
    match prepared {
        Ok(prepared) => println!("{prepared:#?}"),
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(&error);
            while let Some(error) = cause {
                println!("error: {error}");
                cause = error.source();
            }
            println!(
                "log: {:?}\nlines: {:#?}\nhint: {:?}",
                error.log(),
                error.last_lines(),
                error.hint()
            );
            return Err("no set-up".into());
        }
    }
    if has("--prune") {
        println!(
            "{:?}",
            prune(&SetupOptions {
                refresh: false,
                ..options
            })?
        );
    }
    println!("{:?}", size(cache.as_ref())?);
    Ok(())
}
