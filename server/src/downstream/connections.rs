//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_actors::pipeline::{LimitsConfig, Refusal};

/// The connections of the client listener, for all workers. The lock is taken once for each connection, not for requests.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    all: usize,
    /// An address is here while it has a connection.
    from: HashMap<IpAddr, usize>,
}

/// A connection that is counted while this is kept.
#[derive(Debug)]
pub(crate) struct Counts {
    connections: Connections,
    from: Option<IpAddr>,
}

// === impl Connections ===

impl Connections {
    /// Counts a connection, unless there are too many.
    pub(crate) fn open(
        &self,
        peer: Option<IpAddr>,
        limits: &LimitsConfig,
    ) -> Result<Counts, Refusal> {
        let from = peer.map(neighbourhood);
        let mut counted = self.lock();
        if counted.all >= limits.max_connections {
            return Err(Refusal::Overloaded("connections"));
        }
        if let Some(from) = from {
            let bound = limits.connections_from(from);
            let known = counted.from.entry(from).or_default();
            if *known >= bound {
                return Err(Refusal::Overloaded("connections_of_address"));
            }
            *known += 1;
        }
        counted.all += 1;
        drop(counted);
        Ok(Counts {
            connections: self.clone(),
            from,
        })
    }

    /// Connections that are open.
    pub fn open_now(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Counts ===

impl Drop for Counts {
    fn drop(&mut self) {
        let mut counted = self.connections.lock();
        counted.all -= 1;
        let Some(from) = self.from else { return };
        if let Some(known) = counted.from.get_mut(&from) {
            *known -= 1;
            if *known == 0 {
                counted.from.remove(&from);
            }
        }
    }
}

/// Whose connection it is: an address, or the network that one site has in IPv6.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_and_everything_is_given_back() {
        let limits: LimitsConfig =
            serde_json::from_str(r#"{"max_connections":5,"max_connections_per_address":2}"#)
                .unwrap();
        let connections = Connections::default();
        let open = |address: &str| {
            let peer = Some(address.parse().unwrap());
            connections.open(peer, &limits)
        };
        let mut held: Vec<_> = ["10.0.0.1", "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]
            .map(|address| open(address).unwrap())
            .into();
        assert!(matches!(
            open("10.0.0.3"),
            Err(Refusal::Overloaded("connections"))
        ));
        held.remove(2);
        for taken in ["10.0.0.1", "::ffff:10.0.0.1", "fd00::3"] {
            assert!(matches!(
                open(taken),
                Err(Refusal::Overloaded("connections_of_address"))
            ));
        }
        held.push(open("fd00:0:0:1::1").unwrap());
        held.clear();
        assert_eq!(connections.open_now(), 0);
        assert!(connections.lock().from.is_empty());
    }

    #[test]
    fn this_machine_is_bound_only_if_that_was_said() {
        let open: LimitsConfig = serde_json::from_str("{}").unwrap();
        let bound: LimitsConfig =
            serde_json::from_str(r#"{"max_connections_per_address":3}"#).unwrap();
        let local = "127.0.0.1".parse().unwrap();
        let far = "192.0.2.1".parse().unwrap();
        assert_eq!(open.connections_from(local), open.max_connections);
        assert!(open.connections_from(far) < open.max_connections);
        assert_eq!(bound.connections_from(local), 3);
    }
}
