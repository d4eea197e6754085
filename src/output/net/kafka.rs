//! Kafka, by rskafka: pure Rust, so that every user has the same program, also as a static binary.
//!
//! The key of a record is the event's community id, and its partition is the one that Kafka's own clients choose for that
//! key: all of one connection stays in order, whoever writes. Requests are bounded by bytes, since brokers refuse more than
//! 1 MB. rskafka is not idempotent: what is sent again after a lost answer is there twice, with the same `event.id`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression as Codec, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::settings::{Compression, Sasl, Settings};
use super::text::plain;
use super::{SettingsError, endpoints, tls};
use crate::output::receiver::{Event, Fault, Limits, Needs, Outcome, Receiver, Reply, Trouble};

/// A connection to a Kafka cluster.
pub struct Kafka {
    settings: Settings,
    topic: String,
    tls: Option<Arc<ClientConfig>>,
    /// Runs the client, and only while this output waits for it.
    runtime: Option<Runtime>,
    cluster: Option<Cluster>,
    /// Events without a key so far.
    keyless: u32,
}

struct Cluster {
    client: Client,
    /// Partitions by number, connected to once something goes there.
    partitions: BTreeMap<i32, Option<Arc<PartitionClient>>>,
}

/// Part of a batch that goes to one partition in one request: places in the batch.
type Part = Vec<usize>;

