//! Receivers that fail in every way: what was decided, what is to be sent again, and how long it took to know.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod fake;

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use fake::{Certificates, answer, http, serve};
use imdswatch::alert::Severity;
use imdswatch::output::net::settings::{Template, Tls, Verify};
use imdswatch::output::net::{self, Settings};
use imdswatch::output::receiver::{Event, Fault, Kind, Outcome, Receiver, Reply};

const TIMEOUT: Duration = Duration::from_millis(800);

fn settings(url: &str) -> Settings {
    Settings { timeout: TIMEOUT, ..Settings::of_url(url).unwrap() }
}

fn open(url: &str) -> Box<dyn Receiver> {
    net::open(&settings(url)).unwrap()
}

/// A receiver of the kind at `host`, with the topic that Kafka wants.
fn url(scheme: &str, host: &str) -> String {
    format!("{scheme}://{host}{}", if scheme == "kafka" { "/alerts" } else { "" })
}

/// So many alerts with ids of their own.
fn alerts(count: usize) -> Vec<(String, String)> {
    let one = |n| {
        (
            format!("id{n}"),
            format!(r#"{{"@timestamp":"2026-11-24T03:29:04Z","event":{{"id":"id{n}","kind":"alert","severity":99}}}}"#),
        )
    };
    (0..count).map(one).collect()
}

fn events(alerts: &[(String, String)]) -> Vec<Event<'_>> {
    let mut all = Vec::new();
    for (id, json) in alerts {
        let severity = Some(Severity::Critical);
        all.push(Event { json: json.as_bytes(), id, kind: Kind::Alert, severity, ..Event::default() });
    }
    all
}

/// Sends a batch of `count`, which must be answered within the time-out and a bit.
fn send(receiver: &mut dyn Receiver, count: usize) -> Reply {
    let alerts = alerts(count);
    let start = Instant::now();
    let reply = receiver.send(&events(&alerts));
    assert!(start.elapsed() < TIMEOUT * 3, "{:?}: {reply:?}", start.elapsed());
    reply
}

fn fault(reply: &Reply) -> Option<Fault> {
    reply.trouble.as_ref().map(|trouble| trouble.fault)
}

/// Nothing is decided, for this reason.
#[track_caller]
fn undecided(reply: &Reply, fault: Fault) {
    assert!(reply.outcomes.iter().all(|outcome| *outcome == Outcome::Again), "{reply:?}");
    assert_eq!(reply.trouble.as_ref().map(|trouble| trouble.fault), Some(fault), "{reply:?}");
}

const TAKEN: &str = r#"{"errors":false}"#;

