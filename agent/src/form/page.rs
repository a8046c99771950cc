//! The page with an app's form: what a browser would send of it besides what the user types.

use std::{cell::RefCell, rc::Rc};

use lol_html::{HtmlRewriter, MemorySettings, Settings, element, end_tag, html_content::Element};
use model::app::FormSso;
use zeroize::Zeroizing;

/// What the parser may hold of the page.
const PARSER_BYTES_MAX: usize = 256 * 1024;
/// Forms of one page, and fields of one form, that are looked at.
const FORMS_MAX: usize = 32;
const FIELDS_MAX: usize = 128;
/// Bytes of a name or a value: tokens have some hundreds.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// A form of a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Where it leads, as it is written; empty: to the page.
    pub(super) action: String,
    /// What the page says that its references are relative to; empty: nothing.
    pub(super) base: String,
    fields: Vec<(String, String)>,
    has_button: bool,
    /// Its end was there: of a page that was cut off, half a form may be left, without what it must have.
    is_whole: bool,
}

impl Form {
    /// The form of a page that asks for the password, if it is there to its end.
    pub(super) fn find(page: &[u8], sso: &FormSso) -> Option<Self> {
        let forms = read(page);
        let form = forms.into_iter().find(|form| {
            let mut names = form.fields.iter().map(|(name, _)| name);
            names.any(|name| *name == sso.password_field)
        });
        form.filter(|form| form.is_whole)
    }

    /// What is sent, as `application/x-www-form-urlencoded`.
    pub(super) fn filled(
        &self,
        sso: &FormSso,
        (user, password): (&str, &str),
    ) -> Zeroizing<String> {
        let own = [
            (sso.user_field.as_str(), user),
            (sso.password_field.as_str(), password),
        ];
        let said = sso.fields.iter();
        let said = said.map(|(name, value)| (name.as_str(), value.as_str()));
        let own: Vec<_> = own.into_iter().chain(said).collect();
        let is_own = |name: &str| own.iter().any(|(known, _)| *known == name);
        let hidden = self.fields.iter().filter(|(name, _)| !is_own(name));
        let hidden = hidden.map(|(name, value)| (name.as_str(), value.as_str()));
        // Of a length that is not reached: what grows leaves copies behind.
        let mut serializer = form_urlencoded::Serializer::new(String::with_capacity(16 * 1024));
        serializer.extend_pairs(hidden.chain(own.iter().copied()));
        Zeroizing::new(serializer.finish())
    }
}

/// What was read of a page.
#[derive(Default)]
struct Forms {
    found: Vec<Form>,
    base: Option<String>,
    /// The last one has not ended.
    is_open: bool,
}

impl Forms {
    /// A form in a form is none, as for browsers. Behind too many, nothing more is read.
    fn begin(&mut self, tag: &Element<'_, '_>) -> Result<(), TooManyForms> {
        if self.is_open {
            return Ok(());
        }
        if self.found.len() == FORMS_MAX {
            return Err(TooManyForms);
        }
        self.is_open = true;
        self.found.push(Form {
            action: attribute(tag, "action"),
            base: self.base.clone().unwrap_or_default(),
            ..Form::default()
        });
        Ok(())
    }

    fn open(&mut self) -> Option<&mut Form> {
        self.found.last_mut().filter(|_| self.is_open)
    }

    fn end(&mut self) {
        if let Some(form) = self.open() {
            form.is_whole = true;
        }
        self.is_open = false;
    }
}

/// A page has more forms than [`FORMS_MAX`].
#[derive(Debug, thiserror::Error)]
#[error("more than {FORMS_MAX} forms")]
struct TooManyForms;

