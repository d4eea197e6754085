//! Least privilege: what was needed to begin is given up before the first packet is read.
//!
//! In: what the run still needs. Out: a thread, and all threads that it starts, without capabilities, with no way to get
//! any, and able to reach nothing but the folders and system calls that the run needs. What the
//! system does not offer is returned in words.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Gid, Uid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// Why a run cannot be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// No such user.
    #[error("user {0}: there is none of this name; give a name of /etc/passwd or UID:GID")]
    NoUser(String),
    /// The user cannot be switched to.
    #[error("cannot become user {user}: {cause} (CAP_SETUID and CAP_SETGID are needed)")]
    Switch {
        /// Who.
        user: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Once privilege is given up, the folder of an output cannot be written.
    #[error(
        "output {}: its folder {} cannot be written by user {user} without privilege ({cause}), so that the file could \
         neither be rotated nor opened anew on SIGHUP: give the folder to that user (chown {user} {}) or choose another",
        file.display(),
        folder.display(),
        folder.display()
    )]
    Folder {
        /// The output.
        file: PathBuf,
        /// Where it lies.
        folder: PathBuf,
        /// Number of the user.
        user: u32,
        /// What the system says.
        cause: io::Error,
    },
    /// The system refuses something else.
    #[error("cannot give up {what}: {cause}; --no-sandbox runs without seccomp and Landlock")]
    Refused {
        /// What.
        what: &'static str,
        /// What the system says.
        cause: String,
    },
}

/// Folders that the run still needs.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Read and written: those of the output files.
    pub write: Vec<PathBuf>,
    /// Only read: `/proc`, `/sys`, that of the configuration.
    pub read: Vec<PathBuf>,
    /// Connections that outputs make.
    pub network: Network,
}

/// Connections that a run makes.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// TCP ports that are connected to; no others are, where the kernel has rules for that.
    pub tcp: Vec<u16>,
    /// Whether further ports are learned while it runs.
    pub any_port: bool,
    /// Whether names have to be resolved.
    pub names: bool,
    /// Whether there are any connections, datagrams included.
    pub is_used: bool,
    /// Whether datagrams are sent; where names are resolved they are in any case.
    pub datagrams: bool,
}

/// What resolving a name reads: its configuration, and the libraries that know how.
const RESOLVER: &[&str] = &[
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/ld.so.cache",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// Where names are asked for when an answer does not fit a datagram.
const DNS: u16 = 53;

/// Switches to `user`, a name of `/etc/passwd` or `UID:GID`. Capabilities are kept for [`drop_capabilities`] to drop,
/// but have no effect any more.
///
/// # Errors
/// [`ConfineError::NoUser`] and [`ConfineError::Switch`].
pub fn become_user(user: &str) -> Result<(), ConfineError> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (uid, gid) = find_user(&passwd, user).ok_or_else(|| ConfineError::NoUser(user.to_owned()))?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let switch = || {
        rustix::thread::set_keep_capabilities(true)?;
        rustix::thread::set_thread_groups(&[gid])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)
    };
    switch().map_err(|cause| ConfineError::Switch { user: user.to_owned(), cause: cause.into() })
}

/// User and group of a name, or of a pair of numbers.
fn find_user(passwd: &str, user: &str) -> Option<(u32, u32)> {
    let pair = |uid: &str, gid: &str| Some((uid.parse().ok()?, gid.parse().ok()?));
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then_some(())?;
        pair(fields.nth(1)?, fields.next()?)
    });
    named.or_else(|| user.split_once(':').map_or_else(|| pair(user, user), |(uid, gid)| pair(uid, gid)))
}

/// Leaves nothing of this process's memory to others: no core files, no debugger of the same user, no `/proc/PID/mem`.
pub fn keep_to_oneself() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Puts into effect what was granted without effect, as a file's capabilities may be (`setcap …=p`), so that one program
/// suits containers that grant more or less.
pub fn raise_capabilities() {
    if let Ok(permitted) = caps::read(None, CapSet::Permitted) {
        let _ = caps::set(None, CapSet::Effective, &permitted);
    }
}

