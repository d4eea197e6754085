//! The state file: what was learned of this network's usual clients, over restarts.
//!
//! One JSON object with the version of its form. It is replaced as a whole: written beside its place, then renamed, so that
//! a reader or a crash finds the old one or the new one. A file that cannot be read is set aside, and that is said.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::correlate::{HABITS_VERSION, Habit};

/// The file's content.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    habits: Vec<Habit>,
}

/// What was learned before; nothing where there is no file yet.
///
/// # Errors
/// The file cannot be opened, or what is in it cannot be understood: then it was set aside.
pub(super) fn load(path: &Path) -> io::Result<Vec<Habit>> {
    match read(path) {
        Ok(habits) => Ok(habits),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let aside = set_aside(path)?;
            Err(io::Error::other(format!("{}: {error}; set aside as {}", path.display(), aside.display())))
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Gives the file another name, so that none of before is lost: two are kept, then the latest is replaced.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let first = beside(path, "unreadable");
    let aside = if first.try_exists()? { beside(path, "unreadable.2") } else { first };
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// What is in a state file.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where it cannot be understood.
pub(super) fn read(path: &Path) -> io::Result<Vec<Habit>> {
    let text = fs::read(path)?;
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let version: serde_json::Value = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    match version.get("version").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(HABITS_VERSION) => {}
        Some(found) => return Err(invalid(format!("version {found} where {HABITS_VERSION} is understood"))),
        None => return Err(invalid("not a state file".to_owned())),
    }
    let state: State = serde_json::from_value(version).map_err(|error| invalid(error.to_string()))?;
    Ok(state.habits)
}

/// Replaces the file.
///
/// # Errors
/// It cannot be written or renamed; the old one is still there.
pub(super) fn save(path: &Path, habits: Vec<Habit>) -> io::Result<()> {
    let new = beside(path, "new");
    let outcome = write(&new, &State { version: HABITS_VERSION, habits }).and_then(|()| fs::rename(&new, path));
    outcome.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        // the new name survives a power failure; where folders cannot be opened it does so a little later
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

fn write(path: &Path, state: &State) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = io::BufWriter::new(options.open(path)?);
    serde_json::to_writer(&mut file, state)?;
    file.write_all(b"\n")?;
    file.into_inner()?.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Habits as a table, for people: what the catalogue or the wire calls them, without control characters.
pub(super) fn table(habits: &[Habit]) -> String {
    const HEAD: [&str; 7] = ["CLIENT", "WHO", "SERVICE", "KIND OF PATH", "SCOPE", "TIMES", "LAST"];
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut sorted: Vec<&Habit> = habits.iter().collect();
    sorted.sort_by(|a, b| (&a.client, who(a), &a.path_id, &a.scope).cmp(&(&b.client, who(b), &b.path_id, &b.scope)));
    rows.extend(sorted.into_iter().map(row));
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn who(habit: &Habit) -> String {
    let form = match (&habit.name, &habit.shape) {
        (Some(name), _) => name.clone(),
        (None, shape) => [habit.family.as_str(), shape.as_deref().unwrap_or("?")].join(" ").trim_start().to_owned(),
    };
    habit.process.as_ref().map_or(form.clone(), |process| format!("{process} ({form})"))
}

fn row(habit: &Habit) -> [String; 7] {
    let shown = |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    let refused = if habit.given { "" } else { " (not given)" };
    [
        habit.client.clone(),
        shown(&who(habit)),
        shown(&habit.provider),
        shown(&habit.path_id) + refused,
        shown(&habit.scope),
        habit.times.to_string(),
        crate::detect::rfc3339(habit.last.div_euclid(1_000_000_000)).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_set_aside_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(load(&path).unwrap().is_empty(), "no file yet");
        save(&path, Vec::new()).unwrap();
        assert!(load(&path).unwrap().is_empty());
        for bad in ["", "{}", "{\"version\":1,\"habits\":[{}]}", "{\"version\":99,\"habits\":[]}", "\u{0}\u{1}"] {
            fs::write(&path, bad).unwrap();
            let said = load(&path).unwrap_err().to_string();
            assert!(said.contains("set aside"), "{said}");
            assert!(!path.exists() && beside(&path, "unreadable").exists());
        }
    }

    #[test]
    fn what_was_set_aside_before_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        for text in ["first", "second", "third"] {
            fs::write(&path, text).unwrap();
            load(&path).unwrap_err();
        }
        let content = |ending| fs::read_to_string(beside(&path, ending)).unwrap();
        assert_eq!([content("unreadable"), content("unreadable.2")], ["first", "third"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        save(&path, Vec::new()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
