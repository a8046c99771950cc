//! Counts the calls of the admin API.

use std::sync::OnceLock;

use metrics::{Counter, Unit, counter, describe_counter};
use tonic::Code;

use super::roles::METHODS;

/// Calls answered, by `service`, `method` and gRPC `code`.
pub const ADMIN_REQUESTS_TOTAL: &str = "control_admin_requests_total";

/// Names of the gRPC codes, in the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

type Row = [OnceLock<Counter>; CODES.len()];

/// A held handle for each method and code that has occurred.
#[derive(Debug)]
pub(crate) struct Requests {
    /// In the order of [`METHODS`]; the last one is for unknown methods.
    rows: [Row; METHODS.len() + 1],
}

impl Requests {
    /// None so far.
    pub(crate) fn new() -> Self {
        describe_counter!(
            ADMIN_REQUESTS_TOTAL,
            Unit::Count,
            "calls of the admin API that were answered"
        );
        Self {
            rows: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
        }
    }

    /// Counts a call of the method at `index` of [`METHODS`]; `None`: of a method that there is not.
    pub(crate) fn count(&self, index: Option<usize>, code: Code) {
        let code = usize::try_from(i32::from(code)).unwrap_or(0);
        let index = index.unwrap_or(METHODS.len());
        self.rows[index][code]
            .get_or_init(|| handle(index, CODES[code]))
            .increment(1);
    }
}

fn handle(index: usize, code: &'static str) -> Counter {
    let (service, method) = METHODS.get(index).map_or(("unknown", "unknown"), |method| {
        (method.service, method.name)
    });
    counter!(ADMIN_REQUESTS_TOTAL, "service" => service, "method" => method, "code" => code)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::admin::roles;

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let requests = Requests::new();
            let found = roles::find("/adit.admin.v1.Apps/GetApp").map(|(index, _)| index);
            requests.count(found, Code::NotFound);
            requests.count(found, Code::NotFound);
            requests.count(None, Code::PermissionDenied);
        });
        let page = handle.render();
        for line in [
            r#"control_admin_requests_total{service="Apps",method="GetApp",code="NOT_FOUND"} 2"#,
            r#"control_admin_requests_total{service="unknown",method="unknown",code="PERMISSION_DENIED"} 1"#,
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
