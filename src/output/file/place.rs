//! Opening a file to append to: only what is ours is touched.
//!
//! In: a path as configured. Out: a file at the end of its last whole line. What exists is appended to only if it is a
//! regular file that ends as our own do, or takes anything (`/dev/null`, a pipe); only then is a torn last line cut. A
//! symbolic link is followed only where it belongs to the user that we are, so that nobody else can lead us away.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::IgnoredAny;

/// How much of a file's end is looked at.
const WINDOW: u64 = 1 << 20;

/// A file that can be appended to.
pub(super) struct Opened {
    pub(super) file: File,
    /// Its length; 0 where it has none.
    pub(super) length: u64,
    /// Whether it is a regular file.
    pub(super) is_regular: bool,
    /// Bytes of a torn last line that was cut off.
    pub(super) cut: u64,
}

/// Opens `path` for appending; creates it with mode 0640 (less the umask) where there is none.
///
/// # Errors
/// What the operating system says, or that it is not ours, in words. `NotConnected`: nobody reads the pipe.
pub(super) fn append(path: &Path) -> io::Result<Opened> {
    refuse_foreign_link(path)?;
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe that nobody reads would keep us in `open` for ever.
        options.mode(0o640).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path).map_err(nobody_reads)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        refuse_devices(&metadata)?;
        wait_when_full(&file)?;
        return Ok(Opened { file, length: 0, is_regular: false, cut: 0 });
    }
    let (length, cut) = mend_end(&file, path, metadata.len())?;
    Ok(Opened { file, length, is_regular: true, cut })
}

fn other(text: &str) -> io::Error {
    io::Error::other(text.to_owned())
}

#[cfg(unix)]
fn nobody_reads(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::new(io::ErrorKind::NotConnected, "nobody reads this pipe"),
        _ => error,
    }
}

#[cfg(not(unix))]
fn nobody_reads(error: io::Error) -> io::Error {
    error
}