/// Gives up every capability but those of `keep` that are there, for good.
///
/// # Errors
/// [`ConfineError::Refused`].
pub fn drop_capabilities(keep: &[Capability]) -> Result<(), ConfineError> {
    let refused = |what| move |cause: String| ConfineError::Refused { what, cause };
    let text = |error: caps::errors::CapsError| error.to_string();
    let had = caps::read(None, CapSet::Permitted).map_err(text).map_err(refused("capabilities"))?;
    let kept = keep.iter().copied().filter(|cap| had.contains(cap)).collect();
    // They have no effect after a change of user, and the bounding set is changed with one of them.
    let _ = caps::set(None, CapSet::Effective, &had);
    // Bounding and ambient set may not be ours to change: without the others they give nothing.
    for cap in caps::all() {
        let _ = caps::drop(None, CapSet::Bounding, cap);
    }
    let _ = caps::clear(None, CapSet::Ambient);
    caps::set(None, CapSet::Effective, &kept)
        .and_then(|()| caps::set(None, CapSet::Permitted, &kept))
        .and_then(|()| caps::clear(None, CapSet::Inheritable))
        .map_err(text)
        .map_err(refused("capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| refused("new privileges")(error.to_string()))
}

/// Confines the file system (Landlock) and the system calls (seccomp). What the kernel does not have is returned in
/// words.
///
/// # Errors
/// [`ConfineError::Refused`].
pub fn sandbox(needs: &Needs) -> Result<Option<String>, ConfineError> {
    let remark = match restrict_files(needs) {
        Ok(RulesetStatus::NotEnforced) => Some("this kernel has no Landlock: files are not confined".to_owned()),
        Ok(_) => None,
        Err(cause) => return Err(ConfineError::Refused { what: "files (Landlock)", cause: cause.to_string() }),
    };
    let calls = [RUN, if needs.network.is_used { CONNECT } else { &[] }].concat();
    let filter = system_calls(&calls, &needs.network);
    let filter = filter.map_err(|cause| ConfineError::Refused { what: "system calls", cause })?;
    match apply_filter(&filter) {
        Ok(()) => Ok(remark),
        Err(cause) => Err(ConfineError::Refused { what: "system calls (seccomp)", cause: cause.to_string() }),
    }
}

/// Confines a helper that reads links below `/proc` and nothing else.
///
/// # Errors
/// [`ConfineError::Refused`].
pub(super) fn sandbox_helper() -> Result<(), ConfineError> {
    let filter = system_calls(&[], &Network::default());
    let filter = filter.map_err(|cause| ConfineError::Refused { what: "system calls", cause })?;
    apply_filter(&filter).map_err(|cause| ConfineError::Refused { what: "system calls", cause: cause.to_string() })
}

fn restrict_files(needs: &Needs) -> Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V6;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = reading | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let network = &needs.network;
    let handled = if network.any_port { AccessNet::BindTcp.into() } else { AccessNet::from_all(abi) };
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(handled)?
        // neither signals nor sockets without a path reach others
        .scope(Scope::from_all(abi))?
        .create()?;
    if !network.any_port {
        let dns = network.names.then_some(DNS);
        for port in network.tcp.iter().copied().chain(dns) {
            rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    let resolver = RESOLVER.iter().filter(|_| network.names).filter_map(|path| PathFd::new(path).ok().zip(Some(path)));
    for (path, name) in resolver {
        let access = if Path::new(name).is_dir() { reading } else { AccessFs::ReadFile.into() };
        rules = rules.add_rule(PathBeneath::new(path, access))?;
    }
    for (folders, access) in [(&needs.write, writing), (&needs.read, reading)] {
        // A folder that is not there cannot be reached later either.
        for folder in folders.iter().filter_map(|path| PathFd::new(path).ok()) {
            rules = rules.add_rule(PathBeneath::new(folder, access))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// A filter that lets through what every thread needs, and `more`; everything else fails with EPERM, so that a library's
/// unforeseen wish is an error and not our end.
fn system_calls(more: &[i64], network: &Network) -> Result<BpfProgram, String> {
    let mut rules: BTreeMap<i64, _> = EVERY.iter().chain(more).map(|call| (*call, Vec::new())).collect();
    for (call, judged) in judged(network)? {
        if let Some(rule) = rules.get_mut(&call) {
            *rule = judged;
        }
    }
    let architecture = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture).map_err(|e| e.to_string())?;
    filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())
}

/// System calls that are let through for some arguments only: sockets by family and type, what a name is given to, what
/// terminals, files and interfaces are asked.
fn judged(network: &Network) -> Result<Vec<(i64, Vec<SeccompRule>)>, String> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let is = |nth, how, value: u64| {
        SeccompCondition::new(nth, SeccompCmpArgLen::Dword, how, value).map_err(|error| error.to_string())
    };
    let rule = |conditions| SeccompRule::new(conditions).map_err(|error| error.to_string());
    // SOCK_NONBLOCK and SOCK_CLOEXEC are flags of the type.
    let kind = MaskedEq(0xf);
    let socket = |family: i32, kinds: &[i32]| -> Result<Vec<SeccompRule>, String> {
        let of = |of: &i32| rule(vec![is(0, Eq, family as u64)?, is(1, kind.clone(), *of as u64)?]);
        kinds.iter().map(of).collect()
    };
    let (stream, datagram, raw) = (libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW);
    let mut sockets = socket(libc::AF_UNIX, &[stream, datagram])?;
    // Packets come by sockets that are open, and metrics go by one that listens: new ones are for outputs alone.
    let kinds: &[i32] = match network {
        Network { is_used: false, .. } => &[],
        Network { names: false, datagrams: false, .. } => &[stream],
        _ => &[stream, datagram],
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        sockets.extend(socket(family, kinds)?);
    }
    sockets.extend(socket(libc::AF_PACKET, &[raw, datagram])?);
    sockets.extend(socket(libc::AF_NETLINK, &[raw, datagram])?);
    let names = [libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, PR_SET_VMA, libc::PR_GET_DUMPABLE as u64];
    let names = names.iter().map(|of| rule(vec![is(0, Eq, *of)?])).collect::<Result<_, _>>()?;
    // Terminals are asked whether they are one, files how much waits, interfaces what they are. Nothing types for others.
    #[allow(clippy::unnecessary_cast, reason = "C libraries differ in the type of these numbers")]
    let asked = [libc::TCGETS as u64, libc::TIOCGWINSZ as u64, libc::FIONREAD as u64, libc::FIONBIO as u64];
    let asked = asked.iter().map(|of| rule(vec![is(1, Eq, *of)?]));
    let interfaces = [0x8900, 0x8b00].into_iter().map(|of| rule(vec![is(1, MaskedEq(0xff00), of)?]));
    let ioctls = asked.chain(interfaces).collect::<Result<_, _>>()?;
    Ok(vec![(libc::SYS_socket, sockets), (libc::SYS_prctl, names), (libc::SYS_ioctl, ioctls)])
}

/// `PR_SET_VMA`: an allocator names its memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Threads, memory, reading below `/proc`.
const EVERY: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_tgkill,
    libc::SYS_write,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// Packets, output files, metrics, new threads.
const RUN: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_dup,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_fchmod,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_mkdirat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_ioctl,
    libc::SYS_membarrier,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sendmsg,
    libc::SYS_set_robust_list,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Connections of outputs.
const CONNECT: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_socketpair,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// Whether files beside `file` can be made and renamed by the user that we are; root's rights count until they are
/// dropped. A device or a pipe has no need of it.
///
/// # Errors
/// [`ConfineError::Folder`].
pub fn check_folder(file: &Path) -> Result<(), ConfineError> {
    use rustix::fs::{Access, access};
    if file.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Ok(());
    }
    let folder = folder_of(file);
    let user = rustix::process::getuid().as_raw();
    access(&folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|cause| ConfineError::Folder {
        file: file.to_owned(),
        folder,
        user,
        cause: cause.into(),
    })
}

/// Where a file lies: what must be writable to write, rename and remove it.
pub fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => ".".into(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    #[test]
    fn users_by_name_or_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/usr/sbin/nologin\n";
        assert_eq!(find_user(passwd, "nobody"), Some((65534, 65533)));
        assert_eq!(find_user(passwd, "10001:10002"), Some((10001, 10002)));
        assert_eq!(find_user(passwd, "10001"), Some((10001, 10001)));
        assert_eq!(find_user(passwd, "nobod"), None);
    }

    #[test]
    fn the_sandbox_lets_through_what_it_must_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        // Both confine a thread and those that it starts.
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let remark = sandbox(&Needs {
                write: vec![inside.clone()],
                read: vec!["/proc".into()],
                network: Network::default(),
            })
            .unwrap();
            std::fs::write(inside.join("file"), "line\n").unwrap();
            std::fs::rename(inside.join("file"), inside.join("file.1")).unwrap();
            assert!(std::fs::read_to_string("/proc/thread-self/status").unwrap().contains("NoNewPrivs:\t1"));
            let other = std::fs::write(outside.join("file"), "line\n");
            assert!(remark.is_some() || other.is_err(), "Landlock");
            for kind in [SocketType::RAW, SocketType::DGRAM, SocketType::STREAM] {
                let socket = rustix::net::socket(AddressFamily::INET, kind, None);
                assert_eq!(socket.unwrap_err(), rustix::io::Errno::PERM, "{kind:?} without an output");
            }
            let other = rustix::net::socket(AddressFamily::from_raw(31), SocketType::STREAM, None);
            assert_eq!(other.unwrap_err(), rustix::io::Errno::PERM, "another family");
            assert!(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).is_err());
            let process = std::process::Command::new("/bin/true").status();
            assert_eq!(process.unwrap_err().raw_os_error(), Some(libc::EPERM), "seccomp");
            std::thread::spawn(|| ()).join().unwrap();
        });
        thread.join().unwrap();
    }

    #[test]
    fn datagrams_are_for_outputs_that_send_them_and_for_names() {
        let tcp = Network { is_used: true, tcp: vec![443], ..Network::default() };
        let cases = [
            (tcp.clone(), false),
            (Network { names: true, ..tcp.clone() }, true),
            (Network { datagrams: true, ..tcp }, true),
        ];
        for (network, expected) in cases {
            let thread = std::thread::spawn(move || {
                rustix::thread::set_no_new_privs(true).unwrap();
                sandbox(&Needs { network, ..Needs::default() }).unwrap();
                let is_allowed = |kind| rustix::net::socket(AddressFamily::INET6, kind, None).is_ok();
                assert!(is_allowed(SocketType::STREAM) && !is_allowed(SocketType::RAW));
                assert_eq!(is_allowed(SocketType::DGRAM), expected);
            });
            thread.join().unwrap();
        }
    }
}
