//! Whoever wants to see alerts as they are raised, before they become text: counts, suggestions, reports.

use super::Suggestions;
use crate::alert::{Alert, Rule, Severity};

/// Sees every alert once, in order, whatever its severity and whichever outputs there are.
pub trait AlertObserver: Send {
    /// An alert was raised.
    fn on_alert(&mut self, alert: &Alert);
}

/// Alerts by rule, and the worst of them.
#[derive(Clone, Debug, Default)]
pub struct AlertCounts {
    /// Alerts raised, by rule, in the order of [`Rule::ALL`].
    pub by_rule: [u64; Rule::ALL.len()],
    /// Highest severity raised.
    pub highest: Option<Severity>,
}

impl AlertObserver for AlertCounts {
    fn on_alert(&mut self, alert: &Alert) {
        if let Some(count) = self.by_rule.get_mut(alert.rule as usize) {
            *count += 1;
        }
        self.highest = self.highest.max(Some(alert.severity));
    }
}

impl AlertObserver for Suggestions {
    fn on_alert(&mut self, alert: &Alert) {
        self.raised(alert);
    }
}