impl Kafka {
    /// Reads certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let tls = settings.target.tls.then(|| tls::configuration(&settings.tls)).transpose()?;
        if settings.password.is_some() && settings.sasl == Sasl::Plain && tls.is_none() {
            let text = "a password is sent as it is with `plain`: use kafka+tls:// or a scram mechanism".to_owned();
            return Err(SettingsError { key: "sasl", text });
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            topic: settings
                .target
                .name()
                .ok_or_else(|| SettingsError { key: "to", text: "names no topic".to_owned() })?,
            tls,
            runtime: Some(runtime.map_err(|error| SettingsError { key: "to", text: error.to_string() })?),
            cluster: None,
            keyless: 0,
            settings: settings.clone(),
        })
    }

    fn sasl(&self) -> Option<SaslConfig> {
        let user = self.settings.username.clone()?;
        let credentials = Credentials::new(user, self.settings.password.as_ref()?.expose().to_owned());
        Some(match self.settings.sasl {
            Sasl::Plain => SaslConfig::Plain(credentials),
            Sasl::ScramSha256 => SaslConfig::ScramSha256(credentials),
            Sasl::ScramSha512 => SaslConfig::ScramSha512(credentials),
        })
    }

    /// Runs a future for as long as the output waits for the network.
    fn wait<T>(&self, what: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let timeout = self.settings.timeout;
        let runtime = self.runtime.as_ref().ok_or_else(|| Trouble::away("closed"))?;
        runtime.block_on(async {
            tokio::time::timeout(timeout, what).await.unwrap_or_else(|_| {
                let text = format!("{}: no answer in {timeout:?}", self.settings.target);
                Err(Trouble::away(text))
            })
        })
    }

    fn connected(&mut self) -> Result<Cluster, Trouble> {
        if let Some(cluster) = self.cluster.take() {
            return Ok(cluster);
        }
        let brokers = self.settings.target.hosts.iter().map(ToString::to_string).collect();
        // Its own retries end in time for this output to say what was wrong.
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            base: 3.0,
            deadline: Some(self.settings.timeout / 2),
        };
        let mut builder =
            ClientBuilder::new(brokers).client_id("imdswatch").max_message_size(ANSWER).backoff_config(backoff);
        if let Some(tls) = &self.tls {
            builder = builder.tls_config(tls.clone());
        }
        if let Some(sasl) = self.sasl() {
            builder = builder.sasl_config(sasl);
        }
        self.wait(async {
            let client = builder.build().await.map_err(|error| self.trouble(&error))?;
            let topics = client.list_topics().await.map_err(|error| self.trouble(&error))?;
            let topic = topics.into_iter().find(|topic| topic.name == self.topic).ok_or_else(|| self.no_topic())?;
            Ok(Cluster { client, partitions: topic.partitions.into_iter().map(|number| (number, None)).collect() })
        })
    }

    fn no_topic(&self) -> Trouble {
        Trouble::refused(format!("{}: there is no topic `{}`", self.settings.target, self.topic))
    }

    fn trouble(&self, error: &Error) -> Trouble {
        Trouble::new(fault(error), format!("{}: {}", self.settings.target, plain(&error.to_string(), 300)))
    }

    /// Divides a batch by partition, and each partition's events into requests that brokers take.
    fn parts(&mut self, batch: &[Event<'_>], partitions: &[i32]) -> Vec<(i32, Part)> {
        let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX).max(1);
        let mut by_partition: BTreeMap<i32, Vec<(usize, Part)>> = BTreeMap::new();
        for (place, event) in batch.iter().enumerate() {
            let number = if event.community_id.is_empty() {
                self.keyless = self.keyless.wrapping_add(1);
                self.keyless
            } else {
                murmur2(event.community_id.as_bytes()) & 0x7fff_ffff
            };
            let Some(partition) = partitions.get((number % count) as usize) else { continue };
            let parts = by_partition.entry(*partition).or_default();
            let size = event.json.len() + RECORD;
            match parts.last_mut().filter(|(bytes, _)| bytes + size <= REQUEST) {
                Some((bytes, part)) => {
                    *bytes += size;
                    part.push(place);
                }
                None => parts.push((size, vec![place])),
            }
        }
        let flat = |(partition, parts): (i32, Vec<(usize, Part)>)| {
            parts.into_iter().map(move |(_, places)| (partition, places))
        };
        by_partition.into_iter().flat_map(flat).collect()
    }

    fn codec(&self) -> Codec {
        if self.settings.compression == Some(Compression::None) { Codec::NoCompression } else { Codec::Gzip }
    }

    /// Sends all parts at once and notes what became of each as the answers come; those without an answer stay as they are.
    fn deliver(&mut self, cluster: &mut Cluster, batch: &[Event<'_>], outcomes: &mut [Outcome]) -> Result<(), Trouble> {
        let numbers: Vec<_> = cluster.partitions.keys().copied().collect();
        let parts = self.parts(batch, &numbers);
        let codec = self.codec();
        self.wait(async {
            let mut running = JoinSet::new();
            for (partition, part) in parts {
                let client =
                    partition_client(cluster, &self.topic, partition).await.map_err(|error| self.trouble(&error))?;
                let records = part.iter().filter_map(|place| batch.get(*place)).map(record).collect();
                running.spawn(async move { (client.produce(records, codec).await, part) });
            }
            let mut first = None;
            while let Some(Ok((result, part))) = running.join_next().await {
                let trouble = self.note(result.err(), &part, outcomes);
                first = first.or(trouble);
            }
            first.map_or(Ok(()), Err)
        })
    }

    fn note(&self, error: Option<Error>, part: &[usize], outcomes: &mut [Outcome]) -> Option<Trouble> {
        let (outcome, trouble) = match error {
            None => (Outcome::Taken, None),
            Some(error) => {
                let trouble = self.trouble(&error);
                let alone = part.len() == 1 && trouble.fault == Fault::TooLarge;
                if alone { (Outcome::Rejected(trouble.text), None) } else { (Outcome::Again, Some(trouble)) }
            }
        };
        for place in part {
            if let Some(slot) = outcomes.get_mut(*place) {
                slot.clone_from(&outcome);
            }
        }
        trouble
    }
}

impl Drop for Kafka {
    /// A name that is still being resolved is not waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn partition_client(cluster: &mut Cluster, topic: &str, number: i32) -> Result<Arc<PartitionClient>, Error> {
    if let Some(Some(known)) = cluster.partitions.get(&number) {
        return Ok(known.clone());
    }
    let made = cluster.client.partition_client(topic, number, UnknownTopicHandling::Error).await?;
    let made = Arc::new(made);
    cluster.partitions.insert(number, Some(made.clone()));
    Ok(made)
}

