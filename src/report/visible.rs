//! Text from the wire made safe to read: every value in a report is the attacker's.
//!
//! Markup is escaped by the template engine. Here what a reader would not see is made visible: controls, bidirectional
//! overrides, line breaks and characters of no width stand as their code, and what is long is cut and says so.

/// Longest value that is shown whole, in characters.
const MOST: usize = 240;

/// The text with every character that acts on a display, or hides on one, written as `[U+202E]`, and cut after [`MOST`].
pub(super) fn visible(text: &str) -> String {
    visible_most(text, MOST)
}

/// As [`visible`], cut after `most` characters.
pub(super) fn visible_most(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most * 4));
    let mut characters = text.chars();
    for character in characters.by_ref().take(most) {
        if acts_or_hides(character) {
            shown.push_str(&format!("[U+{:04X}]", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    let left = characters.count();
    if left > 0 {
        shown.push_str(&format!("… ({left} more characters)"));
    }
    shown
}

/// The text cut to `most` characters with an ellipsis, for pictures: the whole of it stands in the list beside.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(most.saturating_sub(1)).collect();
    match (characters.next(), characters.next()) {
        (Some(last), None) => shown.push(last),
        (Some(_), Some(_)) => shown.push('…'),
        (None, _) => {}
    }
    shown
}

/// Controls (C0, DEL, C1), format characters (bidirectional, joiners, soft hyphen, tags), separators other than the blank,
/// variation selectors, private use and code points that are no characters.
fn acts_or_hides(character: char) -> bool {
    let code = u32::from(character);
    character.is_control()
        || matches!(code,
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x2000..=0x200F
            | 0x2028..=0x202F | 0x205F..=0x206F | 0x3000 | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF | 0xE000..=0xF8FF | 0xF0000..=0x10FFFF)
        || character == '\u{a0}'
        || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_display_is_shown_as_its_code() {
        assert_eq!(
            visible("a\u{1b}[2Jb\u{202e}c\r\n\u{2028}\u{9b}\u{7f}"),
            "a[U+001B][2Jb[U+202E]c[U+000D][U+000A][U+2028][U+009B][U+007F]"
        );
        assert_eq!(visible("Zürich 東京 <b>&"), "Zürich 東京 <b>&");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let long = "é".repeat(1_000_000);
        let shown = visible(&long);
        assert!(shown.ends_with("… (999760 more characters)"), "{shown}");
        assert_eq!(short("abcdef", 6), "abcdef");
        assert_eq!(short("abcdefg", 6), "abcde…");
    }
}
