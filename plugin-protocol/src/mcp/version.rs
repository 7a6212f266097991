//! The revisions of MCP.

use std::fmt;

use serde::{Serialize, Serializer};

/// The two families of revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    /// Up to 2025-11-25: `initialize` first, then a session.
    Legacy,
    /// Since 2026-07-28: every request stands alone.
    Modern,
}

/// A revision that is known here. Ordered by date.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(&'static str);

/// The modern revisions, oldest first.
pub const MODERN_VERSIONS: &[Version] = &[Version::V2026_07_28];

/// The legacy revisions of Streamable HTTP, oldest first.
pub const LEGACY_VERSIONS: &[Version] = &[
    Version::V2025_03_26,
    Version::V2025_06_18,
    Version::V2025_11_25,
];

/// The revision to answer an `initialize` with: the requested one if it is a known legacy one, else 2025-11-25.
pub fn negotiate(requested: &str) -> Version {
    match Version::parse(requested) {
        Some(version) if version.era() == Era::Legacy => version,
        _ => Version::V2025_11_25,
    }
}

// === impl Version ===

impl Version {
    /// The first one: stdio, and HTTP with a separate event stream.
    pub const V2024_11_05: Self = Self("2024-11-05");
    /// Streamable HTTP and batches.
    pub const V2025_03_26: Self = Self("2025-03-26");
    /// No batches; `MCP-Protocol-Version`.
    pub const V2025_06_18: Self = Self("2025-06-18");
    /// The last one with `initialize`.
    pub const V2025_11_25: Self = Self("2025-11-25");
    /// The first modern one.
    pub const V2026_07_28: Self = Self("2026-07-28");

    /// The known revision of this name.
    pub fn parse(text: &str) -> Option<Self> {
        const KNOWN: [Version; 5] = [
            Version::V2026_07_28,
            Version::V2025_11_25,
            Version::V2025_06_18,
            Version::V2025_03_26,
            Version::V2024_11_05,
        ];
        KNOWN.into_iter().find(|version| version.0 == text)
    }

    /// Its name, a date.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The family it belongs to.
    pub fn era(self) -> Era {
        if self >= Self::V2026_07_28 {
            Era::Modern
        } else {
            Era::Legacy
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_known_by_date() {
        assert_eq!(Version::parse("2025-06-18"), Some(Version::V2025_06_18));
        assert_eq!(Version::parse("2025-06-19"), None);
        assert!(
            Version::V2024_11_05 < Version::V2025_03_26
                && Version::V2025_11_25 < Version::V2026_07_28
        );
        assert!(
            LEGACY_VERSIONS
                .iter()
                .all(|version| version.era() == Era::Legacy)
        );
        assert!(
            MODERN_VERSIONS
                .iter()
                .all(|version| version.era() == Era::Modern)
        );
    }

    #[test]
    fn initialize_never_yields_a_modern_revision() {
        for (requested, answered) in [
            ("2025-06-18", Version::V2025_06_18),
            ("2024-11-05", Version::V2024_11_05),
            ("2026-07-28", Version::V2025_11_25),
            ("1.0", Version::V2025_11_25),
        ] {
            assert_eq!(negotiate(requested), answered);
        }
    }
}
