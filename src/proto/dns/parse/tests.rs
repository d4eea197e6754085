//! Messages built by hand, of every record type, cut at every length, and garbage.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

/// A message under construction.
struct Build(Vec<u8>);

impl Build {
    fn new(flags: u16, counts: [u16; 4]) -> Self {
        let mut out = vec![0x12, 0x34];
        out.extend(flags.to_be_bytes());
        out.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        Self(out)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn name(self, name: &str) -> Self {
        self.bytes(&wire(name))
    }

    fn question(self, name: &str, qtype: u16) -> Self {
        self.name(name).bytes(&qtype.to_be_bytes()).bytes(&[0, 1])
    }

    /// A record whose owner is the first question's name.
    fn record(self, rtype: u16, rdata: &[u8]) -> Self {
        self.bytes(&[0xC0, 12])
            .bytes(&rtype.to_be_bytes())
            .bytes(&[0, 1, 0, 0, 0, 60])
            .bytes(&(rdata.len() as u16).to_be_bytes())
            .bytes(rdata)
    }
}

/// A name of these labels.
fn name_of(labels: &[&[u8]]) -> Name {
    let mut name = Name::default();
    labels.iter().for_each(|label| name.push(label));
    name
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut out: Vec<u8> = labels.flat_map(|l| std::iter::once(l.len() as u8).chain(l.bytes())).collect();
    out.push(0);
    out
}

fn response(rtype: u16, rdata: &[u8]) -> Vec<u8> {
    Build::new(0x8180, [1, 1, 0, 0]).question("example.com", rtype).record(rtype, rdata).0
}

fn data_of(rtype: u16, rdata: &[u8]) -> (RData, bool) {
    let message = parse(&response(rtype, rdata)).unwrap();
    (message.answers[0].data.clone(), message.partial)
}

/// `WithName` or `Other` in one piece, the name uncompressed.
fn flat(data: RData) -> Vec<u8> {
    match data {
        RData::Other(bytes) => bytes,
        RData::WithName(head, name, tail) => [&head, name.wire(), &[0], &tail].concat(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_query_and_its_answer_are_read_whole() {
    let query = Build::new(0x0120, [1, 0, 0, 1])
        .question("Metadata.Google.internal", 1)
        .bytes(&[0, 0, 41, 0x04, 0xD0, 1, 0, 0x80, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let message = parse(&query.0).unwrap();
    assert_eq!((message.id, message.flags, message.is_response(), message.partial), (0x1234, 0x0120, false, false));
    assert_eq!(message.questions[0].name.to_string(), "Metadata.Google.internal");
    let opt = message.opt.as_ref().unwrap();
    assert_eq!((opt.udp_size, opt.ext_rcode, opt.version, opt.dnssec_ok), (1232, 1, 0, true));
    assert_eq!(opt.options, [(10, vec![1, 2, 3, 4, 5, 6, 7, 8])]);
    assert_eq!(message.rcode(), 16);
    assert!(message.additionals.is_empty() && message.spare_opts == 0);

    let message = parse(&response(1, &[169, 254, 169, 254])).unwrap();
    assert_eq!(message.answers[0].name.to_string(), "example.com");
    assert_eq!((message.answers[0].rtype, message.answers[0].class, message.answers[0].ttl), (1, 1, 60));
    assert_eq!(message.answers[0].data, RData::A([169, 254, 169, 254].into()));
}

#[test]
fn names_inside_record_data_are_uncompressed() {
    let at = [0xC0, 12];
    let name = || name_of(&[b"example", b"com"]);
    for rtype in [2, 3, 4, 5, 7, 8, 9, 12, 23, 39] {
        assert_eq!(data_of(rtype, &at), (RData::Name(name()), false), "type {rtype}");
    }
    assert_eq!(data_of(15, &[0, 10, 0xC0, 12]).0, RData::Mx(10, name()));
    assert_eq!(data_of(33, &[0, 1, 0, 2, 0, 80, 0xC0, 12]).0, RData::Srv(1, 2, 80, name()));
    let soa = [&at[..], &at, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]].concat();
    assert_eq!(data_of(6, &soa).0, RData::Soa(Box::new((name(), name(), [1, 2, 3, 4, 5]))));
    let full = wire("example.com");
    for (rtype, before, after) in [(18, 2, 0), (21, 2, 0), (36, 2, 0), (46, 18, 9), (47, 0, 0), (64, 2, 0), (107, 2, 0)]
    {
        let rdata = [&vec![1; before], &at[..], &vec![7; after]].concat();
        let expected = [&vec![1; before], &full[..], &vec![7; after]].concat();
        let (data, partial) = data_of(rtype, &rdata);
        assert!(matches!(data, RData::WithName(..)) && !partial, "type {rtype}");
        assert_eq!(flat(data), expected, "type {rtype}");
    }
    for rtype in [14, 17, 58] {
        assert_eq!(flat(data_of(rtype, &[at, at].concat()).0), [&full[..], &full].concat(), "type {rtype}");
    }
    let naptr = [&[0, 1, 0, 2, 1, b'u', 3, b's', b'i', b'p', 0][..], &at].concat();
    assert_eq!(flat(data_of(35, &naptr).0), [&naptr[..11], &full].concat());
}

#[test]
fn record_data_that_is_not_what_its_type_says_is_kept_and_marked() {
    // Good and bad RDATA of each type that has a shape, as miekg/dns judges it.
    let cases: &[(u16, &[u8], &[u8])] = &[
        (1, &[1, 2, 3, 4], &[1, 2, 3]),
        (28, &[0; 16], &[0; 17]),
        (2, &[0], &[1]),
        (16, &[1, b'a', 0], &[2, b'a']),
        (13, &[1, b'a', 1, b'b'], &[1, b'a', 1, b'b', 0]),
        (29, &[0; 16], &[0; 15]),
        (42, &[0, 1, 24, 3, 10, 0, 1], &[0, 1, 24, 3, 10, 0, 0]),
        (42, &[0, 2, 128, 0x81, 1], &[0, 3, 8, 1, 1]),
        (43, &[0, 1, 8, 2, 9, 9], &[0, 1, 8]),
        (47, &[0, 0, 1, 0x40, 1, 1, 0x40], &[0, 1, 1, 0x40, 0, 1, 0x40]),
        (47, &[0], &[0, 0, 0]),
        (50, &[1, 0, 0, 5, 0, 1, 9, 0, 1, 0x40], &[1, 0, 0, 5, 0, 4, 9]),
        (51, &[1, 0, 0, 5, 2, 7, 7], &[1, 0, 0, 5, 3, 7, 7]),
        (65, &[0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2', 0, 4, 0, 4, 1, 2, 3, 4], &[0, 1, 0, 0, 4, 0, 3, 1, 2, 3]),
        (65, &[0, 0, 0], &[0, 1, 0, 0, 3, 0, 2, 1, 2, 0, 1, 0, 0]),
        (41, &[0, 8, 0, 5, 0, 1, 8, 0, 10], &[0, 8, 0, 4, 0, 3, 8, 0]),
        (41, &[0, 11, 0, 0], &[0, 11, 0, 1, 0]),
        (249, &[&[0][..], &[0; 12], &[0, 1, 5, 0, 0]].concat(), &[&[0][..], &[0; 12], &[0, 2, 5]].concat()),
        (257, &[0, 5, b'i', b's', b's', b'u', b'e', b'x'], &[0, 5, b'i']),
        (255, &[], &[1]),
        (4711, &[1, 2, 3], &[]),
    ];
    for (rtype, good, bad) in cases {
        assert!(!data_of(*rtype, good).1, "type {rtype}: {good:?}");
        if !bad.is_empty() {
            assert_eq!(data_of(*rtype, bad), (RData::Other(bad.to_vec()), true), "type {rtype}: {bad:?}");
        }
        assert_eq!(data_of(*rtype, &[]), (RData::Other(vec![]), false), "type {rtype} without data");
    }
    // What follows a damaged record is still read.
    let message = Build::new(0x8180, [1, 2, 0, 0]).question("a", 1).record(1, &[1]).record(1, &[1, 2, 3, 4]);
    let message = parse(&message.0).unwrap();
    assert!(message.partial);
    assert_eq!(message.answers[1].data, RData::A([1, 2, 3, 4].into()));
}

#[test]
fn what_dns_parser_refuses_is_read() {
    let reserved_bit = Build::new(0x0140, [1, 0, 0, 0]).question("a.b", 65);
    assert_eq!(parse(&reserved_bit.0).map(|m| (m.flags, m.partial)), Ok((0x0140, false)));
    let opt = [0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 0];
    let two_opts = Build::new(0x0100, [1, 0, 0, 2]).question("a.b", 1).bytes(&opt).bytes(&opt);
    assert_eq!(parse(&two_opts.0).map(|m| (m.opt.is_some(), m.spare_opts)), Ok((true, 1)));
    let eight_bit = Build::new(0x0100, [1, 0, 0, 0]).bytes(&[2, 0xC3, 0xA9, 0, 0, 1, 0, 1]);
    assert_eq!(parse(&eight_bit.0).unwrap().questions[0].name.to_string(), "\\195\\169");
    let many = (0..100).fold(Build::new(0x0100, [1, 0, 0, 0]), |build, _| build.bytes(&[1, b'a']));
    assert_eq!(parse(&many.bytes(&[0, 0, 1, 0, 1]).0).unwrap().questions[0].name.labels().count(), 100);
}

#[test]
fn a_dot_inside_a_label_is_no_border() {
    let forged = Build::new(0x0100, [1, 0, 0, 0]).bytes(b"\x0Fmetadata.google\x08internal\0\0\x01\0\x01");
    let name = &parse(&forged.0).unwrap().questions[0].name;
    assert_eq!(name.labels().collect::<Vec<_>>(), [&b"metadata.google"[..], b"internal"]);
    assert_eq!(name.to_string(), "metadata\\.google.internal");
    let odd = name_of(&[b"a b'@;()\"", b"\x01\\\x7F\xFFz"]);
    assert_eq!(odd.to_string(), "a\\ b\\'\\@\\;\\(\\)\\\".\\001\\\\\\127\\255z");
    assert_eq!(Name::default().to_string(), ".");
}

#[test]
fn pointers_are_followed_within_bounds() {
    let query = |name: &[u8]| Build::new(0x0100, [1, 0, 0, 0]).bytes(name).bytes(&[0, 1, 0, 1]).0;
    assert_eq!(parse(&query(&[0xC0, 12])), Err(Malformed::Question), "to itself");
    assert_eq!(parse(&query(&[1, b'a', 0xC0, 12])), Err(Malformed::Question), "a loop with a label");
    assert_eq!(parse(&query(&[0xC0, 14, 0xC0, 12])), Err(Malformed::Question), "two that lead to each other");
    assert_eq!(parse(&query(&[0xC3, 0xFF])), Err(Malformed::Question), "beyond the end");
    assert_eq!(parse(&query(&[0x41, b'a', 0])), Err(Malformed::Question), "reserved label type");
    let forward = parse(&Build::new(0x0100, [2, 0, 0, 0]).bytes(&[0xC0, 18, 0, 1, 0, 1]).question("x.y", 1).0).unwrap();
    assert_eq!(forward.questions[0].name.to_string(), "x.y");
    // 255 bytes are a name, 256 are none.
    let long = |last: usize| {
        [&[&[63][..], &[b'a'; 63]].concat().repeat(3)[..], &[last as u8], &vec![b'b'; last], &[0]].concat()
    };
    assert_eq!(parse(&query(&long(61))).unwrap().questions[0].name.wire().len(), Name::MAX);
    assert_eq!(parse(&query(&long(62))), Err(Malformed::Question));
    // A chain of pointers as long as miekg/dns follows, and one longer.
    let chain = |pointers: u16| {
        let hops = (0..pointers).flat_map(|n| if n == 0 { [0, 0] } else { (0xC000 + 12 + 2 * (n - 1)).to_be_bytes() });
        let mut build = Build::new(0x8180, [0, 2, 0, 0]);
        build = build.bytes(&[0, 0, 99, 0, 1, 0, 0, 0, 0]).bytes(&(2 * pointers).to_be_bytes());
        let first = build.0.len();
        let hops: Vec<u8> = hops.collect();
        let shift = (first - 12) as u16;
        let hops = hops.chunks(2).flat_map(|pair| {
            let value = u16::from_be_bytes([pair[0], pair[1]]);
            if value == 0 { [0, 0] } else { (value + shift).to_be_bytes() }
        });
        let last = 0xC000 + first as u16 + 2 * (pointers - 1);
        build
            .bytes(&hops.collect::<Vec<_>>())
            .bytes(&last.to_be_bytes())
            .bytes(&[0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4])
            .0
    };
    assert_eq!(parse(&chain(126)).map(|m| m.answers.len()), Ok(2));
    assert_eq!(parse(&chain(127)).map(|m| m.answers.len()), Ok(1));
}

#[test]
fn counts_that_promise_too_much_are_no_error_at_the_end_of_a_record() {
    let message = Build::new(0x8180, [1, 5, 7, 9]).question("a", 1).record(1, &[1, 2, 3, 4]);
    assert_eq!(parse(&message.0).map(|m| (m.answers.len(), m.partial)), Ok((1, false)));
    let trailing = Build::new(0x0100, [1, 0, 0, 0]).question("a", 1).bytes(b"rest");
    assert_eq!(parse(&trailing.0).map(|m| m.partial), Ok(false));
    assert_eq!(parse(&Build::new(0x0100, [9, 9, 9, 9]).0), Err(Malformed::Empty));
    assert_eq!(parse(&Build::new(0x0100, [0; 4]).bytes(b"rest").0), Err(Malformed::Empty));
    assert_eq!(parse(b"too short"), Err(Malformed::Header));
}

#[test]
fn a_message_cut_anywhere_keeps_what_came_before() {
    let whole =
        Build::new(0x8180, [1, 2, 0, 0]).question("example.com", 1).record(1, &[1, 2, 3, 4]).record(5, &[0xC0, 12]);
    let question_end = 12 + 13 + 4;
    for len in 0..whole.0.len() {
        match parse(&whole.0[..len]) {
            Err(why) => assert!(len < question_end, "{why} at {len}"),
            Ok(message) => {
                assert_eq!(message.questions[0].name.to_string(), "example.com", "at {len}");
                let answers = (len - question_end.min(len)) / 16;
                assert_eq!(message.answers.len(), answers.min(1), "at {len}");
                assert_eq!(message.partial, !matches!(len, 25 | 27 | 29 | 45), "at {len}");
            }
        }
    }
    assert_eq!(parse(&whole.0).map(|m| (m.answers.len(), m.partial)), Ok((2, false)));
}

#[test]
fn dns_is_told_from_what_is_not() {
    let query = Build::new(0x0120, [1, 0, 0, 1]).question("a.example", 65).bytes(&[0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 0]).0;
    assert!(looks_like(&query));
    assert!(looks_like(&response(1, &[1, 2, 3, 4])));
    assert!(looks_like(&Build::new(0x0100, [1, 0, 0, 0]).question("", 2).0), "a query for the root");
    let not_dns: &[(&str, Vec<u8>)] = &[
        ("trailing bytes", [&query[..], &[0]].concat()),
        ("cut", query[..query.len() - 1].to_vec()),
        ("answers in a query", Build::new(0x0100, [1, 1, 0, 0]).question("a", 1).record(1, &[1, 2, 3, 4]).0),
        ("unprintable name", Build::new(0x0100, [1, 0, 0, 0]).bytes(b"\x02a\x07\0\0\x01\0\x01").0),
        ("odd class", Build::new(0x0100, [1, 0, 0, 0]).bytes(b"\x01a\0\0\x01\0\x09").0),
        ("odd opcode", Build::new(0x7900, [1, 0, 0, 0]).question("a", 1).0),
        ("NetBIOS", Build::new(0x0110, [1, 0, 0, 0]).question("CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 33).0),
        ("QUIC", [&[0xC3, 0, 0, 0, 1, 8][..], &[0x5A; 1200]].concat()),
        ("NTP", [&[0x23, 2, 6, 0xEC][..], &[0; 44]].concat()),
        ("zeros", vec![0; 64]),
        ("empty", vec![]),
    ];
    for (what, bytes) in not_dns {
        assert!(!looks_like(bytes), "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(53), ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_bounded(counts in any::<[u8; 4]>(), body in prop::collection::vec(any::<u8>(), 0..400)) {
        let counts = counts.map(u16::from);
        let bytes = Build::new(0x8180, counts).bytes(&body).0;
        if let Ok(message) = parse(&bytes) {
            let records = message.answers.len() + message.authorities.len() + message.additionals.len();
            prop_assert!(records * 11 + message.questions.len() <= body.len());
            prop_assert!(message.questions.iter().all(|q| q.name.wire().len() <= Name::MAX));
        }
        looks_like(&bytes);
    }

    /// Where dns-parser can read a message, both read the same.
    #[test]
    fn agrees_with_dns_parser(labels in prop::collection::vec("[a-z0-9-]{1,12}", 1..5), address in any::<[u8; 4]>(), flips in prop::collection::vec((0_usize..60, any::<u8>()), 0..3)) {
        let build = Build::new(0x8180, [1, 2, 0, 0]).question(&labels.join("."), 1);
        let mut bytes = build.record(5, &[0xC0, 12]).record(1, &address).0;
        for (at, bits) in flips {
            let at = at % bytes.len();
            bytes[at] ^= bits;
        }
        if let Ok(theirs) = dns_parser::Packet::parse(&bytes) {
            let ours = parse(&bytes);
            if theirs.questions.is_empty() && theirs.answers.is_empty() {
                return Ok(());
            }
            let ours = ours.unwrap();
            let names = |name: &Name| name.labels().map(|l| String::from_utf8_lossy(l).into_owned()).collect::<Vec<_>>().join(".");
            prop_assert_eq!(ours.questions.iter().map(|q| names(&q.name)).collect::<Vec<_>>(), theirs.questions.iter().map(|q| q.qname.to_string()).collect::<Vec<_>>());
            prop_assert_eq!(ours.answers.len(), theirs.answers.len());
            for (a, b) in ours.answers.iter().zip(&theirs.answers) {
                prop_assert_eq!(names(&a.name), b.name.to_string());
                if let dns_parser::RData::A(record) = &b.data {
                    prop_assert_eq!(&a.data, &RData::A(record.0));
                }
            }
        }
    }
}
