//! Bodies on their way in: how many there may be, how large they may be together, and how slow each may be.
//!
//! Nobody is authenticated yet while a body is read, so a stranger can do whatever is possible here. A body that is there
//! soon costs nothing; one that is waited for takes a place and, as it grows, room. Both are counted for the whole
//! gateway and for its peer: once half of either is taken, a peer with a quarter gets no more, so that one machine
//! cannot keep all others out.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use weir_actors::pipeline::{LimitsConfig, Refusal};

/// How long a body may take before its rate counts.
const GRACE: Duration = Duration::from_secs(5);
/// Peers are counted by the remainder of their hash: two that share one share what a peer may have.
const BUCKETS: usize = 1024;

/// Counts the bodies that are waited for, for all workers.
#[derive(Clone, Debug, Default)]
pub struct Intake(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    all: Tally,
    peers: Box<[Tally]>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Tally {
    places: AtomicUsize,
    bytes: AtomicUsize,
}

/// A body that is waited for. Dropping it gives back its place and its room.
#[derive(Debug)]
pub(super) struct Upload {
    intake: Intake,
    bucket: usize,
    bytes: usize,
    since: Instant,
}

/// How long a body may take, given what there is of it.
#[derive(Clone, Copy, Debug)]
struct Pace {
    total: Duration,
    /// Bytes in a second; 0: no floor.
    floor: usize,
}

// === impl Intake ===

impl Intake {
    /// Bodies that are waited for, and their bytes.
    pub fn taken(&self) -> (usize, usize) {
        let all = &self.0.all;
        (
            all.places.load(Ordering::Relaxed),
            all.bytes.load(Ordering::Relaxed),
        )
    }

    /// Takes a place for a body that has been waited for since then.
    pub(super) fn begin(
        &self,
        peer: Option<IpAddr>,
        since: Instant,
        limits: &LimitsConfig,
    ) -> Result<Upload, Refusal> {
        let counts = &self.0;
        let bucket = counts.bucket(peer);
        let peers = counts.peers.get(bucket).map(|peer| &peer.places);
        take(&counts.all.places, peers, 1, limits.max_uploads)?;
        Ok(Upload {
            intake: self.clone(),
            bucket,
            bytes: 0,
            since,
        })
    }
}

/// Adds to a count and to that of the peer, if there is room for both.
fn take(
    all: &AtomicUsize,
    peer: Option<&AtomicUsize>,
    more: usize,
    limit: usize,
) -> Result<(), Refusal> {
    let taken = all.fetch_add(more, Ordering::Relaxed) + more;
    let by_peer = peer.map_or(0, |peer| peer.fetch_add(more, Ordering::Relaxed) + more);
    let crowded = taken > limit.div_ceil(2) && by_peer > limit.div_ceil(4);
    if taken > limit || crowded {
        all.fetch_sub(more, Ordering::Relaxed);
        if let Some(peer) = peer {
            peer.fetch_sub(more, Ordering::Relaxed);
        }
        return Err(Refusal::Overloaded("uploads"));
    }
    Ok(())
}

// === impl Counts ===

impl Default for Counts {
    fn default() -> Self {
        let peers = std::iter::repeat_with(Tally::default).take(BUCKETS);
        Self {
            all: Tally::default(),
            peers: peers.collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Counts {
    /// Whoever has an IPv6 network has all of its addresses.
    fn bucket(&self, peer: Option<IpAddr>) -> usize {
        let network = match peer {
            Some(IpAddr::V4(address)) => u64::from(address.to_bits()),
            Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => u64::from(address.to_bits()),
                None => (address.to_bits() >> 64) as u64,
            },
            None => 0,
        };
        self.hasher.hash_one(network) as usize % BUCKETS
    }
}

// === impl Upload ===

impl Upload {
    /// Takes room for more bytes of the body.
    pub(super) fn grow(&mut self, more: usize, limits: &LimitsConfig) -> Result<(), Refusal> {
        let counts = &self.intake.0;
        let peer = counts.peers.get(self.bucket).map(|peer| &peer.bytes);
        take(&counts.all.bytes, peer, more, limits.max_upload_bytes)?;
        self.bytes += more;
        Ok(())
    }

    /// When the next bytes must be here.
    pub(super) fn deadline(&self, limits: &LimitsConfig) -> Instant {
        let pace = Pace {
            total: limits.body_timeout.0,
            floor: limits.min_upload_rate,
        };
        self.since + pace.allows(self.bytes)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let counts = &self.intake.0;
        let peer = counts.peers.get(self.bucket);
        for tally in std::iter::once(&counts.all).chain(peer) {
            tally.places.fetch_sub(1, Ordering::Relaxed);
            tally.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

// === impl Pace ===

impl Pace {
    /// The time after which a body of which this much is here is too slow.
    fn allows(self, bytes: usize) -> Duration {
        if self.floor == 0 {
            return self.total;
        }
        let earned = Duration::from_secs_f64(bytes as f64 / self.floor as f64);
        self.total.min(GRACE + earned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_uploads: usize, max_upload_bytes: usize) -> LimitsConfig {
        LimitsConfig {
            max_uploads,
            max_upload_bytes,
            ..LimitsConfig::default()
        }
    }

    fn peer(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, number]))
    }

    #[test]
    fn places_and_room_are_given_back() {
        let (intake, limits) = (Intake::default(), limits(1, 100));
        let begin = |peer| intake.begin(peer, Instant::now(), &limits);
        let mut one = begin(peer(1)).unwrap();
        assert!(begin(peer(2)).is_err());
        one.grow(25, &limits).unwrap();
        one.grow(25, &limits).unwrap();
        let more = one.grow(1, &limits);
        assert!(more.is_err(), "half is taken, and it has a quarter");
        assert_eq!(intake.taken(), (1, 50));
        drop(one);
        assert_eq!(intake.taken(), (0, 0));
        assert!(begin(peer(2)).is_ok());
    }

    #[test]
    fn one_peer_leaves_half_to_the_others() {
        let (intake, limits) = (Intake::default(), limits(40, 100));
        let begin = |peer| intake.begin(peer, Instant::now(), &limits).ok();
        let greedy: Vec<Upload> = std::iter::from_fn(|| begin(peer(1))).collect();
        assert_eq!(greedy.len(), 20);
        assert!(begin(Some("::ffff:10.0.0.1".parse().unwrap())).is_none());
        assert!((2..=250).any(|number| begin(peer(number)).is_some()));
    }

    #[test]
    fn a_trickle_is_cut_and_a_stream_is_not() {
        let pace = Pace {
            total: Duration::from_secs(30),
            floor: 1024,
        };
        assert_eq!(pace.allows(0), GRACE);
        assert_eq!(pace.allows(2048), Duration::from_secs(7));
        assert_eq!(pace.allows(1 << 20), Duration::from_secs(30));
        assert_eq!(Pace { floor: 0, ..pace }.allows(0), Duration::from_secs(30));
    }
}
