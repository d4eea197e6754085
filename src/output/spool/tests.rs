//! What a spool must survive, file by file.

use std::path::Path;

use super::*;

fn open(dir: &Path, most: u64) -> (Spool, Arc<Counters>) {
    let counters = Arc::new(Counters::new("test"));
    (Spool::open(dir, most, Arc::clone(&counters)).unwrap(), counters)
}

fn lines(from: u64, count: u64) -> Vec<u8> {
    (from..from + count).flat_map(|n| format!("{{\"n\":{n}}}\n").into_bytes()).collect()
}

/// Numbers of the lines of a chunk.
fn numbers(lines: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(lines).unwrap();
    text.lines().map(|line| line[5..line.len() - 1].parse().unwrap()).collect()
}

fn read(spool: &Spool, bytes: usize) -> Option<Chunk> {
    spool.read(usize::MAX, bytes, Duration::ZERO, Instant::now())
}

/// Reads and acknowledges everything.
fn drain(spool: &Spool) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(chunk) = read(spool, 1000) {
        all.extend(numbers(&chunk.lines));
        assert_eq!(chunk.count, numbers(&chunk.lines).len() as u64);
        spool.acknowledge(&chunk);
    }
    all
}

fn segments(dir: &Path, class: &str) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(dir.join(class))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    all.sort();
    all
}

const LARGE: u64 = 1 << 30;

#[test]
fn what_is_written_is_read_once_alerts_first() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, counters) = open(dir.path(), LARGE);
    spool.write(Class::Events, &lines(10, 3), 3).unwrap();
    spool.write(Class::Alerts, &lines(1, 2), 2).unwrap();
    spool.write(Class::Events, &lines(13, 1), 1).unwrap();
    assert_eq!(drain(&spool), [1, 2, 10, 11, 12, 13]);
    assert_eq!(drain(&spool), [] as [u64; 0]);
    spool.write(Class::Events, &lines(14, 1), 1).unwrap();
    assert_eq!(drain(&spool), [14], "reading goes on in the file that is being written");
    spool.settle();
    assert!(segments(dir.path(), "events").is_empty() && segments(dir.path(), "alerts").is_empty());
    assert_eq!((counters.snapshot().dropped(), counters.snapshot().damaged), (0, 0));
}

#[test]
#[cfg(unix)]
fn nobody_else_may_look_into_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(&dir.path().join("a/b"), LARGE);
    spool.write(Class::Events, &lines(0, 1), 1).unwrap();
    for path in ["a/b", "a/b/events", "a/b/lock", "a/b/events/0000000000000001.seg"] {
        let mode = dir.path().join(path).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
    }
}

#[test]
fn what_is_not_acknowledged_is_there_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path(), LARGE);
    for n in 0..5 {
        spool.write(Class::Events, &lines(n * 10, 10), 10).unwrap();
    }
    let first = read(&spool, 1).unwrap();
    spool.acknowledge(&first);
    let second = read(&spool, 1).unwrap();
    assert_eq!(numbers(&second.lines)[0], 10);
    drop(spool); // as a crash would leave it
    let (spool, counters) = open(dir.path(), LARGE);
    assert_eq!(counters.snapshot().waiting, 40);
    spool.write(Class::Events, &lines(50, 1), 1).unwrap();
    assert_eq!(segments(dir.path(), "events").len(), 2, "no file of an earlier run is appended to");
    assert_eq!(drain(&spool), (10..51).collect::<Vec<_>>());
}

#[test]
fn a_chunk_from_several_files_is_there_after_a_start_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..3 {
        let (spool, _) = open(dir.path(), LARGE); // each run begins a file of its own
        spool.write(Class::Events, &lines(n * 10, 10), 10).unwrap();
    }
    let all: Vec<u64> = (0..30).collect();
    for _ in 0..2 {
        let (spool, _) = open(dir.path(), LARGE);
        assert_eq!(numbers(&read(&spool, 100_000).unwrap().lines), all);
        assert_eq!(segments(dir.path(), "events").len(), 3, "what is being sent stays on disk");
    }
    let (spool, counters) = open(dir.path(), LARGE);
    let chunk = read(&spool, 100_000).unwrap();
    spool.acknowledge(&chunk);
    assert!(segments(dir.path(), "events").len() <= 1 && counters.snapshot().dropped() == 0);
    drop(spool);
    assert_eq!(drain(&open(dir.path(), LARGE).0), [] as [u64; 0]);
}

