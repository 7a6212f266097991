//! Rates as people write them, and what is kept to hold a caller to one.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The highest rate, in calls a second: more cannot be told apart from no limit.
const MAX_PER_SECOND: u32 = 1_000_000;

/// So many calls in so much time: `100/s`, `10/m`, `1000/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^[1-9]\d*/[smh]$", "examples" = ["100/s", "10/m", "1000/h"]))]
pub struct Rate {
    count: NonZeroU32,
    unit: Unit,
}

/// What a rate is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
}

/// A rate, and how many calls may come at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Allowance {
    rate: Rate,
    burst: NonZeroU32,
}

/// What one caller has left of its allowance: the generic cell rate algorithm in one atomic word.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) allowance: Allowance,
    limiter: RateLimiter<NotKeyed, InMemoryState, Now, NoOpMiddleware<Duration>>,
    began: Instant,
}

/// The time since the bucket was made; virtual where time is.
#[derive(Clone, Copy, Debug)]
struct Now(Instant);

// === impl Rate ===

impl Rate {
    /// The calls of one unit of time: what may come at once unless a burst is configured.
    pub fn count(self) -> NonZeroU32 {
        self.count
    }

    /// The time between two calls at exactly this rate.
    pub fn interval(self) -> Duration {
        self.unit.length() / self.count.get()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a rate; write it like 100/s, 10/m or 1000/h");
        let (count, unit) = text.split_once('/').ok_or_else(refused)?;
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let count: NonZeroU32 = count.parse().map_err(|_| refused())?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(refused()),
        };
        if u64::from(count.get()) > u64::from(MAX_PER_SECOND) * unit.length().as_secs() {
            return Err(format!(
                "`{text}` is more than {MAX_PER_SECOND} calls a second; remove it for no limit"
            ));
        }
        Ok(Self { count, unit })
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
        };
        write!(formatter, "{}/{unit}", self.count)
    }
}

// === impl Unit ===

impl Unit {
    fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        })
    }
}

// === impl Allowance ===

impl Allowance {
    /// A rate with what may come at once; without it, the calls of one unit of time may.
    pub fn new(rate: Rate, burst: Option<NonZeroU32>) -> Self {
        let burst = burst.unwrap_or(rate.count);
        Self { rate, burst }
    }
}

// === impl Bucket ===

impl Bucket {
    pub(super) fn new(allowance: Allowance) -> Self {
        let Allowance { rate, burst } = allowance;
        // The interval is not zero: no rate is higher than a million a second.
        let quota = Quota::with_period(rate.interval())
            .unwrap_or_else(|| Quota::per_second(rate.count))
            .allow_burst(burst);
        let began = Instant::now();
        Self {
            allowance,
            limiter: RateLimiter::direct_with_clock(quota, Now(began)),
            began,
        }
    }

    /// Takes what `weight` calls cost, or says when that will be there. More than ever fits at once costs all of it.
    pub(super) fn take(&self, weight: NonZeroU32) -> Result<(), Duration> {
        let refused = if weight.get() == 1 {
            self.limiter.check().err()
        } else {
            let weight = weight.min(self.allowance.burst);
            self.limiter.check_n(weight).ok().and_then(Result::err)
        };
        match refused {
            None => Ok(()),
            Some(until) => Err(until.wait_time_from(self.began.elapsed())),
        }
    }
}

// === impl Now ===

impl Clock for Now {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn people_write_rates() {
        for (text, millis) in [
            ("100/s", 10),
            ("1/s", 1_000),
            ("10/m", 6_000),
            ("60/h", 60_000),
        ] {
            assert_eq!(
                rate(text).interval(),
                Duration::from_millis(millis),
                "{text}"
            );
            assert_eq!(rate(text).to_string(), text);
        }
        for text in [
            "",
            "100",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "100/d",
            "1 /s",
            "99999999999/s",
            "2000000/s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate_to_the_millisecond() {
        let bucket = Bucket::new(Allowance::new(rate("10/s"), NonZeroU32::new(3)));
        for _ in 0..3 {
            bucket.take(NonZeroU32::MIN).unwrap();
        }
        assert_eq!(
            bucket.take(NonZeroU32::MIN),
            Err(Duration::from_millis(100))
        );
        tokio::time::advance(Duration::from_millis(60)).await;
        assert_eq!(bucket.take(NonZeroU32::MIN), Err(Duration::from_millis(40)));
        tokio::time::advance(Duration::from_millis(40)).await;
        bucket.take(NonZeroU32::MIN).unwrap();
        // After a rest the burst is back, and no more than that.
        tokio::time::advance(Duration::from_secs(3600)).await;
        let passed = (0..100)
            .filter(|_| bucket.take(NonZeroU32::MIN).is_ok())
            .count();
        assert_eq!(passed, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn several_at_once_cost_as_much_as_one_by_one() {
        let bucket = Bucket::new(Allowance::new(rate("10/s"), NonZeroU32::new(5)));
        let four = NonZeroU32::new(4).unwrap();
        bucket.take(four).unwrap();
        assert_eq!(bucket.take(four), Err(Duration::from_millis(300)));
        bucket.take(NonZeroU32::MIN).unwrap();
        // What never fits costs everything that may be there, so it is served after a rest and not refused for ever.
        tokio::time::advance(Duration::from_millis(500)).await;
        bucket.take(NonZeroU32::new(50).unwrap()).unwrap();
    }
}
