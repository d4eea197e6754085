//! Several hosts for one output: one after the other, and none that failed a moment ago while another is left.

use std::time::{Duration, Instant};

use super::url::HostPort;

/// Hosts, and which of them are left alone for a while.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<(HostPort, Option<Instant>)>,
    next: usize,
}

impl Hosts {
    /// All of them good.
    pub fn new(hosts: &[HostPort]) -> Self {
        Self { hosts: hosts.iter().map(|host| (host.clone(), None)).collect(), next: 0 }
    }

    /// The next host in turn that is not left alone, or else the one that has been for longest.
    pub fn pick(&mut self) -> HostPort {
        let now = Instant::now();
        let count = self.hosts.len().max(1);
        let turn = (0..count).map(|step| (self.next + step) % count);
        let is_good =
            |nth: &usize| self.hosts.get(*nth).is_some_and(|(_, until)| until.is_none_or(|until| until <= now));
        let least = || (0..count).min_by_key(|nth| self.hosts.get(*nth).and_then(|(_, until)| *until));
        let nth = turn.into_iter().find(is_good).or_else(least).unwrap_or_default();
        self.next = (nth + 1) % count;
        self.hosts.get(nth).map(|(host, _)| host.clone()).unwrap_or_else(|| HostPort { host: String::new(), port: 0 })
    }

    /// Leaves a host alone for a while.
    pub fn failed(&mut self, host: &HostPort) {
        self.mark(host, Some(Instant::now() + REST));
    }

    /// A host has answered.
    pub fn answered(&mut self, host: &HostPort) {
        self.mark(host, None);
    }

    fn mark(&mut self, host: &HostPort, until: Option<Instant>) {
        self.hosts.iter_mut().filter(|(known, _)| known == host).for_each(|entry| entry.1 = until);
    }
}

/// How long a host that failed is left alone.
const REST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_take_turns_and_rest_after_a_failure() {
        let named = |name: &str| HostPort { host: name.into(), port: 1 };
        let mut hosts = Hosts::new(&[named("a"), named("b"), named("c")]);
        let mut picked = |n: usize, failing: &str| -> String {
            (0..n)
                .map(|_| {
                    let host = hosts.pick();
                    if failing.contains(&host.host) {
                        hosts.failed(&host)
                    } else {
                        hosts.answered(&host)
                    }
                    host.host
                })
                .collect()
        };
        assert_eq!(picked(4, ""), "abca");
        assert_eq!(picked(4, "b"), "bcac");
        // All failed: the one that failed first is tried.
        assert_eq!(picked(5, "abc"), "acbac");
    }
}
