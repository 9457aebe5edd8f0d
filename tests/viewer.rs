// SPDX-License-Identifier: MIT OR Apache-2.0

//! The page of a run, in a browser: what a person sees and does there. No guest is booted. Where there is no Chromium, what needs
//! one is left out, and says so.

use std::fs;
use std::path::PathBuf;

use landfall::bundle::{Bundle, Views};
use landfall::viewer::View;
use landfall_tests::browser::{Browser, program};
use landfall_tests::busy::{Known, busy};
use landfall_tests::{Result, root};
use tempfile::TempDir;

/// The browser; none: it is said why.
#[expect(clippy::print_stderr, reason = "it says what it left out")]
fn browser(size: (u32, u32), dark: bool) -> Result<Option<Browser>> {
    match program() {
        Some(program) => Browser::start(program, size, dark).map(Some),
        None => {
            eprintln!("skipped: there is no Chromium on this machine, in which the page is tried");
            Ok(None)
        }
    }
}

/// The page of a recorded bundle, and the directory that it is in.
fn recorded(name: &str) -> Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let page = directory.path().join("page.html");
    let views = Views {
        page: Some(page.clone()),
        perfetto: None,
    };
    let bundle = root().join("harness/suite/tests/bundles").join(name);
    views.of_bundle(&Bundle::open(&bundle)?)?;
    Ok((directory, page))
}

/// A click on a violation shows its words, the bytes, and what led to it; keys go from entry to entry; drawings zoom.
#[test]
fn a_page_shows_what_is_asked_of_it_and_complains_of_nothing() -> Result {
    let Some(mut browser) = browser((1400, 1000), false)? else {
        return Ok(());
    };
    let (_directory, page) = recorded("overrun")?;
    browser.open(&page)?;
    let said = "document.getElementById('detail-body').textContent";

    browser.click("#rows tbody tr")?;
    browser.wait(&format!("!{said}.includes('Violation 1')"))?;
    browser.click("#violations button")?;
    browser.wait(&format!("{said}.includes('Violation 1: overrun, class 1')"))?;
    for words in [
        "the card wrote 1 byte past the end of frame buffer 1",
        "QUEUE = 0x1",
        "canary",
        "interrupts, vector 0",
        "of it were kept",
    ] {
        let has = browser.evaluate(&format!("{said}.includes({words:?})"))?;
        assert_eq!(has, true, "{words}: {}", browser.evaluate(said)?);
    }
    let bad = browser.evaluate("document.querySelector('.hex .bad').textContent")?;
    assert_eq!(bad, "a5", "the byte that is wrong");

    let seen = "parseInt(document.getElementById('range').textContent)";
    browser.click("#time-all")?;
    let all = browser.wait(&format!("{seen} > 90 && {seen}"))?;
    browser.click("#time-in")?;
    browser.wait(&format!("{seen} < {all} * 0.6"))?;
    browser.click("#by-time")?;
    browser.wait("document.getElementById('range').textContent.includes(' ms')")?;
    browser.click("#memory-line")?;
    browser.wait("document.getElementById('memory-range').textContent.endsWith(' 64 B')")?;

    let row = "Number(document.querySelector('#rows [aria-selected=true]').dataset.index)";
    browser.evaluate("document.getElementById('lanes').focus()")?;
    let before = browser.evaluate(row)?.as_u64().ok_or("no row")?;
    browser.press("ArrowRight")?;
    browser.wait(&format!("{row} === {}", before + 1))?;
    browser.press("n")?;
    browser.wait(&format!("{row} === {before}"))?;
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}

/// The negative control: what is damaged is said on the page, and in its console.
#[test]
fn a_damaged_page_says_so() -> Result {
    let Some(mut browser) = browser((800, 600), false)? else {
        return Ok(());
    };
    let (_directory, page) = recorded("overrun")?;
    let text = fs::read_to_string(&page)?;
    let (before, after) = text.split_once("id=\"data\">").ok_or("no data")?;
    fs::write(&page, format!("{before}id=\"data\">AAAA{}", &after[4..]))?;

    browser.go(&page)?;

    let said = browser.wait("!document.getElementById('failed').hidden && document.getElementById('failed').textContent")?;
    assert!(said.to_string().contains("cannot show its data"), "{said}");
    let complaint = browser.complaint()?;
    assert!(complaint.contains("Uncaught"), "{complaint}");
    Ok(())
}

/// What a guest says is text, and nothing is asked of the network.
#[test]
fn hostile_words_stay_words_in_a_browser() -> Result {
    let Some(mut browser) = browser((800, 600), true)? else {
        return Ok(());
    };
    let hostile = "</script><img src=x onerror=document.title='taken'>";
    let mut view = View::default();
    busy(200, 1, &mut |item| view.item(item));
    let directory = tempfile::tempdir()?;
    let page = directory.path().join("page.html");
    fs::write(&page, view.page(&Known::new(hostile, &[20]).subject()))?;

    browser.open(&page)?;

    let summary = browser.evaluate("document.getElementById('summary').textContent")?;
    assert_eq!(summary, hostile);
    let images = browser.evaluate("document.images.length")?;
    assert_eq!(images, 0);
    let title = browser.evaluate("document.title")?;
    assert_eq!(title, format!("{hostile} · Landfall"));
    assert_eq!(browser.complaints, [""; 0]);
    Ok(())
}

/// As narrow as a telephone nothing is cut off, and dark is dark.
#[test]
fn a_page_fits_into_320_pixels_and_is_dark_where_that_is_asked_for() -> Result {
    let (_directory, page) = recorded("after-stop")?;
    let mut papers = Vec::new();
    for dark in [false, true] {
        let Some(mut browser) = browser((320, 700), dark)? else {
            return Ok(());
        };
        browser.open(&page)?;
        let wide = browser.evaluate("document.documentElement.scrollWidth")?;
        assert_eq!(wide, 320);
        papers.push(browser.evaluate("getComputedStyle(document.body).backgroundColor")?);
        assert_eq!(browser.complaints, [""; 0]);
    }
    assert_ne!(papers[0], papers[1]);
    Ok(())
}

/// A million would be at most 10 MB.
#[test]
fn a_hundred_thousand_entries_are_a_megabyte_at_most() {
    let mut view = View::default();
    busy(100_000, 1, &mut |item| view.item(item));

    let page = view.page(&Known::new("busy", &[50_000]).subject());

    assert_eq!(view.len(), 99_999, "all but the name of a caller");
    let bytes = page.len();
    assert!((200_000..1_000_000).contains(&bytes), "{bytes} bytes");
}
