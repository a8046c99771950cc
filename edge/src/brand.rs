//! Whose fabric it is, as the edge's pages show it.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::{
    brand::{Brand, Color},
    image::{IMAGE_BYTES_MAX, ImageId, ImageKind},
};

use crate::{
    digest::{hex, sha256},
    page::escape,
};

/// Where logos are found, at every host, so that pages need load nothing from elsewhere.
pub(crate) const LOGO: &str = "/.adit/logo";
/// The same for dark pages.
pub(crate) const LOGO_DARK: &str = "/.adit/logo-dark";

/// What writing is on, on light pages and on dark ones: `--paper` and `--card` of the style.
const PAPERS: [[Color; 2]; 2] = [
    [Color::new([0xf6, 0xf7, 0xf9]), Color::WHITE],
    [
        Color::new([0x11, 0x14, 0x18]),
        Color::new([0x1b, 0x1f, 0x25]),
    ],
];
/// Bytes of a picture's digest that tell its versions apart.
const TAG_BYTES: usize = 8;
/// A picture whose address names its version stays as it is: a day.
const PICTURE_CACHE: &str = "max-age=86400";

/// What is put around every page, as HTML.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Of the organisation; plain text.
    name: String,
    /// More of the style.
    pub style: String,
    /// On top.
    pub head: String,
    /// At the end.
    pub foot: String,
}

impl Look {
    /// The look of a fabric with this brand and these pictures.
    pub(crate) fn new(brand: &Brand, pictures: &Pictures) -> Self {
        Self {
            name: brand.name.clone(),
            style: brand.accent.map(style).unwrap_or_default(),
            head: head(brand, pictures),
            foot: foot(brand),
        }
    }

    /// Whether it adds nothing.
    pub(crate) fn is_plain(&self) -> bool {
        let Self {
            name,
            style,
            head,
            foot,
        } = self;
        [name, style, head, foot].iter().all(|part| part.is_empty())
    }

    /// A page's title, and whose page it is, as HTML.
    pub(crate) fn title(&self, title: &str) -> String {
        match &*self.name {
            "" => escape(title),
            name => format!("{} · {}", escape(title), escape(name)),
        }
    }
}

/// Buttons have the colour as it is; links the nearest that can be read.
fn style(accent: Color) -> String {
    let [light, dark] = PAPERS.map(|papers| accent.readable_on(&papers));
    let ink = accent.ink();
    format!(
        ":root{{--accent:{accent};--accent-ink:{ink};--link:{light}}}@media(prefers-color-scheme:dark){{:root{{--link:{dark}}}}}"
    )
}

fn head(brand: &Brand, pictures: &Pictures) -> String {
    let name = escape(&brand.name);
    let Some(logo) = pictures.find(&ImageId::Logo) else {
        return match &*name {
            "" => String::new(),
            name => format!("<span>{name}</span>\n"),
        };
    };
    let dark = pictures.find(&ImageId::LogoDark).map(|dark| {
        let tag = &dark.tag;
        format!("<source srcset=\"{LOGO_DARK}?{tag}\" media=\"(prefers-color-scheme: dark)\">")
    });
    let (dark, tag) = (dark.unwrap_or_default(), &logo.tag);
    format!("<picture>{dark}<img src=\"{LOGO}?{tag}\" alt=\"{name}\" height=\"40\"></picture>\n")
}

fn foot(brand: &Brand) -> String {
    let help = match (&*escape(&brand.help), &*escape(&brand.help_url)) {
        ("", "") => String::new(),
        (help, "") => format!("<p>{help}</p>\n"),
        ("", url) => format!("<p><a href=\"{url}\">Help</a></p>\n"),
        (help, url) => format!("<p>{help} <a href=\"{url}\">Help</a></p>\n"),
    };
    let links = brand.links.iter().map(|link| {
        let (url, text) = (escape(&link.url), escape(&link.text));
        format!("<a href=\"{url}\">{text}</a>")
    });
    let links = links.collect::<Vec<_>>().join("\n");
    match (&*help, &*links) {
        ("", "") => String::new(),
        (help, "") => format!("<footer>\n{help}</footer>\n"),
        (help, links) => format!("<footer>\n{help}<p>{links}</p>\n</footer>\n"),
    }
}

/// A picture that an operator supplied.
#[derive(Debug)]
pub(crate) struct Picture {
    bytes: Bytes,
    kind: ImageKind,
    /// Tells its versions apart: hexadecimal digits.
    pub tag: String,
}

/// Why a picture is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// It is of nothing that has pictures.
    #[error("the picture is of nothing that is known")]
    Id,
    /// Larger than [`IMAGE_BYTES_MAX`], or of another kind than PNG and WebP.
    #[error("the picture is too large, or neither PNG nor WebP")]
    Content,
}

impl Picture {
    /// What control sent; what it is goes by its bytes alone.
    pub(crate) fn read(bytes: &Bytes) -> Result<Self, PictureError> {
        let kind = ImageKind::of(bytes).filter(|_| bytes.len() <= IMAGE_BYTES_MAX);
        Ok(Self {
            bytes: bytes.clone(),
            kind: kind.ok_or(PictureError::Content)?,
            tag: hex(&sha256(bytes)[..TAG_BYTES]),
        })
    }

