//! What was named on the command line, and the files that it stands for.
//!
//! Paths need not be UTF-8. A folder is walked without following links to folders, so every walk ends.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::CaptureError;

/// One input to read packets from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, a FIFO or a device.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

impl Input {
    /// Size of the file as it lies on disk, in bytes; `None` for what is not a regular file.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Path(path) => fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|meta| meta.len()),
            Self::Stdin => None,
        }
    }
}

/// An input to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What to open.
    pub input: Input,
    /// Whether it was named itself: if it is not a capture, that is a failure; a file found in a folder is skipped.
    pub named: bool,
}

/// The files that `inputs` stand for, in the order in which they were named: `-` is standard input, a folder is every
/// regular file below it, sorted by the bytes of its path. A path that cannot be read stands in its place as an error.
pub fn expand(inputs: &[PathBuf]) -> Vec<Result<Listed, CaptureError>> {
    let mut all = Vec::new();
    for path in inputs {
        if path.as_os_str() == "-" {
            all.push(Ok(Listed { input: Input::Stdin, named: true }));
            continue;
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => walk(path, &mut all),
            Ok(_) => all.push(Ok(Listed { input: Input::Path(path.clone()), named: true })),
            Err(cause) => all.push(Err(open_error(path, cause))),
        }
    }
    all
}

/// Appends the files below `folder`, then what could not be listed.
fn walk(folder: &Path, all: &mut Vec<Result<Listed, CaptureError>>) {
    let (mut files, mut failures) = (Vec::new(), Vec::new());
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let found = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = match found {
            Ok(entries) => entries,
            Err(cause) => {
                failures.push((folder, cause));
                continue;
            }
        };
        for entry in entries {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => files.push(path),
                // A link to a file counts as that file. FIFOs and devices would block, broken links lead nowhere.
                Ok(kind) if kind.is_symlink() && path.is_file() => files.push(path),
                Ok(_) => {}
                Err(cause) => failures.push((path, cause)),
            }
        }
    }
    files.sort_unstable_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    failures.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    all.extend(files.into_iter().map(|path| Ok(Listed { input: Input::Path(path), named: false })));
    all.extend(failures.into_iter().map(|(path, cause)| Err(open_error(&path, cause))));
}

fn open_error(path: &Path, cause: io::Error) -> CaptureError {
    CaptureError::Open { input: Input::Path(path.to_path_buf()), cause }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn names(listed: &[Result<Listed, CaptureError>], below: &Path) -> Vec<String> {
        listed
            .iter()
            .map(|one| match one {
                Ok(Listed { input: Input::Path(path), named }) => {
                    format!("{} {named}", path.strip_prefix(below).unwrap().to_string_lossy())
                }
                Ok(Listed { input: Input::Stdin, .. }) => "stdin".into(),
                Err(error) => format!("{}", !error.is_not_a_capture()),
            })
            .collect()
    }

    #[test]
    fn a_folder_is_walked_in_byte_order_and_a_link_loop_ends() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/deep")).unwrap();
        for name in ["a/z.pcap", "a-b.pcap", "a/deep/1.pcap", "B.pcap"] {
            fs::write(root.join(name), b"").unwrap();
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            fs::write(root.join(OsStr::from_bytes(b"\xff.pcap")), b"").unwrap();
            std::os::unix::fs::symlink(root, root.join("a/loop")).unwrap();
            std::os::unix::fs::symlink(root.join("B.pcap"), root.join("link.pcap")).unwrap();
            std::os::unix::fs::symlink(root.join("nothing"), root.join("broken.pcap")).unwrap();
        }
        let listed = expand(&["-".into(), root.join("B.pcap"), root.to_path_buf(), root.join("missing")]);
        assert_eq!(
            names(&listed, root),
            [
                "stdin",
                "B.pcap true",
                "B.pcap false",
                "a-b.pcap false",
                "a/deep/1.pcap false",
                "a/z.pcap false",
                "link.pcap false",
                "\u{fffd}.pcap false",
                "true",
            ]
        );
    }
}
