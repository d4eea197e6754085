//! Tests of the canonicaliser: every disguise, and any bytes.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};

use super::*;

const TARGET: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(1), cases: 4096, ..Config::default() })]

    /// The short way gives what the long way gives.
    #[test]
    fn plain_urls_have_one_reading(
        url in "(http|https|HTTP|ftp|jar:http)?(:|:/)?//?/?([a-c1.-]|example\\.org|1\\.2\\.3\\.4|[:@?#;/.%&\\\\]|:80|/a/b|%2e){1,8}",
    ) {
        if let Some(plain) = plain_url(url.as_bytes()) {
            prop_assert_eq!(urls(url.as_bytes()), [plain], "{}", url);
        }
    }
}

#[test]
fn ordinary_urls_are_plain_and_disguises_are_not() {
    for ordinary in ["http://www.example.com/a?b=c#d", "//10.0.0.1", "HTTPS://a1.example:8443/x/../y", "http://ab/"] {
        assert!(plain_url(ordinary.as_bytes()).is_some(), "{ordinary}");
    }
    for other in ["http://a@b/", "http://0251.1.1.1/", "http://ab?x", "http://ab\\x/", "http:///ab", "url:http://ab/"] {
        assert!(plain_url(other.as_bytes()).is_none(), "{other}");
    }
}

fn host(text: &str) -> HostRef {
    text.parse().map_or_else(|_| HostRef::Name(text.to_owned()), HostRef::Address)
}

fn names(url: &[u8], target: &str) -> bool {
    hosts(url).iter().any(|parsed| parsed.host == host(target))
}

