//! Secrets of the configuration: given in place, by `${ENVIRONMENT}` or in a file; never shown; wiped when dropped.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

/// A secret text. Shows as `xxxxx`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, to be sent to the receiver and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first line of a file, without its line end.
    ///
    /// # Errors
    /// A sentence with the file's name: it cannot be read, is empty, or is no text of at most 64 KiB.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |why: &dyn fmt::Display| format!("cannot take a secret from {}: {why}", path.display());
        let bytes = Zeroizing::new(std::fs::read(path).map_err(|error| wrong(&error))?);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong(&"it is no text"))?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() || line.len() > 64 * 1024 {
            return Err(wrong(&"its first line is empty or longer than 64 KiB"));
        }
        Ok(Self::new(line.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("xxxxx")
    }
}

/// Replaces `${NAME}` and `${NAME:default}` by the environment's value, as Beats do. Everything else stays as it is.
///
/// # Errors
/// A sentence that names the variable that is not set, or says that a brace is missing.
pub fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Zeroizing<String>, String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, after) = after.split_once('}').ok_or("`${` without `}`")?;
        let (name, default) = inside.split_once(':').map_or((inside, None), |(name, value)| (name, Some(value)));
        let value = variable(name).map(Zeroizing::new).or_else(|| default.map(|text| Zeroizing::new(text.to_owned())));
        out.push_str(before);
        out.push_str(&value.ok_or_else(|| format!("the environment has no variable {name}"))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// [`expanded`] with the process's environment.
///
/// # Errors
/// As [`expanded`].
pub fn from_environment(text: &str) -> Result<Zeroizing<String>, String> {
    expanded(text, |name| std::env::var(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_once() {
        let variable = |name: &str| (name == "A").then(|| "${B}".to_owned());
        assert_eq!(*expanded("x${A}y${C:z}$", variable).unwrap(), "x${B}yz$");
        assert_eq!(expanded("${B}", variable).unwrap_err(), "the environment has no variable B");
        assert!(expanded("${A", variable).is_err());
    }

    #[test]
    fn secrets_come_from_files_without_the_line_end_and_show_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "hunter2\r\nrest").unwrap();
        let secret = Secret::read(&path).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "xxxxx");
        assert!(Secret::read(&folder.path().join("none")).unwrap_err().contains("none"));
    }
}
