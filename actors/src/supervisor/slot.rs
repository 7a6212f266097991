//! A stable handle to a child that survives its restarts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Actor, Addr};
use arc_swap::ArcSwapOption;
use tokio::sync::watch;

/// The place an actor is found at, whichever instance of it is running.
///
/// Empty while the actor is down, so that callers learn at once that it is restarting. Cheap to clone; all clones
/// are the same place. Readers never lock.
pub struct Slot<A: Actor> {
    place: Arc<Place<A>>,
}

struct Place<A: Actor> {
    name: Arc<str>,
    current: ArcSwapOption<Occupant<A>>,
    /// The generation of the occupant, 0 while empty. Written after `current`.
    generation: AtomicU64,
    /// The last generation given out.
    issued: AtomicU64,
    changed: watch::Sender<u64>,
}

struct Occupant<A: Actor> {
    address: Addr<A>,
    generation: u64,
}

// === impl Slot ===

impl<A: Actor> Slot<A> {
    /// Returns an empty slot. The name is the child's, for messages.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            place: Arc::new(Place {
                name: name.into(),
                current: ArcSwapOption::empty(),
                generation: AtomicU64::new(0),
                issued: AtomicU64::new(0),
                changed: watch::Sender::new(0),
            }),
        }
    }

    /// Returns a slot that holds an actor nobody supervises, for tests and for actors that live as long as the
    /// process.
    pub fn holding(name: impl Into<Arc<str>>, address: Addr<A>) -> Self {
        let slot = Self::new(name);
        let generation = slot.issue();
        slot.publish(address, generation);
        slot
    }

    /// The name it was made with.
    pub fn name(&self) -> &Arc<str> {
        &self.place.name
    }

    /// Returns the address of the running instance, or nothing while it is down.
    ///
    /// The clone is a sender of its own: it allocates, and counts its own mailbox capacity. On a hot path keep it and
    /// ask again when [`generation`](Self::generation) has changed, or use [`with`](Self::with).
    pub fn get(&self) -> Option<Addr<A>> {
        self.with(|address, _| address.clone())
    }

    /// Calls `visit` with the address and generation of the running instance, without cloning; returns nothing
    /// while it is down.
    pub fn with<R>(&self, visit: impl FnOnce(&Addr<A>, u64) -> R) -> Option<R> {
        let current = self.place.current.load();
        current
            .as_deref()
            .map(|occupant| visit(&occupant.address, occupant.generation))
    }

    /// The number of the running instance: 1 for the first, 0 while it is down. One atomic load.
    pub fn generation(&self) -> u64 {
        self.place.generation.load(Ordering::Acquire)
    }

    /// Waits until an instance is running and returns its address.
    pub async fn wait(&self) -> Addr<A> {
        self.wait_for(1).await
    }

    /// Waits until an instance of at least this generation is running and returns its address.
    pub async fn wait_for(&self, generation: u64) -> Addr<A> {
        let mut changed = self.place.changed.subscribe();
        loop {
            let found =
                self.with(|address, current| (current >= generation).then(|| address.clone()));
            if let Some(Some(address)) = found {
                return address;
            }
            // The sender is in `self`, so this cannot fail.
            let _ = changed.changed().await;
        }
    }

    /// Gives out the number of the next instance.
    pub(crate) fn issue(&self) -> u64 {
        self.place.issued.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets others find this instance. Ignored if a later one is already there.
    pub(crate) fn publish(&self, address: Addr<A>, generation: u64) {
        let occupant = Arc::new(Occupant {
            address,
            generation,
        });
        self.place.current.rcu(|current| match current {
            Some(later) if later.generation > generation => Some(Arc::clone(later)),
            _ => Some(Arc::clone(&occupant)),
        });
        self.announce();
    }

    /// Empties the slot if this instance is in it.
    pub(crate) fn withdraw(&self, generation: u64) {
        self.place.current.rcu(|current| match current {
            Some(occupant) if occupant.generation == generation => None,
            other => other.clone(),
        });
        self.announce();
    }

    fn announce(&self) {
        // Under the lock of `changed`, so that of two writers the last tells the truth.
        self.place.changed.send_modify(|announced| {
            *announced = self.with(|_, generation| generation).unwrap_or(0);
            self.place.generation.store(*announced, Ordering::Release);
        });
    }
}

impl<A: Actor> Clone for Slot<A> {
    fn clone(&self) -> Self {
        Self {
            place: Arc::clone(&self.place),
        }
    }
}

impl<A: Actor> fmt::Debug for Slot<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Slot")
            .field("name", &self.place.name)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use actix::Context;

    use super::*;
    use crate::supervisor::{ChildContext, ChildSpec, SupervisorHandle, SupervisorSpec};

    /// An actor that must not leave its thread.
    struct AtHome(#[expect(dead_code, reason = "only its type matters")] Rc<()>);

    impl Actor for AtHome {
        type Context = Context<Self>;
    }

    #[test]
    fn what_crosses_threads_may() {
        fn crosses<T: Clone + Send + Sync>() {}
        crosses::<Slot<AtHome>>();
        crosses::<ChildSpec>();
        crosses::<ChildContext>();
        crosses::<SupervisorSpec>();
        crosses::<SupervisorHandle>();
    }

    #[test]
    fn the_latest_instance_is_the_one_found() {
        actix_rt::System::new().block_on(async {
            let slot = Slot::new("child");
            let start = || AtHome(Rc::new(())).start();
            assert!(slot.get().is_none());
            let (first, second) = (slot.issue(), slot.issue());
            slot.publish(start(), second);
            slot.publish(start(), first);
            assert_eq!(
                slot.generation(),
                second,
                "one that is late does not push it out"
            );
            slot.withdraw(first);
            assert_eq!(slot.generation(), second, "nor does its end");
            slot.withdraw(second);
            assert_eq!(slot.generation(), 0);
            assert!(slot.get().is_none());
            assert_eq!(Slot::holding("other", start()).generation(), 1);
        });
    }
}
