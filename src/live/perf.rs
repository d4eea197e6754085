//! The ring of one processor that the kernel writes tracepoint hits into (`perf_event_open(2)`).
//!
//! In: a tracepoint's id and filter. Out: [`Record`]s of its hits, and of tasks that begin, end, run another program or
//! enter other namespaces: who made a hit is known even where it is gone by then. Bound: [`PAGES`] pages for each
//! processor; what the kernel could not write is a record too.
//!
//! This is the one file of the crate with `unsafe`. The reason: to be told by the kernel at the moment of `connect` is the
//! only way to name a process that lives for some milliseconds without loading a module or a BPF program, and the
//! standard library has no ring that is shared with the kernel. Of 200 short-lived curls one after the other and 50 at
//! once, this ring names all; looking up the socket at the first packet (`sock_diag`, safe, kept for where the tracepoint
//! cannot be opened) named 73. Neither named one wrongly.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys::{self as sys, bindings};

/// Data pages of a ring, a power of two: a thousand connections or beginnings of processes. We are woken by a hit, and
/// when it is half full.
const PAGES: usize = 64;

/// Data pages of a ring with stacks, and the most that all of these rings have together.
const STACK_PAGES: usize = 512;
const ALL_STACK_PAGES: usize = 8192;

/// The user's stack pointer among the registers of a sample.
const STACK_POINTER: u64 = if cfg!(target_arch = "x86_64") { 1 << 7 } else { 1 << 31 };

/// What a ring is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'f> {
    /// Which samples are written, in the kernel's words.
    pub(super) filter: Option<&'f CStr>,
    /// Bytes of the user's stack with each sample; such a ring tells of no tasks.
    pub(super) stack: u32,
    /// Rings that there are of this kind.
    pub(super) rings: usize,
}

impl Wanted<'_> {
    fn pages(&self) -> usize {
        match self.stack {
            0 => PAGES,
            _ => (ALL_STACK_PAGES / self.rings.max(1)).next_power_of_two().clamp(PAGES, STACK_PAGES),
        }
    }
}

/// One processor's ring.
pub(super) struct Ring {
    fd: OwnedFd,
    map: NonNull<u8>,
    page: usize,
    pages: usize,
    has_stack: bool,
    record: Vec<u8>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Process that it happened to, in the numbers of our PID namespace; 0 where it has none there.
    pub(super) pid: u32,
    /// Its thread.
    pub(super) tid: u32,
    /// Nanoseconds of the monotonic clock: a tracepoint may not read the real one.
    pub(super) time: i64,
    pub(super) what: What,
}

/// What happened to a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It came by the tracepoint, with these fields.
    Hit(Vec<u8>),
    /// The same with what is on its stack, and where that begins.
    HitWithStack { fields: Vec<u8>, sp: Option<u64>, stack: Vec<u8> },
    /// It was begun by thread `by` of process `parent`.
    Began { parent: u32, by: u32 },
    /// It runs another program, whose file has a name that begins so.
    Executed([u8; 16]),
    /// It is in the network namespace of this number.
    Entered(u64),
    /// It ended.
    Ended,
    /// So many records had no room.
    Lost(u64),
}