/// The catalogue's disguises whose job is to be decoded or canonicalised, and those of its lists that are URLs.
#[rustfmt::skip]
const DISGUISES: &[(&str, &str, &str)] = &[
    ("dec", "http://2852039166/", "169.254.169.254"),
    ("dec-over", "http://7147006462/", "169.254.169.254"),
    ("hex", "http://0xA9FEA9FE/", "169.254.169.254"),
    ("hex-over", "http://0x41414141A9FEA9FE/", "169.254.169.254"),
    ("hex-nopad", "http://0x00000000a9fea9fe/", "169.254.169.254"),
    ("oct", "http://025177524776/", "169.254.169.254"),
    ("dot-hex", "http://0xA9.0xFE.0xA9.0xFE/", "169.254.169.254"),
    ("dot-oct", "http://0251.0376.0251.0376/", "169.254.169.254"),
    ("dot-oct-pad", "http://0251.00376.000251.0000376/", "169.254.169.254"),
    ("dot-over", "http://425.510.425.510/", "169.254.169.254"),
    ("dot-dec-pad", "http://169.254.169.000254/", "169.254.169.254"),
    ("mix1", "http://0251.254.169.254/", "169.254.169.254"),
    ("mix2", "http://0xa9.254.0251.0xfe/", "169.254.169.254"),
    ("short3", "http://169.254.43518/", "169.254.169.254"),
    ("short2", "http://169.16689662/", "169.254.169.254"),
    ("short3-mix", "http://0xa9.0376.43518/", "169.254.169.254"),
    ("short2-mix", "http://0251.0xfea9fe/", "169.254.169.254"),
    ("trail-dot", "http://169.254.169.254./", "169.254.169.254"),
    ("port", "http://169.254.169.254:80/", "169.254.169.254"),
    ("v6-mapped", "http://[::ffff:169.254.169.254]/", "169.254.169.254"),
    ("v6-mapped-hex", "http://[::ffff:a9fe:a9fe]/", "169.254.169.254"),
    ("v6-mapped-long", "http://[0:0:0:0:0:ffff:a9fe:a9fe]/", "169.254.169.254"),
    ("v6-compat", "http://[::169.254.169.254]/", "169.254.169.254"),
    ("v6-translated", "http://[::ffff:0:a9fe:a9fe]/", "169.254.169.254"),
    ("v6-nat64", "http://[64:ff9b::a9fe:a9fe]/", "169.254.169.254"),
    ("v6-nat64-local", "http://[64:ff9b:1::a9fe:a9fe]/", "169.254.169.254"),
    ("v6-6to4", "http://[2002:a9fe:a9fe::]/", "169.254.169.254"),
    ("v6-isatap", "http://[fe80::5efe:a9fe:a9fe]/", "169.254.169.254"),
    ("v6-teredo", "http://[2001:0:0:0:0:0:5601:5601]/", "169.254.169.254"),
    ("v6-imds", "http://[FD00:0EC2:0000::0254]/", "fd00:ec2::254"),
    ("v6-zone", "http://[fe80::a9fe:a9fe%25eth0]/", "fe80::a9fe:a9fe"),
    ("v6-zone-ula", "http://[fd00:ec2::254%25lo]/", "fd00:ec2::254"),
    ("pct", "http://169%2e254%2e169%2e254/", "169.254.169.254"),
    ("pct2", "http://169%252e254%252e169%252e254/", "169.254.169.254"),
    ("pct-full", "http://%31%36%39%2e%32%35%34%2e%31%36%39%2e%32%35%34/", "169.254.169.254"),
    ("pct-whole", "http%3A%2F%2F169.254.169.254%2Flatest%2Fmeta-data%2F", "169.254.169.254"),
    ("pct-name", "http://metadata%2egoogle%2einternal/", "metadata.google.internal"),
    ("json-esc", "http:\\/\\/169\\u002e254.169.254\\/", "169.254.169.254"),
    ("html-ent", "http://169&#46;254&#x2e;169.254/", "169.254.169.254"),
    ("case-scheme", "HTTP://169.254.169.254/", "169.254.169.254"),
    ("schemeless", "//169.254.169.254/latest/", "169.254.169.254"),
    ("one-slash", "http:169.254.169.254/", "169.254.169.254"),
    ("gopher", "gopher://metadata.google.internal:80/_GET%20/computeMetadata/v1/%20HTTP/1.1%0d%0aMetadata-Flavor:%20Google%0d%0a", "metadata.google.internal"),
    ("dict-etc", "dict://169.254.169.254:80/", "169.254.169.254"),
    ("userinfo", "http://example.com@169.254.169.254/", "169.254.169.254"),
    ("userinfo2", "http://a@b@169.254.169.254/", "169.254.169.254"),
    ("userinfo-pct", "http://example.com%40169.254.169.254/", "169.254.169.254"),
    ("backslash", "http://example.com\\@169.254.169.254/", "169.254.169.254"),
    ("fragment", "http://169.254.169.254#@example.com/", "169.254.169.254"),
    ("space", "http://169.254.169.254 &@example.com# @x/", "169.254.169.254"),
    ("dotless-idna", "http://169。254。169。254/", "169.254.169.254"),
    ("fullwidth", "http://１６９．２５４．１６９．２５４/", "169.254.169.254"),
    ("enclosed", "http://①⑥⑨｡②⑤④｡①⑥⑨｡②⑤④/", "169.254.169.254"),
    ("enclosed two-digit", "http://⑯⑨.254.⑯⑨.254/", "169.254.169.254"),
    ("enclosed hex", "http://⓪ⓧⓐ⑨.⓪ⓧⓕⓔ.169.254/", "169.254.169.254"),
    ("superscript", "http://¹⁶⁹.²⁵⁴.¹⁶⁹.²⁵⁴/", "169.254.169.254"),
    ("other-digits", "http://๑๖๙.๒๕๔.๑๖๙.๒๕๔/", "169.254.169.254"),
    ("ignorable", "http://169.254\u{ad}.169.254/", "169.254.169.254"),
    ("unicode-name", "http://ⓜⓔⓣⓐⓓⓐⓣⓐ.google.internal/", "metadata.google.internal"),
    ("nip-io", "http://169.254.169.254.nip.io/", "169.254.169.254"),
    ("nip-dash", "http://169-254-169-254.nip.io/", "169.254.169.254"),
    ("nip-hex", "http://a9fea9fe.nip.io/", "169.254.169.254"),
    ("sslip", "http://169-254-169-254.sslip.io/", "169.254.169.254"),
    ("1u-ms", "http://make-1.2.3.4-rebind-169.254-169.254-rr.1u.ms/", "169.254.169.254"),
    ("rbndr", "http://7f000001.a9fea9fe.rbndr.us/", "169.254.169.254"),
    ("dns-known", "http://instance-data/latest/", "instance-data"),
    // spellings beside the catalogue's
    ("padded port", "http://169.254.169.254:00080/x", "169.254.169.254"),
    ("three slashes", "http:///169.254.169.254/", "169.254.169.254"),
    ("back slashes", "http:\\\\169.254.169.254\\latest", "169.254.169.254"),
    ("UNC", "\\\\169.254.169.254\\share", "169.254.169.254"),
    ("jar", "jar:http://169.254.169.254/a.jar!/x", "169.254.169.254"),
    ("url:", "url:http://169.254.169.254/", "169.254.169.254"),
    ("view-source", "view-source:http://169.254.169.254/", "169.254.169.254"),
    ("netdoc", "netdoc:http://169.254.169.254/", "169.254.169.254"),
    ("line end", "http://169.254.\r\n169.254/", "169.254.169.254"),
    ("tab in scheme", "ht\ttp://169.254.169.254/", "169.254.169.254"),
    ("encoded CRLF", "http://169.254.169.254%0d%0aX:1/", "169.254.169.254"),
    ("question at", "http://169.254.169.254?@example.com/", "169.254.169.254"),
    ("middle host", "http://foo@169.254.169.254:80@example.com/", "169.254.169.254"),
    ("fullwidth slashes", "http：／／169.254.169.254／latest", "169.254.169.254"),
    ("trailing dots of a name", "http://metadata.google.internal./", "metadata.google.internal"),
];