#[test]
fn requests_may_end_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path(), LARGE);
    for n in 0..3 {
        spool.write(Class::Events, &lines(n, 1), 1).unwrap();
    }
    let chunks: Vec<_> = (0..3).map(|_| read(&spool, 1).unwrap()).collect();
    spool.acknowledge(&chunks[2]);
    spool.acknowledge(&chunks[0]);
    drop(spool);
    let (spool, _) = open(dir.path(), LARGE);
    assert_eq!(drain(&spool), [1, 2], "the third is sent again, because the second was never done");
}

#[test]
fn a_file_torn_at_any_place_gives_its_whole_frames() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let (spool, _) = open(&whole, LARGE);
    let mut ends = Vec::new();
    for n in 0..4 {
        spool.write(Class::Events, &lines(n * 3, 3), 3).unwrap();
        ends.push(segments(&whole, "events")[0].metadata().unwrap().len());
    }
    drop(spool);
    let bytes = std::fs::read(&segments(&whole, "events")[0]).unwrap();
    for cut in 0..bytes.len() {
        let torn = dir.path().join(format!("torn-{cut}"));
        std::fs::create_dir_all(torn.join("events")).unwrap();
        std::fs::write(torn.join("events/0000000000000001.seg"), &bytes[..cut]).unwrap();
        let (spool, counters) = open(&torn, LARGE);
        spool.write(Class::Events, &lines(100, 1), 1).unwrap();
        let frames = ends.iter().filter(|end| **end <= cut as u64).count() as u64;
        let expected: Vec<_> = (0..frames * 3).chain([100]).collect();
        assert_eq!(drain(&spool), expected, "cut at {cut}");
        let is_whole = cut as u64 == segment::HEAD || ends.contains(&(cut as u64));
        assert_eq!(counters.snapshot().damaged, u64::from(!is_whole), "cut at {cut}");
        assert_eq!(counters.snapshot().waiting, frames * 3, "what is torn is counted as lost; cut at {cut}");
        std::fs::remove_dir_all(&torn).unwrap();
    }
}

#[test]
fn a_bit_flipped_at_any_place_costs_no_more_than_the_rest_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let (spool, _) = open(&whole, LARGE);
    for n in 0..4 {
        spool.write(Class::Events, &lines(n * 3, 3), 3).unwrap();
    }
    drop(spool);
    let bytes = std::fs::read(&segments(&whole, "events")[0]).unwrap();
    for at in 0..bytes.len() {
        for bit in [0, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let place = dir.path().join("flipped");
            std::fs::create_dir_all(place.join("events")).unwrap();
            std::fs::write(place.join("events/0000000000000001.seg"), &flipped).unwrap();
            std::fs::write(place.join("events/0000000000000002.seg"), &bytes).unwrap();
            let (spool, counters) = open(&place, LARGE);
            let read = drain(&spool);
            let intact: Vec<_> = (0..12).collect();
            let (first, second) = read.split_at(read.len() - 12);
            assert_eq!(second, intact, "the next file is whole; byte {at}");
            assert!(intact.starts_with(first) && first.len() < 12 && first.len() % 3 == 0, "byte {at}: {first:?}");
            assert_eq!(counters.snapshot().damaged, 1, "byte {at}");
            drop(spool);
            std::fs::remove_dir_all(&place).unwrap();
        }
    }
}

#[test]
fn nothing_in_the_folder_keeps_it_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("events/0000000000000005.seg")).unwrap();
    std::fs::create_dir_all(dir.path().join("alerts")).unwrap();
    for (name, bytes) in [
        ("events/ack", &b"nonsense"[..]),
        ("alerts/ack", &[0xff; 20]),
        ("events/0000000000000004.seg", b""),
        ("events/0000000000000006.seg", &[0; 5000]),
        ("events/core", b"x"),
        ("alerts/9999999999999999.seg", b"IMDSSPOL\x02\0\0\0"),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (spool, counters) = open(dir.path(), LARGE);
    spool.write(Class::Events, &lines(1, 1), 1).unwrap();
    spool.write(Class::Alerts, &lines(2, 1), 1).unwrap();
    assert_eq!(drain(&spool), [2, 1]);
    assert!(counters.snapshot().damaged >= 3, "{:?}", counters.snapshot());
}

