//! What somebody looks for in the portal.

use model::app::App;

use super::TILES_MAX;

/// Longest text that is searched for, in characters; the rest is passed over.
const QUERY_CHARS_MAX: usize = 100;

/// What to show.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As typed, cut to [`QUERY_CHARS_MAX`].
    pub(super) query: String,
    /// Words in lower case that an app must all have.
    words: Vec<String>,
    /// From 1.
    pub(super) page: usize,
}

impl Wanted {
    /// What a query asks for. What makes no sense asks for everything.
    pub(super) fn read(query: Option<&str>) -> Self {
        let pairs = || form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let find = |name: &str| pairs().find_map(|(known, value)| (known == name).then_some(value));
        let query: String = find("q")
            .unwrap_or_default()
            .chars()
            .take(QUERY_CHARS_MAX)
            .collect();
        let page = find("page").and_then(|page| page.parse().ok());
        Self {
            words: query.split_whitespace().map(str::to_lowercase).collect(),
            query,
            page: page.unwrap_or(1).max(1),
        }
    }

    /// Whether the app is among what is looked for.
    pub(super) fn holds(&self, app: &App) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let host = app.entrance().map(|(host, _)| host.as_str());
        let texts = [
            app.name(),
            &app.tile.description,
            &app.tile.category,
            host.unwrap_or_default(),
        ];
        let text = texts.join("\n").to_lowercase();
        self.words.iter().all(|word| text.contains(word))
    }

    /// The page after this one, if `total` apps need another.
    pub(super) fn next(&self, total: usize) -> Option<usize> {
        let shown = self.page.checked_mul(TILES_MAX)?;
        (shown < total).then_some(self.page + 1)
    }
}

#[cfg(test)]
mod tests {
    use model::app::Access;

    use super::*;

    #[test]
    fn every_word_must_be_found_wherever() {
        let mut app = App::new(
            "wiki".parse().unwrap(),
            "office".parse().unwrap(),
            Access::Passthrough,
        );
        app.hosts = vec!["notes.example.com".parse().unwrap()];
        app.display_name = "Büro-Wiki".to_owned();
        app.tile.description = "Where we write things down".to_owned();
        app.tile.category = "Office".to_owned();
        for (query, want) in [
            ("", true),
            ("q=", true),
            ("q=B%C3%9CRO", true),
            ("q=wiki+WRITE", true),
            ("q=notes.example", true),
            ("q=wiki+sales", false),
            ("x=sales", true),
            ("q=%3Cscript%3E", false),
        ] {
            assert_eq!(Wanted::read(Some(query)).holds(&app), want, "{query}");
        }
    }

    #[test]
    fn pages_are_counted_from_one_and_queries_are_cut() {
        for (query, page) in [
            ("page=2", 2),
            ("page=0", 1),
            ("page=-1", 1),
            ("page=x", 1),
            ("", 1),
            ("page=18446744073709551615", usize::MAX),
        ] {
            assert_eq!(Wanted::read(Some(query)).page, page, "{query}");
        }
        let long = format!("q={}", "ä".repeat(1_000));
        assert_eq!(
            Wanted::read(Some(&long)).query.chars().count(),
            QUERY_CHARS_MAX
        );
        let first = Wanted::read(None);
        assert_eq!(first.next(TILES_MAX), None);
        assert_eq!(first.next(TILES_MAX + 1), Some(2));
        assert_eq!(
            Wanted::read(Some("page=18446744073709551615")).next(1),
            None
        );
    }
}
