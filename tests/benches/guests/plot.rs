// SPDX-License-Identifier: MIT OR Apache-2.0

//! The figures as pictures.

use std::path::Path;

use landfall_tests::Result;
use plotters::prelude::*;

use super::collect::{Collected, SIZES};
use super::start::Way;

const SIZE: (u32, u32) = (900, 420);
const FONT: &str = "sans-serif";

/// Each way to start a guest as a bar of its parts.
pub(crate) fn start(path: &Path, ways: &[Way]) -> Result {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in ways.iter().flat_map(|way| &way.parts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let total = |way: &Way| {
        way.parts
            .iter()
            .map(|(_, time)| time.as_secs_f64())
            .sum::<f64>()
    };
    let longest = ways.iter().map(total).fold(0.0, f64::max);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    // From top to bottom, so that the axis counts the other way round.
    let ways: Vec<&Way> = ways.iter().rev().collect();
    let labels: Vec<String> = ways
        .iter()
        .map(|way| format!("{} ({:.2} s)", way.name, total(way)))
        .collect();
    let mut chart = ChartBuilder::on(&root)
        .caption("From nothing to a bound card, seconds", (FONT, 20))
        .margin(14)
        .x_label_area_size(30)
        .y_label_area_size(210)
        .build_cartesian_2d(
            0.0..longest * 1.02,
            (0..ways.len().saturating_sub(1)).into_segmented(),
        )?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(ways.len())
        .y_label_formatter(&|at| match at {
            SegmentValue::CenterOf(at) => labels.get(*at).cloned().unwrap_or_default(),
            _ => String::new(),
        })
        .label_style((FONT, 14))
        .draw()?;
    for (number, name) in names.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let bars = ways.iter().enumerate().filter_map(|(at, way)| {
            let before = way.parts.iter().take_while(|(part, _)| part != name);
            let from: f64 = before.map(|(_, time)| time.as_secs_f64()).sum();
            let (_, time) = way.parts.iter().find(|(part, _)| part == name)?;
            let mut bar = Rectangle::new(
                [
                    (from, SegmentValue::Exact(at)),
                    (from + time.as_secs_f64(), SegmentValue::Exact(at + 1)),
                ],
                colour.filled(),
            );
            bar.set_margin(12, 12, 0, 0);
            Some(bar)
        });
        chart
            .draw_series(bars)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK.mix(0.2))
        .background_style(WHITE.mix(0.9))
        .label_font((FONT, 14))
        .draw()?;
    Ok(root.present()?)
}

/// The card's rate beside a plain copy's, by size of the frame.
pub(crate) fn card(path: &Path, collected: &Collected) -> Result {
    let line = |group: &str, function: &str| -> Vec<(f64, f64)> {
        let figure = |name| collected.figure(group, function, name);
        let points = (0..)
            .zip(SIZES)
            .filter_map(|(at, name)| Some((f64::from(at), figure(name)?.gigabytes())));
        points.collect()
    };
    let lines = [
        ("1 card", line("card-to-memory", "1-card"), BLUE, true),
        ("memcpy, 1 thread", line("memcpy", "1-thread"), BLUE, false),
        ("2 cards", line("card-to-memory", "2-cards"), RED, true),
        ("memcpy, 2 threads", line("memcpy", "2-threads"), RED, false),
    ];
    let rates = || {
        lines
            .iter()
            .flat_map(|(_, points, ..)| points)
            .map(|(_, rate)| *rate)
    };
    let (least, most) = (rates().fold(4.0, f64::min), rates().fold(16.0, f64::max));
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Card to guest memory, GB/s by bytes of a frame", (FONT, 20))
        .margin(14)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(
            -0.1..SIZES.len() as f64 - 0.9,
            (least * 0.8..most * 1.2).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(SIZES.len() * 2)
        .x_label_formatter(&|at| {
            let name = SIZES.get(at.round() as usize);
            let name = name.filter(|_| at.fract().abs() < 0.01);
            name.map_or_else(String::new, |name| (*name).to_owned())
        })
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 14))
        .draw()?;
    for (name, points, colour, solid) in lines {
        let style = colour.mix(if solid { 1.0 } else { 0.4 }).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, style).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.9))
        .label_font((FONT, 14))
        .draw()?;
    Ok(root.present()?)
}
