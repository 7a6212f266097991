use proptest::prelude::*;

use super::*;

/// A life whose place is only known at run time: it can take whatever steps its place has, and none of them is a choice
/// of this test's.
enum Somewhere {
    Discovered(Life<stage::Discovered>),
    Loading(Life<stage::Loading>),
    Authenticating(Life<stage::Authenticating>),
    Active(Life<stage::Active>),
    Error(Life<stage::Error>),
    ShuttingDown(Life<stage::ShuttingDown>),
    Stopped(Life<stage::Stopped>),
}

/// What a life is led to do.
#[derive(Clone, Copy, Debug)]
enum Lead {
    On,
    Fail,
    Stop,
}

impl Somewhere {
    /// Every step that compiles.
    fn lead(self, lead: Lead) -> Self {
        match (self, lead) {
            (Self::Discovered(life), Lead::On | Lead::Fail) => Self::Loading(life.enter()),
            (Self::Discovered(life), Lead::Stop) => Self::ShuttingDown(life.enter()),
            (Self::Loading(life), Lead::On) => Self::Authenticating(life.enter()),
            (Self::Loading(life), Lead::Fail) => Self::Error(life.enter()),
            (Self::Loading(life), Lead::Stop) => Self::ShuttingDown(life.enter()),
            (Self::Authenticating(life), Lead::On) => Self::Active(life.enter()),
            (Self::Authenticating(life), Lead::Fail) => Self::Error(life.enter()),
            (Self::Authenticating(life), Lead::Stop) => Self::ShuttingDown(life.enter()),
            (Self::Active(life), Lead::On | Lead::Fail) => Self::Error(life.enter()),
            (Self::Active(life), Lead::Stop) => Self::ShuttingDown(life.enter()),
            (Self::Error(life), Lead::On | Lead::Fail) => Self::Loading(life.enter()),
            (Self::Error(life), Lead::Stop) => Self::ShuttingDown(life.enter()),
            (Self::ShuttingDown(life), _) => Self::Stopped(life.enter()),
            (Self::Stopped(life), _) => Self::Loading(life.enter()),
        }
    }
}

/// The model: the states that may follow each other, written down once more.
fn model(from: PluginState) -> &'static [PluginState] {
    use PluginState as S;
    match from {
        S::Discovered => &[S::Loading, S::ShuttingDown],
        S::Loading => &[S::Authenticating, S::Error, S::ShuttingDown],
        S::Authenticating => &[S::Active, S::Error, S::ShuttingDown],
        S::Active => &[S::Error, S::ShuttingDown],
        S::Error => &[S::Loading, S::ShuttingDown],
        S::ShuttingDown => &[S::Stopped],
        S::Stopped => &[S::Loading],
    }
}

proptest! {
    #[test]
    fn no_life_takes_an_illegal_step(leads in prop::collection::vec(prop_oneof![
        5 => Just(Lead::On), 2 => Just(Lead::Fail), 1 => Just(Lead::Stop),
    ], 0..128)) {
        let life = Life::discovered();
        let shown = life.lifecycle().clone();
        let mut trace = vec![shown.state()];
        let mut now = Somewhere::Discovered(life);
        for lead in leads {
            now = now.lead(lead);
            trace.push(shown.state());
        }
        prop_assert_eq!(trace[0], PluginState::Discovered);
        for pair in trace.windows(2) {
            prop_assert!(model(pair[0]).contains(&pair[1]), "{pair:?}");
            match pair[1] {
                PluginState::Discovered => prop_assert!(false, "discovered twice"),
                PluginState::Authenticating => prop_assert_eq!(pair[0], PluginState::Loading),
                PluginState::Active => prop_assert_eq!(pair[0], PluginState::Authenticating),
                PluginState::Stopped => prop_assert_eq!(pair[0], PluginState::ShuttingDown),
                PluginState::ShuttingDown => prop_assert_ne!(pair[0], PluginState::Stopped),
                PluginState::Loading | PluginState::Error => {}
            }
            prop_assert_ne!(pair[0], pair[1]);
        }
        let loads = trace.iter().filter(|state| **state == PluginState::Loading);
        prop_assert_eq!(shown.attempts(), loads.count() as u64);
    }
}

#[test]
fn the_steps_are_those_of_the_model() {
    for from in PluginState::ALL {
        for to in PluginState::ALL {
            assert_eq!(
                from.may_become(to),
                model(from).contains(&to),
                "{from:?} to {to:?}"
            );
        }
    }
}

#[test]
fn every_state_can_be_left_and_stopped() {
    for state in PluginState::ALL {
        let next = PluginState::ALL
            .into_iter()
            .filter(|next| state.may_become(*next));
        assert!(next.count() > 0, "{state:?}");
    }
}