#[test]
fn every_disguise_of_the_catalogue_is_undone() {
    for (id, url, target) in DISGUISES {
        assert!(names(url.as_bytes(), target), "{id}: {:?}", hosts(url.as_bytes()));
    }
}

#[test]
fn ordinary_urls_have_their_own_host_only() {
    for (url, expected) in [
        ("http://www.example.com/x@169.254.169.254/", "www.example.com"),
        ("https://example.com/?u=http://169.254.169.254/", "example.com"),
        ("http://169.254.169.254@example.com/", "example.com"),
        ("https://user:pass@example.com:8443/a?b#c", "example.com"),
        ("//cdn.example.com/lib.js", "cdn.example.com"),
        ("http://example.com#169.254.169.254", "example.com"),
        ("http://169.254.169.253/", "169.254.169.253"),
    ] {
        let found: Vec<_> = hosts(url.as_bytes()).into_iter().map(|parsed| parsed.host).collect();
        assert_eq!(found, [host(expected)], "{url}");
    }
    for text in
        ["", "hello", "file:///etc/passwd", "mailto:a@169.254.169.254", "a:b", "GET http://169.254.169.254/ 404"]
    {
        assert!(!hosts(text.as_bytes()).iter().any(|parsed| parsed.scheme != Scheme::Bare), "{text}");
    }
}

#[test]
fn port_path_and_disguise_are_told() {
    let parsed = &hosts(b"http://169.254.169.254:0080//latest/./meta%2ddata/?x=/y/..#z")[0];
    assert_eq!((parsed.port, parsed.path.as_deref(), parsed.disguised), (Some(80), Some("/latest/meta-data"), false));
    let parsed = &hosts(b"HTTP://0xa9fea9fe")[0];
    assert_eq!((parsed.scheme, parsed.path.as_deref(), parsed.disguised), (Scheme::Named, None, true));
    let parsed = &hosts(b"169.254.169.254:80/latest/user-data")[0];
    assert_eq!((parsed.scheme, parsed.path.as_deref()), (Scheme::Bare, Some("/latest/user-data")));
    let parsed =
        &hosts(b"http%3A%2F%2F169.254.169.254%2Fmetadata%2Fidentity%2Foauth2%2Ftoken%3Fresource%3Dhttps%3A%2F%2Fx")[0];
    assert_eq!(parsed.path.as_deref(), Some("/metadata/identity/oauth2/token"));
}

