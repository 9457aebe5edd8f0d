// SPDX-License-Identifier: MIT OR Apache-2.0

//! All orders of a card's actions among its driver's steps, one after the other, each judged.
//!
//! A race between the two shows by chance, once in many runs. Here the card acts when it is told ([`landfall_device::explore`]), in a
//! guest with one CPU that waits for it ([`Guest::explore`](crate::guest::Guest::explore)); a [`Scenario`] is done again and again in
//! the same guest. What an order came to is what the ledger says of it, what the guest's kernel reports, and whether the driver hung.

mod bench;
mod digest;
mod scenario;
mod told;

/// What it is called that a driver waits in vain.
pub const HANG: &str = "hang";

use std::time::{Duration, Instant};

pub use landfall_device::explore::{BadOrder, Bounds, Log, Order};
use landfall_device::explore::{Search, Task};

use self::bench::{Carried, Maker};
pub use self::scenario::{Action, Scenario, Word};
pub use self::told::columns;
use crate::evidence::{Named, Observed};
use crate::judge::{Context, Expected, Trial, TrialFailed, leave, versions};

/// What is to be explored, and how far.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is done with the driver.
    pub scenario: Scenario,
    /// How far from the default order.
    pub bounds: Bounds,
    /// Most orders.
    pub orders: u64,
    /// For how long; an order that is begun is ended.
    pub time: Duration,
    /// This one alone.
    pub order: Option<Order>,
    /// How often each order is carried out, to see whether it is the same each time.
    pub times: u32,
}

impl Default for Wanted {
    /// Driver bound and unbound, two deviations, no bound of orders, ten minutes.
    fn default() -> Self {
        Self {
            scenario: Scenario::default(),
            bounds: Bounds::default(),
            orders: u64::MAX,
            time: Duration::from_secs(600),
            order: None,
            times: 1,
        }
    }
}

/// How far it has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Orders that were tried.
    pub tried: u64,
    /// Orders that wait.
    pub waiting: usize,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// An order failed.
    Failed,
    /// All orders that there are were tried.
    All,
    /// All orders within the bounds of deviations were tried.
    Bounds,
    /// There were more orders than were wanted, or no time was left.
    Limit,
    /// Only one order was wanted.
    One,
}

/// An order that failed.
#[derive(Debug, serde::Serialize)]
pub struct Failed {
    /// The order, as text.
    pub order: String,
    /// Which it was, from 1.
    pub number: u64,
    /// What is wrong, the first first.
    pub wrong: Vec<Named>,
    /// The same, of a fresh guest in which it was the only order; empty: there it did not fail.
    pub again: Vec<Named>,
    /// Who did what around the places where it differs from the default; a line each.
    pub columns: Vec<String>,
    /// What was seen in that guest.
    pub observed: Observed,
}

/// What came of it.
#[derive(Debug, serde::Serialize)]
pub struct Explored {
    /// Why it ended.
    pub end: End,
    /// Orders that were carried out.
    pub orders: u64,
    /// Of these, with no deviation, with one, and so on.
    pub by_deviations: Vec<u64>,
    /// Most deviations that were to be tried.
    pub deviations: usize,
    /// Most register writes of one order that were held back.
    pub held_writes: usize,
    /// Journals that differ.
    pub journals: usize,
    /// Orders that could not be carried out, and why the first could not.
    pub not_carried_out: u64,
    /// See there.
    pub why_not: Option<String>,
    /// Steps of the driver in the default order, and actions of the card.
    pub steps: (usize, usize),
    /// The order that failed.
    pub failed: Option<Failed>,
    /// Why something was not judged.
    pub not_judged: Vec<String>,
    /// Guests that it took.
    pub guests: u32,
    /// What it took.
    pub took: Duration,
}

impl Explored {
    /// Whether nothing went wrong, and all was judged and carried out.
    pub fn is_clean(&self) -> bool {
        self.failed.is_none() && self.is_judged()
    }

    /// Whether all was judged and carried out.
    pub fn is_judged(&self) -> bool {
        self.not_judged.is_empty() && self.not_carried_out == 0 && self.orders > 0
    }
}

/// Who tries one order after the other.
struct Explorer<'a> {
    maker: Maker<'a>,
    bench: Option<bench::Bench<'a>>,
    guests: u32,
    not_judged: Vec<String>,
}

