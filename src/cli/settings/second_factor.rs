//! When users are asked for a second factor, as operators write it.

use proto::admin::SecondFactor;
use serde::{Deserialize, Serialize};

/// One of three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecondFactorWord {
    /// Never, not even those who have set one up; no passkeys.
    Off,
    /// Whoever has set one up.
    #[default]
    Optional,
    /// Everybody: who has none sets one up at the next sign-in.
    Required,
}

impl SecondFactorWord {
    /// As control says it.
    pub(crate) const fn of(wire: SecondFactor) -> Self {
        match wire {
            SecondFactor::Off => Self::Off,
            SecondFactor::Required => Self::Required,
            SecondFactor::Unspecified | SecondFactor::Optional => Self::Optional,
        }
    }

    /// As control reads it.
    pub(crate) const fn meant(self) -> SecondFactor {
        match self {
            Self::Off => SecondFactor::Off,
            Self::Optional => SecondFactor::Optional,
            Self::Required => SecondFactor::Required,
        }
    }

    /// As in files and flags.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_files_flags_and_on_the_wire() {
        use clap::ValueEnum as _;
        for word in SecondFactorWord::value_variants() {
            assert_eq!(SecondFactorWord::of(word.meant()), *word);
            let flag = word.to_possible_value().expect("none is hidden");
            assert_eq!(flag.get_name(), word.as_str());
            let file = serde_json::to_string(word).expect("a word");
            assert_eq!(file, format!("\"{}\"", word.as_str()));
        }
    }
}