#[test]
fn gopher_embeds_a_request() {
    let url = b"gopher://169.254.169.254:80/_PUT%20/latest/api/token%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0a";
    let parsed = &hosts(url)[0];
    assert_eq!((parsed.method.as_deref(), parsed.path.as_deref()), (Some("PUT"), Some("/latest/api/token")));
}

#[test]
fn authorities_and_targets() {
    assert_eq!(canonical_authority(b"169.254.169.254:80"), Some((host("169.254.169.254"), Some(80))));
    assert_eq!(canonical_authority(b"[fd00:ec2::254]"), Some((host("fd00:ec2::254"), None)));
    assert_eq!(canonical_host(b"Metadata.Google.Internal."), Some(host("metadata.google.internal")));
    assert_eq!(canonical_host(b""), None);
    assert_eq!(normalise_path(b"http://h/a//b/../c/?q"), "/a/c");
    assert_eq!(
        normalise_path(b"/latest//meta-data///iam/./x/../security-credentials/"),
        "/latest/meta-data/iam/security-credentials"
    );
    assert_eq!(
        normalise_path(b"/latest/meta%2ddata%2fiam%2fsecurity-credentials/"),
        "/latest/meta-data/iam/security-credentials"
    );
    assert_eq!(normalise_path(b"/../.."), "/");
    assert_eq!(target_of("http://203.0.113.66/r?a=/b#c"), "/r?a=/b");
    assert_eq!(target_of("http://203.0.113.66"), "/");
}

/// A part of an address in some base, padded.
fn part(value: u32) -> impl Strategy<Value = String> {
    (0..4u8, 0..4usize).prop_map(move |(base, pad)| match base {
        0 => format!("{value}"),
        1 => format!("0{:0>pad$}{value:o}", ""),
        2 => format!("0x{:0>pad$}{value:x}", ""),
        _ => format!("0X{:0>pad$}{value:X}", ""),
    })
}

/// `TARGET` in any IPv4 or IPv6 spelling.
fn spelling() -> impl Strategy<Value = String> {
    let [a, b, c, d] = TARGET.octets().map(u32::from);
    let whole = u32::from(TARGET);
    let v4 = prop_oneof![
        (part(a), part(b), part(c), part(d)).prop_map(|(a, b, c, d)| format!("{a}.{b}.{c}.{d}")),
        (part(a), part(b), part(whole & 0xFFFF)).prop_map(|(a, b, c)| format!("{a}.{b}.{c}")),
        (part(a), part(whole & 0xFF_FFFF)).prop_map(|(a, b)| format!("{a}.{b}")),
        part(whole),
    ];
    prop_oneof![
        4 => (v4, prop_oneof![Just(""), Just(".")]).prop_map(|(host, dot)| host + dot),
        1 => prop_oneof![Just("[::ffff:A9FE:a9fe]"), Just("[0:0:0::ffff:169.254.169.254]"), Just("[64:ff9b::169.254.169.254%25eth0]")]
            .prop_map(str::to_owned),
        1 => "[a-z]{0,5}".prop_map(|label| format!("{label}x.169-254-169-254.example")),
    ]
}

/// Any character of `host` percent-encoded up to three times, or made full-width.
fn veiled(host: String) -> impl Strategy<Value = String> {
    let len = host.chars().count();
    prop::collection::vec(0..8u8, len).prop_map(move |how| {
        let veil = |(c, how): (char, u8)| match how {
            0 => format!("%{:02x}", u32::from(c)),
            1 => format!("%25{:02X}", u32::from(c)),
            2 => format!("%2525{:02x}", u32::from(c)),
            3 if c.is_ascii_digit() || c == '.' => char::from_u32(u32::from(c) + 0xFEE0).unwrap().to_string(),
            _ => c.to_string(),
        };
        host.chars().zip(how).map(veil).collect()
    })
}

