//! `--memory`, split: one budget for the whole run, and the bound of every table that traffic can fill.
//!
//! | Part | Share | Bound that follows |
//! |---|---|---|
//! | connections | 16/64 | entries of the session table |
//! | streams | 16/64 | segments, messages and bodies that connections wait with |
//! | flows | 8/64 | flow records |
//! | correlation | 8/64 | clients, tokens, alerts within their window, names, forgery |
//! | DNS queries | 4/64 | queries that wait for an answer |
//! | ICMP requests | 4/64 | the same |
//! | fragments | 4/64, at most 16 MiB | IP fragments that wait for others |
//! | copies | 2/64, at most 65,536 | datagrams remembered to know their copies |
//! | marks | 2/64 | conversations whose flows are written |
//!
//! The shares are of three quarters of the budget: what is in use is spread over more pages than it fills, so that the
//! program takes about a third more of the machine (`benches/soak.py`, mixed traffic).
//!
//! Workers share a part evenly; fragments, correlation and marks exist once. What leaves tables goes out in pieces, so
//! that the end of a run takes no more than the run. Beside the budget stand what does not depend on traffic: the
//! program and its catalogue, batches of packets and observations between threads, file buffers, and live the capture
//! rings, which have a quarter of the budget at most.

/// Bytes of each part of the budget, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Entries of the session table.
    pub connections: u64,
    /// What connections hold beside their entries.
    pub streams: u64,
    /// Flow records.
    pub flows: u64,
    /// The correlator.
    pub correlation: u64,
    /// DNS queries that wait.
    pub dns: u64,
    /// ICMP requests that wait.
    pub icmp: u64,
    /// IP fragments that wait.
    pub fragments: u64,
    /// DNS datagrams whose copies may come.
    pub copies: u64,
    /// Conversations that have to do with metadata.
    pub marks: u64,
}

impl Shares {
    /// The split of so many bytes of resident memory.
    pub fn of(memory: u64) -> Self {
        let parts = |n: u64| memory / 4 * 3 / 64 * n;
        Self {
            connections: parts(16),
            streams: parts(16),
            flows: parts(8),
            correlation: parts(8),
            dns: parts(4),
            icmp: parts(4),
            fragments: parts(4).min(16 << 20),
            copies: parts(2).min(65_536 * bytes_per::COPY),
            marks: parts(2),
        }
    }

    /// What one of `workers` gets of the parts that each has for itself.
    pub fn of_worker(self, workers: usize) -> Self {
        let part = |bytes: u64| bytes / workers.max(1) as u64;
        Self {
            connections: part(self.connections),
            streams: part(self.streams),
            flows: part(self.flows),
            dns: part(self.dns),
            icmp: part(self.icmp),
            copies: part(self.copies),
            ..self
        }
    }
}

/// What an entry of each table takes, index and room for growth included.
pub mod bytes_per {
    /// A connection, without what waits in it.
    pub const CONNECTION: u64 = 112;
    /// A tracked flow.
    pub const FLOW: u64 = 256;
    /// A client of metadata services, with its alerts and tokens.
    pub const CLIENT: u64 = 4096;
    /// A datagram whose copies may come.
    pub const COPY: u64 = 96;
    /// A marked conversation.
    pub const MARK: u64 = 128;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(shares: Shares) -> u64 {
        let Shares { connections, streams, flows, correlation, dns, icmp, fragments, copies, marks } = shares;
        connections + streams + flows + correlation + dns + icmp + fragments + copies + marks
    }

    #[test]
    fn the_parts_are_three_quarters_of_the_whole_and_little_less() {
        for memory in [16 << 20, (16 << 20) + 63, 32 << 20, 100_000_000, 512 << 20] {
            let shares = Shares::of(memory);
            assert!(sum(shares) <= memory / 4 * 3, "{shares:?} of {memory}");
            assert!(sum(shares) > memory / 10 * 7, "{shares:?} of {memory}");
        }
        assert!(sum(Shares::of(64 << 30)) <= 64 << 30);
    }

    #[test]
    fn workers_together_get_no_more_than_one() {
        let all = Shares::of(512 << 20);
        for workers in [1, 2, 3, 7, 64] {
            let one = all.of_worker(workers);
            let n = workers as u64;
            let own = one.connections + one.streams + one.flows + one.dns + one.icmp + one.copies;
            assert!(own * n + one.fragments + one.correlation + one.marks <= sum(all), "{workers} workers");
            assert_eq!(one.fragments, all.fragments, "there is one decoder");
        }
    }
}
