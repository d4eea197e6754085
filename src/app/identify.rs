//! Who this sensor is: names, ids and addresses that events of a live run carry.
//!
//! In: the settings of a run. Out: the same with what only the running host can tell. A replay has none of it.

use std::fs;

use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::event::settings::{SensorInfo, Settings};

/// Fills in name, ids and addresses of this host.
pub(super) fn identified(mut config: Config) -> Config {
    let host_name = read("/proc/sys/kernel/hostname");
    let event = &mut config.event;
    // A name that was not chosen is the host's.
    if event.name == Settings::default().name && !host_name.is_empty() {
        event.name.clone_from(&host_name);
    }
    event.sensor = Some(SensorInfo {
        // Stays the same over restarts, and does not give away the machine's id.
        agent_id: Some(uuid(&format!("imdswatch agent|{}|{host_name}", read("/etc/machine-id")))),
        ephemeral_id: Some(read("/proc/sys/kernel/random/uuid")).filter(|id| !id.is_empty()),
        host_name: event.name.clone(),
    });
    event.local_addresses.set(crate::live::addresses());
    config
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A UUID of version 8 (RFC 9562 section 5.8) out of a hash.
fn uuid(of: &str) -> String {
    let mut bytes: [u8; 16] = [0; 16];
    bytes.iter_mut().zip(Sha256::digest(of)).for_each(|(to, from)| *to = from);
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_stay_the_same() {
        let id = uuid("a");
        assert_eq!(id, uuid("a"));
        assert_ne!(id, uuid("b"));
        assert_eq!((id.len(), id.as_bytes()[14], id.matches('-').count()), (36, b'8', 4));
        assert!(matches!(id.as_bytes()[19], b'8'..=b'b'));
    }
}