/// The forms of a page, in order. Of a page that cannot be read to its end, those before.
fn read(page: &[u8]) -> Vec<Form> {
    let forms = Rc::new(RefCell::new(Forms::default()));
    let (bases, begun, inputs) = (Rc::clone(&forms), Rc::clone(&forms), Rc::clone(&forms));
    let memory = MemorySettings::new().with_max_allowed_memory_usage(PARSER_BYTES_MAX);
    let settings = Settings::new()
        .with_memory_settings(memory)
        .with_strict(false)
        .append_element_content_handler(element!("base[href]", move |tag| {
            // The first one counts.
            let base = &mut bases.borrow_mut().base;
            base.get_or_insert_with(|| attribute(tag, "href"));
            Ok(())
        }))
        .append_element_content_handler(element!("form", move |tag| {
            let ended = Rc::clone(&begun);
            // Within drawings a tag can be closed at once, and is no form.
            if let Some(ends) = tag.end_tag_handlers() {
                ends.push(end_tag!(move |_| {
                    ended.borrow_mut().end();
                    Ok(())
                }));
                begun.borrow_mut().begin(tag)?;
            }
            Ok(())
        }))
        .append_element_content_handler(element!("form input, form button", move |tag| {
            if let Some(form) = inputs.borrow_mut().open() {
                form.take_in(tag);
            }
            Ok(())
        }));
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    if rewriter.write(page).is_ok() {
        // What it ends in is no form any more.
        let _ = rewriter.end();
    }
    forms.take().found
}

impl Form {
    /// What browsers send (WHATWG HTML, section 4.10.22.4), as if the user had pressed Enter: the first button counts.
    fn take_in(&mut self, tag: &Element<'_, '_>) {
        let kind = attribute(tag, "type").to_ascii_lowercase();
        let is_button = tag.tag_name() == "button";
        let counts = match kind.as_str() {
            "image" | "reset" | "button" | "file" => false,
            "checkbox" | "radio" => tag.has_attribute("checked"),
            "submit" => !std::mem::replace(&mut self.has_button, true),
            _ if is_button => !std::mem::replace(&mut self.has_button, true),
            _ => true,
        };
        let name = attribute(tag, "name");
        let is_empty = name.is_empty() || tag.has_attribute("disabled");
        if !counts || is_empty || self.fields.len() == FIELDS_MAX {
            return;
        }
        let value = match (tag.get_attribute("value"), &*kind) {
            (None, "checkbox" | "radio") => "on".to_owned(),
            _ => attribute(tag, "value"),
        };
        self.fields.push((name, value));
    }
}

fn attribute(tag: &Element<'_, '_>, name: &str) -> String {
    let value = tag.get_attribute(name).unwrap_or_default();
    if value.len() > TEXT_BYTES_MAX {
        return String::new();
    }
    unescaped(&value)
}

