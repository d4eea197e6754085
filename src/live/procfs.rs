//! What `/proc` tells of a process, read at once: it may be gone a moment later.
//!
//! In: a process id. Out: a [`Process`], or nothing where it cannot be told for certain. All files are opened below one
//! handle of the process's folder, so that they are all of the same process even if its number is used again.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, openat, readlinkat, statat};
use sha2::{Digest, Sha256};

use super::helper::Helper;
use crate::conn::Process;
use crate::packet::Timestamp;

/// A `/proc`, perhaps that of the host below another root.
pub(super) struct Procfs {
    root: PathBuf,
    boot: Boot,
    /// Number of a file that every network namespace has its own of, as we see it.
    network: Option<u64>,
    /// Number of our own network namespace.
    pub(super) namespace: Option<u64>,
    /// Looks where our user may not.
    pub(super) helper: Option<Helper>,
}

/// As what the host was booted, and how it counts time since.
struct Boot {
    id: String,
    ticks: u64,
}

/// Most that is read of a file, and most arguments that are kept.
const MAX_FILE: u64 = 16 * 1024;
const MAX_ARGS: usize = 64;

/// A start is known to a tick of the kernel's clock.
const TICK: i64 = 20_000_000;

impl Procfs {
    /// The `/proc` below `root`.
    pub(super) fn new(root: &std::path::Path) -> Self {
        let number = |path| statat(rustix::fs::CWD, path, AtFlags::empty()).ok().map(|stat| stat.st_ino);
        Self {
            root: root.join("proc"),
            boot: Boot::read(),
            network: number("/proc/thread-self/net/tcp"),
            namespace: number("/proc/thread-self/ns/net"),
            helper: None,
        }
    }

    /// All processes that run.
    pub(super) fn all(&self) -> Vec<u32> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The name of a process, and whether it sees the same network as we do.
    pub(super) fn glance(&self, pid: u32) -> Option<(String, bool)> {
        let folder = self.folder(pid)?;
        Some((text(&folder, "comm")?.trim_end().to_owned(), self.is_near(&folder, pid)?))
    }

    /// The process that had this number at `then`; `None` where it is gone or began later, or where its thread `tid`
    /// sees another network than we do, unless it is known that it `is_near`.
    pub(super) fn read(&self, pid: u32, tid: u32, then: Timestamp, is_near: bool) -> Option<Process> {
        let folder = self.folder(pid)?;
        // The helper looks while we do.
        let own = target(&folder);
        let asked = self.helper.as_ref().filter(|_| own.is_none()).map(|helper| helper.executable(pid));
        let comm = text(&folder, "comm");
        let (stat, args) = (text(&folder, "stat"), bytes(&folder, "cmdline"));
        let executable = own.or_else(|| asked?.path()).map(executable);
        let (comm, stat) = (comm?.trim_end().to_owned(), stat?);
        let (parent, start) = parse_stat(&stat)?;
        let start = self.boot.at(start);
        if start.since(then) > TICK || !(is_near || self.is_near(&folder, tid)?) {
            return None;
        }
        let args = arguments(&args.unwrap_or_default());
        Some(Process {
            pid,
            name: name(&comm, executable.as_deref(), &args),
            executable,
            args,
            start: Some(start),
            parent: Some(parent),
            parent_name: self.comm(parent),
            entity_id: Some(self.entity(pid, &stat)),
            user: text(&folder, "status").as_deref().and_then(effective_user),
            container: text(&folder, "cgroup").as_deref().and_then(container),
        })
    }

    fn comm(&self, pid: u32) -> Option<String> {
        Some(text(&self.folder(pid)?, "comm")?.trim_end().to_owned())
    }