// SAFETY: the mapping belongs to this value alone, and every access goes through `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    /// Opens the tracepoint `id` on `cpu` for all processes; needs CAP_PERFMON.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(cpu: i32, id: u64, wanted: Wanted<'_>) -> io::Result<Self> {
        let has_stack = wanted.stack > 0;
        let pages = wanted.pages();
        let mut attr = bindings::perf_event_attr {
            type_: bindings::PERF_TYPE_TRACEPOINT,
            size: size_of::<bindings::perf_event_attr>() as u32,
            config: id,
            sample_type: u64::from(bindings::PERF_SAMPLE_TID | bindings::PERF_SAMPLE_TIME | bindings::PERF_SAMPLE_RAW),
            clockid: libc::CLOCK_MONOTONIC,
            ..Default::default()
        };
        attr.__bindgen_anon_1.sample_period = 1;
        attr.__bindgen_anon_2.wakeup_events = 1;
        attr.set_disabled(1);
        attr.set_use_clockid(1);
        if has_stack {
            attr.sample_type |= u64::from(bindings::PERF_SAMPLE_REGS_USER | bindings::PERF_SAMPLE_STACK_USER);
            attr.sample_regs_user = STACK_POINTER;
            attr.sample_stack_user = wanted.stack;
        } else {
            attr.set_task(1);
            attr.set_comm(1);
            attr.set_comm_exec(1);
            attr.set_namespaces(1);
        }
        attr.set_sample_id_all(1);
        let flags = u64::from(bindings::PERF_FLAG_FD_CLOEXEC);
        // SAFETY: `attr` is initialised and carries its own size; the other arguments are plain numbers.
        let fd = unsafe { sys::perf_event_open(&mut attr, -1, cpu, -1, flags as libc::c_ulong) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if let Some(filter) = wanted.filter {
            // SAFETY: the descriptor is a tracepoint event, the filter is a C string that the kernel copies.
            if unsafe { sys::ioctls::SET_FILTER(fd.as_raw_fd(), filter.as_ptr().cast_mut()) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let page = rustix::param::page_size();
        // SAFETY: a fresh shared mapping of the event's own ring, at an address that the kernel chooses.
        let map = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                page * (pages + 1),
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
                &fd,
                0,
            )
        }?;
        let map = NonNull::new(map.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let ring = Self { fd, map, page, pages, has_stack, record: Vec::new() };
        // SAFETY: the descriptor is an event, the request takes no pointer.
        if unsafe { sys::ioctls::ENABLE(ring.fd.as_raw_fd(), 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ring)
    }

    /// What to wait on.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How far the kernel has written.
    pub(super) fn written(&self) -> u64 {
        self.head().load(Ordering::Acquire)
    }

    /// Takes out everything up to `written`.
    pub(super) fn drain(&mut self, written: u64, into: &mut Vec<Record>) {
        let mut tail = self.tail().load(Ordering::Relaxed);
        // A ring never holds more than its size, whatever stands in it.
        while tail < written && written - tail <= self.size() as u64 {
            let mut header = [0; 8];
            self.copy(tail, &mut header);
            let [.., e, f] = header;
            let size = u16::from_ne_bytes([e, f]);
            if usize::from(size) < header.len() {
                break;
            }
            let mut record = std::mem::take(&mut self.record);
            record.resize(usize::from(size), 0);
            self.copy(tail, &mut record);
            into.extend(if self.has_stack { parse_with_stack(&record) } else { parse(&record) });
            self.record = record;
            tail += u64::from(size);
        }
        self.tail().store(written, Ordering::Release);
    }

    fn size(&self) -> usize {
        self.page * self.pages
    }

    /// Copies out of the data pages, round their end.
    fn copy(&self, at: u64, into: &mut [u8]) {
        let start = (at % self.size() as u64) as usize;
        let (first, rest) = into.split_at_mut((self.size() - start).min(into.len()));
        for (offset, piece) in [(start, first), (0, rest)] {
            // SAFETY: `offset` and the length of `piece` lie within the data pages of the mapping, which lives as long as
            // `self`; the kernel does not write there before `tail` has passed, and no record is longer than the ring.
            unsafe {
                self.map.add(self.page + offset).copy_to_nonoverlapping(NonNull::from(&mut *piece).cast(), piece.len())
            };
        }
    }

    fn head(&self) -> &AtomicU64 {
        self.word(std::mem::offset_of!(bindings::perf_event_mmap_page, data_head))
    }

    fn tail(&self) -> &AtomicU64 {
        self.word(std::mem::offset_of!(bindings::perf_event_mmap_page, data_tail))
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: both words lie within the first page, aligned, and are shared with the kernel as 64-bit atomics.
        unsafe { AtomicU64::from_ptr(self.map.add(offset).cast().as_ptr()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length and is used by nobody any more.
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), self.page * (self.pages + 1)) };
    }
}

