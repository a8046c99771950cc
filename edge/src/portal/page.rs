//! The portal as people see it. It is whole without scripts; with them, typing filters what is there.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};
use model::user::User;

use super::{Shelf, TILES_MAX, Tile, Wanted};
use crate::{
    id::RequestId,
    page::{Page, escape},
};

/// Colours of letters, as the style of pages has them.
const HUES: u32 = 12;

/// Hides what does not have every word that is typed, and headings without anything below. Where not all apps are on the page, the form
/// asks the edge.
const FILTER: &str = "\
const f=document.querySelector('.find'),n=document.querySelector('#found');\
if(f&&f.dataset.whole){const q=f.q,go=()=>{const words=q.value.toLowerCase().split(/\\s+/).filter(Boolean);let count=0;\
for(const s of document.querySelectorAll('section')){let any=0;for(const t of s.querySelectorAll('li')){\
const text=t.dataset.find.toLowerCase(),on=words.every(w=>text.includes(w));t.hidden=!on;any+=on}\
s.hidden=!any;count+=any}\
n.textContent=words.length?count===1?'1 app found':count+' apps found':''};\
q.addEventListener('input',go);f.addEventListener('submit',e=>{e.preventDefault();go()})}";

/// What the page says.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) shelf: &'a Shelf<'a>,
    pub(super) wanted: &'a Wanted,
    pub(super) user: &'a User,
    /// The sign-in host as in a URL.
    pub(super) sign_in: String,
}

impl Written<'_> {
    pub(super) fn respond(&self, nonce: RequestId) -> Response<Bytes> {
        let (form, found) = (self.form(), self.found());
        let (tiles, pages) = (self.tiles(), self.pages());
        let main = format!("<h1>Your apps</h1>\n{form}{found}{tiles}{pages}");
        let page = Page {
            title: "Your apps",
            nonce,
            main: &main,
            script: FILTER,
            form_action: "'self'",
        };
        page.respond_wide(StatusCode::OK, &self.bar())
    }

    /// Who is here, and what they can do about it.
    fn bar(&self) -> String {
        let (name, id) = (escape(self.user.name()), escape(self.user.id.as_str()));
        let who = if name == id {
            format!("<b dir=\"auto\">{name}</b>")
        } else {
            format!("<span><b dir=\"auto\">{name}</b> ({id})</span>")
        };
        let at = escape(&self.sign_in);
        format!(
            r#"<nav class="who" aria-label="Account">
{who}
<a href="https://{at}/change-password">Change password</a>
<a href="https://{at}/sign-out">Sign out</a>
</nav>
"#
        )
    }

    /// Nothing to look through needs no search.
    fn form(&self) -> String {
        if !self.shelf.has_any {
            return String::new();
        }
        let is_whole = self.wanted.query.is_empty() && self.shelf.total <= TILES_MAX;
        let whole = if is_whole { " data-whole=\"yes\"" } else { "" };
        let query = escape(&self.wanted.query);
        format!(
            r#"<form class="find" role="search" method="get" action="/"{whole}>
<label class="unseen" for="q">Search apps</label>
<input id="q" name="q" type="search" value="{query}" placeholder="Search apps" maxlength="100" autocomplete="off" spellcheck="false">
<button>Search</button>
</form>
"#
        )
    }

    /// How many there are, once somebody has searched; scripts write it too.
    fn found(&self) -> String {
        if !self.shelf.has_any {
            return "<p>There is no app here for you yet. If you miss one, ask its owner to assign you to it.</p>\n"
                .to_owned();
        }
        let said = match (&*self.wanted.query, self.shelf.total) {
            ("", _) => String::new(),
            (_, 1) => "1 app found".to_owned(),
            (_, total) => format!("{total} apps found"),
        };
        let all = match &*self.wanted.query {
            "" => "",
            _ => "<p><a href=\"/\">Show all apps</a></p>\n",
        };
        format!("<p id=\"found\" role=\"status\">{said}</p>\n{all}")
    }

    /// One part for each category, in the order that the apps are in.
    fn tiles(&self) -> String {
        let mut html = String::new();
        let groups = self
            .shelf
            .tiles
            .chunk_by(|one, next| one.category == next.category);
        for (number, group) in groups.enumerate() {
            let category = group.first().map(|tile| tile.category).unwrap_or_default();
            // Where none has a category, a heading would say nothing.
            let heading = match category {
                "" if number == 0 => "Apps",
                "" => "Other apps",
                category => category,
            };
            let unseen = if category.is_empty() && number == 0 {
                " class=\"unseen\""
            } else {
                ""
            };
            let heading = escape(heading);
            // Writing to a String cannot fail.
            let _ = write!(
                html,
                "<section aria-labelledby=\"part{number}\">\n<h2 id=\"part{number}\" dir=\"auto\"{unseen}>{heading}</h2>\n<ul class=\"tiles\">\n"
            );
            html.extend(group.iter().map(tile));
            html.push_str("</ul>\n</section>\n");
        }
        html
    }

    /// Ways to the pages before and after, if there are any.
    fn pages(&self) -> String {
        let Wanted { query, page, .. } = self.wanted;
        let link = |page: usize, word: &str| {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("q", query)
                .append_pair("page", &page.to_string())
                .finish();
            format!("<a href=\"/?{}\">{word}</a>\n", escape(&query))
        };
        let before = (*page > 1).then(|| link(page - 1, "Previous page"));
        let after = self
            .wanted
            .next(self.shelf.total)
            .map(|page| link(page, "Next page"));
        match (before, after) {
            (None, None) => String::new(),
            (before, after) => format!(
                "<nav class=\"who\" aria-label=\"Pages\">\n{}{}</nav>\n",
                before.unwrap_or_default(),
                after.unwrap_or_default()
            ),
        }
    }
}