impl Receiver for Kafka {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        let mut cluster = match self.connected() {
            Ok(cluster) => cluster,
            Err(trouble) => return trouble.into(),
        };
        let mut outcomes = vec![Outcome::Again; batch.len()];
        let trouble = self.deliver(&mut cluster, batch, &mut outcomes).err();
        // After trouble everything is asked anew: leaders and brokers may have moved.
        if trouble.as_ref().is_none_or(|trouble| trouble.fault == Fault::TooLarge) {
            self.cluster = Some(cluster);
        }
        Reply { outcomes, trouble }
    }

    fn limits(&self) -> Limits {
        Limits { events: self.settings.batch.unwrap_or(2048), bytes: 4 * REQUEST }
    }

    fn needs(&self) -> Needs {
        Needs { endpoints: endpoints(&self.settings.target, false), follows: true }
    }

    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let cluster = self.connected()?;
        steps.push(format!("topic `{}` has {} partition(s)", self.topic, cluster.partitions.len()));
        self.cluster = Some(cluster);
        Ok(())
    }
}

/// The record of an event, with the time of sending: brokers refuse times that lie ahead, and delete by it what is old.
fn record(event: &Event<'_>) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    Record {
        key: (!event.community_id.is_empty()).then(|| event.community_id.as_bytes().to_vec()),
        value: Some(event.json.to_vec()),
        headers: BTreeMap::new(),
        timestamp: DateTime::from_timestamp_millis(milliseconds).unwrap_or_default(),
    }
}

fn fault(error: &Error) -> Fault {
    let Error::ServerError { protocol_error, .. } = error else {
        // Wrong credentials and certificates come as text inside what failed last.
        let text = error.to_string().to_ascii_lowercase();
        let refused = ["sasl", "certificate", "alert"].iter().any(|word| text.contains(word));
        return if refused { Fault::Refused } else { Fault::Away };
    };
    match protocol_error {
        ProtocolError::MessageTooLarge
        | ProtocolError::RecordListTooLarge
        | ProtocolError::InvalidRecord
        | ProtocolError::InvalidTimestamp => Fault::TooLarge,
        ProtocolError::UnknownTopicOrPartition
        | ProtocolError::InvalidTopicException
        | ProtocolError::TopicAuthorizationFailed
        | ProtocolError::ClusterAuthorizationFailed
        | ProtocolError::SaslAuthenticationFailed => Fault::Refused,
        _ => Fault::Away,
    }
}

/// Bytes of events in one request: brokers take 1,048,588 with everything around them.
const REQUEST: usize = 900_000;

/// Bytes around one event, at most: key, lengths.
const RECORD: usize = 100;

/// Bytes of an answer at most: metadata of large clusters.
const ANSWER: usize = 16 << 20;

/// MurmurHash2 as Kafka's default partitioner has it (org.apache.kafka.common.utils.Utils).
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let word = word.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafkas_own_clients_send_them() {
        // From org.apache.kafka.common.utils.UtilsTest.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn no_request_is_larger_than_brokers_take_and_none_is_left_out() {
        let settings = Settings::of_url("kafka://h/t").unwrap();
        let mut kafka = Kafka::new(&settings).unwrap();
        let json = vec![b'x'; 200_000];
        let events: Vec<_> = ["a", "b", "a", "", "a", "a", "a", "a", ""]
            .iter()
            .map(|key| Event { json: &json, community_id: key, ..Event::default() })
            .collect();
        let parts = kafka.parts(&events, &[0, 1, 2]);
        let mut places: Vec<_> = parts.iter().flat_map(|(_, places)| places.clone()).collect();
        assert!(parts.iter().all(|(_, places)| places.len() <= 4), "{parts:?}");
        places.sort_unstable();
        assert_eq!(places, (0..events.len()).collect::<Vec<_>>());
    }

    #[test]
    fn passwords_do_not_go_out_in_the_clear() {
        let error = Kafka::new(&Settings::of_url("kafka://u:p@h/t").unwrap()).err().unwrap();
        assert_eq!(error.key, "sasl");
    }
}
