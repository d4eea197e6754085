//! Members of a rendered event by their dotted names, for receivers that want more than the event as it is.

use serde_json::Value;

/// A parsed event.
pub struct Fields(Value);

impl Fields {
    /// Parses an event. What cannot be parsed has no members.
    pub fn of(json: &[u8]) -> Self {
        Self(serde_json::from_slice(json).unwrap_or_default())
    }

    /// A member, of a list its first element.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = name.split('.').try_fold(&self.0, |value, part| value.get(part))?;
        match found {
            Value::Array(items) => items.first(),
            Value::Null => None,
            value => Some(value),
        }
    }

    /// A member that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A member that is text, a number or a truth value, as text.
    pub fn shown(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The whole event.
    pub fn whole(&self) -> &Value {
        &self.0
    }

    /// `SOURCE -> DESTINATION`, each with its port where there is one.
    pub fn ends(&self) -> Option<String> {
        let end = |side: &str| {
            let address = self.shown(&format!("{side}.ip"))?;
            let port = self.shown(&format!("{side}.port")).map_or_else(String::new, |port| format!(":{port}"));
            Some(if address.contains(':') && !port.is_empty() { format!("[{address}]{port}") } else { address + &port })
        };
        Some(format!("{} -> {}", end("source")?, end("destination")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_dotted_names() {
        let fields = Fields::of(
            br#"{"a":{"b":[{"c":1}],"t":["x","y"]},"source":{"ip":"::1","port":2},"destination":{"ip":"1.2.3.4"}}"#,
        );
        assert_eq!(fields.text("a.t"), Some("x"));
        assert_eq!(fields.shown("source.port").as_deref(), Some("2"));
        assert_eq!(fields.ends().as_deref(), Some("[::1]:2 -> 1.2.3.4"));
        assert!(fields.get("a.c").is_none() && Fields::of(b"{").get("a").is_none());
    }
}
