//! Runs classic BPF programs, as libpcap compiles them, over captured packets.
//!
//! In: a program and a packet. Out: whether it matches. The `pcap` crate can run programs too, but takes the captured
//! length for the length on the wire, so that `greater 1000` or `len > 1000` would miss every packet that a snapshot
//! length cut. Programs jump backward only for `protochain`; the number of steps is bounded all the same. Source:
//! McCanne and Jacobson, "The BSD Packet Filter".

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

/// Cells of scratch memory that a program has (BPF_MEMWORDS).
const CELLS: usize = 16;

/// Steps after which a program gives up: more than the longest chain of headers in 64 KiB takes.
const MAX_STEPS: usize = 1 << 17;

/// A BPF program.
#[derive(Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
struct Step {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

impl Program {
    /// Takes over a compiled program. The crate gives its instructions only as text, `code jt jf k`.
    pub(super) fn new(compiled: &pcap::BpfProgram) -> Option<Self> {
        let steps = compiled.get_instructions().iter().map(|step| Step::parse(&step.to_string()));
        Some(Self { steps: steps.collect::<Option<_>>()? })
    }

    /// Whether the program accepts `data`, the captured part of a packet of `wire_len` bytes.
    pub(super) fn matches(&self, data: &[u8], wire_len: u32) -> bool {
        self.run(data, wire_len).is_some_and(|length| length > 0)
    }

    /// What the program returns; `None` where it reads past the data, divides by zero, does not end or is no valid
    /// program.
    fn run(&self, data: &[u8], wire_len: u32) -> Option<u32> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut cells = [0u32; CELLS];
        let mut at = 0usize;
        for _ in 0..MAX_STEPS {
            let Step { code, if_true, if_false, k } = *self.steps.get(at)?;
            at = at.checked_add(1)?;
            match code & CLASS {
                LD => {
                    a = match code & MODE {
                        IMM => k,
                        ABS => load(data, k, code)?,
                        IND => load(data, x.checked_add(k)?, code)?,
                        MEM => *cells.get(k as usize)?,
                        LEN => wire_len,
                        _ => return None,
                    }
                }
                LDX => {
                    x = match code & MODE {
                        IMM => k,
                        MEM => *cells.get(k as usize)?,
                        LEN => wire_len,
                        // Length of an IPv4 header, from its first byte.
                        MSH => u32::from(*data.get(k as usize)? & 0xf).wrapping_mul(4),
                        _ => return None,
                    }
                }
                ST => *cells.get_mut(k as usize)? = a,
                STX => *cells.get_mut(k as usize)? = x,
                ALU => a = compute(code, a, if code & X_SOURCE == 0 { k } else { x })?,
                JMP if code & OPERATION == JA => at = at.checked_add_signed(k.cast_signed() as isize)?,
                JMP => {
                    let other = if code & X_SOURCE == 0 { k } else { x };
                    let holds = match code & OPERATION {
                        JEQ => a == other,
                        JGT => a > other,
                        JGE => a >= other,
                        JSET => a & other != 0,
                        _ => return None,
                    };
                    at = at.checked_add(usize::from(if holds { if_true } else { if_false }))?;
                }
                RET => return Some(if code & RETURN_A == 0 { k } else { a }),
                _ => match code & MISC {
                    TAX => x = a,
                    _ => a = x,
                },
            }
        }
        None
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            code: words.next()?.parse().ok()?,
            if_true: words.next()?.parse().ok()?,
            if_false: words.next()?.parse().ok()?,
            k: words.next()?.parse().ok()?,
        })
    }
}

/// A big-endian word, half-word or byte.
fn load(data: &[u8], at: u32, code: u16) -> Option<u32> {
    let bytes = data.get(at as usize..)?;
    match code & SIZE {
        WORD => bytes.first_chunk().map(|word| u32::from_be_bytes(*word)),
        HALF => bytes.first_chunk().map(|half| u32::from(u16::from_be_bytes(*half))),
        _ => bytes.first().map(|byte| u32::from(*byte)),
    }
}

fn compute(code: u16, a: u32, other: u32) -> Option<u32> {
    Some(match code & OPERATION {
        ADD => a.wrapping_add(other),
        SUB => a.wrapping_sub(other),
        MUL => a.wrapping_mul(other),
        DIV => a.checked_div(other)?,
        MOD => a.checked_rem(other)?,
        OR => a | other,
        AND => a & other,
        XOR => a ^ other,
        // A shift by 32 or more leaves nothing.
        LSH => a.checked_shl(other).unwrap_or(0),
        RSH => a.checked_shr(other).unwrap_or(0),
        NEG => a.wrapping_neg(),
        _ => return None,
    })
}

// Parts of an instruction code, as in <pcap/bpf.h>.
const CLASS: u16 = 0x07;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;

const SIZE: u16 = 0x18;
const WORD: u16 = 0x00;
const HALF: u16 = 0x08;

const MODE: u16 = 0xe0;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const MSH: u16 = 0xa0;

