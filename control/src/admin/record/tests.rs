//! Writes while others write the same.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use proto::admin::{GetGroupRequest, Group, UpdateGroupRequest, groups_server::Groups as _};
use tonic::{Code, Status};

use super::{Refusal, written};
use crate::{
    admin::tests::{Bench, by_admin, reason},
    store::{
        ATTEMPTS_MAX, Check, Entry, Op, Range, Revision, Store, StoreError, TxnError, Watch, commit,
    },
};

const GROUP: &str = "groups/office";

/// A store in which somebody else writes [`GROUP`] right after it was read, a number of times.
#[derive(Debug)]
struct Restless {
    inner: Arc<dyn Store>,
    left: AtomicUsize,
}

#[tonic::async_trait]
impl Store for Restless {
    fn id(&self) -> &str {
        self.inner.id()
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let read = self.inner.get(key).await?;
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::Relaxed;
        if let Some(entry) = read.as_ref().filter(|entry| &*entry.key == GROUP)
            && self.left.fetch_update(order, order, one_less).is_ok()
        {
            let again = Op::Put(Arc::clone(&entry.key), entry.value.clone());
            commit(&*self.inner, Vec::new(), vec![again]).await?;
        }
        Ok(read)
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Range, StoreError> {
        self.inner.range(prefix, after, limit).await
    }

    async fn snapshot(&self, prefixes: &[&str]) -> Result<Range, StoreError> {
        self.inner.snapshot(prefixes).await
    }

    async fn txn(&self, checks: Vec<Check>, ops: Vec<Op>) -> Result<Revision, TxnError> {
        self.inner.txn(checks, ops).await
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        self.inner.watch(after)
    }
}

/// Gives [`GROUP`] another display name while others write it so many times; says what is displayed then, too.
async fn renamed_beside(others: usize) -> (Result<Group, Status>, String) {
    let mut bench = Bench::with_office().await;
    bench.context.store = Arc::new(Restless {
        inner: Arc::clone(&bench.context.store),
        left: AtomicUsize::new(others),
    });
    let wanted = Group {
        name: GROUP.to_owned(),
        display_name: "Head office".to_owned(),
        ..Group::default()
    };
    let request = UpdateGroupRequest {
        group: Some(wanted),
        ..UpdateGroupRequest::default()
    };
    let updated = bench.groups().update_group(by_admin(request)).await;
    let request = GetGroupRequest {
        name: GROUP.to_owned(),
    };
    let now = bench.groups().get_group(by_admin(request)).await;
    let displayed = now.expect("the group is there").into_inner().display_name;
    (updated.map(tonic::Response::into_inner), displayed)
}

#[tokio::test]
async fn a_write_is_done_although_others_were_faster_before() {
    let (updated, displayed) = renamed_beside(ATTEMPTS_MAX - 1).await;
    assert_eq!(
        updated.map(|group| group.display_name).ok(),
        Some("Head office".to_owned())
    );
    assert_eq!(displayed, "Head office");
}

#[tokio::test]
async fn a_write_that_others_outrun_each_time_is_refused_as_contended() {
    let (updated, displayed) = renamed_beside(ATTEMPTS_MAX).await;
    let refused = updated.expect_err("others are faster");
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::Aborted, "CONTENDED")
    );
    assert!(refused.message().contains(GROUP), "{}", refused.message());
    assert_eq!(displayed, "");
}

#[tokio::test]
async fn nothing_is_attempted_after_a_refusal() {
    let attempts = AtomicUsize::new(0);
    let attempt = || async {
        match attempts.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(None::<()>),
            _ => Err(Refusal::NotFound(GROUP.to_owned())),
        }
    };
    let refused = written(GROUP, attempt).await;
    assert!(matches!(refused, Err(Refusal::NotFound(_))), "{refused:?}");
    assert_eq!(attempts.into_inner(), 2);
}
