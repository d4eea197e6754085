//! A second process that keeps one capability, CAP_SYS_PTRACE, to look at processes of other users.
//!
//! In: requests of eight bytes over a socket pair, which is its standard input. Out: the path of a process's
//! executable, or the process that has a socket open. It can do nothing else: every other capability is dropped and the
//! system calls that it may use are those for reading. It ends when the socket is closed.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use caps::Capability;

use super::confine;
use super::procfs::Procfs;

/// How long an answer may take: a helper that does not answer is as good as none.
const PATIENCE: Duration = Duration::from_millis(500);

/// Longest path of an executable that is told.
const MAX_PATH: usize = 4096;

const EXECUTABLE: u32 = 1;
const OWNER: u32 = 2;

/// The helper as its user sees it.
pub struct Helper {
    socket: Mutex<UnixStream>,
    _child: Reaped,
}

/// A child that is waited for, so that it does not stay as a zombie.
struct Reaped(Child);

impl Helper {
    /// Starts this program again as its own helper, which becomes `user`.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(root: &Path, user: Option<&str>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        // The file may have been replaced since we began: then the kernel still has ours.
        let own = std::env::current_exe().ok().filter(|path| path.exists());
        let child = Command::new(own.unwrap_or_else(|| "/proc/self/exe".into()))
            .arg("helper")
            .arg(root)
            .args(user)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .env_clear()
            .spawn()?;
        Ok(Self { socket: Mutex::new(ours), _child: Reaped(child) })
    }

    /// Asks for the path of the executable of a process.
    pub(super) fn executable(&self, pid: u32) -> Question<'_> {
        self.ask(EXECUTABLE, pid)
    }

    /// The process that has the socket of this inode open.
    pub(super) fn owner(&self, inode: u32) -> Option<u32> {
        self.ask(OWNER, inode).answer()?.first_chunk().map(|pid| u32::from_ne_bytes(*pid))
    }

    fn ask(&self, what: u32, number: u32) -> Question<'_> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = socket.write_all(&[what.to_ne_bytes(), number.to_ne_bytes()].concat()).is_ok();
        Question { socket, asked }
    }
}

/// What was asked and may not be answered yet.
pub(super) struct Question<'h> {
    socket: MutexGuard<'h, UnixStream>,
    asked: bool,
}

impl Question<'_> {
    /// Waits for the path that was asked for.
    pub(super) fn path(self) -> Option<PathBuf> {
        let answer = self.answer()?;
        (!answer.is_empty()).then(|| Path::new(std::ffi::OsStr::from_bytes(&answer)).to_owned())
    }

    fn answer(mut self) -> Option<Vec<u8>> {
        if !self.asked {
            return None;
        }
        let mut length = [0; 4];
        let read = self.socket.read_exact(&mut length).and_then(|()| {
            let mut answer = vec![0; (u32::from_ne_bytes(length) as usize).min(MAX_PATH)];
            self.socket.read_exact(&mut answer).map(|()| answer)
        });
        if read.is_err() {
            // An answer that comes late would be taken for that to another question.
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
        read.ok()
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
}

/// The helper itself: answers until its standard input is closed.
///
/// # Errors
/// When it cannot be confined, or its standard input is no socket.
pub fn serve(root: &Path, user: Option<&str>) -> anyhow::Result<()> {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // A signal to the whole group, as Ctrl-C sends it, is for the other process to react to.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    confine::keep_to_oneself();
    let mut socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    let procfs = Procfs::new(root);
    // A process that lives for milliseconds must be looked at before others have their turn.
    let _ = rustix::process::setpriority_process(None, -20);
    if let Some(user) = user {
        confine::become_user(user)?;
    }
    confine::drop_capabilities(&[Capability::CAP_SYS_PTRACE])?;
    confine::sandbox_helper()?;
    let mut request = [0; 8];
    while socket.read_exact(&mut request).is_ok() {
        let [a, b, c, d, number @ ..] = request;
        let number = u32::from_ne_bytes(number);
        let answer = match u32::from_ne_bytes([a, b, c, d]) {
            EXECUTABLE => procfs.link(number).map(|path| path.as_os_str().as_bytes().to_vec()),
            OWNER => procfs.owner(number).map(|pid| pid.to_ne_bytes().to_vec()),
            _ => None,
        };
        let mut answer = answer.unwrap_or_default();
        answer.truncate(MAX_PATH);
        let length = u32::try_from(answer.len()).unwrap_or(0);
        if socket.write_all(&[&length.to_ne_bytes()[..], &answer].concat()).is_err() {
            break;
        }
    }
    Ok(())
}