const OPERATION: u16 = 0xf0;
const ADD: u16 = 0x00;
const SUB: u16 = 0x10;
const MUL: u16 = 0x20;
const DIV: u16 = 0x30;
const OR: u16 = 0x40;
const AND: u16 = 0x50;
const LSH: u16 = 0x60;
const RSH: u16 = 0x70;
const NEG: u16 = 0x80;
const MOD: u16 = 0x90;
const XOR: u16 = 0xa0;
const JA: u16 = 0x00;
const JEQ: u16 = 0x10;
const JGT: u16 = 0x20;
const JGE: u16 = 0x30;
const JSET: u16 = 0x40;
/// The operand is register X, not the constant.
const X_SOURCE: u16 = 0x08;

/// The value returned is register A, not the constant.
const RETURN_A: u16 = 0x10;
const MISC: u16 = 0xf8;
const TAX: u16 = 0x00;

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use pcap::{Capture, Linktype};
    use proptest::prelude::*;

    use super::*;

    fn compiled(expression: &str) -> pcap::BpfProgram {
        Capture::dead(Linktype::ETHERNET).unwrap().compile(expression, true).unwrap()
    }

    fn program(steps: &[(u16, u8, u8, u32)]) -> Program {
        let step = |&(code, if_true, if_false, k)| Step { code, if_true, if_false, k };
        Program { steps: steps.iter().map(step).collect() }
    }

    /// IPv6 to port 80 behind a hop-by-hop header.
    const CHAINED: [u8; 82] = {
        let mut frame = [0; 82];
        frame[12] = 0x86;
        frame[13] = 0xdd;
        frame[14] = 0x60;
        // Payload length, next header hop-by-hop, then TCP.
        frame[19] = 28;
        frame[54] = 6;
        frame[65] = 80;
        frame
    };

    #[test]
    fn a_chain_of_headers_is_followed_by_a_jump_back() {
        assert!(Program::new(&compiled("ip6 protochain 6")).unwrap().matches(&CHAINED, 82));
        assert!(!Program::new(&compiled("ip6 protochain 17")).unwrap().matches(&CHAINED, 82));
    }

    #[test]
    fn a_program_that_does_not_end_or_leaves_its_memory_matches_nothing() {
        assert!(program(&[(RET, 0, 0, 1)]).matches(b"", 0));
        for steps in [
            &[(JMP | JA, 0, 0, u32::MAX)][..],
            &[(JMP | JA, 0, 0, 7)],
            &[],
            &[(ST, 0, 0, CELLS as u32), (RET, 0, 0, 1)],
            &[(LD | MEM, 0, 0, u32::MAX), (RET, 0, 0, 1)],
            &[(ALU | DIV, 0, 0, 0), (RET, 0, 0, 1)],
            &[(LD | ABS, 0, 0, u32::MAX), (RET, 0, 0, 1)],
        ] {
            assert!(!program(steps).matches(b"data", 4), "{steps:?}");
        }
    }

    #[test]
    fn the_length_is_that_on_the_wire() {
        let long = Program::new(&compiled("greater 1000")).unwrap();
        assert!(long.matches(&[0; 60], 1500));
        assert!(!long.matches(&[0; 60], 999));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: proptest::test_runner::RngSeed::Fixed(7), failure_persistence: None, cases: 300, ..ProptestConfig::default()
        })]

        /// libpcap's own interpreter is the judge, where all of a packet was captured.
        #[test]
        fn programs_answer_as_in_libpcap(
            kind in prop::sample::select(vec![[8u8, 0], [0x86, 0xdd], [8, 6], [0x81, 0], [0x88, 0x47]]),
            first in prop::sample::select(vec![0x45u8, 0x46, 0x60]),
            protocol in prop::sample::select(vec![1u8, 6, 17, 58, 0, 44]),
            mut data in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            for (at, value) in [(12, kind[0]), (13, kind[1]), (14, first), (20, protocol), (23, protocol), (54, protocol)] {
                if let Some(byte) = data.get_mut(at) {
                    *byte = value;
                }
            }
            for expression in [
                "tcp port 80 or udp portrange 1-40000",
                "ip[6:2] & 0x1fff = 0 and not host 1.2.3.4",
                "tcp[((tcp[12:1] & 0xf0) >> 2):4] > 0x47455420",
                "vlan and ip6",
                "mpls",
                "ether[0] * 3 + ether[1] / (ether[2] | 1) % 7 << 2 >= len - 30",
                "ether[0:4] ^ ether[4:4] & -ether[8:4] != 7",
                "net 0.0.0.0/1 or ip6 net 8000::/1",
                "ip6 protochain 17",
                "icmp6 or arp or less 30",
            ] {
                let compiled = compiled(expression);
                let ours = Program::new(&compiled).unwrap().matches(&data, data.len() as u32);
                prop_assert_eq!(ours, compiled.filter(&data), "{}", expression);
            }
        }
    }
}