fn tile(tile: &Tile<'_>) -> String {
    let [name, description, category, url] =
        [tile.name, tile.description, tile.category, &tile.url].map(escape);
    let icon = match &tile.icon {
        // The name says what it is.
        Some(icon) => format!(
            "<img class=\"icon\" src=\"{}\" alt=\"\" width=\"40\" height=\"40\" loading=\"lazy\">",
            escape(icon)
        ),
        None => letter(tile),
    };
    let small = match &*description {
        "" => String::new(),
        description => format!("<small dir=\"auto\">{description}</small>"),
    };
    let own = match &tile.sign_in {
        Some(at) => format!("<a class=\"own\" href=\"{}\">Your sign-in</a>", escape(at)),
        None => String::new(),
    };
    format!(
        "<li data-find=\"{name} {description} {category} {url}\"><a href=\"{url}\">{icon}<span class=\"text\"><b dir=\"auto\">{name}</b>{small}</span></a>{own}</li>\n"
    )
}

/// Stands for an icon: the name's first letter, in a colour that stays the app's.
fn letter(tile: &Tile<'_>) -> String {
    let letter: String = match tile.name.chars().next() {
        Some(first) => first.to_uppercase().collect(),
        None => String::new(),
    };
    let sum = |sum: u32, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
    let hue = tile.app.bytes().fold(0, sum) % HUES;
    let letter = escape(&letter);
    format!("<span class=\"icon letter hue{hue}\" aria-hidden=\"true\">{letter}</span>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app<'a>(name: &'a str, category: &'a str) -> Tile<'a> {
        Tile {
            app: "wiki",
            name,
            description: "",
            category,
            url: "https://wiki.example.com/".to_owned(),
            icon: None,
            sign_in: None,
        }
    }

    fn html(shelf: &Shelf<'_>, query: Option<&str>) -> String {
        let written = Written {
            shelf,
            wanted: &Wanted::read(query),
            user: &User::new("alice".parse().unwrap()),
            sign_in: "auth.example.com:8443".to_owned(),
        };
        let response = written.respond(RequestId::random());
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    fn shelf(tiles: Vec<Tile<'_>>) -> Shelf<'_> {
        Shelf {
            total: tiles.len(),
            has_any: !tiles.is_empty(),
            tiles,
        }
    }

    #[test]
    fn what_operators_write_is_text_and_nothing_else() {
        let mut evil = app("<script>alert(1)</script>", "\"><img src=x>");
        evil.description = "' onmouseover='x";
        evil.url = "https://wiki.example.com/?a=\"b\"&c".to_owned();
        let page = html(&shelf(vec![evil]), None);
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(!page.contains("<img src=x>"), "{page}");
        assert!(!page.contains("' onmouseover"), "{page}");
        assert!(
            page.contains("href=\"https://wiki.example.com/?a=&quot;b&quot;&amp;c\""),
            "{page}"
        );
        let page = html(&shelf(vec![app("Wiki", "")]), Some("q=%22%3E%3Cb%3E"));
        assert!(page.contains("value=\"&quot;&gt;&lt;b&gt;\""), "{page}");
    }

    #[test]
    fn categories_are_headings_and_one_without_is_not_seen() {
        let page = html(
            &shelf(vec![app("A", "Sales"), app("B", "Sales"), app("C", "")]),
            None,
        );
        let headings: Vec<_> = page.match_indices("<h2").collect();
        assert_eq!(headings.len(), 2, "{page}");
        assert!(
            page.contains(">Sales</h2>") && page.contains(">Other apps</h2>"),
            "{page}"
        );
        let page = html(&shelf(vec![app("C", "")]), None);
        assert!(page.contains("class=\"unseen\">Apps</h2>"), "{page}");
    }

    #[test]
    fn nobody_is_left_before_an_empty_page() {
        let page = html(&shelf(Vec::new()), None);
        assert!(page.contains("no app here for you yet"), "{page}");
        assert!(!page.contains("role=\"search\""), "{page}");
        assert!(
            page.contains("https://auth.example.com:8443/sign-out"),
            "{page}"
        );
        let none_found = Shelf {
            has_any: true,
            ..shelf(Vec::new())
        };
        let page = html(&none_found, Some("q=x"));
        assert!(
            page.contains("0 apps found") && page.contains("Show all apps"),
            "{page}"
        );
    }

    #[test]
    fn letters_stand_for_icons_and_keep_their_colour() {
        for (name, want) in [
            ("wiki", "W"),
            ("élan", "É"),
            ("📚 Books", "📚"),
            ("ß", "SS"),
            ("<", "&lt;"),
        ] {
            let one = letter(&app(name, ""));
            assert!(one.contains(&format!(">{want}</span>")), "{one}");
            assert_eq!(one, letter(&app(name, "")));
        }
    }

    #[test]
    fn more_than_a_page_has_ways_on_and_asks_the_edge_to_search() {
        let many = Shelf {
            total: TILES_MAX * 2 + 1,
            ..shelf(vec![app("Wiki", "")])
        };
        let page = html(&many, Some("q=w&page=2"));
        assert!(
            page.contains("href=\"/?q=w&amp;page=1\">Previous page"),
            "{page}"
        );
        assert!(
            page.contains("href=\"/?q=w&amp;page=3\">Next page"),
            "{page}"
        );
        assert!(!page.contains("data-whole=\""), "{page}");
    }
}
