//! A document of a provider's that is fetched when it is needed and then kept for a while.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header};
use runtime::Clock;
use tokio::{sync::Mutex, time::Instant};

/// A provider is not asked again for the same within this time, whatever tokens say and whoever comes: the bound on what strangers can
/// make an edge ask.
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
pub(super) struct Kept<T> {
    copy: ArcSwapOption<Copy<T>>,
    /// When the provider was last asked. Held while it is: others wait, and find what came of it.
    asked: Mutex<Option<Instant>>,
    clock: Clock,
}

/// Why there is no document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing<E> {
    /// It was asked for now.
    Failed(E),
    /// It was asked for a moment ago, in vain.
    Pause,
}

impl<T> Kept<T> {
    /// Nothing yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            copy: ArcSwapOption::empty(),
            asked: Mutex::new(None),
            clock,
        }
    }

    /// The document: what is kept, if that is fresh, or else what `fetch` brings, with how long it is fresh. When that fails, what is kept.
    pub(super) async fn get<E: std::fmt::Display>(
        &self,
        fetch: impl AsyncFnOnce() -> Result<(T, Duration), E>,
    ) -> Result<Arc<T>, Missing<E>> {
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
    pub(super) async fn renewed<E: std::fmt::Display>(
        &self,
        fetch: impl AsyncFnOnce() -> Result<(T, Duration), E>,
    ) -> Result<Arc<T>, Missing<E>> {
        let wanted_at = self.clock.now();
        let mut asked = self.asked.lock().await;
        let usable = self.usable();
        if let (Some((document, at)), Some(last)) = (&usable, *asked)
            && (*at >= wanted_at || self.clock.now() - last < PAUSE)
        {
            return Ok(Arc::clone(document));
        }
        if let (None, Some(last)) = (&usable, *asked)
            && self.clock.now() - last < PAUSE_AFTER_FAILURE
        {
            return Err(Missing::Pause);
        }
        // Before, as whoever asks may give up; and after, as a provider that is slow to fail is not asked again at once.
        *asked = Some(self.clock.now());
        let fetched = fetch().await;
        *asked = Some(self.clock.now());
        match fetched {
            Ok((document, fresh_for)) => {
                let document = Arc::new(document);
                self.copy.store(Some(Arc::new(Copy {
                    document: Arc::clone(&document),
                    at: self.clock.now(),
                    fresh_for: fresh_for.clamp(FRESH_RANGE.0, FRESH_RANGE.1),
                })));
                Ok(document)
            }
            Err(error) => match usable {
                Some((document, _)) => {
                    tracing::warn!(cause = %error, "the provider does not answer; what it said before is used");
                    Ok(document)
                }
                None => Err(Missing::Failed(error)),
            },
        }
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
pub(super) fn fresh_for(fields: &HeaderMap) -> Duration {
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
        cell::Cell,
        time::{Duration, SystemTime},
    };

    use http::HeaderValue;
    use tokio::time::advance;

    use super::*;

    /// What is kept, with a provider that counts.
    struct Bench {
        kept: Kept<u32>,
        asked: Cell<u32>,
        answers: Cell<bool>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                kept: Kept::new(Clock::starting_at(SystemTime::UNIX_EPOCH)),
                asked: Cell::new(0),
                answers: Cell::new(true),
            }
        }

        fn fetch(&self) -> Result<(u32, Duration), &'static str> {
            self.asked.set(self.asked.get() + 1);
            let answer = (self.asked.get(), FRESH_RANGE.0);
            self.answers.get().then_some(answer).ok_or("away")
        }

        async fn get(&self) -> Result<u32, Missing<&'static str>> {
            let got = self.kept.get(async || self.fetch()).await;
            got.map(|document| *document)
        }

        async fn renewed(&self) -> Result<u32, Missing<&'static str>> {
            let got = self.kept.renewed(async || self.fetch()).await;
            got.map(|document| *document)
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
        bench.answers.set(false);
        advance(STALE_MAX - Duration::from_secs(60)).await;
        assert_eq!(bench.get().await, Ok(1));
        // Not asked again at once.
        assert_eq!((bench.get().await, bench.asked.get()), (Ok(1), 2));
        advance(Duration::from_secs(60)).await;
        assert_eq!(bench.get().await, Err(Missing::Failed("away")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_never_answered_is_not_asked_by_everybody() {
        let bench = Bench::new();
        bench.answers.set(false);
        assert_eq!(bench.get().await, Err(Missing::Failed("away")));
        for _ in 0..100 {
            assert_eq!(bench.get().await, Err(Missing::Pause));
        }
        advance(PAUSE_AFTER_FAILURE).await;
        bench.answers.set(true);
        assert_eq!(bench.get().await, Ok(2));
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