    fn folder(&self, pid: u32) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(self.root.join(pid.to_string()), flags, Mode::empty()).ok()
    }

    /// Whether a thread sees the same network as we do. Every network namespace has files of its own below `net`, which
    /// anybody may look at, other than the link `ns/net`.
    fn is_near(&self, folder: &OwnedFd, tid: u32) -> Option<bool> {
        let theirs = statat(folder, format!("task/{tid}/net/tcp"), AtFlags::empty());
        theirs.ok().map(|stat| Some(stat.st_ino) == self.network)
    }

    /// The path of a process's executable, as the system has it.
    pub(super) fn link(&self, pid: u32) -> Option<PathBuf> {
        target(&self.folder(pid)?)
    }

    fn entity(&self, pid: u32, stat: &str) -> String {
        let ticks = parse_stat(stat).map_or(0, |(_, start)| start);
        let digest = Sha256::digest(format!("{}|{pid}|{ticks}", self.boot.id));
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The process that has the socket of this inode open, as far as our user, or the helper, may look. The newest are
    /// asked first.
    pub(super) fn owner(&self, inode: u32) -> Option<u32> {
        if let Some(helper) = &self.helper {
            return helper.owner(inode);
        }
        let mut pids = self.all();
        pids.sort_unstable_by(|a, b| b.cmp(a));
        let wanted = format!("socket:[{inode}]");
        pids.into_iter().find(|pid| {
            let open = std::fs::read_dir(self.root.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
            let mut targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            targets.any(|target| target.as_os_str() == wanted.as_str())
        })
    }
}

impl Boot {
    fn read() -> Self {
        Self {
            id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            ticks: rustix::param::clock_ticks_per_second().max(1),
        }
    }

    /// A moment given in ticks since boot, by the clock as it goes now: it may have been set since we began.
    fn at(&self, ticks: u64) -> Timestamp {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let booted = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(Timestamp::new(up.tv_sec, up.tv_nsec).0);
        Timestamp(booted).plus(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

fn executable(path: PathBuf) -> String {
    let path = path.to_string_lossy();
    path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
}

fn target(folder: &OwnedFd) -> Option<PathBuf> {
    let target = readlinkat(folder, "exe", Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

fn bytes(folder: &OwnedFd, file: &str) -> Option<Vec<u8>> {
    let fd = openat(folder.as_fd(), file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut content = Vec::new();
    std::fs::File::from(fd).take(MAX_FILE).read_to_end(&mut content).ok()?;
    Some(content)
}

fn text(folder: &OwnedFd, file: &str) -> Option<String> {
    bytes(folder, file).map(|content| String::from_utf8_lossy(&content).into_owned())
}

/// Parent and start in ticks since boot: fields 4 and 22; the name in field 2 may hold anything, also `)`.
fn parse_stat(stat: &str) -> Option<(u32, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((parent, start))
}

/// Arguments, each with a zero byte behind it; none of a process that ended while its pages were read.
fn arguments(cmdline: &[u8]) -> Vec<String> {
    let whole = cmdline.strip_suffix(b"\0").or((cmdline.len() as u64 == MAX_FILE).then_some(cmdline));
    let args = whole.into_iter().flat_map(|args| args.split(|byte| *byte == 0)).take(MAX_ARGS);
    args.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

/// The second number of `Uid:`, the effective user.
fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The name that people know: that of the executable, but of a script rather than of what runs it (`cloud-init`, not
/// `python3`). The kernel's own name for a process is cut at 15 bytes; what it was cut from is looked for in the path of
/// the executable and in the arguments. It counts only where it agrees with one of them, as a process can choose it.
fn name(comm: &str, executable: Option<&str>, args: &[String]) -> String {
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let is_cut_from = |full: &str| full == comm || (comm.len() == 15 && full.starts_with(comm));
    let executable = executable.map(base);
    if let Some(own) = executable.as_deref().filter(|own| is_cut_from(own)) {
        return own.to_owned();
    }
    let called = args.iter().take(3).map(|arg| base(arg)).find(|full| is_cut_from(full));
    called.or(executable).unwrap_or_else(|| comm.to_owned())
}

/// The container's id in a process's cgroups: the last 64 hexadecimal digits of a path, as docker, containerd, CRI-O and
/// podman write them, or the last part of a path of Amazon ECS.
fn container(cgroup: &str) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let mut long = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| part.len() == 64 && is_hex(part));
        let ecs = || {
            let last = path.contains("/ecs/").then(|| path.rsplit('/').next())??;
            let (task, number) = last.split_once('-')?;
            (task.len() == 32 && is_hex(task) && number.parse::<u64>().is_ok()).then_some(last)
        };
        long.next_back().or_else(ecs).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_break_off_are_none() {
        assert_eq!(arguments(b"curl\0-s\0\0"), ["curl", "-s", ""]);
        assert!(arguments(b"curl\0http:").is_empty() && arguments(b"").is_empty());
        assert_eq!(arguments(&[b'x'; MAX_FILE as usize]).len(), 1);
    }

    #[test]
    fn fields_of_stat_stand_behind_any_name() {
        let rest = "S 41 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1";
        assert_eq!(parse_stat(&format!("99 (curl) {rest}")), Some((41, 123_456)));
        assert_eq!(parse_stat(&format!("99 (a) 1 2 (x)) {rest}")), Some((41, 123_456)));
        assert_eq!(parse_stat("99 (curl) S 41"), None);
    }

    #[test]
    fn a_process_goes_by_its_executable_or_by_its_script() {
        let name =
            |comm, exe, args: &[&str]| name(comm, exe, &args.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(name("curl", Some("/usr/bin/curl"), &["curl", "-s"]), "curl");
        assert_eq!(name("google_guest_ag", Some("/usr/bin/google_guest_agent"), &[]), "google_guest_agent");
        assert_eq!(
            name("cloud-init", Some("/usr/bin/python3.11"), &["/usr/bin/python3", "/usr/bin/cloud-init"]),
            "cloud-init"
        );
        assert_eq!(name("wget", Some("/bin/busybox"), &["wget", "http://x"]), "wget");
        assert_eq!(name("amazon-ssm-agen", None, &["/usr/bin/amazon-ssm-agent"]), "amazon-ssm-agent");
        assert_eq!(name("cloud-init", Some("/tmp/evil"), &["evil"]), "evil", "a name of its own choice");
        assert_eq!(name("kworker", None, &[]), "kworker");
    }

    #[test]
    fn containers_of_all_runtimes() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("12:pids:/docker/{id}"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a_2b.slice/cri-containerd-{id}.scope"
            ),
            format!("1:name=systemd:/\n0::/machine.slice/libpod-{id}.scope/container"),
        ] {
            assert_eq!(container(&path).as_deref(), Some(id.as_str()), "{path}");
        }
        let ecs = format!("0::/ecs/task/{}-1234567890", "ab".repeat(16));
        assert_eq!(container(&ecs), Some(format!("{}-1234567890", "ab".repeat(16))));
        assert_eq!(container("0::/user.slice/user-1000.slice/session-3.scope"), None);
    }

    #[test]
    fn this_very_process() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        let procfs = Procfs::new("/".as_ref());
        let read = |then| procfs.read(std::process::id(), std::process::id(), Timestamp(then), false);
        let own = read(now).unwrap();
        assert_eq!(own.parent, Some(std::os::unix::process::parent_id()));
        assert_eq!(own.args, std::env::args().collect::<Vec<_>>());
        assert_eq!(own.executable, Some(std::env::current_exe().unwrap().to_string_lossy().into_owned()));
        let age = now - own.start.unwrap().0;
        assert!((0..600_000_000_000).contains(&(age + 2 * TICK)), "{age}");
        assert_eq!(read(now - 3_600_000_000_000), None, "it did not run then");
        assert!(procfs.glance(std::process::id()).unwrap().1 && procfs.all().contains(&std::process::id()));
    }
}
