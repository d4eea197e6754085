//! Delivery to receivers that misbehave: what becomes of each event, what is said, and what is counted.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic)]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use imdswatch::id::EventId;
use imdswatch::output::delivery::Pace;
use imdswatch::output::net;
use imdswatch::output::network::{Network, Settings};
use imdswatch::output::receiver::{Event, Fault, Limits, Needs, Outcome, Receiver, Reply, Trouble};
use imdswatch::output::{Batch, Counts, Filter, Kind, Label, Output, Say};

/// Answers as it is told, then takes everything.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Ids in each request.
    requests: Arc<Mutex<Vec<Vec<String>>>>,
}

type Answer = Box<dyn FnOnce(&[Event<'_>]) -> Reply + Send>;

impl Script {
    fn then(self, answer: impl FnOnce(&[Event<'_>]) -> Reply + Send + 'static) -> Self {
        self.answers.lock().unwrap().push_back(Box::new(answer));
        self
    }

    fn trouble(self, fault: Fault) -> Self {
        self.then(move |_| Trouble::new(fault, "no").into())
    }

    fn sizes(&self) -> Vec<usize> {
        self.requests.lock().unwrap().iter().map(Vec::len).collect()
    }
}

impl Receiver for Script {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        self.requests.lock().unwrap().push(batch.iter().map(|event| event.id.to_owned()).collect());
        let answer = self.answers.lock().unwrap().pop_front();
        answer.map_or_else(|| Reply::taken(batch.len()), |answer| answer(batch))
    }

    fn limits(&self) -> Limits {
        Limits { events: 8, bytes: 1 << 20 }
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn check(&mut self, _: &mut Vec<String>) -> Result<(), Trouble> {
        Ok(())
    }
}

struct Run {
    output: Network,
    said: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
}

impl Run {
    fn new(receiver: impl Receiver + 'static) -> Self {
        Self::with(receiver, |_, _| {})
    }

    fn with(receiver: impl Receiver + 'static, change: impl FnOnce(&mut Settings, PathBuf)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            receiver: net::Settings::of_url("elasticsearch+http://127.0.0.1/events").unwrap(),
            pace: Pace { backoff: Duration::from_millis(50), ..Pace::default() },
            requests: 1,
            spool: None,
            dead_letters: Some(dir.path().join("dead.ndjson")),
            chunk: 1 << 20,
        };
        change(&mut settings, dir.path().to_owned());
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&said);
        let say: Say = Arc::new(move |text: &str| hear.lock().unwrap().push(text.to_owned()));
        let output =
            Network::with_receivers("test", vec![Box::new(receiver)], &settings, Filter::default(), &say).unwrap();
        Self { output, said, dir }
    }

    /// Writes events of these numbers, every fourth an alert.
    fn write(&mut self, numbers: std::ops::Range<u32>) {
        let mut batch = Batch::default();
        for n in numbers {
            let kind = if n % 4 == 0 { "alert" } else { "event" };
            let line = format!("{{\"event\":{{\"id\":\"e{n}\",\"kind\":\"{kind}\",\"severity\":73}}}}\n");
            batch.json.extend_from_slice(line.as_bytes());
            let kind = if n % 4 == 0 { Kind::Alert } else { Kind::Other };
            batch.end_event(Label { id: EventId(n.into()), kind, severity: None });
        }
        self.output.counters().queue(batch.len());
        self.output.write(&batch).unwrap();
    }

    fn end(&mut self) -> Counts {
        self.output.finish().unwrap();
        self.output.counters().snapshot()
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

#[test]
fn each_event_is_judged_by_itself() {
    let script = Script::default().then(|_| Reply {
        outcomes: vec![
            Outcome::Taken,
            Outcome::Duplicate,
            Outcome::Rejected("mapper_parsing_exception: bad date".into()),
            Outcome::Again,
        ],
        trouble: None,
    });
    let mut run = Run::new(script.clone());
    run.write(0..5);
    let counts = run.end();
    assert_eq!(*script.requests.lock().unwrap(), [vec!["e0", "e1", "e2", "e3", "e4"], vec!["e3", "e4"]]);
    assert_eq!((counts.acknowledged, counts.duplicates, counts.dead, counts.retried), (4, 1, 1, 2));
    assert_eq!((counts.waiting, counts.dropped()), (0, 0));
    let letters = std::fs::read_to_string(run.dir.path().join("dead.ndjson")).unwrap();
    let letter: serde_json::Value = serde_json::from_str(&letters).unwrap();
    assert_eq!(letter["event"]["event"]["id"], "e2");
    assert_eq!(letter["reason"], "mapper_parsing_exception: bad date");
}

#[test]
fn what_is_too_large_is_halved_and_one_that_is_too_large_alone_is_a_dead_letter() {
    struct Small(Script);
    impl Receiver for Small {
        fn send(&mut self, batch: &[Event<'_>]) -> Reply {
            let refuses = batch.len() > 2 || batch.iter().any(|event| event.id == "e5");
            if refuses {
                return Trouble::new(Fault::TooLarge, "413").into();
            }
            self.0.send(batch)
        }
        fn limits(&self) -> Limits {
            self.0.limits()
        }
        fn needs(&self) -> Needs {
            Needs::default()
        }
        fn check(&mut self, _: &mut Vec<String>) -> Result<(), Trouble> {
            Ok(())
        }
    }
    let script = Script::default();
    let mut run = Run::new(Small(script.clone()));
    let began = Instant::now();
    run.write(0..8);
    let counts = run.end();
    assert!(began.elapsed() < Duration::from_secs(1), "halving waits for nothing");
    assert_eq!((counts.acknowledged, counts.dead), (7, 1));
    assert!(script.sizes().iter().all(|size| *size <= 2), "{:?}", script.sizes());
}

#[test]
fn a_trouble_is_said_once_and_its_end_once() {
    let mut script = Script::default();
    for _ in 0..5 {
        script = script.trouble(Fault::Away);
    }
    let mut run = Run::new(script);
    run.write(0..8);
    let counts = run.end();
    assert_eq!((counts.acknowledged, counts.retried), (8, 40));
    let said = run.said();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("test: no; events wait") && said[1].contains("takes events again"), "{said:?}");
}

#[test]
fn a_receiver_that_asks_for_patience_gets_it() {
    let after = Duration::from_millis(400);
    let script = Script::default().then(move |_| Trouble { after: Some(after), ..Trouble::away("429") }.into());
    let mut run = Run::new(script);
    let began = Instant::now();
    run.write(0..8);
    assert_eq!(run.end().acknowledged, 8);
    assert!(began.elapsed() >= after);
}

#[test]
fn what_is_paced_is_no_trouble() {
    let script = Script::default().then(|_| Reply {
        outcomes: vec![Outcome::Taken],
        trouble: Some(Trouble { after: Some(Duration::from_millis(50)), ..Trouble::new(Fault::Paced, "60 a minute") }),
    });
    let mut run = Run::new(script);
    run.write(0..3);
    let counts = run.end();
    assert_eq!((counts.acknowledged, counts.retried, run.said().len()), (3, 0, 0));
}

/// Never takes anything.
struct Away;

impl Receiver for Away {
    fn send(&mut self, _: &[Event<'_>]) -> Reply {
        Trouble::away("nobody there").into()
    }
    fn limits(&self) -> Limits {
        Limits { events: 8, bytes: 1 << 20 }
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn check(&mut self, _: &mut Vec<String>) -> Result<(), Trouble> {
        Err(Trouble::away("nobody there"))
    }
}

#[test]
fn a_replay_gives_up_after_its_time_and_says_what_was_not_taken() {
    let mut run = Run::with(Away, |settings, _| settings.pace.give_up = Some(Duration::from_millis(300)));
    let began = Instant::now();
    run.write(0..8);
    assert!((300..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    run.write(8..16);
    let counts = run.end();
    assert!(began.elapsed() < Duration::from_secs(3), "what follows is not tried");
    assert_eq!((counts.dropped_alerts, counts.dropped_events, counts.waiting), (4, 12, 0));
    assert!(run.said().iter().any(|text| text.contains("gave up")), "{:?}", run.said());
}

#[test]
fn through_the_spool_nobody_waits_and_nothing_is_lost() {
    let script = Script::default().trouble(Fault::Away).trouble(Fault::Busy);
    let spooled = |settings: &mut Settings, dir: PathBuf| settings.spool = Some((dir.join("spool"), 1 << 20));
    let mut run = Run::with(script.clone(), spooled);
    run.output.attend();
    let began = Instant::now();
    for n in 0..50 {
        run.write(n * 10..n * 10 + 10);
        run.output.flush().unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let until = Instant::now() + Duration::from_secs(20);
    while run.output.counters().snapshot().waiting > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let counts = run.end();
    assert_eq!((counts.acknowledged, counts.waiting, counts.dropped()), (500, 0, 0), "{counts:?}");
    let mut ids: Vec<String> = script.requests.lock().unwrap().concat();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 500);
    assert_eq!(counts.spool_bytes, 0);
}

/// Has a fault.
struct Faulty;

impl Receiver for Faulty {
    fn send(&mut self, _: &[Event<'_>]) -> Reply {
        panic!("a fault on purpose");
    }
    fn limits(&self) -> Limits {
        Away.limits()
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn check(&mut self, _: &mut Vec<String>) -> Result<(), Trouble> {
        Ok(())
    }
}

#[test]
fn a_sender_that_ends_is_said_counted_and_keeps_nobody_waiting() {
    let mut run = Run::with(Faulty, |settings, dir| settings.spool = Some((dir.join("spool"), 1 << 20)));
    run.output.attend();
    assert!(!run.output.counters().snapshot().ended);
    run.write(0..10);
    run.output.flush().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !run.output.counters().snapshot().ended && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
        run.output.attend();
    }
    run.output.attend();
    let said = run.said();
    assert_eq!(said.iter().filter(|text| text.contains("has ended (a fault on purpose)")).count(), 1, "{said:?}");
    let counts = run.end();
    assert_eq!((counts.ended, counts.waiting, counts.dropped()), (true, 10, 0), "they wait on disk");
}

#[test]
fn what_could_not_be_sent_stays_for_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let mut run = Run::with(Away, |settings, _| settings.spool = Some((path.clone(), 1 << 20)));
    run.write(0..100);
    let began = Instant::now();
    let counts = run.end();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((counts.waiting, counts.dropped(), counts.acknowledged), (100, 0, 0));
    assert!(run.said().iter().any(|text| text.contains("100 events wait in")), "{:?}", run.said());
    drop(run);
    let script = Script::default();
    let until = Instant::now() + Duration::from_secs(5);
    let mut run = loop {
        // The thread that was sending lets the spool go a moment later.
        let tried = std::panic::catch_unwind(|| {
            Run::with(script.clone(), |settings, _| settings.spool = Some((path.clone(), 1 << 20)))
        });
        match tried {
            Ok(run) => break run,
            Err(_) => assert!(Instant::now() < until, "the spool is never let go"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(run.end().acknowledged, 100);
    assert_eq!(script.requests.lock().unwrap().concat().len(), 100);
}
