// SPDX-License-Identifier: MIT OR Apache-2.0

use landfall_cards::capture::ALWAYS;
use proptest::prelude::*;

use super::*;

fn whens(what: Fault) -> impl Strategy<Value = When> {
    let some = |wanted: bool| move |value: u64| wanted.then_some(value);
    let is_frame = Planted {
        when: When {
            frame: Some(0),
            ..When::default()
        },
        ..Planted::once(what)
    };
    let (of_frame, of_byte) = (is_frame.check().is_ok(), what.takes_byte());
    let drawn = what.class().is_some();
    let register = prop::sample::select(vec!["QUEUE", "SLOT_SIZE[31]", "CONTROL", "SLOT_BASE_LO"]);
    (
        prop::option::of(0u64..1000),
        prop::option::of(any::<u32>()),
        prop::option::of((register, 1u32..9)),
        prop::option::of(0..i64::MAX as u64),
        prop::option::of(1..=MILLION),
    )
        .prop_map(move |(frame, byte, write, after_us, probability)| When {
            frame: frame.and_then(some(of_frame)).map(|frame| frame as u32),
            byte: byte.and_then(|byte| some(of_byte)(byte.into())),
            write: write.map(|(name, nth)| NthWrite::of(name, nth).expect("a register")),
            after_us,
            probability: probability.filter(|_| drawn),
        })
}

fn planted() -> impl Strategy<Value = Planted> {
    let kinds = prop::sample::select(Fault::ALL.to_vec());
    (kinds, 12u8..64, 1..=MILLION)
        .prop_map(|(what, bits, delay_us)| match what {
            Fault::Truncate { .. } => Fault::Truncate { bits },
            Fault::Posted { .. } => Fault::Posted { delay_us },
            other => other,
        })
        .prop_flat_map(|what| {
            (
                Just(what),
                whens(what),
                prop::sample::select(vec![1, 2, ALWAYS]),
            )
        })
        .prop_map(|(what, when, times)| Planted {
            what,
            when,
            times: if what.class().is_some() { times } else { 1 },
        })
}

proptest! {
    /// Whatever scenario there is: its text gives the same again.
    #[test]
    fn a_scenario_is_its_text(seed in 0..=i64::MAX as u64, faults in prop::collection::vec(planted(), 0..6)) {
        let scenario = Scenario { seed, faults };
        let text = scenario.to_toml();
        let again = Scenario::parse(&text);
        prop_assert_eq!(again, Ok(scenario), "{}", text);
    }

    /// Whatever a text is: it is a scenario or an error.
    #[test]
    fn any_text_is_survived(text in "(seed|what|=|\\[\\[fault\\]\\]|\n|\"overrun\"|[0-9.e-]|[ -~]){0,40}") {
        let _ = Scenario::parse(&text);
    }
}

fn error(text: &str) -> String {
    Scenario::parse(text).expect_err(text).to_string()
}

#[test]
fn defaults_are_the_first_opportunity_once() {
    let scenario = Scenario::parse("[[fault]]\nwhat = \"truncate\"\n");
    let expected = Scenario {
        seed: 0,
        faults: vec![Planted::once(Fault::Truncate { bits: 40 })],
    };
    assert_eq!(scenario, Ok(expected));
    assert_eq!(Scenario::parse(""), Ok(Scenario::default()));
}

/// An error says the line, the word, and what could be there instead.
#[test]
fn errors_say_line_word_and_choices() {
    let fault = |words: &str| error(&format!("seed = 1\n\n[[fault]]\n{words}\n"));
    for (text, line, words) in [
        (error("sead = 1"), 1, ["`sead`", "`seed`"]),
        (
            fault("what = \"overun\""),
            4,
            ["\"overun\"", "overrun, shift, truncate32"],
        ),
        (
            fault("what = \"short\"\nframes = 2"),
            5,
            ["`frames`", "`frame`"],
        ),
        (fault("what = \"short\"\nframe = -1"), 5, ["-1", "u32"]),
        (
            fault("what = \"short\"\nbits = 3"),
            3,
            ["`bits`", "`truncate`"],
        ),
        (
            fault("what = \"overrun\"\nbyte = 3"),
            3,
            ["overrun", "no byte"],
        ),
        (
            fault("what = \"short\"\nregister = \"QUE\""),
            3,
            ["\"QUE\"", "QUEUE"],
        ),
        (
            fault("what = \"short\"\nnth = 2"),
            3,
            ["`nth`", "`register`"],
        ),
        (
            fault("what = \"short\"\nprobability = 1.5"),
            3,
            ["probability", "at most 1"],
        ),
        (fault("frame = 2"), 3, ["missing field", "`what`"]),
    ] {
        assert!(text.contains(&format!("line {line},")), "{text}");
        for word in words {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
}

#[test]
fn more_faults_than_anyone_needs_are_refused() {
    let many = "[[fault]]\nwhat = \"short\"\n".repeat(MOST_FAULTS + 1);
    assert!(error(&many).contains("at most 64"));
}

#[test]
fn a_probability_is_written_as_it_was() {
    for (parts, text) in [(1, "0.000001"), (250_000, "0.25"), (MILLION, "1.0")] {
        assert_eq!(fraction(parts), text);
        assert_eq!(super::parts(text.parse().expect("a number")), parts);
    }
}