/// References to characters that occur in values which servers write: the five that must be escaped, and numbers.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let reference = after
            .split_once(';')
            .and_then(|(name, behind)| Some((character(name)?, behind)));
        match reference {
            Some((character, behind)) => {
                plain.push(character);
                rest = behind;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

#[cfg(test)]
mod tests {
    use model::app::CredentialOf;
    use proptest::prelude::*;

    use super::*;

    fn sso() -> FormSso {
        FormSso {
            credential: CredentialOf::User,
            page: "/login".to_owned(),
            action: None,
            user_field: "username".to_owned(),
            password_field: "password".to_owned(),
            fields: vec![("next".to_owned(), "/home".to_owned())],
            success: Default::default(),
            expired: Default::default(),
            user_cookies: Vec::new(),
        }
    }

    const PAGE: &str = r#"<!doctype html><html><body>
<form action="/search"><input name="q"><input type="submit" name="go" value="1"></form>
<form id="login-form" method="post" action="/login/?a=1&amp;next=%2F">
<input type="hidden" name="csrf" value="a&quot;b&#x3D;c&#61;&unknown;">
<input type=text name=username value="old"><INPUT TYPE=PASSWORD NAME=password>
<input type="checkbox" name="stay" checked><input type="checkbox" name="no">
<input type="hidden" name="next" value="/evil"><input name="off" disabled value="x">
<input type="file" name="file"><input type="submit" name="login" value="Log in">
<button name="other" value="2">Other</button><input value="nameless">
</form><input name="outside" value="1"></body></html>"#;

    #[test]
    fn the_form_with_the_password_is_sent_as_a_browser_would() {
        let form = Form::find(PAGE.as_bytes(), &sso()).expect("there is one");
        assert_eq!(form.action, "/login/?a=1&next=%2F");
        let sent = form.filled(&sso(), ("alice", "p&ss wörd="));
        assert_eq!(
            sent.as_str(),
            "csrf=a%22b%3Dc%3D%26unknown%3B&stay=on&login=Log+in&username=alice&password=p%26ss+w%C3%B6rd%3D&next=%2Fhome"
        );
    }

    #[test]
    fn a_page_without_it_has_no_form() {
        for page in [
            "",
            "<form><input name=q></form>",
            "<input name=password>",
            "<form",
            "\u{0}\u{fffd}<form><input name=passwor",
            "<form><input name=password>",
            "<form><input name=password></form",
        ] {
            assert_eq!(Form::find(page.as_bytes(), &sso()), None, "{page}");
        }
    }

    #[test]
    fn a_field_is_of_the_form_that_it_is_in() {
        for (page, want) in [
            // As for browsers, a form in a form is none, and its end is the outer one's.
            (
                "<form action=a><form action=b><input name=password></form><input name=late></form>",
                ("a", "username=u&password=p&next=%2Fhome"),
            ),
            (
                "<form action=a><input name=q></form><input name=q><form action=b><input name=password></form>",
                ("b", "username=u&password=p&next=%2Fhome"),
            ),
            (
                "<div><form action=a><input name=t value=1><input name=password></div>",
                ("a", "t=1&username=u&password=p&next=%2Fhome"),
            ),
        ] {
            let form = Form::find(page.as_bytes(), &sso()).expect("there is one");
            let sent = form.filled(&sso(), ("u", "p"));
            assert_eq!((form.action.as_str(), sent.as_str()), want, "{page}");
        }
    }

    #[test]
    fn a_page_can_take_no_more_than_its_share() {
        let mut page = "<form></form>".repeat(FORMS_MAX - 1);
        page.push_str("<form>");
        for number in 0..FIELDS_MAX + 5 {
            page.push_str(&format!("<input name=f{number}>"));
        }
        page.push_str("</form><form><input name=password></form>");
        let forms = read(page.as_bytes());
        assert_eq!(forms.len(), FORMS_MAX);
        assert_eq!(forms[FORMS_MAX - 1].fields.len(), FIELDS_MAX);
        assert_eq!(Form::find(page.as_bytes(), &sso()), None);
        let long = format!(
            "<form><input name=a value={}>",
            "x".repeat(TEXT_BYTES_MAX + 1)
        );
        assert_eq!(read(long.as_bytes())[0].fields[0].1, "");
    }

    #[test]
    fn a_page_that_was_cut_off_has_the_whole_form_or_none() {
        let whole = Form::find(PAGE.as_bytes(), &sso());
        let mut found = 0;
        for end in 0..PAGE.len() {
            let cut = Form::find(&PAGE.as_bytes()[..end], &sso());
            assert!(cut.is_none() || cut == whole, "{}", &PAGE[..end]);
            found += usize::from(cut.is_some());
        }
        assert!(found > 0);
    }

    /// Pieces of pages, so that more than the first tag of a random page is read.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("<form>".to_owned()),
            Just("</form>".to_owned()),
            Just("<form action=\"".to_owned()),
            Just("<input type=hidden name=".to_owned()),
            Just("<input name=password>".to_owned()),
            Just(" value=\"&#x1F600;&amp;".to_owned()),
            Just("\">".to_owned()),
            Just("<button>".to_owned()),
            Just("<div>".to_owned()),
            Just("</div>".to_owned()),
            Just("<!--".to_owned()),
            Just("-->".to_owned()),
            Just("<script>".to_owned()),
            Just("</script>".to_owned()),
            Just("<table>".to_owned()),
            Just("<textarea>".to_owned()),
            Just("</textarea>".to_owned()),
            ".{0,8}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_page_cannot_choose_what_is_typed_nor_grow(page in pieces(), end in 0_usize..400) {
            let page = page.as_bytes();
            let whole = Form::find(page, &sso());
            let cut = Form::find(&page[..end.min(page.len())], &sso());
            prop_assert!(cut.is_none() || cut == whole);
            let Some(form) = whole else {
                return Ok(());
            };
            let texts = form.fields.iter().flat_map(|(name, value)| [name, value]);
            let bytes: usize = texts.chain([&form.action]).map(String::len).sum();
            // A byte that is no UTF-8 becomes three.
            prop_assert!(bytes <= 3 * page.len());
            let sent = form.filled(&sso(), ("alice", "secret"));
            let pairs: Vec<_> = form_urlencoded::parse(sent.as_bytes()).collect();
            let typed = |name| pairs.iter().filter(move |pair| pair.0 == name).map(|pair| &*pair.1);
            prop_assert_eq!(typed("username").collect::<Vec<_>>(), ["alice"]);
            prop_assert_eq!(typed("password").collect::<Vec<_>>(), ["secret"]);
        }
    }
}