/// Explores a trial's driver with its card, on a platform with nothing between card and memory. What the trial runs is not run: the
/// scenario stands for it.
///
/// # Errors
/// If it came to nothing: the guest, the driver or a word of the scenario failed before any order, or the card's model does not
/// promise what it takes.
pub fn explore(
    trial: &Trial,
    wanted: &Wanted,
    context: &Context<'_>,
    command: &dyn Fn(&Order) -> Vec<String>,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Explored, TrialFailed> {
    let began = Instant::now();
    let built = trial.built(context.prepared, context)?;
    let maker = Maker {
        trial,
        scenario: &wanted.scenario,
        context,
        built: &built,
    };
    let mut explorer = Explorer {
        maker,
        bench: None,
        guests: 0,
        not_judged: Vec::new(),
    };
    let mut search = Search::new(wanted.bounds);
    let (mut tried, mut why_not, mut steps, mut failed) = (0, None, (0, 0), None);
    let mut end = None;
    while let Some(task) = next(&mut search, wanted, tried) {
        if tried >= wanted.orders || began.elapsed() >= wanted.time {
            end = Some(End::Limit);
            break;
        }
        on_progress(Progress {
            tried,
            waiting: search.waiting() + 1,
        });
        tried += 1;
        let mut carried = explorer.carry_out(&task.order)?;
        if carried.only_hung() {
            // A host that is busy may have kept it waiting: what hangs hangs again, in another guest.
            let again = explorer.carry_out(&task.order)?;
            if again.wrong.is_empty() {
                carried = again;
            }
        }
        for _ in 1..wanted.times {
            if let Err(why) = carried.log.carried_out(&task.order) {
                why_not.get_or_insert(format!("{}: {why}", task.order));
            }
            let again = explorer.carry_out(&task.order)?;
            if again.digest != carried.digest || again.wrong.len() != carried.wrong.len() {
                let why = "the same order came to another journal the next time".to_owned();
                why_not.get_or_insert(why);
            }
            carried = again;
        }
        if tried == 1 {
            steps = (carried.log.steps(), carried.log.actions());
        }
        let learnt = match wanted.order {
            None => search.learn(&task, &carried.log, carried.digest),
            Some(_) => carried.log.carried_out(&task.order),
        };
        if let Err(why) = &learnt {
            why_not.get_or_insert_with(|| format!("{}: {why}", task.order));
        }
        // One that was not carried out, with no more wrong, says nothing; what is wrong is wrong in any order.
        if carried.says().is_some() {
            failed = Some(explorer.show(&task.order, tried, &carried, command)?);
            end = Some(End::Failed);
            break;
        }
    }
    let all = match search.is_all() {
        true => End::All,
        false => End::Bounds,
    };
    explorer.renew();
    let one = wanted.order.is_some();
    Ok(Explored {
        end: end.unwrap_or(if one { End::One } else { all }),
        orders: if one { tried } else { search.ran() },
        by_deviations: search.by_deviations().to_vec(),
        deviations: wanted.bounds.deviations,
        held_writes: wanted.bounds.held_writes,
        journals: search.journals(),
        not_carried_out: match one || wanted.times > 1 {
            true => why_not.is_some().into(),
            false => search.not_carried_out(),
        },
        why_not,
        steps,
        failed,
        not_judged: explorer.not_judged,
        guests: explorer.guests,
        took: began.elapsed(),
    })
}

/// The next order to try.
fn next(search: &mut Search, wanted: &Wanted, tried: u64) -> Option<Task> {
    match &wanted.order {
        None => search.next_task(),
        Some(order) if tried == 0 => Some(Task::only(order.clone())),
        Some(_) => None,
    }
}

impl<'a> Explorer<'a> {
    fn bench(&mut self) -> Result<&mut bench::Bench<'a>, TrialFailed> {
        if self.bench.as_ref().is_some_and(|bench| !bench.is_fresh()) {
            self.renew();
        }
        if self.bench.is_none() {
            self.bench = Some(self.maker.bench()?);
            self.guests += 1;
        }
        match &mut self.bench {
            Some(bench) => Ok(bench),
            None => unreachable!("it was made"),
        }
    }

    /// Ends the guest, and takes over what was not judged there.
    fn renew(&mut self) {
        let said = self.bench.take().map(bench::Bench::not_judged);
        for why in said.unwrap_or_default() {
            if !self.not_judged.contains(&why) {
                self.not_judged.push(why);
            }
        }
    }

    fn carry_out(&mut self, order: &Order) -> Result<Carried, TrialFailed> {
        let carried = self.bench()?.carry_out(order)?;
        if !carried.wrong.is_empty() {
            // What it leaves behind must not be the next one's; and of what went wrong no more is judged.
            self.bench = None;
        }
        Ok(carried)
    }

    /// Carries a failing order out in a guest of its own, and leaves its bundle.
    fn show(
        &mut self,
        order: &Order,
        number: u64,
        carried: &Carried,
        command: &dyn Fn(&Order) -> Vec<String>,
    ) -> Result<Failed, TrialFailed> {
        self.bench = None;
        self.guests += 1;
        let (again, mut observed) = self.maker.bench()?.show(order)?;
        // What the card did is judged there already, and not that the driver hung.
        let hung = again.wrong.iter().filter(|named| named.name == HANG);
        observed.violations.extend(hung.cloned());
        let said = again.says().or_else(|| carried.says());
        let says = |_: &Observed| said.clone();
        let context = self.maker.context;
        let expected = Expected {
            versions: versions(context.prepared),
            word: "explore".to_owned(),
            what: format!("order {order} of \"{}\"", self.maker.scenario),
            command: command(order),
            scenario: None,
            wrong: &says,
        };
        let observed = leave(context.bundles, &expected, observed).map_err(TrialFailed::Bundle)?;
        Ok(Failed {
            order: order.to_string(),
            number,
            wrong: carried.wrong.clone(),
            columns: columns(
                if again.wrong.is_empty() {
                    &carried.log
                } else {
                    &again.log
                },
                order,
            ),
            again: again.wrong,
            observed,
        })
    }
}
