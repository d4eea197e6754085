//! From captured packets to the worker that owns their conversation.
//!
//! [`DecodeStage`] decodes in capture order, keeps packet time, and hands every level of every packet to a [`LayerSink`]: a
//! [`Router`], which tells the worker that its address pair hashes to where in the shared batch each level's bytes are,
//! or one worker's pipeline itself, in line. Ticks go to every worker, so that what expires, expires at the same place
//! of the run for any number of workers.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use crate::bytes::Reader;
use crate::clock::Clock;
use crate::conn::Endpoint;
use crate::decode::meta::{Meta, Transport};
use crate::decode::{self, Decoder};
use crate::observe::Observation;
use crate::packet::{PacketBatch, Timestamp};

/// What takes decoded levels and ticks, in order.
pub trait LayerSink {
    /// A new second of packet time began before packet `at`.
    fn tick(&mut self, at: u64, now: Timestamp);
    /// One level of a packet; `segment` starts at the transport header.
    fn level(&mut self, meta: &Meta, segment: &[u8]);
    /// These levels come next: whatever they will be looked up in can be brought nearer. Changes nothing.
    fn warm<'m>(&self, _levels: impl Iterator<Item = &'m Meta>) {}
    /// A router reported that it threw a segment away.
    fn mark_undelivered(&mut self, quoted: &Quoted);
    /// Something that is not read from packets has its place before the next packet.
    fn found(&mut self, _found: Observation) {}
    /// What follows begins a new timeline: everything open ends now, before packet `at`.
    fn restart(&mut self, at: u64);
}

/// A TCP segment as an ICMP error quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who sent it.
    pub source: Endpoint,
    /// To whom.
    pub destination: Endpoint,
    /// Its sequence number.
    pub seq: u32,
}

impl Quoted {
    /// From an ICMP or ICMPv6 time-exceeded message (RFC 792, RFC 4443 section 3.3); `segment` starts at its header.
    fn in_time_exceeded(meta: &Meta, segment: &[u8]) -> Option<Self> {
        let Transport::Icmp { kind, .. } = meta.transport else { return None };
        let version_4 = meta.net?.source.is_ipv4();
        if kind != if version_4 { 11 } else { 3 } {
            return None;
        }
        let quoted = segment.get(8..)?;
        let (ends, transport) = if version_4 {
            let header = etherparse::Ipv4HeaderSlice::from_slice(quoted).ok()?;
            (header.protocol().0 == 6).then_some(())?;
            let ends = (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()));
            (ends, quoted.get(header.slice().len()..)?)
        } else {
            let header = etherparse::Ipv6HeaderSlice::from_slice(quoted).ok()?;
            (header.next_header().0 == 6).then_some(())?;
            let ends = (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()));
            (ends, quoted.get(header.slice().len()..)?)
        };
        let mut reader = Reader::new(transport);
        let (source, destination, seq) = (reader.u16()?, reader.u16()?, reader.u32()?);
        Some(Self {
            source: Endpoint { ip: ends.0, port: source },
            destination: Endpoint { ip: ends.1, port: destination },
            seq,
        })
    }
}

/// Decoding and packet time, once per run.
pub struct DecodeStage {
    decoder: Decoder,
    clock: Clock,
}

impl DecodeStage {
    /// A front with nothing seen.
    pub fn new(config: decode::Config) -> Self {
        Self { decoder: Decoder::new(config), clock: Clock::default() }
    }

    /// Takes a batch through decoding.
    pub fn batch(&mut self, batch: &PacketBatch, to: &mut impl LayerSink) {
        self.batch_with(batch, to, &mut |_, _, _| {});
    }

    /// The same; `before` is called before each packet with its number and packet time.
    pub fn batch_with<T: LayerSink>(
        &mut self,
        batch: &PacketBatch,
        to: &mut T,
        before: &mut impl FnMut(u64, Timestamp, &mut T),
    ) {
        for packet in batch.iter() {
            let tick = self.clock.advance(packet.time);
            before(packet.index, self.clock.now(), to);
            if let Some(now) = tick {
                self.decoder.expire(now);
                to.tick(packet.index, now);
            }
            self.decoder.decode(&packet, &mut |meta, segment| {
                to.level(meta, segment);
                if matches!(meta.transport, Transport::Icmp { .. })
                    && let Some(quoted) = Quoted::in_time_exceeded(meta, segment)
                {
                    to.mark_undelivered(&quoted);
                }
            });
        }
    }

    /// The next batch, whose first packet is `first`, comes from another input: where that begins earlier than the last
    /// one ended, everything open ends first.
    pub fn next_input(&mut self, at: u64, first: Timestamp, to: &mut impl LayerSink) {
        if first < self.clock.now() {
            to.restart(at);
            self.clock.restart();
        }
    }

    /// Live capture was quiet: it is at least this late.
    pub fn quiet(&mut self, at: u64, now: Timestamp, to: &mut impl LayerSink) {
        if let Some(now) = self.clock.advance(now) {
            self.decoder.expire(now);
            to.tick(at, now);
        }
    }

    /// What decoding counted.
    pub fn counters(&self) -> &decode::Counters {
        self.decoder.counters()
    }