#[test]
fn elasticsearch_statuses_of_the_whole_request() {
    for (status, headers, expected) in [
        (413, "", Fault::TooLarge),
        (429, "retry-after: 7\r\n", Fault::Busy),
        (503, "retry-after: 7\r\n", Fault::Busy),
        (502, "", Fault::Away),
        (401, "", Fault::Refused),
        (403, "", Fault::Refused),
        (404, "", Fault::Refused),
        (302, "location: http://127.0.0.1:1/\r\n", Fault::Refused),
    ] {
        let (port, _) =
            http(move |_, _| answer(status, headers, r#"{"error":{"type":"t","reason":"why"},"status":1}"#));
        let reply = send(&mut *open(&format!("elasticsearch+http://127.0.0.1:{port}/x")), 3);
        undecided(&reply, expected);
        let trouble = reply.trouble.unwrap();
        assert!(trouble.text.contains("t: why"), "{trouble}");
        assert_eq!(trouble.after, headers.contains("retry").then_some(Duration::from_secs(7)));
    }
}

#[test]
fn elasticsearch_items_are_judged_one_by_one() {
    let body = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}},
        {"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"there"}}},{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"bad"}}}]}"#;
    let (port, seen) = http(move |_, _| answer(200, "", body));
    let reply = send(&mut *open(&format!("elasticsearch+http://127.0.0.1:{port}/x")), 4);
    let rejected = Outcome::Rejected("mapper_parsing_exception: bad".into());
    assert_eq!(reply.outcomes, [Outcome::Taken, Outcome::Again, Outcome::Duplicate, rejected]);
    assert_eq!(fault(&reply), Some(Fault::Busy));
    assert!(seen.lock().unwrap()[0].head.starts_with("post /_bulk?filter_path="));
    let sent = String::from_utf8(seen.lock().unwrap()[0].body.clone()).unwrap();
    assert!(sent.starts_with("{\"create\":{\"_index\":\"x\",\"_id\":\"id0\"}}\n{\"@timestamp\""), "{sent}");
    assert_eq!(sent.lines().count(), 8);
}

/// What a server may do to a connection in place of an answer.
#[test]
fn connections_that_end_or_stall_decide_nothing() {
    let deeds: [fn(std::net::TcpStream); 6] = [
        |stream| drop(stream),
        |mut stream| {
            let _ = stream.read(&mut [0; 100]);
        },
        |mut stream| {
            let _ = stream.read(&mut [0; 65_536]);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"err").unwrap();
        },
        |stream| {
            std::thread::sleep(Duration::from_secs(5));
            drop(stream);
        },
        |mut stream| {
            let _ = stream.read(&mut [0; 65_536]);
            for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"errors\":false}".iter().cycle() {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        },
        |mut stream| {
            let _ = stream.read(&mut [0; 65_536]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        },
    ];
    for deed in deeds {
        for scheme in ["elasticsearch+http", "webhook+http", "otlp+http", "logstash", "redis", "kafka"] {
            let port = serve(move |stream, _| deed(stream));
            let reply = send(&mut *open(&url(scheme, &format!("127.0.0.1:{port}"))), 3);
            if !matches!(fault(&reply), Some(Fault::Away | Fault::Refused))
                || !reply.outcomes.iter().all(|o| *o == Outcome::Again)
            {
                panic!("{scheme}: {reply:?}");
            }
        }
    }
}

#[test]
fn nobody_there_and_names_that_do_not_resolve() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["elasticsearch+http", "webhook+http", "otlp+http", "logstash", "redis", "kafka", "syslog+tcp"] {
        undecided(&send(&mut *open(&url(scheme, &format!("127.0.0.1:{free}"))), 2), Fault::Away);
        undecided(&send(&mut *open(&url(scheme, "no-such-host.invalid")), 2), Fault::Away);
    }
    undecided(&send(&mut *open("syslog+udp://no-such-host.invalid"), 2), Fault::Away);
}

#[test]
fn a_dead_host_rests_while_another_answers() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, seen) = http(|_, _| answer(200, "", TAKEN));
    let mut receiver = open(&format!("elasticsearch+http://127.0.0.1:{free},127.0.0.1:{port}/x"));
    undecided(&send(&mut *receiver, 1), Fault::Away);
    for _ in 0..4 {
        assert_eq!(send(&mut *receiver, 1), Reply::taken(1));
    }
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[test]
fn certificates_are_checked_on_both_sides() {
    let Some(certificates) = Certificates::make() else { return };
    let serve_http = |mut stream: fake::Tls| {
        let mut reader = BufReader::new(&mut stream);
        if fake::request(&mut reader).is_some() {
            let _ = stream.write_all(answer(200, "", TAKEN).as_bytes());
        }
    };
    let tls = |ca: bool, verify, client: bool| Tls {
        ca: ca.then(|| certificates.path("ca.pem")),
        certificate: client.then(|| certificates.path("client.pem")),
        key: client.then(|| certificates.path("client.key")),
        verify,
    };
    let try_with = |port: u16, host: &str, tls: Tls| {
        let settings = Settings { tls, ..settings(&format!("elasticsearch+https://{host}:{port}/x")) };
        send(&mut *net::open(&settings).unwrap(), 1)
    };
    let port = fake::tls(&certificates, None, serve_http);
    undecided(&try_with(port, "127.0.0.1", tls(false, Verify::Full, false)), Fault::Refused);
    assert_eq!(try_with(port, "127.0.0.1", tls(true, Verify::Full, false)), Reply::taken(1));
    assert_eq!(try_with(port, "127.0.0.1", tls(false, Verify::None, false)), Reply::taken(1));
    undecided(&try_with(port, "localhost", tls(true, Verify::Full, false)), Fault::Refused);
    assert_eq!(try_with(port, "localhost", tls(true, Verify::Certificate, false)), Reply::taken(1));
    undecided(&try_with(port, "127.0.0.1", tls(false, Verify::Certificate, false)), Fault::Refused);

    let mutual = fake::tls(&certificates, Some(&certificates.path("ca.pem")), serve_http);
    let refused = try_with(mutual, "127.0.0.1", tls(true, Verify::Full, false));
    assert!(refused.outcomes.is_empty() && refused.trouble.is_some(), "{refused:?}");
    assert_eq!(try_with(mutual, "127.0.0.1", tls(true, Verify::Full, true)), Reply::taken(1));
}

