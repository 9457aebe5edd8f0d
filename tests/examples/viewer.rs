// SPDX-License-Identifier: MIT OR Apache-2.0

//! How quick is the page of a long run? Makes one, opens it in headless Chromium, zooms and moves, and prints a table in Markdown.
//!
//!     cargo run --release -p landfall-tests --example viewer -- ENTRIES [DIRECTORY]
//!
//! In DIRECTORY the page and pictures of it stay.

#![expect(clippy::print_stdout, reason = "it tells what it found")]

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use landfall::viewer::View;
use landfall_tests::Result;
use landfall_tests::browser::{Browser, program};
use landfall_tests::busy::{Known, busy};

/// What is done on the page, each a frame: zooms in and out around the middle, and moves.
const FRAMES: &str = "new Promise(done => {
    const lanes = document.getElementById('lanes'), box = lanes.getBoundingClientRect();
    const wheel = (more) => lanes.dispatchEvent(new WheelEvent('wheel', {clientX: box.x + box.width * 0.6, clientY: box.y + 40,
        bubbles: true, cancelable: true, ...more}));
    document.getElementById('time-all').click();
    let frames = 0, slowest = 0, before = 0, began = 0;
    const next = (now) => {
        if (!began) began = now;
        else slowest = Math.max(slowest, now - before);
        before = now;
        if (frames === 240) return done([frames * 1000 / (now - began), slowest]);
        frames++;
        if (frames <= 100) wheel({ctrlKey: true, deltaY: -40});
        else if (frames <= 140) wheel({shiftKey: true, deltaY: 60});
        else wheel({ctrlKey: true, deltaY: 40});
        requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
})";

fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let entries = arguments
        .next()
        .map_or(Ok(1_000_000), |word| word.parse())?;
    let scratch = tempfile::tempdir()?;
    let directory = arguments
        .next()
        .map_or(scratch.path().to_owned(), PathBuf::from);
    let page = directory.join("page.html");
    let began = Instant::now();
    let mut view = View::default();
    busy(entries, 1, &mut |item| view.item(item));
    let read = began.elapsed().as_secs_f64();
    let known = Known::new("1 violation: overrun (class 1)", &[entries / 2]);
    let text = view.page(&known.subject());
    fs::write(&page, &text)?;
    let made = began.elapsed().as_secs_f64() - read;
    let trace = view.perfetto(&known.subject());
    println!("| what | figure |\n|---|---|");
    println!("| entries | {entries} |");
    println!("| taking them in | {read:.2} s |");
    println!("| making the page | {made:.2} s |");
    println!("| the page | {:.2} MB |", text.len() as f64 / 1e6);
    println!(
        "| the trace for Perfetto | {:.1} MB |",
        trace.len() as f64 / 1e6
    );
    let Some(program) = program() else {
        println!("| opening | there is no Chromium on this machine |");
        return Ok(());
    };
    let mut browser = Browser::start(program, (1400, 1000), false)?;
    let opened = browser.open(&page)?;
    println!("| opening | {:.2} s |", opened.as_secs_f64());
    for axis in ["order", "time"] {
        browser.click(&format!("#by-{axis}"))?;
        let rate = browser.evaluate(FRAMES)?;
        println!(
            "| frames a second, by {axis} | {:.0}, the slowest {:.0} ms |",
            rate[0].as_f64().unwrap_or_default(),
            rate[1].as_f64().unwrap_or_default()
        );
    }
    println!("| complaints | {} |", browser.complaints.len());
    Ok(())
}
