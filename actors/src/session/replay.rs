//! The events of one stream, as far back as they are kept. Pure: no clock, no lock, no room beyond its own.

use std::collections::VecDeque;

use bytes::Bytes;

/// Events in order, numbered from 1. The oldest are forgotten first.
#[derive(Debug, Default)]
pub(super) struct Replay {
    kept: VecDeque<Bytes>,
    /// Events that are not kept any more: the first that is kept has the next number.
    forgotten: u64,
    bytes: usize,
}

/// The events after the one that was asked for are not all there, or that event was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfReach;

// === impl Replay ===

impl Replay {
    /// The number of the last event; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.forgotten + self.kept.len() as u64
    }

    /// Bytes of the events that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.kept.push_back(frame);
    }

    /// Counts an event that cannot be kept: with it goes everything before it, because nobody can read across the gap.
    pub(super) fn skip(&mut self) {
        self.clear();
        self.forgotten += 1;
    }

    /// Forgets the oldest event; returns its bytes, or nothing if none is kept.
    pub(super) fn forget_oldest(&mut self) -> Option<usize> {
        let frame = self.kept.pop_front()?;
        self.forgotten += 1;
        self.bytes -= frame.len();
        Some(frame.len())
    }

    /// Forgets everything; returns how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        self.forgotten = self.last();
        self.kept = VecDeque::new();
        std::mem::take(&mut self.bytes)
    }

    /// The events after number `seen`, at most `count` of them.
    pub(super) fn after(&self, seen: u64, count: usize) -> Result<Vec<Bytes>, OutOfReach> {
        let from = seen.checked_sub(self.forgotten).ok_or(OutOfReach)?;
        if seen > self.last() {
            return Err(OutOfReach);
        }
        let from = usize::try_from(from).map_err(|_| OutOfReach)?;
        Ok(self.kept.iter().skip(from).take(count).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(number: u64) -> Bytes {
        number.to_string().into()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Skip,
        Forget,
        Clear,
        Read(u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            1 => Just(Step::Skip),
            2 => Just(Step::Forget),
            1 => Just(Step::Clear),
            5 => (0..40_u64, 1..8_usize).prop_map(|(seen, count)| Step::Read(seen, count)),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        /// Whatever is read follows without a gap on what was seen, or is refused; and what is kept can be read.
        #[test]
        fn a_reader_gets_everything_after_what_it_has_seen_or_is_told(steps in steps()) {
            let mut replay = Replay::default();
            let mut sent = 0_u64;
            let mut oldest = 1_u64;
            for step in steps {
                match step {
                    Step::Push => {
                        sent += 1;
                        replay.push(frame(sent));
                    }
                    Step::Skip => {
                        sent += 1;
                        oldest = sent + 1;
                        replay.skip();
                    }
                    Step::Forget => {
                        let forgotten = replay.forget_oldest();
                        prop_assert_eq!(forgotten.is_some(), oldest <= sent);
                        oldest += u64::from(forgotten.is_some());
                    }
                    Step::Clear => {
                        replay.clear();
                        oldest = sent + 1;
                    }
                    Step::Read(seen, count) => match replay.after(seen, count) {
                        Ok(frames) => {
                            prop_assert!(seen <= sent && seen + 1 >= oldest);
                            let expected: Vec<Bytes> = (seen + 1..=sent).take(count).map(frame).collect();
                            prop_assert_eq!(frames, expected);
                        }
                        Err(OutOfReach) => prop_assert!(seen > sent || seen + 1 < oldest),
                    },
                }
                prop_assert_eq!(replay.last(), sent);
                let bytes: usize = (oldest..=sent).map(|number| frame(number).len()).sum();
                prop_assert_eq!(replay.bytes(), bytes);
            }
        }
    }
}