/// A record behind its header; `None` for those of no interest. Thread and time stand first in a hit, and last in others.
fn parse(record: &[u8]) -> Option<Record> {
    let kind = u32_at(record, 0)?;
    let tasks_own = |what| {
        let time = i64::try_from(u64_at(record, record.len().checked_sub(8)?)?).ok()?;
        Some(Record { pid: u32_at(record, 8)?, tid: u32_at(record, 12)?, time, what })
    };
    match kind {
        bindings::PERF_RECORD_SAMPLE => {
            let (pid, tid) = (u32_at(record, 8)?, u32_at(record, 12)?);
            let time = i64::try_from(u64_at(record, 16)?).ok()?;
            let size = u32_at(record, 24)? as usize;
            Some(Record { pid, tid, time, what: What::Hit(record.get(28..28 + size)?.to_vec()) })
        }
        // pid, ppid, tid, ptid.
        bindings::PERF_RECORD_FORK | bindings::PERF_RECORD_EXIT => {
            let what = if kind == bindings::PERF_RECORD_EXIT {
                What::Ended
            } else {
                What::Began { parent: u32_at(record, 12)?, by: u32_at(record, 20)? }
            };
            Some(Record { tid: u32_at(record, 16)?, ..tasks_own(what)? })
        }
        // A name that a process gives itself is a record too.
        bindings::PERF_RECORD_COMM if u16_at(record, 4)? & bindings::PERF_RECORD_MISC_COMM_EXEC as u16 != 0 => {
            let mut comm = [0; 16];
            comm.iter_mut().zip(record.get(16..record.len().checked_sub(16)?)?).for_each(|(to, from)| *to = *from);
            tasks_own(What::Executed(comm))
        }
        // pid, tid, how many, and of each device and number; that of the network is the first.
        bindings::PERF_RECORD_NAMESPACES if u64_at(record, 16)? > 0 => tasks_own(What::Entered(u64_at(record, 32)?)),
        bindings::PERF_RECORD_LOST => tasks_own(What::Lost(u64_at(record, 16)?)),
        _ => None,
    }
}

/// A hit with its stack: thread, time, fields, registers, stack, in this order; how much was lost as elsewhere.
fn parse_with_stack(record: &[u8]) -> Option<Record> {
    if u32_at(record, 0)? != bindings::PERF_RECORD_SAMPLE {
        return parse(record);
    }
    let (pid, tid) = (u32_at(record, 8)?, u32_at(record, 12)?);
    let time = i64::try_from(u64_at(record, 16)?).ok()?;
    let size = u32_at(record, 24)? as usize;
    let fields = record.get(28..28 + size)?.to_vec();
    // A process without registers, or with those of 32 bits, has a stack that is laid out otherwise.
    let registers = 28 + size;
    let abi = u64_at(record, registers)?;
    let is_wide = abi == u64::from(bindings::PERF_SAMPLE_REGS_ABI_64);
    let sp = u64_at(record, registers + 8).filter(|_| is_wide);
    let at = registers + if abi == 0 { 8 } else { 16 };
    let most = usize::try_from(u64_at(record, at)?).ok()?;
    // How much of it was copied stands behind it.
    let copied = if most == 0 { 0 } else { u64_at(record, at + 8 + most)? };
    let stack = record.get(at + 8..at + 8 + most.min(usize::try_from(copied).ok()?))?.to_vec();
    Some(Record { pid, tid, time, what: What::HitWithStack { fields, sp, stack } })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header, body, and a trailer of thread 1 at 77 ns.
    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let size = (8 + body.len() + 16) as u16;
        let trailer = [1u32.to_ne_bytes(), 1u32.to_ne_bytes()].concat();
        [&kind.to_ne_bytes()[..], &misc.to_ne_bytes(), &size.to_ne_bytes(), body, &trailer, &77u64.to_ne_bytes()]
            .concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn records_of_tasks() {
        let forked = parse(&record(7, 0, &[words(&[20, 10, 21, 11]), vec![0; 8]].concat()));
        let what = What::Began { parent: 10, by: 11 };
        assert_eq!(forked, Some(Record { pid: 20, tid: 21, time: 77, what }));
        let ended = parse(&record(4, 0, &[words(&[20, 10, 21, 11]), vec![0; 8]].concat()));
        assert_eq!(ended, Some(Record { pid: 20, tid: 21, time: 77, what: What::Ended }));
        let name = [words(&[20, 20]), b"curl\0\0\0\0".to_vec()].concat();
        let comm = *b"curl\0\0\0\0\0\0\0\0\0\0\0\0";
        let executed = parse(&record(3, 1 << 13, &name));
        assert_eq!(executed, Some(Record { pid: 20, tid: 20, time: 77, what: What::Executed(comm) }));
        assert_eq!(parse(&record(3, 0, &name)), None, "a name of its own choice");
        let spaces: Vec<u8> = [2u64, 4, 4_026_531_840, 4, 9].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let entered = parse(&record(16, 0, &[words(&[20, 21]), spaces].concat()));
        assert_eq!(entered, Some(Record { pid: 20, tid: 21, time: 77, what: What::Entered(4_026_531_840) }));
        assert_eq!(parse(&record(16, 0, &words(&[20, 21]))), None, "cut short");
        let lost = parse(&record(2, 0, &[3u64.to_ne_bytes(), 5u64.to_ne_bytes()].concat()));
        assert_eq!(lost.unwrap().what, What::Lost(5));
    }
}
