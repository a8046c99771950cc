//! First start, later starts, and starts that cannot be.

use std::{error::Error, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use control::{StartError, control::start_with_clock, store::sqlite::OpenError};
use proto::admin::{GetGroupRequest, groups_client::GroupsClient};
use runtime::{Clock, Scope};
use tonic_types::StatusExt as _;

use crate::bench::{Bench, config, profile, start_in};

/// Everything that an error says, cause by cause.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[tokio::test]
async fn the_first_start_makes_all_that_is_needed() {
    let bench = Bench::start().await;
    let first = bench.handle.first_start.as_ref().expect("it is the first");
    assert_eq!(first.control, bench.handle.local_addr.to_string());
    let request = GetGroupRequest {
        name: "groups/default".to_owned(),
    };
    let mut groups = GroupsClient::new(bench.operator());
    groups.get_group(bench.ask(request.clone())).await.unwrap();
    let without_token = groups.get_group(request).await.unwrap_err();
    assert!(without_token.get_error_details().error_info().is_some());
    for secret in ["ca.key", "signing.key", "operator.toml", "control.db"] {
        let file = bench.directory.path().join(secret);
        let mode = file.metadata().expect(secret).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}

#[tokio::test]
async fn a_later_start_is_the_same_fabric() {
    let directory = tempfile::tempdir().unwrap();
    let (first, scope) = start_in(directory.path()).await.unwrap();
    let ca = profile(&first.profile_path, "ca");
    assert!(first.drain(Duration::from_secs(10)).await);
    drop(scope);
    let mut config = config(directory.path());
    config.domain = None;
    let scope = Scope::root();
    let second = start_with_clock(config, Clock::system(), &scope)
        .await
        .unwrap();
    assert_eq!(second.first_start, None);
    assert_eq!(profile(&second.profile_path, "ca"), ca);
}

#[tokio::test]
async fn another_domain_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (first, scope) = start_in(directory.path()).await.unwrap();
    assert!(first.drain(Duration::from_secs(10)).await);
    drop(scope);
    let mut config = config(directory.path());
    config.domain = Some("example.net".parse().unwrap());
    let scope = Scope::root();
    let refused = start_with_clock(config, Clock::system(), &scope)
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("example.com") && text.contains("example.net"),
        "{text}"
    );
}

#[tokio::test]
async fn a_first_start_needs_a_domain() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.domain = None;
    let scope = Scope::root();
    let refused = start_with_clock(config, Clock::system(), &scope)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StartError::DomainRequired { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_second_control_in_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_first, _scope) = start_in(directory.path()).await.unwrap();
    let refused = start_in(directory.path()).await.err().unwrap();
    assert!(
        matches!(refused, StartError::Open(OpenError::InUse { .. })),
        "{refused}"
    );
}

#[tokio::test]
async fn a_directory_that_takes_no_files_is_named_with_the_cause() {
    // Not even root makes directories there.
    let path = Path::new("/proc/adit");
    let refused = start_in(path).await.err().unwrap();
    let text = chain(&refused);
    assert!(
        text.starts_with("cannot use the data directory /proc/adit: "),
        "{text}"
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let text = chain(&start_in(&file).await.err().unwrap());
    assert!(text.contains(&file.display().to_string()), "{text}");
    assert_eq!(std::fs::read(&file).unwrap(), b"not a directory");
}