/// Whoever can make a link may not choose which of our files we write to.
#[cfg(target_os = "linux")]
fn refuse_foreign_link(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let Ok(link) = path.symlink_metadata() else { return Ok(()) };
    let is_ours = || link.uid() == rustix::process::geteuid().as_raw();
    // The system's own links to standard output and null belong to root and cannot be replaced by others.
    let is_of_system = || path.starts_with("/dev") || path.starts_with("/proc");
    if link.is_symlink() && !is_ours() && !is_of_system() {
        return Err(other("it is a symbolic link of another user"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn refuse_foreign_link(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Of devices only those that swallow what is written are taken, and terminals.
#[cfg(unix)]
fn refuse_devices(metadata: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let kind = metadata.file_type();
    // Linux gives the memory devices major number 1: null is 3, full is 7; terminals have 4, 5 and 136 to 143.
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_possible_truncation,
        reason = "C libraries differ in the type of this number"
    )]
    let device = metadata.rdev() as libc::dev_t;
    let (major, minor) = (libc::major(device), libc::minor(device));
    let is_harmless = matches!((major, minor), (1, 3 | 7) | (4 | 5 | 136..=143, _)) || cfg!(not(target_os = "linux"));
    if kind.is_block_device() || kind.is_char_device() && !is_harmless {
        return Err(other("it is a device"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_devices(_: &Metadata) -> io::Result<()> {
    Ok(())
}

/// From now on whoever writes waits where a pipe is full: it was only opening that must not wait.
#[cfg(target_os = "linux")]
fn wait_when_full(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - rustix::fs::OFlags::NONBLOCK)?)
}

#[cfg(not(target_os = "linux"))]
fn wait_when_full(_: &File) -> io::Result<()> {
    Ok(())
}

/// Sees to it that the file ends with a whole line; returns its length, and how much of a torn line was cut.
fn mend_end(file: &File, path: &Path, length: u64) -> io::Result<(u64, u64)> {
    match end_of(path, length)? {
        End::Whole => Ok((length, 0)),
        End::Torn(rest) => {
            file.set_len(length - rest)?;
            Ok((length - rest, rest))
        }
        End::Unended => {
            io::Write::write_all(&mut &*file, b"\n")?;
            Ok((length + 1, 0))
        }
        End::Foreign => Err(other("it exists and does not end as an output of ours does; it is left as it is")),
    }
}

enum End {
    /// A line of ours, or nothing.
    Whole,
    /// So many bytes of a line that was never finished.
    Torn(u64),
    /// A whole line of ours without its line end.
    Unended,
    /// Something else.
    Foreign,
}

fn end_of(path: &Path, length: u64) -> io::Result<End> {
    if length == 0 {
        return Ok(End::Whole);
    }
    let window = length.min(WINDOW);
    let mut tail = Vec::new();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(length - window))?;
    file.take(window).read_to_end(&mut tail)?;
    let (lines, rest) = match memchr::memrchr(b'\n', &tail) {
        Some(at) => tail.split_at(at + 1),
        None => (&tail[..0], &tail[..]),
    };
    let last = lines.strip_suffix(b"\n").map(|lines| lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
    Ok(match last {
        // The last line may be longer than the window: then its beginning was not seen.
        Some(last) if !(is_own(last) || window < length && last.len() + 1 + rest.len() == tail.len()) => End::Foreign,
        Some(last) if !is_own(last) && !last.ends_with(b"}") => End::Foreign,
        None if window < length => End::Foreign,
        _ if rest.is_empty() => End::Whole,
        Some(_) if is_document(rest) => End::Unended,
        // Somebody's JSON document without a line end is no torn line.
        None if is_document(rest) && !rest.starts_with(EVENT) => End::Foreign,
        None if is_document(rest) => End::Unended,
        Some(_) if begins_as_own(rest) => End::Torn(rest.len() as u64),
        None if rest.starts_with(EVENT) || begins_as_text(rest) => End::Torn(rest.len() as u64),
        _ => End::Foreign,
    })
}

/// How our events begin.
const EVENT: &[u8] = b"{\"@timestamp\"";

/// Whether a line is a JSON object or begins with a time, as our text does.
fn is_own(line: &[u8]) -> bool {
    let is_text = line.len() > TIME.len() && begins_as_text(line);
    is_document(line) || is_text && str::from_utf8(line).is_ok_and(|text| !text.contains('\0'))
}

/// Whether these bytes are a whole JSON object.
fn is_document(line: &[u8]) -> bool {
    line.starts_with(b"{") && line.ends_with(b"}") && serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// How our text begins; `d` is a digit.
const TIME: &[u8] = b"dddd-dd-ddTdd:dd:dd";

/// Whether the beginning of a line can be ours.
fn begins_as_own(rest: &[u8]) -> bool {
    rest == b"{" || rest.starts_with(b"{\"") || begins_as_text(rest)
}

/// Whether a line begins with a time such as `2026-11-24T03:20:03`, or as much of one as there is.
fn begins_as_text(line: &[u8]) -> bool {
    let fits = |(byte, form): (&u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == form };
    !line.is_empty() && line.iter().zip(TIME).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(bytes: &[u8]) -> (bool, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let opened = append(&path);
        (opened.is_ok(), std::fs::read(&path).unwrap())
    }

    #[test]
    fn a_torn_line_of_ours_is_cut_and_nothing_else_is_touched() {
        for (before, after) in [
            ("", ""),
            ("{\"a\":1}\n", "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"b\":", "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
            ("{\"@timestamp\":\"2026-11", ""),
            ("2026-11-24T03:20:03.886Z LOW a\n2026-1", "2026-11-24T03:20:03.886Z LOW a\n"),
        ] {
            assert_eq!(end(before.as_bytes()), (true, after.as_bytes().to_vec()), "{before}");
        }
    }

    #[test]
    fn files_of_others_are_refused_and_left_as_they_are() {
        for bytes in [
            &b"\xd4\xc3\xb2\xa1\x02\0\x04\0binary\ntail"[..],
            b"binary \0\x01\x02 without a line",
            b"a,b,c\n1,2,3\n",
            b"root:x:0:0\n",
            b"{\"name\": \"somebody's document\"}",
            b"{\n  \"pretty\": 1\n}\n",
            b"{\"a\":1}\nnot ours",
            b"{\"a\":1}\n\xff\xfe",
        ] {
            assert_eq!(end(bytes), (false, bytes.to_vec()), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_that_nobody_reads_is_an_error_and_no_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(append(&path).err().unwrap().kind(), io::ErrorKind::NotConnected);
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert!(append(&path).is_ok());
        drop(reader);
    }
}
