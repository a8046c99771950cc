//! A document of a provider's that is fetched when it is needed and then kept for a while.

use std::{fmt::Display, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header};
use runtime::{Clock, Scope};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, oneshot},
    time::Instant,
};

/// A provider is not asked again for the same within this time, whatever tokens say and whoever comes: the bound on what strangers can
/// make a process ask.
const PAUSE: Duration = Duration::from_secs(30);
/// The same after it gave no answer and nothing is kept: users wait.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// What is kept goes on to be used for so long when the provider does not answer.
const STALE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Shortest and longest time for which something is not asked for again, whatever the provider says of it.
const FRESH_RANGE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3_600));

/// What was fetched, and when.
#[derive(Debug)]
struct Copy<T> {
    document: Arc<T>,
    at: Instant,
    fresh_for: Duration,
}

/// A document, or none yet.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    copy: Arc<ArcSwapOption<Copy<T>>>,
    /// When the provider was last asked. Held while it is: others wait, and find what came of it.
    asked: Arc<Mutex<Option<Instant>>>,
    clock: Clock,
    /// Of the tasks that ask: whoever wants the document may give up, and what was asked for is still got.
    scope: Scope,
}

/// Why there is no document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing<E> {
    /// It was asked for now.
    Failed(E),
    /// It was asked for a moment ago, in vain.
    Pause,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// Nothing yet.
    pub(crate) fn new(clock: Clock, scope: &Scope) -> Self {
        Self {
            copy: Arc::default(),
            asked: Arc::default(),
            clock,
            scope: scope.child("document"),
        }
    }

    /// The document: what is kept, if that is fresh, or else what `fetch` brings, with how long it is fresh. When that fails, what is kept.
    pub(crate) async fn get<E, F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<T>, Missing<E>>
    where
        E: Display + Send + 'static,
        F: Future<Output = Result<(T, Duration), E>> + Send + 'static,
    {
        if let Some(copy) = &*self.copy.load()
            && self.age(copy) < copy.fresh_for
        {
            return Ok(Arc::clone(&copy.document));
        }
        // One waits for the provider, not all.
        if let (Some((document, _)), Err(_)) = (self.usable(), self.asked.try_lock()) {
            return Ok(document);
        }
        self.renewed(fetch).await
    }

    /// The same, where what is kept lacks something: `fetch` is asked for another unless it was a moment ago.
    pub(crate) async fn renewed<E, F>(
        &self,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Missing<E>>
    where
        E: Display + Send + 'static,
        F: Future<Output = Result<(T, Duration), E>> + Send + 'static,
    {
        let missing = match self.newest(fetch).await {
            Ok(document) => return Ok(document),
            Err(missing) => missing,
        };
        let Some((document, _)) = self.usable() else {
            return Err(missing);
        };
        if let Missing::Failed(error) = missing {
            tracing::warn!(cause = %error, "the provider does not answer; what it said before is used");
        }
        Ok(document)
    }

    /// The same, for those who keep what it said themselves: that is no answer when the provider gives none now.
    pub(crate) async fn newest<E, F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<T>, Missing<E>>
    where
        E: Display + Send + 'static,
        F: Future<Output = Result<(T, Duration), E>> + Send + 'static,
    {
        let wanted_at = self.clock.now();
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if let Some(last) = *asked {
            let since = self.clock.now() - last;
            match self.usable() {
                Some((document, at)) if at >= wanted_at || at >= last && since < PAUSE => {
                    return Ok(document);
                }
                Some(_) if since < PAUSE => return Err(Missing::Pause),
                None if since < PAUSE_AFTER_FAILURE => return Err(Missing::Pause),
                Some(_) | None => {}
            }
        }
        *asked = Some(self.clock.now());
        // Nobody is left to wait for it while the process ends.
        let fetched = self.ask(asked, fetch()).await.ok_or(Missing::Pause)?;
        fetched.map_err(Missing::Failed)
    }

    /// Fetches in a task, and waits for it: a stranger who gives up, again and again, would else keep the provider from ever being asked to
    /// the end. `None`: the process ends.
    async fn ask<E: Send + 'static>(
        &self,
        mut asked: OwnedMutexGuard<Option<Instant>>,
        fetch: impl Future<Output = Result<(T, Duration), E>> + Send + 'static,
    ) -> Option<Result<Arc<T>, E>> {
        let (copy, clock, own) = (
            Arc::clone(&self.copy),
            self.clock.clone(),
            self.scope.child("fetch"),
        );
        let (answer, answered) = oneshot::channel();
        self.scope.spawn("document", async move {
            let fetched = tokio::select! {
                () = own.cancelled() => return,
                fetched = fetch => fetched,
            };
            // Once more, as a provider that is slow to fail is not asked again at once.
            *asked = Some(clock.now());
            let fetched = fetched.map(|(document, fresh_for)| {
                let document = Arc::new(document);
                copy.store(Some(Arc::new(Copy {
                    document: Arc::clone(&document),
                    at: clock.now(),
                    fresh_for: fresh_for.clamp(FRESH_RANGE.0, FRESH_RANGE.1),
                })));
                document
            });
            drop(asked);
            let _ = answer.send(fetched);
        });
        answered.await.ok()
    }

    /// What is kept, unless it is too old for anything, and since when.
    fn usable(&self) -> Option<(Arc<T>, Instant)> {
        let copy = self.copy.load_full()?;
        (self.age(&copy) < STALE_MAX).then(|| (Arc::clone(&copy.document), copy.at))
    }

    fn age(&self, copy: &Copy<T>) -> Duration {
        self.clock.now().saturating_duration_since(copy.at)
    }
}