#[test]
fn two_processes_cannot_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path(), LARGE);
    let error = Spool::open(dir.path(), LARGE, Arc::default()).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    drop(spool);
    open(dir.path(), LARGE);
}

/// Lines that do not compress.
fn noise(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut line = format!("{{\"n\":{n:020},\"x\":\"").into_bytes();
    for _ in 0..2000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        line.push(b'0' + (state % 64) as u8);
    }
    line.extend_from_slice(b"\"}\n");
    line
}

fn noise_numbers(spool: &Spool) -> (Vec<u64>, usize) {
    let (mut all, mut chunks) = (Vec::new(), 0);
    while let Some(chunk) = read(spool, 1) {
        let text = String::from_utf8_lossy(&chunk.lines).into_owned();
        all.extend(text.lines().map(|line| line[5..25].parse::<u64>().unwrap()));
        spool.acknowledge(&chunk);
        chunks += 1;
    }
    (all, chunks)
}

#[test]
fn when_full_the_oldest_events_go_and_alerts_stay() {
    let dir = tempfile::tempdir().unwrap();
    let most = 512 << 10;
    let (spool, counters) = open(dir.path(), most);
    for n in 0..20 {
        spool.write(Class::Alerts, &noise(n), 1).unwrap();
    }
    for n in 1000..2000 {
        spool.write(Class::Events, &noise(n), 1).unwrap();
        assert!(counters.snapshot().spool_bytes <= most);
    }
    let counts = counters.snapshot();
    assert_eq!(counts.dropped_alerts, 0);
    assert!(counts.dropped_events > 500, "{counts:?}");
    let (read, _) = noise_numbers(&spool);
    let newest: Vec<_> = (0..20).chain(1000 + counts.dropped_events..2000).collect();
    assert_eq!(read, newest, "whole oldest segments of events, nothing else");
}

#[test]
fn alerts_give_way_to_newer_alerts_only() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, counters) = open(dir.path(), 256 << 10);
    for n in 0..500 {
        spool.write(Class::Alerts, &noise(n), 1).unwrap();
    }
    let many: Vec<u8> = (1000..1200).flat_map(noise).collect();
    spool.write(Class::Events, &many, 200).unwrap();
    let counts = counters.snapshot();
    assert_eq!(counts.dropped_events, 200, "no alert goes for an event");
    let (read, _) = noise_numbers(&spool);
    assert_eq!(read, (counts.dropped_alerts..500).collect::<Vec<_>>());
}

#[test]
fn what_was_being_sent_when_its_segment_went_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, counters) = open(dir.path(), 256 << 10);
    spool.write(Class::Events, &noise(0), 1).unwrap();
    let sending = read(&spool, 1).unwrap();
    for n in 1..1000 {
        spool.write(Class::Events, &noise(n), 1).unwrap();
    }
    let before = counters.snapshot().dropped_events;
    let (read, _) = noise_numbers(&spool);
    assert_eq!(before + read.len() as u64 + 1, 1000);
    spool.settle();
    assert_eq!(counters.snapshot().dropped_events, before + 1, "it was never acknowledged");
    spool.acknowledge(&sending);
}

/// How many files below `dir` this process has open: other tests of the same process open their own.
fn files_open_in(dir: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|file| file.starts_with(dir))).count()
}

#[test]
fn a_hundred_thousand_segments_are_opened_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let count = if std::env::var_os("IMDSWATCH_SLOW").is_some() { 100_000 } else { 5_000 };
    std::fs::create_dir_all(dir.path().join("events")).unwrap();
    let frame = segment::frame(&lines(7, 1), 1).unwrap();
    let file = [&b"IMDSSPOL\x01\0\0\0"[..], &frame].concat();
    for n in 1..=count {
        std::fs::write(dir.path().join(format!("events/{n:016}.seg")), &file).unwrap();
    }
    let began = Instant::now();
    let (spool, counters) = open(dir.path(), LARGE);
    assert_eq!(counters.snapshot().waiting, count);
    let opened = began.elapsed();
    let open_files = files_open_in(dir.path());
    assert!(open_files < 100, "{open_files} of the spool's files are open at once");
    assert_eq!(drain(&spool).len() as u64, count);
    eprintln!("{count} segments: opened in {opened:?}, read in {:?}", began.elapsed() - opened);
    assert!(segments(dir.path(), "events").len() <= 1);
}