#[test]
fn files_that_hold_no_certificate_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "nothing").unwrap();
    let tls = Tls { ca: Some(path), ..Tls::default() };
    let error = net::open(&Settings { tls, ..settings("logstash+tls://a") }).err().unwrap();
    assert!(error.key == "ca" && error.text.contains("ca.pem"), "{error:?}");
}

#[test]
fn a_key_that_is_none_or_anothers_is_said_in_words() {
    let Some(certificates) = Certificates::make() else { return };
    for (key, says) in [("client.pem", "no PEM key in it"), ("server.key", "it is not the key of the certificate")] {
        let (certificate, key) = (Some(certificates.path("client.pem")), Some(certificates.path(key)));
        let tls = Tls { certificate, key, ..Tls::default() };
        let error = net::open(&Settings { tls, ..settings("logstash+tls://a") }).err().unwrap();
        assert!(error.key == "key" && error.text.contains(says), "{error:?}");
    }
}

fn acknowledge(number: u32) -> Vec<u8> {
    [b"2A".as_slice(), &number.to_be_bytes()].concat()
}

#[test]
fn logstash_what_was_acknowledged_is_not_sent_again() {
    let port = serve(|mut stream, _| {
        let _ = stream.read(&mut [0; 65_536]);
        let _ = stream.write_all(&[acknowledge(0), acknowledge(3)].concat());
    });
    let reply = send(&mut *open(&format!("logstash://127.0.0.1:{port}")), 5);
    assert_eq!(reply.outcomes, vec![Outcome::Taken; 3]);
    assert!(reply.trouble.unwrap().text.contains("3 of 5 events acknowledged"));
}

#[test]
fn logstash_is_waited_for_while_it_says_that_it_works() {
    let port = serve(|mut stream, _| {
        let _ = stream.read(&mut [0; 65_536]);
        for _ in 0..3 {
            std::thread::sleep(TIMEOUT / 2);
            stream.write_all(&acknowledge(0)).unwrap();
        }
        stream.write_all(&acknowledge(2)).unwrap();
    });
    assert_eq!(send(&mut *open(&format!("logstash://127.0.0.1:{port}")), 2), Reply::taken(2));
}

#[test]
fn redis_errors_are_told_apart() {
    for (said, expected) in [
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", Fault::Busy),
        ("-WRONGTYPE Operation against a key\r\n", Fault::Refused),
        ("-LOADING Redis is loading the dataset in memory\r\n", Fault::Away),
        ("$5\r\nhello\r\n", Fault::Away),
    ] {
        let port = serve(move |mut stream, _| {
            let _ = stream.read(&mut [0; 65_536]);
            stream.write_all(b"+PONG\r\n").unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            let _ = stream.write_all(said.as_bytes());
        });
        undecided(&send(&mut *open(&format!("redis://127.0.0.1:{port}/k")), 2), expected);
    }
    let port = serve(|mut stream, _| {
        let _ = stream.read(&mut [0; 65_536]);
        let _ = stream.write_all(b"-NOAUTH Authentication required.\r\n");
    });
    undecided(&send(&mut *open(&format!("redis://127.0.0.1:{port}/k")), 2), Fault::Refused);
}

