//! What is counted of sign-ins at apps by credentials that are kept.

use metrics::{Counter, counter};
use runtime::telemetry::{Kind, Metric};

/// Sign-ins at apps by credentials that are kept, by outcome: of Basic each request is one.
pub const KEPT_SIGN_ONS_TOTAL: &str = "agent_kept_sign_ons_total";

pub(super) const METRIC: Metric = Metric {
    kind: Kind::Counter,
    name: KEPT_SIGN_ONS_TOTAL,
    help: "sign-ins at apps by credentials that are kept, by outcome: in, refused, failed or none",
};

/// What came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptOutcome {
    /// The app has let the user in.
    In,
    /// It does not take the credential.
    Refused,
    /// It could not be asked, or answered otherwise.
    Failed,
    /// No credential is kept.
    None,
}

impl KeptOutcome {
    const ALL: [Self; 4] = [Self::In, Self::Refused, Self::Failed, Self::None];

    const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::None => "none",
        }
    }
}

/// A counter for each outcome.
#[derive(Clone, Debug)]
pub(super) struct KeptMetrics(Vec<Counter>);

impl KeptMetrics {
    pub(super) fn new() -> Self {
        let outcomes = KeptOutcome::ALL.iter();
        Self(
            outcomes
                .map(|outcome| counter!(KEPT_SIGN_ONS_TOTAL, "outcome" => outcome.as_str()))
                .collect(),
        )
    }

    pub(super) fn count(&self, outcome: KeptOutcome) {
        let counters = KeptOutcome::ALL.iter().zip(&self.0);
        for (known, counter) in counters {
            if *known == outcome {
                counter.increment(1);
            }
        }
    }
}
