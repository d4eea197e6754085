//! Text that cannot steer whoever shows it: file names, arguments and bytes from the wire hold what their senders like.

use std::fmt::{self, Display, Write};

/// Control characters (C0, C1, DEL), line and paragraph separators, and characters that are invisible or turn the
/// direction of writing.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Shows the same with such characters escaped: on one line.
#[derive(Clone, Copy, Debug)]
pub struct Harmless<T>(pub T);

impl<T: Display> Display for Harmless<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'f, 'g>(&'f mut fmt::Formatter<'g>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match steers(c) {
            true => write!(self.0, "{}", c.escape_unicode()),
            false => self.0.write_char(c),
        })
    }
}

/// Text of several lines, such as TOML: line feeds and tabs stay, any other character that [`steers`] becomes
/// TOML's escape of it: `\u` and four hexadecimal digits or, beyond 16 bits, `\U` and eight.
pub fn harmless_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            // Writing to a String does not fail.
            c if steers(c) && u32::from(c) > 0xFFFF => _ = write!(out, "\\U{:08X}", u32::from(c)),
            c if steers(c) => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped() {
        assert_eq!(Harmless("a\u{1b}[2J\nb\u{202e}c\u{9b}").to_string(), "a\\u{1b}[2J\\u{a}b\\u{202e}c\\u{9b}");
        assert_eq!(Harmless(format_args!("{} é", 7)).to_string(), "7 é");
        assert_eq!(harmless_lines("a = \"\u{7f}\u{2028}\u{e0041}\"\n"), "a = \"\\u007F\\u2028\\U000E0041\"\n");
    }
}