    /// The present packet time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

enum Step {
    Level {
        meta: Meta,
        segment: Place,
    },
    Tick {
        at: u64,
        now: Timestamp,
    },
    NeverArrived(Quoted),
    Restart {
        at: u64,
    },
    /// Taken out by the worker.
    Found(Cell<Option<Box<Observation>>>),
}

/// How many steps a worker is told of beforehand.
const AHEAD: usize = 16;

impl Step {
    fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Level { meta, .. } => Some(meta),
            _ => None,
        }
    }
}

/// Where a segment's bytes are.
#[derive(Clone, Copy)]
enum Place {
    /// In the batch that was captured.
    Captured { start: u32, len: u32 },
    /// Put together from fragments, and copied.
    Copied { start: u32, len: u32 },
}

/// Decoded levels on their way to one worker; reused.
#[derive(Default)]
pub struct WorkerBatch {
    packets: Option<Arc<PacketBatch>>,
    /// Bytes that do not stand in `packets`.
    arena: Vec<u8>,
    steps: Vec<Step>,
    /// Every packet below this number has been routed, whether or not it stands in this batch.
    watermark: u64,
}

impl WorkerBatch {
    /// Hands everything to `to`, in order.
    pub fn replay(&self, to: &mut impl LayerSink) {
        for next in self.steps.chunks(AHEAD) {
            to.warm(next.iter().filter_map(Step::meta));
            for step in next {
                match step {
                    Step::Level { meta, segment } => to.level(meta, self.bytes(*segment)),
                    Step::Tick { at, now } => to.tick(*at, *now),
                    Step::NeverArrived(quoted) => to.mark_undelivered(quoted),
                    Step::Restart { at } => to.restart(*at),
                    Step::Found(found) => found.take().into_iter().for_each(|found| to.found(*found)),
                }
            }
        }
    }

    fn bytes(&self, place: Place) -> &[u8] {
        match place {
            Place::Captured { start, len } => self.packets.as_ref().map_or(&[], |packets| packets.at(start, len)),
            Place::Copied { start, len } => {
                self.arena.get(start as usize..start as usize + len as usize).unwrap_or_default()
            }
        }
    }

    /// The captured packets, if nobody else works on them any more. The steps are left for the router to clear, which
    /// writes new ones there and has more time than a worker.
    pub fn release(&mut self) -> Option<PacketBatch> {
        self.packets.take().and_then(Arc::into_inner)
    }

    /// See the field.
    pub fn watermark(&self) -> u64 {
        self.watermark
    }
}

/// Sorts levels into one batch per worker.
pub struct Router {
    batches: Vec<WorkerBatch>,
    hasher: foldhash::fast::RandomState,
}

impl Router {
    /// For so many workers, at least one. The hash is seeded at random: which worker gets what shows nowhere.
    pub fn new(workers: usize) -> Self {
        Self {
            batches: (0..workers.max(1)).map(|_| WorkerBatch::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// The levels that follow are those of these packets.
    pub fn share(&mut self, packets: &Arc<PacketBatch>) {
        for batch in &mut self.batches {
            batch.packets = Some(Arc::clone(packets));
        }
    }

    /// Swaps out the batch of worker `n` for one that has been worked off, marking how far the run has come.
    pub fn take(&mut self, n: usize, mut spare: WorkerBatch, watermark: u64) -> WorkerBatch {
        spare.arena.clear();
        spare.steps.clear();
        // At once: growing step by step would copy them again and again.
        spare.steps.reserve(PacketBatch::MAX_PACKETS);
        match self.batches.get_mut(n) {
            Some(batch) => {
                batch.watermark = watermark;
                std::mem::replace(batch, spare)
            }
            None => spare,
        }
    }

    fn owner(&self, key: impl Hash) -> usize {
        (self.hasher.hash_one(key) % self.batches.len() as u64) as usize
    }
}

/// Both ends, the lower one first: the same for either direction.
fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

impl LayerSink for Router {
    fn tick(&mut self, at: u64, now: Timestamp) {
        for batch in &mut self.batches {
            batch.steps.push(Step::Tick { at, now });
        }
    }

    fn level(&mut self, meta: &Meta, segment: &[u8]) {
        let owner = match (meta.net, meta.macs) {
            _ if self.batches.len() == 1 => 0,
            (Some(net), _) => self.owner(pair(net.source, net.destination)),
            (None, Some((a, b))) => self.owner((a.min(b), a.max(b))),
            (None, None) => 0,
        };
        if let Some(batch) = self.batches.get_mut(owner) {
            let len = segment.len() as u32;
            let segment = match batch.packets.as_ref().and_then(|packets| packets.locate(segment)) {
                Some(start) => Place::Captured { start, len },
                None => {
                    let start = batch.arena.len() as u32;
                    batch.arena.extend_from_slice(segment);
                    Place::Copied { start, len }
                }
            };
            batch.steps.push(Step::Level { meta: meta.clone(), segment });
        }
    }

    fn mark_undelivered(&mut self, quoted: &Quoted) {
        let owner = self.owner(pair(quoted.source.ip, quoted.destination.ip));
        if let Some(batch) = self.batches.get_mut(owner) {
            batch.steps.push(Step::NeverArrived(*quoted));
        }
    }

    fn found(&mut self, found: Observation) {
        if let Some(batch) = self.batches.first_mut() {
            batch.steps.push(Step::Found(Cell::new(Some(Box::new(found)))));
        }
    }

    fn restart(&mut self, at: u64) {
        for batch in &mut self.batches {
            batch.steps.push(Step::Restart { at });
        }
    }
}
