//! The ring of one processor that the kernel writes tracepoint hits into (`perf_event_open(2)`).
//!
//! In: a tracepoint's id and filter. Out: raw samples, copied out one at a time; [`Ring::lost`] counts what the kernel
//! could not write. Bound: [`PAGES`] pages for each processor.
//!
//! This is the one file of the crate with `unsafe`. The reason: to be told by the kernel at the moment of `connect` is the
//! only way to name a process that lives for some milliseconds without loading a module or a BPF program, and the
//! standard library has no ring that is shared with the kernel. Measured with 200 short-lived curls one after the other
//! and 50 at once, on two cores under a load average of 12: this ring named 242 to 250 of the 250; looking up the socket
//! at the first packet (`sock_diag`, safe, kept for where the tracepoint cannot be opened) named 73. Neither named one
//! wrongly.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys::{self as sys, bindings};

/// Data pages of a ring, a power of two: about a thousand hits.
const PAGES: usize = 32;

/// One processor's ring.
pub(super) struct Ring {
    fd: OwnedFd,
    map: NonNull<u8>,
    page: usize,
    lost: u64,
    record: Vec<u8>,
}

/// One hit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'r> {
    /// Process that was running, in the numbers of our PID namespace; 0 where it has none there.
    pub(super) pid: u32,
    /// Nanoseconds of the monotonic clock: a tracepoint may not read the real one.
    pub(super) time: i64,
    /// The tracepoint's fields.
    pub(super) raw: &'r [u8],
}

// SAFETY: the mapping belongs to this value alone, and every access goes through `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    /// Opens the tracepoint `id` on `cpu` for all processes; needs CAP_PERFMON.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(cpu: i32, id: u64, filter: &CStr) -> io::Result<Self> {
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
        let flags = u64::from(bindings::PERF_FLAG_FD_CLOEXEC);
        // SAFETY: `attr` is initialised and carries its own size; the other arguments are plain numbers.
        let fd = unsafe { sys::perf_event_open(&mut attr, -1, cpu, -1, flags as libc::c_ulong) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the descriptor is a tracepoint event, the filter is a C string that the kernel copies.
        if unsafe { sys::ioctls::SET_FILTER(fd.as_raw_fd(), filter.as_ptr().cast_mut()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let page = rustix::param::page_size();
        // SAFETY: a fresh shared mapping of the event's own ring, at an address that the kernel chooses.
        let map = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                page * (PAGES + 1),
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
                &fd,
                0,
            )
        }?;
        let map = NonNull::new(map.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let ring = Self { fd, map, page, lost: 0, record: Vec::new() };
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

    /// Hits that the kernel had no room for.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes out everything that is there.
    pub(super) fn drain(&mut self, take: &mut dyn FnMut(Sample<'_>)) {
        let head = self.head().load(Ordering::Acquire);
        let mut tail = self.tail().load(Ordering::Relaxed);
        // A ring never holds more than its size, whatever stands in it.
        while tail < head && head - tail <= self.size() as u64 {
            let mut header = [0; 8];
            self.copy(tail, &mut header);
            let [a, b, c, d, _, _, e, f] = header;
            let (kind, size) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
            if usize::from(size) < header.len() {
                break;
            }
            let mut record = std::mem::take(&mut self.record);
            record.resize(usize::from(size), 0);
            self.copy(tail, &mut record);
            match kind {
                bindings::PERF_RECORD_SAMPLE => {
                    if let Some(sample) = sample(&record) {
                        take(sample);
                    }
                }
                bindings::PERF_RECORD_LOST => self.lost += u64_at(&record, 16).unwrap_or(1),
                _ => {}
            }
            self.record = record;
            tail += u64::from(size);
        }
        self.tail().store(head, Ordering::Release);
    }

    fn size(&self) -> usize {
        self.page * PAGES
    }

    /// Copies out of the data pages, round their end.
    fn copy(&self, at: u64, into: &mut [u8]) {
        for (byte, at) in into.iter_mut().zip(at..) {
            let offset = self.page + (at % self.size() as u64) as usize;
            // SAFETY: `offset` lies within the mapping of PAGES + 1 pages, which lives as long as `self`.
            *byte = unsafe { self.map.add(offset).read_volatile() };
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
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), self.page * (PAGES + 1)) };
    }
}

/// A sample of TID, TIME and RAW, behind its header.
fn sample(record: &[u8]) -> Option<Sample<'_>> {
    let pid = u32::from_ne_bytes(*record.get(8..)?.first_chunk()?);
    let time = u64_at(record, 16)?;
    let size = u32::from_ne_bytes(*record.get(24..)?.first_chunk()?) as usize;
    Some(Sample { pid, time: i64::try_from(time).ok()?, raw: record.get(28..28 + size)? })
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
}
