//! What the workers found, merged in packet order.
//!
//! In: what each worker found, in its own order. Out: whose next item is the first of all that there will be.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::worker::{Budget, Found};
use crate::conn::Order;
use crate::observe::Observation;
use crate::packet::Timestamp;

/// What one worker found and has not been published yet.
pub(super) struct WorkerInbox<'f> {
    pub(super) from: &'f Receiver<Found>,
    budget: Arc<Budget>,
    /// What is not given back yet.
    weight: usize,
    /// Ticks are the same in all inboxes: one gives them.
    gives_ticks: bool,
    observations: VecDeque<Observation>,
    ticks: VecDeque<(Order, Timestamp)>,
    /// Nothing before this is still to come.
    pub(super) until: Order,
    ended: bool,
}

pub(super) enum Item {
    Observation(Observation),
    Tick(Timestamp),
}

/// Where to go on.
pub(super) enum Turn {
    /// The next item of all is this inbox's.
    Take(usize),
    /// This inbox must be filled first.
    Wait(usize),
}

/// Which inbox has the next item, or must be filled before that can be decided. `None` at the end.
pub(super) fn turn(inboxes: &[WorkerInbox<'_>]) -> Option<Turn> {
    let numbered = || inboxes.iter().enumerate();
    let first = numbered().filter_map(|(n, inbox)| Some((inbox.head()?, n))).min();
    let unfilled = numbered().filter(|(_, inbox)| inbox.head().is_none() && !inbox.ended);
    let behind = unfilled.map(|(n, inbox)| (inbox.until, n)).min();
    match (first, behind) {
        (Some((head, _)), Some((until, n))) if head >= until => Some(Turn::Wait(n)),
        (None, Some((_, n))) => Some(Turn::Wait(n)),
        (Some((_, n)), _) => Some(Turn::Take(n)),
        (None, None) => None,
    }
}

impl<'f> WorkerInbox<'f> {
    pub(super) fn new(from: &'f Receiver<Found>, budget: &Arc<Budget>, gives_ticks: bool) -> Self {
        let (observations, ticks) = (VecDeque::new(), VecDeque::new());
        let budget = Arc::clone(budget);
        Self { from, budget, weight: 0, gives_ticks, observations, ticks, until: Order::default(), ended: false }
    }

    pub(super) fn receive(&mut self, found: Option<Found>) {
        match found {
            Some(found) => {
                self.weight = found.weight;
                self.observations = found.observations.into();
                self.ticks = if self.gives_ticks { found.ticks.into() } else { VecDeque::new() };
                self.until = found.until;
            }
            None => self.ended = true,
        }
    }

    /// Brings what comes next but one into this processor's cache, while there is other work to do.
    pub(super) fn warm(&self) {
        self.observations.get(1).into_iter().for_each(Observation::warm);
    }

    pub(super) fn head(&self) -> Option<Order> {
        let tick = self.ticks.front().map(|(order, _)| *order);
        let observation = self.observations.front().map(|o| o.order);
        [tick, observation].into_iter().flatten().min()
    }

    pub(super) fn take(&mut self) -> Option<Item> {
        let tick = self.ticks.front().map(|(order, _)| *order);
        let observation = self.observations.front().map(|o| o.order);
        match (tick, observation) {
            (Some(tick), observation) if observation.is_none_or(|o| tick <= o) => {
                self.ticks.pop_front().map(|(_, now)| Item::Tick(now))
            }
            _ => self.observations.pop_front().map(Item::Observation),
        }
    }

    /// What was received has been published: there is room for more.
    pub(super) fn give_back(&mut self) {
        self.budget.give_back(std::mem::take(&mut self.weight));
    }
}

impl Drop for WorkerInbox<'_> {
    fn drop(&mut self) {
        self.budget.lift();
    }
}
