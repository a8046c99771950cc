//! HTML, piece by piece: URLs in attributes, styles, and, where that is asked for, scripts.
//!
//! The parser is given every page as windows-1252, whatever its encoding: that gives each byte a character and each of these
//! its byte back, so no byte that is not part of a translated URL can change. Markup is ASCII in every encoding that is let in.

use std::{cell::RefCell, collections::HashSet, fmt, rc::Rc, sync::Arc};

use encoding_rs::WINDOWS_1252;
use lol_html::{
    AsciiCompatibleEncoding, HtmlRewriter, MemorySettings, Settings, bail_out, element, end,
    html_content::{ContentType, Element, TextChunk},
    text,
};
use model::translate::Site;

use super::{
    Scope,
    attribute::{self, Meaning},
    literal::Literals,
    style::Style,
};

/// What the parser may hold of one page: a tag with the longest attribute, usually an image in a `data:` URL. A page that
/// needs more passes as it is from there on.
const PARSER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Attributes of one tag that are looked at; the rest stay. Pages have tens at most, and each change goes through those before it.
const ATTRIBUTES_MAX: usize = 1024;

/// A page.
pub(super) struct Html {
    /// `None` once the parser gave up.
    rewriter: Option<HtmlRewriter<'static, Sink>>,
    out: Rc<RefCell<Vec<u8>>>,
}

type Sink = Box<dyn FnMut(&[u8])>;

impl fmt::Debug for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Html")
            .field("translates", &self.rewriter.is_some())
            .finish_non_exhaustive()
    }
}

/// What stands between tags, if it is a style or a script.
#[derive(Debug)]
enum Content {
    Style(Style),
    Literals(Literals),
}

impl Content {
    fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Style(style) => style.write(piece, out),
            Self::Literals(literals) => literals.write(piece, out),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Style(style) => style.end(out),
            Self::Literals(literals) => literals.end(out),
        }
    }
}

/// What the parser's handlers share.
#[derive(Debug)]
struct Page {
    site: Arc<Site>,
    scope: Scope,
    /// Of the style or script that is open.
    content: Option<Content>,
}

impl Html {
    pub(super) fn new(site: Arc<Site>, scope: Scope) -> Self {
        let out = Rc::<RefCell<Vec<u8>>>::default();
        let written = Rc::clone(&out);
        let sink: Sink = Box::new(move |piece| written.borrow_mut().extend_from_slice(piece));
        let page = Page {
            site,
            scope,
            content: None,
        };
        Self {
            rewriter: Some(HtmlRewriter::new(settings(page), sink)),
            out,
        }
    }

    /// Takes a piece and gives what is decided.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(rewriter) = &mut self.rewriter else {
            out.extend_from_slice(piece);
            return;
        };
        // The parser has given whatever it held, so the page stays whole.
        if let Err(error) = rewriter.write(piece) {
            tracing::debug!(%error, "the rest of a page is not translated");
            self.rewriter = None;
        }
        out.append(&mut self.out.borrow_mut());
    }

    /// Gives what was held back.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(Err(error)) = self.rewriter.take().map(HtmlRewriter::end) {
            tracing::debug!(%error, "the end of a page is not translated");
        }
        out.append(&mut self.out.borrow_mut());
    }
}

fn settings(page: Page) -> Settings<'static, 'static> {
    let scope = page.scope;
    let page = Rc::new(RefCell::new(page));
    let (tags, styles, scripts, ending, failing) = (
        Rc::clone(&page),
        Rc::clone(&page),
        Rc::clone(&page),
        Rc::clone(&page),
        page,
    );
    let memory = MemorySettings::new()
        .with_max_allowed_memory_usage(PARSER_BYTES_MAX)
        .with_graceful_bail_out_on_memory_limit_exceeded(true);
    let mut settings = Settings::new()
        .with_memory_settings(memory)
        .with_graceful_bail_out_on_content_handler_error(true)
        // A page that browsers may read in two ways is read in one of them, instead of not at all.
        .with_strict(false)
        .append_element_content_handler(element!("*", move |tag| {
            tags.borrow_mut().open(tag);
            Ok(())
        }))
        .append_element_content_handler(text!("style", move |chunk| {
            styles.borrow_mut().translate(chunk);
            Ok(())
        }))
        .append_document_content_handler(end!(move |document| {
            if let Some(held) = ending.borrow_mut().held() {
                document.append(&held, ContentType::Html);
            }
            Ok(())
        }))
        .append_bail_out_handler(bail_out!(move |_error, rest| {
            if let Some(held) = failing.borrow_mut().held() {
                rest.append(&held, ContentType::Html);
            }
        }));
    if scope.json || scope.scripts {
        settings = settings.append_element_content_handler(text!("script", move |chunk| {
            scripts.borrow_mut().translate(chunk);
            Ok(())
        }));
    }
    match AsciiCompatibleEncoding::new(WINDOWS_1252) {
        Some(encoding) => settings.with_encoding(encoding),
        None => settings,
    }
}

impl Page {
    fn open(&mut self, tag: &mut Element<'_, '_>) {
        let name = tag.tag_name();
        match name.as_str() {
            "style" => self.content = Some(Content::Style(Style::new(Arc::clone(&self.site)))),
            "script" => self.content = self.script(tag.get_attribute("type")),
            _ => {}
        }
        let (mut changes, mut seen) = (Vec::new(), HashSet::new());
        for attribute in tag.attributes().iter().take(ATTRIBUTES_MAX) {
            let key = attribute.name();
            let Some(meaning) = Meaning::of(&name, &key, self.scope) else {
                continue;
            };
            // Of several with one name browsers read the first.
            if !seen.insert(key.clone()) {
                continue;
            }
            let meaning = match meaning {
                Meaning::Meta => attribute::meta(tag.get_attribute("http-equiv").as_deref()),
                other => other,
            };
            if let Some(value) = meaning.translated(&self.site, &attribute.value()) {
                changes.push((key, value));
            }
        }
        for (key, value) in changes {
            // The name is one that the tag has.
            let _ = tag.set_attribute(&key, &value);
        }
    }

    /// What a script of this type is, if it is translated.
    fn script(&self, kind: Option<String>) -> Option<Content> {
        let kind = kind.unwrap_or_default().trim().to_ascii_lowercase();
        let site = || Arc::clone(&self.site);
        match kind.as_str() {
            "importmap" | "speculationrules" if self.scope.json => {
                Some(Content::Literals(Literals::json(site())))
            }
            kind if kind.ends_with("json") => self
                .scope
                .json
                .then(|| Content::Literals(Literals::json(site()))),
            "" | "module" if self.scope.scripts => {
                Some(Content::Literals(Literals::script(site())))
            }
            kind if kind.ends_with("script") && self.scope.scripts => {
                Some(Content::Literals(Literals::script(site())))
            }
            _ => None,
        }
    }

    fn translate(&mut self, chunk: &mut TextChunk<'_>) {
        let Some(content) = &mut self.content else {
            return;
        };
        let mut translated = Vec::with_capacity(chunk.as_str().len());
        content.write(chunk.as_str().as_bytes(), &mut translated);
        if chunk.last_in_text_node() {
            content.end(&mut translated);
        }
        if translated != chunk.as_str().as_bytes() {
            chunk.set_str(text_of(translated));
        }
    }

    /// What an open style or script holds back.
    fn held(&mut self) -> Option<String> {
        let mut held = Vec::new();
        self.content.as_mut()?.end(&mut held);
        (!held.is_empty()).then(|| text_of(held))
    }
}

/// Only ASCII is put in and taken out between characters, so this is text as long as what came was.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