fn runner() -> TestRunner {
    TestRunner::new_with_rng(Config::with_cases(1000), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn combinations_of_disguises_are_undone() {
    let prefix = prop_oneof![
        Just("http://"),
        Just("HTTPS://"),
        Just("//"),
        Just("http:/"),
        Just("http:\\\\"),
        Just("http:////"),
        Just("ftp:"),
        Just("http://www.example.com@"),
        Just("http://a@b@"),
        Just("http://a:b%40"),
        Just("http://example.com\\@"),
        Just("url:gopher://"),
    ];
    let suffix = prop_oneof![
        Just(""),
        Just("/"),
        Just("/latest/"),
        Just(":80/"),
        Just(":0080"),
        Just("?@x.example/"),
        Just("#@x.example"),
        Just("%2flatest")
    ];
    let urls = (prefix, spelling().prop_flat_map(veiled), suffix)
        .prop_map(|(prefix, host, suffix)| format!("{prefix}{host}{suffix}"));
    let check = |url: String| {
        prop_assert!(names(url.as_bytes(), "169.254.169.254"), "{url}: {:?}", hosts(url.as_bytes()));
        Ok(())
    };
    runner().run(&urls, check).unwrap();
}

#[test]
fn ordinary_hosts_are_never_taken_for_the_target() {
    let public = prop_oneof![
        "(www\\.)?[a-z][a-z0-9-]{0,12}[a-z]\\.(com|org|example)",
        any::<u32>()
            .prop_filter("not the target", |ip| *ip != u32::from(TARGET))
            .prop_map(|ip| Ipv4Addr::from(ip).to_string()),
    ];
    let urls = (public, "(:[0-9]{1,5})?(/[a-z0-9@.%?=&-]{0,20}(169\\.254\\.169\\.254)?)?")
        .prop_map(|(host, rest)| format!("http://{host}{rest}"));
    let check = |url: String| {
        prop_assert!(!names(url.as_bytes(), "169.254.169.254"), "{url}");
        Ok(())
    };
    runner().run(&urls, check).unwrap();
}

/// What is passed over at a glance would have given nothing.
#[test]
fn what_begins_otherwise_is_no_url() {
    let pieces = prop::sample::select(vec![
        "http".as_bytes(),
        b":",
        b"//",
        b"%3a",
        b"%253A",
        b"&colon;",
        b"\\u003a",
        b"\t",
        b"=",
        b"&",
        b" ",
        b"url:",
        "\u{FF11}:".as_bytes(),
        b"a",
        b"+",
        b"<",
        b"169.254.169.254",
        "\u{200B}".as_bytes(),
        b"\"",
        b"'",
        b"-",
        b"/",
        b"\\",
        b"\xFF",
        b"\x7F",
        "\u{85}".as_bytes(),
        "\u{FF0F}".as_bytes(),
        b"(",
        b"\x01",
    ]);
    let values = prop::collection::vec(pieces, 1..8).prop_map(|pieces| pieces.concat());
    let check = |value: Vec<u8>| {
        prop_assert_eq!(urls(&value), read(&value, false), "{}", String::from_utf8_lossy(&value));
        Ok(())
    };
    runner().run(&values, check).unwrap();
    assert!(begins_otherwise(b"page=1&next=http://h/") && !begins_otherwise(b"http%3A//h/"));
    assert!(begins_otherwise(b"Tuning\n\n  - agents") && !begins_otherwise(b"ht\ntp://h/") && begins_otherwise(b""));
}

#[test]
fn no_bytes_break_it() {
    let bytes = prop::collection::vec(
        prop_oneof![Just(b'%'), Just(b'/'), Just(b':'), Just(b'@'), Just(b'['), Just(b'.'), Just(b'0'), any::<u8>()],
        0..80,
    );
    let check = |bytes: Vec<u8>| {
        prop_assert!(hosts(&bytes).len() <= HOSTS);
        prop_assert!(normalise_path(&bytes).starts_with('/'));
        canonical_authority(&bytes);
        Ok(())
    };
    runner().run(&bytes, check).unwrap();
}
