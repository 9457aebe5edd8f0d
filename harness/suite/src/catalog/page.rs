// SPDX-License-Identifier: MIT OR Apache-2.0

//! The measured table as text and as Markdown.

use std::fmt::Write as _;

use super::schema::{Cell, Column, Matrix, Row, Seen};
use landfall::judge::Leg;

/// As text, for a terminal.
pub fn table(matrix: &Matrix) -> String {
    let mut text = format!("{:<3}{:<28}", "", "class");
    for column in Column::ALL {
        let _ = write!(text, "{:<11}", column.name());
    }
    text.push('\n');
    for row in &matrix.rows {
        let _ = write!(text, "{:>2} {:<28}", row.number, row.name);
        for column in Column::ALL {
            let _ = write!(text, "{:<11}", word(row.cell(column)));
        }
        let line = text.trim_end().len();
        text.truncate(line);
        text.push('\n');
        for alarm in &row.alarms {
            let _ = writeln!(text, "   its clean twin was not silent {alarm}");
        }
    }
    let _ = writeln!(text, "{}", summary(matrix));
    text
}

/// As a page for `docs/`.
pub fn page(matrix: &Matrix) -> String {
    let mut page = format!(
        "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->\n# Who sees which DMA bug\n\n\
         Measured by `landfall catalog matrix`: kernel {}, QEMU {}. Each class was planted as the table says and run \
         {} times where Landfall must name it, once elsewhere, each time with a clean twin that differs in nothing \
         else. {}\n\n\
         - **ledger**: Landfall's verdict on the platform that the class needs, from the card's journal and the witness.\n\
         - **IOMMU**: a strict Intel IOMMU refused an access of the card that it allowed the clean twin.\n\
         - **dma-debug**, **KASAN**: what the debug kernel said. Named: in words that are those of the class.\n\
         - **swiotlb**: Landfall's verdict with `swiotlb=force`.\n\n\
         *named*: as what it is; *seen*: something was wrong; *missed*: nothing. A dash: not run there.\n\n\
         | # | class | planted | leg | ledger | IOMMU | dma-debug | KASAN | swiotlb |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        matrix.kernel,
        matrix.qemu,
        matrix.repeats,
        summary(matrix),
    );
    for row in &matrix.rows {
        let legs: Vec<_> = row.legs.iter().map(|leg| Leg::name(*leg)).collect();
        let _ = write!(
            page,
            "| {} | {} | {} | {} |",
            row.number,
            row.name,
            row.planted,
            legs.join(", ")
        );
        for column in Column::ALL {
            let _ = write!(page, " {} |", word(row.cell(column)));
        }
        page.push('\n');
    }
    let missed: Vec<_> = matrix
        .rows
        .iter()
        .filter(|row| !row.is_named(matrix.repeats))
        .collect();
    if !missed.is_empty() {
        page.push_str("\n## Not named\n\n");
        for row in missed {
            let _ = writeln!(page, "- **{} {}**: {}", row.number, row.name, why(row));
        }
    }
    page.push_str("\n## What was said\n\n| # | first words of the verdict |\n|---|---|\n");
    for row in &matrix.rows {
        let said = row
            .cell(Column::Ledger)
            .and_then(|cell| cell.said.as_deref());
        let said = said.unwrap_or("-").replace('|', "\\|");
        let _ = writeln!(page, "| {} | {said} |", row.number);
    }
    page
}

fn why(row: &Row) -> String {
    match row.cell(Column::Ledger) {
        Some(Cell {
            said: Some(said), ..
        }) => format!("seen as \"{said}\""),
        _ => "planted, and not seen".to_owned(),
    }
}

fn word(cell: Option<&Cell>) -> &'static str {
    cell.and_then(|cell| cell.seen).map_or("-", Seen::name)
}

fn summary(matrix: &Matrix) -> String {
    let alarms: usize = matrix.rows.iter().map(|row| row.alarms.len()).sum();
    format!(
        "{} of {} classes named by Landfall in {} of {} runs; {} clean twins, {alarms} false alarms; {:.0} s.",
        matrix.named,
        matrix.rows.len(),
        matrix.repeats,
        matrix.repeats,
        matrix.clean_runs,
        matrix.seconds
    )
}
