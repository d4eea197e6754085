//! Process starts as the kernel tells of them (tracepoint `sched:sched_process_exec`), with the arguments that the new
//! program finds on its stack.
//!
//! In: a sample of the tracepoint with the top of the user's stack at that moment, which the kernel copies before the
//! program runs its first instruction. Out: file name and arguments, also of processes that are gone before anybody could
//! look at `/proc`. Bound: [`STACK`] bytes of stack; what does not fit is said to be cut. The kernel leaves a gap of random
//! length between the addresses and the strings: where a whole page lies in it that nobody has touched, the copy ends
//! there (about one start in four), and `/proc` has to be asked after all.

use std::io;
use std::path::Path;

use super::tracepoint;

/// Bytes of stack that are copied: the addresses of arguments and environment, and the arguments themselves.
pub(super) const STACK: u32 = 16 * 1024;
/// Most arguments that are read.
const MAX_ARGS: usize = 1024;

/// The tracepoint's id and where the file's name is in its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExecPoint {
    pub(super) id: u64,
    /// Of a word that holds the name's place and length.
    filename: usize,
}

/// What a program was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Started {
    /// File that was started: a script's own, as it was named.
    pub(super) file: String,
    pub(super) args: Vec<String>,
    /// Some arguments did not fit.
    pub(super) is_cut: bool,
}

impl ExecPoint {
    /// Reads it from the tracefs below `root`.
    ///
    /// # Errors
    /// When tracefs is not mounted there, cannot be read, or has no such tracepoint.
    pub(super) fn find(root: &Path) -> io::Result<Self> {
        let format = tracepoint::format(root, "sched/sched_process_exec")?;
        Self::parse(&format).ok_or_else(|| io::Error::other("format of the tracepoint is unknown"))
    }

    fn parse(format: &str) -> Option<Self> {
        let mut lines = format.lines().map(str::trim);
        let id = lines.clone().find_map(|line| line.strip_prefix("ID:"))?.trim().parse().ok()?;
        let field = lines.find(|line| line.starts_with("field:__data_loc") && line.contains(" filename;"))?;
        let offset = field.split(';').find_map(|part| part.trim().strip_prefix("offset:"))?;
        Some(Self { id, filename: offset.parse().ok()? })
    }

    /// What a sample says: the tracepoint's fields, and the stack from address `sp` on.
    pub(super) fn started(&self, raw: &[u8], stack: &[u8], sp: Option<u64>) -> Started {
        let (args, is_cut) = sp.map_or((Vec::new(), true), |sp| arguments(stack, sp));
        Started { file: self.file(raw).unwrap_or_default(), args, is_cut }
    }

    fn file(&self, raw: &[u8]) -> Option<String> {
        let word = raw.get(self.filename..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))?;
        let (start, length) = ((word & 0xffff) as usize, (word >> 16) as usize);
        let name = raw.get(start..start.checked_add(length)?)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(name).into_owned())
    }
}

/// The arguments on a new program's stack (System V ABI, "Initial Process Stack"): their number, the address of each, a
/// zero, and further up the strings.
fn arguments(stack: &[u8], sp: u64) -> (Vec<String>, bool) {
    let word = |at: usize| stack.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u64::from_ne_bytes(*word));
    let count = word(0).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let mut args = Vec::new();
    for nth in 1..=count.min(MAX_ARGS) {
        let text = word(nth * 8).and_then(|address| usize::try_from(address.checked_sub(sp)?).ok());
        let text = text.and_then(|at| stack.get(at..)).filter(|text| !text.is_empty());
        let Some(text) = text else { return (args, true) };
        match memchr::memchr(0, text) {
            Some(end) => args.push(String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned()),
            None => {
                args.push(String::from_utf8_lossy(text).into_owned());
                return (args, true);
            }
        }
    }
    (args, count > MAX_ARGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 prints it.
    const FORMAT: &str = "name: sched_process_exec
ID: 365
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;
\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;
\tfield:pid_t old_pid;\toffset:16;\tsize:4;\tsigned:1;
";

    /// The stack of a program with these arguments and one variable, at `sp`.
    fn stack(args: &[&str], sp: u64) -> Vec<u8> {
        let strings_at = 8 * (1 + args.len() + 1 + 1 + 1) as u64;
        let (mut words, mut strings) = (vec![args.len() as u64], Vec::new());
        for arg in args {
            words.push(sp + strings_at + strings.len() as u64);
            strings.extend_from_slice(arg.as_bytes());
            strings.push(0);
        }
        words.extend([0, sp + strings_at + strings.len() as u64, 0]);
        strings.extend_from_slice(b"HOME=/root\0");
        [words.into_iter().flat_map(u64::to_ne_bytes).collect(), strings].concat()
    }

    #[test]
    fn arguments_are_read_from_the_stack() {
        let args = ["curl", "-s", "", "http://169.254.169.254/"];
        let whole = stack(&args, 0x7ffd_0000_1230);
        assert_eq!(arguments(&whole, 0x7ffd_0000_1230), (args.map(str::to_owned).to_vec(), false));
        let strings = whole.len() - 11;
        let (cut, is_cut) = arguments(&whole[..strings - 5], 0x7ffd_0000_1230);
        assert!(is_cut && cut.len() == 4 && cut[3].starts_with("http://169"), "{cut:?}");
        assert_eq!(arguments(&whole[..20], 0x7ffd_0000_1230), (vec![], true));
        assert_eq!(arguments(&whole, 0x7ffd_ffff_0000), (vec![], true), "another stack");
        assert_eq!(arguments(&[], 0), (vec![], false));
        assert!(arguments(&u64::MAX.to_ne_bytes(), 0).1);
    }

    #[test]
    fn the_name_is_where_the_sample_says() {
        let point = ExecPoint::parse(FORMAT).unwrap();
        assert_eq!(point, ExecPoint { id: 365, filename: 8 });
        let mut raw = vec![0; 8];
        raw.extend((20u32 | 14 << 16).to_ne_bytes());
        raw.extend([7u32, 7].map(u32::to_ne_bytes).concat());
        raw.extend(b"/usr/bin/curl\0\0\0");
        assert_eq!(
            point.started(&raw, &[], None),
            Started { file: "/usr/bin/curl".into(), args: vec![], is_cut: true }
        );
        assert_eq!(point.file(&raw[..22]), None);
        assert_eq!(ExecPoint::parse("ID: 3\n"), None);
    }
}