#[test]
fn syslog_connects_again_when_the_receiver_has_closed() {
    let (sender, received) = std::sync::mpsc::channel();
    let port = serve(move |mut stream, nth| {
        let mut buffer = [0; 65_536];
        let read = stream.read(&mut buffer).unwrap();
        sender.send((nth, String::from_utf8(buffer[..read].to_vec()).unwrap())).unwrap();
    });
    let mut receiver = open(&format!("syslog+tcp://127.0.0.1:{port}"));
    for expected in 0..2 {
        assert_eq!(send(&mut *receiver, 1), Reply::taken(1));
        let (nth, text) = received.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(nth, expected);
        let (count, message) = text.split_once(' ').unwrap();
        assert_eq!(count.parse::<usize>().unwrap(), message.len(), "{text}");
        assert!(message.starts_with("<130>1 2026-11-24T03:29:04Z - imdswatch - "), "{message}");
        // The receiver closes after each message; that has to arrive before the next one is sent.
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn syslog_datagrams_to_nobody_are_noticed_with_the_next_one() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut receiver = open(&format!("syslog+udp://127.0.0.1:{free}"));
    let reply = send(&mut *receiver, 50);
    assert!(reply.outcomes.len() < 50 && fault(&reply) == Some(Fault::Away), "{reply:?}");
}

#[test]
fn webhooks_send_an_alert_once_and_no_faster_than_allowed() {
    let (port, seen) = http(|_, _| answer(200, "", "ok"));
    let settings = Settings { per_minute: 3, ..settings(&format!("webhook+http://127.0.0.1:{port}/s3cret/path")) };
    let mut receiver = net::open(&settings).unwrap();
    assert_eq!(send(&mut *receiver, 2), Reply::taken(2));
    let reply = send(&mut *receiver, 5);
    assert_eq!(reply.outcomes, [Outcome::Duplicate, Outcome::Duplicate, Outcome::Taken]);
    let trouble = reply.trouble.unwrap();
    assert_eq!(trouble.fault, Fault::Paced);
    assert!(trouble.after.is_some_and(|after| after <= Duration::from_secs(20)) && !trouble.text.contains("s3cret"));
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn webhook_answers_are_taken_refused_or_waited_for() {
    for (status, headers, expected) in [
        (429, "retry-after: 3\r\n", Err(Fault::Busy)),
        (500, "", Err(Fault::Away)),
        (404, "", Err(Fault::Refused)),
        (400, "", Ok(())),
    ] {
        let (port, _) = http(move |_, _| answer(status, headers, "no \u{1b}[31mway"));
        let settings =
            Settings { template: Template::Slack, ..settings(&format!("webhook+http://127.0.0.1:{port}/hook")) };
        let reply = send(&mut *net::open(&settings).unwrap(), 1);
        match expected {
            Err(fault) => {
                undecided(&reply, fault);
                assert!(!reply.trouble.unwrap().text.contains('\u{1b}'));
            }
            Ok(()) => assert!(
                matches!(&reply.outcomes[..], [Outcome::Rejected(reason)] if reason.contains("no")),
                "{reply:?}"
            ),
        }
    }
}

#[test]
fn otlp_records_that_are_rejected_are_dead_letters() {
    let body = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
    let (port, _) = http(move |_, _| answer(200, "", body));
    let reply = send(&mut *open(&format!("otlp+http://127.0.0.1:{port}")), 2);
    assert!(reply.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Rejected(why) if why.contains("too old"))));
}

#[test]
fn an_answer_is_never_taken_for_that_to_another_request() {
    // The first answer comes too late; the second request must not read it as its own.
    let port = serve(|stream, nth| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while fake::request(&mut reader).is_some() {
            std::thread::sleep(if nth == 0 { TIMEOUT * 2 } else { Duration::ZERO });
            let status = if nth == 0 { 200 } else { 429 };
            let _ = writer.write_all(answer(status, "", TAKEN).as_bytes());
        }
    });
    let mut receiver = open(&format!("elasticsearch+http://127.0.0.1:{port}/x"));
    undecided(&send(&mut *receiver, 1), Fault::Away);
    undecided(&send(&mut *receiver, 1), Fault::Busy);
}
