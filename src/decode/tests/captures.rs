//! The captures beside the repository: everything in them decodes down to TCP, or says why not.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

/// Wire length and captured bytes.
type Record = (usize, Vec<u8>);

/// Packets of a classic pcap file in either byte order; `None` for other formats.
fn pcap(path: &Path) -> Option<(LinkType, Vec<Record>)> {
    let file = std::fs::read(path).ok()?;
    let order: fn([u8; 4]) -> u32 = match file.get(..4)? {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => u32::from_le_bytes,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => u32::from_be_bytes,
        _ => return None,
    };
    let word = |at: usize| Some(order(*file.get(at..)?.first_chunk()?) as usize);
    let mut at = 24;
    let mut packets = Vec::new();
    while let (Some(captured), Some(wire)) = (word(at + 8), word(at + 12)) {
        let Some(data) = file.get(at + 16..at + 16 + captured) else { break };
        packets.push((wire, data.to_vec()));
        at += 16 + captured;
    }
    Some((LinkType(word(20)? as u16), packets))
}

fn captures(folder: &str) -> Vec<PathBuf> {
    let Some(folder) = crate::testing::corpus(&format!("captures/{folder}")) else { return Vec::new() };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths
}

#[test]
fn every_packet_of_every_link_layer_and_tunnel_is_read() {
    for path in captures("wire") {
        let Some((link, packets)) = pcap(&path) else { continue };
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut decoder = Decoder::new(Config::default());
        let mut payload = 0;
        for (wire, data) in &packets {
            let got = feed(&mut decoder, &packet(link, *wire, data));
            let (meta, segment) = last(&got);
            assert!(matches!(meta.stop, None | Some(Stop::Fragment)) || meta.ethertype == 0x0806, "{name}: {meta:?}");
            payload += meta.payload(segment).len();
        }
        assert!(payload > 0 || packets.is_empty() || name.contains("snaplen0"), "{name}: no payload");
        let fragments: BTreeMap<&str, u64> =
            [("frag_in_order", 1), ("frag_reversed", 1), ("frag_shuffled", 1), ("v6_frag", 1)].into();
        if let Some((_, at_least)) = fragments.iter().find(|(part, _)| name.contains(**part)) {
            assert!(decoder.counters().reassembled >= *at_least, "{name}: {:?}", decoder.counters());
        }
    }
}

#[test]
fn damaged_captures_cut_anywhere_are_survived() {
    for folder in ["wire", "broken"] {
        for path in captures(folder) {
            let Some((link, packets)) = pcap(&path) else { continue };
            let mut decoder = Decoder::new(Config::default());
            for (wire, data) in packets.iter().take(12) {
                for len in 0..data.len() {
                    feed(&mut decoder, &packet(link, *wire, &data[..len]));
                }
            }
        }
    }
}