/// How long an answer is fresh by its own word (RFC 9111, section 5.2.2.1); an hour if it says nothing.
pub(crate) fn fresh_for(fields: &HeaderMap) -> Duration {
    let said = fields
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|word| word.trim().strip_prefix("max-age=")?.parse().ok());
    said.map_or(FRESH_RANGE.1, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU32, Ordering},
        time::{Duration, SystemTime},
    };

    use http::HeaderValue;
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    /// What is kept, with a provider that counts.
    struct Bench {
        kept: Kept<u32>,
        provider: Arc<Provider>,
        scope: Scope,
    }

    struct Provider {
        asked: AtomicU32,
        answers: AtomicBool,
    }

    impl Bench {
        fn new() -> Self {
            let scope = Scope::root();
            Self {
                kept: Kept::new(Clock::starting_at(SystemTime::UNIX_EPOCH), &scope),
                provider: Arc::new(Provider {
                    asked: AtomicU32::new(0),
                    answers: AtomicBool::new(true),
                }),
                scope,
            }
        }

        /// A provider that takes so long to answer.
        fn fetch(
            &self,
            takes: Duration,
        ) -> impl Future<Output = Result<(u32, Duration), &'static str>> + Send + use<> {
            let provider = Arc::clone(&self.provider);
            async move {
                let asked = provider.asked.fetch_add(1, Ordering::Relaxed) + 1;
                sleep(takes).await;
                let answers = provider.answers.load(Ordering::Relaxed);
                answers.then_some((asked, FRESH_RANGE.0)).ok_or("away")
            }
        }

        async fn get(&self) -> Result<u32, Missing<&'static str>> {
            let got = self.kept.get(|| self.fetch(Duration::ZERO)).await;
            got.map(|document| *document)
        }

        async fn renewed(&self) -> Result<u32, Missing<&'static str>> {
            let got = self.kept.renewed(|| self.fetch(Duration::ZERO)).await;
            got.map(|document| *document)
        }

        fn answers(&self, answers: bool) {
            self.provider.answers.store(answers, Ordering::Relaxed);
        }

        fn asked(&self) -> u32 {
            self.provider.asked.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_fetched_once_and_again_when_it_is_old() {
        let bench = Bench::new();
        for _ in 0..100 {
            assert_eq!(bench.get().await, Ok(1));
        }
        advance(FRESH_RANGE.0).await;
        assert_eq!(bench.get().await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_lacks_something_is_fetched_anew_but_not_at_once() {
        let bench = Bench::new();
        assert_eq!(bench.get().await, Ok(1));
        for _ in 0..1_000 {
            assert_eq!(bench.renewed().await, Ok(1));
        }
        advance(PAUSE).await;
        for _ in 0..1_000 {
            assert_eq!(bench.renewed().await, Ok(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_away_is_believed_for_a_day() {
        let bench = Bench::new();
        assert_eq!(bench.get().await, Ok(1));
        bench.answers(false);
        advance(STALE_MAX - Duration::from_secs(60)).await;
        assert_eq!(bench.get().await, Ok(1));
        // Not asked again at once.
        assert_eq!((bench.get().await, bench.asked()), (Ok(1), 2));
        advance(Duration::from_secs(60)).await;
        assert_eq!(bench.get().await, Err(Missing::Failed("away")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_before_is_no_news() {
        let bench = Bench::new();
        let newest = async || {
            let got = bench.kept.newest(|| bench.fetch(Duration::ZERO)).await;
            got.map(|document| *document)
        };
        assert_eq!((newest().await, newest().await), (Ok(1), Ok(1)));
        bench.answers(false);
        advance(PAUSE).await;
        assert_eq!(newest().await, Err(Missing::Failed("away")));
        assert_eq!((newest().await, bench.asked()), (Err(Missing::Pause), 2));
        assert_eq!(bench.renewed().await, Ok(1), "it is still of use");
        bench.answers(true);
        advance(PAUSE).await;
        assert_eq!(newest().await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_never_answered_is_not_asked_by_everybody() {
        let bench = Bench::new();
        bench.answers(false);
        assert_eq!(bench.get().await, Err(Missing::Failed("away")));
        for _ in 0..100 {
            assert_eq!(bench.get().await, Err(Missing::Pause));
        }
        advance(PAUSE_AFTER_FAILURE).await;
        bench.answers(true);
        assert_eq!(bench.get().await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_is_got_though_whoever_wanted_it_gives_up() {
        let bench = Bench::new();
        assert_eq!(bench.get().await, Ok(1));
        advance(FRESH_RANGE.0).await;
        let slow = Duration::from_secs(2);
        let impatient = timeout(slow / 2, bench.kept.renewed(|| bench.fetch(slow))).await;
        assert!(impatient.is_err());
        sleep(slow).await;
        assert_eq!((bench.get().await, bench.asked()), (Ok(2), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_provider_while_the_process_ends() {
        let bench = Bench::new();
        let forever = Duration::MAX / 4;
        let wanted = bench.kept.get(|| bench.fetch(forever));
        let end = async {
            sleep(Duration::from_secs(1)).await;
            bench.scope.close(Duration::from_secs(1)).await
        };
        let (got, in_time) = tokio::join!(wanted, end);
        assert_eq!((got, in_time), (Err(Missing::Pause), true));
    }

    #[test]
    fn the_providers_word_on_how_long_counts() {
        for (said, want) in [
            (None, 3_600),
            (Some("public, max-age=600, must-revalidate"), 600),
            (Some("no-store"), 3_600),
            (Some("max-age=x"), 3_600),
        ] {
            let mut fields = HeaderMap::new();
            if let Some(said) = said {
                fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(said));
            }
            assert_eq!(fresh_for(&fields), Duration::from_secs(want), "{said:?}");
        }
    }
}
