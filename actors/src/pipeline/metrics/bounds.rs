//! The buckets of durations.

/// The upper bounds of the buckets of a histogram, in nanoseconds, in growing order.
#[derive(Debug)]
pub(super) struct Bounds {
    upper: &'static [u64],
    /// By the number of bits of a duration: the first bucket that a duration of so many bits can belong to.
    first: [u8; 65],
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;

/// What the OpenTelemetry conventions for MCP say: 10 ms to 300 s.
/// (<https://github.com/open-telemetry/semantic-conventions-genai>, `docs/gen-ai/mcp.md`)
pub(super) static OPERATION: Bounds = Bounds::new(&[
    10 * MILLISECOND,
    20 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    300 * SECOND,
]);

/// From 5 microseconds to a minute: the gateway's own part is far below a millisecond.
pub(super) static REQUEST: Bounds = Bounds::new(&[
    5 * MICROSECOND,
    10 * MICROSECOND,
    20 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    200 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2 * MILLISECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    20 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    15 * SECOND,
    60 * SECOND,
]);

/// From a microsecond to ten seconds: a stage that has nobody to ask takes a few microseconds.
pub(super) static STAGE: Bounds = Bounds::new(&[
    MICROSECOND,
    2 * MICROSECOND,
    5 * MICROSECOND,
    10 * MICROSECOND,
    20 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    200 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2 * MILLISECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    SECOND,
    10 * SECOND,
]);

// === impl Bounds ===

impl Bounds {
    /// Bounds in growing order, at most 255.
    #[expect(
        clippy::indexing_slicing,
        reason = "runs while compiling, where a wrong place is a compile error"
    )]
    pub(super) const fn new(upper: &'static [u64]) -> Self {
        assert!(upper.len() <= u8::MAX as usize);
        let mut first = [0; 65];
        let mut bits = 1;
        while bits < first.len() {
            let shortest = 1 << (bits - 1);
            let mut place = 0;
            while place < upper.len() && upper[place] < shortest {
                place += 1;
            }
            first[bits] = place as u8;
            bits += 1;
        }
        Self { upper, first }
    }

    /// The bounds themselves.
    pub(super) fn upper(&self) -> &'static [u64] {
        self.upper
    }

    /// The bucket of a duration; the one behind the last bound for what is longer.
    pub(super) fn place(&self, nanoseconds: u64) -> usize {
        let bits = u64::BITS - nanoseconds.leading_zeros();
        let first = self.first.get(bits as usize).copied().unwrap_or_default();
        let place = usize::from(first);
        // Bounds that double or more: one or two are left to look at.
        let rest = self.upper.iter().skip(place);
        place + rest.take_while(|bound| **bound < nanoseconds).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_the_first_bucket_that_is_long_enough() {
        for bounds in [&OPERATION, &REQUEST, &STAGE] {
            let edges = bounds.upper().iter();
            let edges = edges.flat_map(|bound| [bound - 1, *bound, bound + 1]);
            for nanoseconds in edges.chain([0, 1, u64::MAX]) {
                let expected = bounds.upper().partition_point(|bound| *bound < nanoseconds);
                assert_eq!(bounds.place(nanoseconds), expected, "{nanoseconds}");
            }
        }
    }
}
