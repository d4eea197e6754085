//! JSON of events: a serde serialiser that appends to a byte buffer.
//!
//! In: the typed document. Out: the bytes that `serde_json` would write, which a test compares, but for characters that steer
//! a terminal: those are escaped. Bytes are ASCII of which it is known that nothing in it needs an escape: addresses,
//! times, ids. It exists because keys are most of an event: here they are constants that the compiler copies without
//! looking at them, which makes an event several times as fast as with `serde_json`. Bound: what is serialised; it allocates
//! nothing but the output.

use std::fmt::Display;

use serde::ser::{self, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use buffer::Buffer;

mod buffer;

/// What events are not made of: enums with data, tuples, floating point.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl ser::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    Err(ser::Error::custom(format_args!("events have no {what}")))
}

/// Appends `value` to `out`. On an error, half of it may have been written.
///
/// # Errors
/// A type that events are not made of, or a map whose key is not a string.
pub fn write(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    write_cut(out, value, usize::MAX)
}

/// The same with texts of more than `longest` bytes cut; each says how many bytes are missing.
///
/// # Errors
/// As [`write()`].
pub fn write_cut(out: &mut Vec<u8>, value: &impl Serialize, longest: usize) -> Result<(), Error> {
    let mut json = Buffer::after(std::mem::take(out));
    let written = value.serialize(Json { out: &mut json, longest });
    *out = json.finish();
    written
}

/// The serialiser.
struct Json<'o> {
    out: &'o mut Buffer,
    /// Longest text, in bytes.
    longest: usize,
}

impl Json<'_> {
    fn number(self, number: impl itoa::Integer) -> Result<(), Error> {
        self.out.extend(itoa::Buffer::new().format(number).as_bytes());
        Ok(())
    }
}

impl<'o> Serializer for Json<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'o>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Items<'o>;
    type SerializeStruct = Items<'o>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        match value {
            true => self.out.beginning_of(b"true", 4),
            false => self.out.beginning_of(b"false", 5),
        }
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_f32(self, _: f32) -> Result<(), Error> {
        unsupported("floating point")
    }

    fn serialize_f64(self, _: f64) -> Result<(), Error> {
        unsupported("floating point")
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.out.string(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        match value.len() <= self.longest {
            true => self.out.string(value),
            false => self.out.cut_string(value, self.longest),
        }
        Ok(())
    }

    fn serialize_bytes(self, ascii: &[u8]) -> Result<(), Error> {
        self.out.plain_string(ascii);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.beginning_of(b"null", 4);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        unsupported("variants with data")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'o>, Error> {
        Ok(Items { start: self.out.end(), out: self.out, longest: self.longest })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        unsupported("tuples")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        unsupported("tuples")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        unsupported("variants with data")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'o>, Error> {
        Ok(Items { start: self.out.end(), out: self.out, longest: self.longest })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Items<'o>, Error> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        unsupported("variants with data")
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.out.displayed_string(value).map_err(ser::Error::custom)
    }
}

/// Members of an object or an array. Each has a comma before it; that of the first becomes the bracket.
struct Items<'o> {
    out: &'o mut Buffer,
    /// Where the bracket belongs.
    start: usize,
    longest: usize,
}

impl Items<'_> {
    fn close(self, [open, close]: [u8; 2]) -> Result<(), Error> {
        if self.out.end() == self.start {
            self.out.push(open);
        } else {
            *self.out.at(self.start) = open;
        }
        self.out.push(close);
        Ok(())
    }
}

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b',');
        value.serialize(Json { out: self.out, longest: self.longest })
    }

    fn end(self) -> Result<(), Error> {
        self.close(*b"[]")
    }
}

impl SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.out.push(b',');
        let start = self.out.end();
        key.serialize(Json { out: self.out, longest: self.longest })?;
        if self.out.end() == start || *self.out.at(start) != b'"' {
            return unsupported("keys but strings");
        }
        self.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Json { out: self.out, longest: self.longest })
    }

    fn end(self) -> Result<(), Error> {
        self.close(*b"{}")
    }
}

/// Longest name that is written in one piece, with its punctuation.
const LONGEST: usize = 32;

/// An array of what a function is at each of some places: no loop that the compiler would have to see through.
macro_rules! each_of {
    ($of:ident: $($at:literal)*) => { [$($of($at)),*] };
}

impl SerializeStruct for Items<'_> {
    type Ok = ();
    type Error = Error;

    /// Names of fields are constants without anything to escape; a test looks at all of them.
    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        let name = key.as_bytes();
        let end = name.len() + 4;
        if end > LONGEST {
            SerializeMap::serialize_key(self, key)?;
            return value.serialize(Json { out: self.out, longest: self.longest });
        }
        // The compiler knows the name: written out like this, it makes one number of it that is stored at once.
        let byte = |at: usize| match at {
            0 => b',',
            1 => b'"',
            at if at < name.len() + 2 => name[at - 2],
            at if at == name.len() + 2 => b'"',
            _ => b':',
        };
        let text: [u8; LONGEST] =
            each_of!(byte: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        self.out.beginning_of(&text, end);
        value.serialize(Json { out: self.out, longest: self.longest })
    }

    fn end(self) -> Result<(), Error> {
        SerializeMap::end(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::plain::steers;

    /// What `serde_json` writes, and that what steers a terminal is escaped besides.
    fn same(value: &impl Serialize) {
        let mut ours = Vec::new();
        write(&mut ours, value).unwrap();
        let mut expected = String::new();
        for c in serde_json::to_string(value).unwrap().chars() {
            match steers(c) {
                true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| expected += &format!("\\u{unit:04x}")),
                false => expected.push(c),
            }
        }
        assert_eq!(String::from_utf8(ours).unwrap(), expected);
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let mut out = Vec::new();
        write_cut(&mut out, &BTreeMap::from([("a", vec!["ééé", "short"])]), 5).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":[\"éé… (2 bytes more)\",\"short\"]}");
    }

    #[test]
    fn strings_are_escaped_as_serde_json_does() {
        let all: String =
            (0..=0x2ff_u32).filter_map(char::from_u32).chain("\u{2028}😀\u{ffff}\u{202e}\u{e0041}".chars()).collect();
        same(&all);
        for start in 0..40 {
            same(&all.chars().skip(start).take(41 - start).collect::<String>());
        }
        same(&format!("{}\"", "x".repeat(100)));
        same(&'\u{7}');
        same(&"");
    }

    #[test]
    fn numbers_containers_and_nothing() {
        same(&vec![i64::MIN, -1, 0, i64::MAX]);
        same(&vec![u64::MAX, 10]);
        same(&Vec::<u8>::new());
        same(&BTreeMap::from([("a\"b", vec![true]), ("", Vec::new())]));
        same(&vec![Some("x"), None]);
        let mut out = Vec::new();
        assert!(write(&mut out, &1.5_f64).is_err() && write(&mut out, &BTreeMap::from([(1, 2)])).is_err());
    }

    #[test]
    fn names_of_any_length_are_written() {
        #[derive(serde::Serialize)]
        struct Named {
            a: u8,
            name_of_twenty_eight_letters: u8,
            name_of_twenty_nine_letters_ab: u8,
        }
        same(&Named { a: 1, name_of_twenty_eight_letters: 2, name_of_twenty_nine_letters_ab: 3 });
    }

    #[test]
    fn displayed_values_are_escaped_too() {
        let mut out = Buffer::after(Vec::new());
        Json { out: &mut out, longest: usize::MAX }.collect_str(&format_args!("a{}b", '"')).unwrap();
        assert_eq!(out.finish(), br#""a\"b""#);
    }
}