    /// An answer with nothing but the picture; `scope` says whose caches may keep it.
    pub(crate) fn respond(&self, fields: &HeaderMap, scope: &str) -> Response<Bytes> {
        let etag = format!("\"{}\"", self.tag);
        let known = fields.get(header::IF_NONE_MATCH);
        let is_known = known.is_some_and(|known| known.as_bytes() == etag.as_bytes());
        let mut response = Response::new(self.bytes.clone());
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Bytes::new();
        }
        let fields = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, self.kind.media_type()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Whoever opens it by itself sees a picture, and nothing else.
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; sandbox; frame-ancestors 'none'",
            ),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in [
            (header::ETAG, etag),
            (header::CACHE_CONTROL, format!("{scope}, {PICTURE_CACHE}")),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                fields.insert(name, value);
            }
        }
        response
    }
}

/// The pictures of one view.
#[derive(Debug, Default)]
pub(crate) struct Pictures(HashMap<ImageId, std::sync::Arc<Picture>>);

impl Pictures {
    pub(crate) fn add(&mut self, id: ImageId, picture: std::sync::Arc<Picture>) {
        self.0.insert(id, picture);
    }

    pub(crate) fn find(&self, id: &ImageId) -> Option<&Picture> {
        self.0.get(id).map(|picture| &**picture)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::brand::BrandLink;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

    fn brand() -> Brand {
        Brand {
            name: "Acme & <Sons>".to_owned(),
            accent: "#ffdd00".parse().ok(),
            help: "Call 1234 <now>".to_owned(),
            help_url: "https://help.example.com/?a=1&b=2".to_owned(),
            links: vec![BrandLink {
                text: "Privacy".to_owned(),
                url: "https://example.com/privacy".to_owned(),
            }],
        }
    }

    #[test]
    fn a_look_says_whose_page_it_is_and_escapes_it() {
        let look = Look::new(&brand(), &Pictures::default());
        assert!(!look.is_plain());
        assert_eq!(look.title("Sign in"), "Sign in · Acme &amp; &lt;Sons&gt;");
        assert_eq!(look.head, "<span>Acme &amp; &lt;Sons&gt;</span>\n");
        assert!(look.foot.contains(
            "Call 1234 &lt;now&gt; <a href=\"https://help.example.com/?a=1&amp;b=2\">Help</a>"
        ));
        assert!(
            look.foot
                .contains("<a href=\"https://example.com/privacy\">Privacy</a>")
        );
        // Yellow has black writing, and links that are darker on light pages.
        assert!(
            look.style
                .contains("--accent:#ffdd00;--accent-ink:#000000;"),
            "{}",
            look.style
        );
        assert!(
            !look.style.contains("--link:#ffdd00}@media"),
            "{}",
            look.style
        );
    }

    #[test]
    fn no_brand_adds_nothing() {
        let look = Look::new(&Brand::default(), &Pictures::default());
        assert!(look.is_plain());
        assert_eq!(look.title("a < b"), "a &lt; b");
    }

    #[test]
    fn a_logo_stands_for_the_name_and_has_a_dark_version() {
        let mut pictures = Pictures::default();
        let picture = Arc::new(Picture::read(&Bytes::from_static(PNG)).unwrap());
        pictures.add(ImageId::Logo, Arc::clone(&picture));
        let plain = Look::new(&brand(), &pictures);
        let tag = &picture.tag;
        assert!(plain.head.contains(&format!(
            "<img src=\"/.adit/logo?{tag}\" alt=\"Acme &amp; &lt;Sons&gt;\""
        )));
        assert!(!plain.head.contains("<source"));
        pictures.add(ImageId::LogoDark, Arc::clone(&picture));
        let both = Look::new(&brand(), &pictures);
        assert!(
            both.head
                .contains(&format!("<source srcset=\"/.adit/logo-dark?{tag}\""))
        );
    }

    #[test]
    fn only_small_pictures_are_pictures() {
        let large = [PNG, &[0; IMAGE_BYTES_MAX]].concat();
        for bad in [&b"<svg onload=alert(1)>"[..], b"", &large] {
            let bad = Bytes::copy_from_slice(bad);
            assert_eq!(Picture::read(&bad).err(), Some(PictureError::Content));
        }
    }

    #[test]
    fn a_picture_is_nothing_but_a_picture_and_asked_for_once() {
        let picture = Picture::read(&Bytes::from_static(PNG)).unwrap();
        let mut asked = HeaderMap::new();
        let response = picture.respond(&asked, "private");
        let fields = response.headers();
        assert_eq!(fields[header::CONTENT_TYPE], "image/png");
        assert_eq!(fields[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(fields[header::CACHE_CONTROL], "private, max-age=86400");
        assert_eq!(response.body(), PNG);
        asked.insert(header::IF_NONE_MATCH, fields[header::ETAG].clone());
        let again = picture.respond(&asked, "private");
        assert_eq!(
            (again.status(), again.body().len()),
            (StatusCode::NOT_MODIFIED, 0)
        );
    }
}
