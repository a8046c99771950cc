use model::{
    app::{Origin, OriginUrl, Scheme, Translation},
    translate::{Link, Links, Names, Public},
};
use proptest::prelude::*;

use super::*;

const PAGE: &[u8] = include_bytes!("../fixtures/page.html");
const PUBLIC_PAGE: &[u8] = include_bytes!("../fixtures/page.public.html");

const EVERYTHING: Scope = Scope {
    json: true,
    scripts: true,
};

/// An app at `http://wiki.internal:8080`, and a link to another.
fn site(path: &str, inner_path: &str) -> Arc<Site> {
    let url: OriginUrl = "http://wiki.internal:8080".parse().unwrap();
    let translation = Translation {
        inner_path: Some(inner_path.parse().unwrap()),
        ..Translation::default()
    };
    let link = Link::parse("http://mail.internal", "mail.example.com").unwrap();
    let links = Arc::new(Links::new([link]));
    let names = Names::new(
        &path.parse().unwrap(),
        &[Origin::new(url.clone())],
        &translation,
        links,
    );
    let public = Public::new(Scheme::Https, "wiki.example.com").unwrap();
    Arc::new(Site::new(Arc::new(names), url, public))
}

fn translated<'a>(
    kind: Kind,
    site: &Arc<Site>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut document = Document::new(kind, Arc::clone(site), EVERYTHING);
    let mut out = Vec::new();
    for piece in pieces {
        document.write(piece, &mut out);
    }
    document.end(&mut out);
    out
}

/// Whole, and cut in two at every byte.
#[track_caller]
fn check(kind: Kind, site: &Arc<Site>, text: &str, want: &str) {
    let bytes = text.as_bytes();
    for cut in 0..=bytes.len() {
        let (front, back) = bytes.split_at(cut);
        let got = translated(kind, site, [front, back]);
        assert_eq!(String::from_utf8_lossy(&got), want, "cut at {cut}");
    }
    let got = translated(kind, site, bytes.chunks(1));
    assert_eq!(String::from_utf8_lossy(&got), want, "byte by byte");
}

#[test]
fn links_in_a_page_become_public_and_nothing_else_changes() {
    let page = std::str::from_utf8(PAGE).unwrap();
    let want = std::str::from_utf8(PUBLIC_PAGE).unwrap();
    check(Kind::Html, &site("/", "/"), page, want);
}

#[test]
fn scripts_are_left_alone_unless_asked_for() {
    let page = "<script>a='http://wiki.internal:8080/'</script><a onclick=\"f('http://wiki.internal:8080/')\">\
                <script type=application/json>\"http://wiki.internal:8080/\"</script>";
    let mut document = Document::new(Kind::Html, site("/", "/"), Scope::default());
    let mut out = Vec::new();
    document.write(page.as_bytes(), &mut out);
    document.end(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), page);
}

#[test]
fn paths_are_moved_where_the_inner_one_is_another() {
    let site = site("/wiki", "/app");
    check(
        Kind::Html,
        &site,
        "<a href=/app/x><a href='/application'><img src=\" http://wiki.internal:8080/app\">",
        "<a href=\"/wiki/x\"><a href='/application'><img src=\" https://wiki.example.com/wiki\">",
    );
    check(
        Kind::Css,
        &site,
        "a{b:url(/app/x.png)} a{b:url('/app')} a{b:url(/apple)}",
        "a{b:url(/wiki/x.png)} a{b:url('/wiki')} a{b:url(/apple)}",
    );
}

#[test]
fn style_sheets_are_read_as_such() {
    let site = site("/", "/");
    for (text, want) in [
        (
            "@import'http://mail.internal/';",
            "@import'https://mail.example.com/';",
        ),
        (
            "@IMPORT  URL(http://mail.internal/a)",
            "@IMPORT  URL(https://mail.example.com/a)",
        ),
        (
            "a{b:URL( \"http://mail.internal\" )}",
            "a{b:URL( \"https://mail.example.com\" )}",
        ),
        (
            "/* ' */ a{b:url(http://mail.internal/)}",
            "/* ' */ a{b:url(https://mail.example.com/)}",
        ),
        (
            "a{b:'\\'url(http://mail.internal/)'}",
            "a{b:'\\'url(http://mail.internal/)'}",
        ),
        (
            "a{b:my-url(http://mail.internal/)}",
            "a{b:my-url(http://mail.internal/)}",
        ),
        (
            "a{b:url (http://mail.internal/)}",
            "a{b:url (http://mail.internal/)}",
        ),
        (
            "a{b:url(data:x,/*)}c{d:url(http://mail.internal/)}",
            "a{b:url(data:x,/*)}c{d:url(https://mail.example.com/)}",
        ),
        (
            "a{b:url(http://mail.internal",
            "a{b:url(https://mail.example.com",
        ),
        (
            "a / b url(http://mail.internal/x\\)y)",
            "a / b url(https://mail.example.com/x\\)y)",
        ),
        ("a{b:url()}c{d:url(\"\")}", "a{b:url()}c{d:url(\"\")}"),
    ] {
        check(Kind::Css, &site, text, want);
    }
}

#[test]
fn literals_that_begin_with_an_inner_url_become_public() {
    let site = site("/", "/");
    for (text, want) in [
        (
            r#"{"a":"http://mail.internal"}"#,
            r#"{"a":"https://mail.example.com"}"#,
        ),
        (
            r#"["http:\/\/mail.internal\/a","ws://mail.internal"]"#,
            r#"["https:\/\/mail.example.com\/a","wss://mail.example.com"]"#,
        ),
        (
            r#"{"a":"see http://mail.internal/"}"#,
            r#"{"a":"see http://mail.internal/"}"#,
        ),
        (
            r#"{"a":"<a href=\"http://mail.internal/\">"}"#,
            r#"{"a":"<a href=\"https://mail.example.com/\">"}"#,
        ),
        (
            r#"{"a":"http://mail.internal\u002fx"}"#,
            r#"{"a":"https://mail.example.com\u002fx"}"#,
        ),
        (
            r#"["","http:","http:\","//mail.internal/"]"#,
            r#"["","http:","http:\","//mail.internal/"]"#,
        ),
        (r#""http://mail.internal"#, r#""https://mail.example.com"#),
        ("'http://mail.internal/'", "'http://mail.internal/'"),
    ] {
        check(Kind::Json, &site, text, want);
    }
    for (text, want) in [
        (
            "a=/\"/;b='http://mail.internal/'",
            "a=/\"/;b='https://mail.example.com/'",
        ),
        (
            "a=`http://mail.internal/${b}`",
            "a=`https://mail.example.com/${b}`",
        ),
        (
            "a='';b=\"http:\"+'//mail.internal'",
            "a='';b=\"http:\"+'//mail.internal'",
        ),
    ] {
        check(Kind::Script, &site, text, want);
    }
}

#[test]
fn malformed_markup_passes_as_it_is() {
    let site = site("/", "/");
    for text in [
        "<a href=\"http://mail.internal/",
        "<<a <a href><a =x href= ><a href=>",
        "<style>a{b:url(",
        "<script>\"http:",
        "<!-- <a href='http://mail.internal/'>",
        "<![CDATA[<a>",
        "</style><style></style/ x><table><a><select><style>",
        "\0<a\0href>",
    ] {
        check(Kind::Html, &site, text, text);
    }
    // Also where it is no text, or is not in UTF-8.
    let odd = b"<a title='\xff\xfe\x81' href='\xe4'>\xff<style>\xc3</style><p \xff>";
    for cut in 0..odd.len() {
        let (front, back) = odd.split_at(cut);
        assert_eq!(translated(Kind::Html, &site, [front, back]), odd);
    }
    let latin = b"<a href='http://mail.internal/\xe4' title=\xe4><style>a{b:url(http://mail.internal/\xe4)}</style>";
    let want = b"<a href=\"https://mail.example.com/\xe4\" title=\xe4><style>a{b:url(https://mail.example.com/\xe4)}</style>";
    assert_eq!(translated(Kind::Html, &site, latin.chunks(1)), want);
}

#[test]
fn a_page_that_is_too_much_for_the_parser_stays_whole() {
    let site = site("/", "/");
    let mut page = b"<a href='http://mail.internal/1'></a><style>a{b:url(http://mail".to_vec();
    page.extend_from_slice(b".internal/)}</style><img src='data:");
    page.resize(page.len() + 9 * 1024 * 1024, b'A');
    page.extend_from_slice(b"'><a href='http://mail.internal/2'></a>");
    let got = translated(Kind::Html, &site, page.chunks(16 * 1024));
    let front = b"<a href=\"https://mail.example.com/1\"></a><style>a{b:url(https://mail.example.com/)}</style><img";
    assert!(got.starts_with(front));
    assert!(got.ends_with(b"'><a href='http://mail.internal/2'></a>"));
}

#[test]
fn kinds_are_told_by_their_type_and_encoding() {
    let all = Translation {
        json: true,
        scripts: true,
        ..Translation::default()
    };
    let none = Translation::default();
    for (text, asked, unasked) in [
        ("text/html", Some(Kind::Html), Some(Kind::Html)),
        (
            "Text/HTML; charset=\"UTF-8\"",
            Some(Kind::Html),
            Some(Kind::Html),
        ),
        (
            "text/html;charset=shift_jis",
            Some(Kind::Html),
            Some(Kind::Html),
        ),
        ("text/html; charset=utf-16", None, None),
        ("text/html; charset=iso-2022-jp", None, None),
        ("text/html; charset=nonsense", None, None),
        ("text/css; charset=big5", None, None),
        ("text/css", Some(Kind::Css), Some(Kind::Css)),
        ("application/problem+json", Some(Kind::Json), None),
        ("text/javascript", Some(Kind::Script), None),
        ("text/event-stream", None, None),
        ("application/grpc", None, None),
        ("application/octet-stream", None, None),
        ("text/plain", None, None),
        ("", None, None),
    ] {
        assert_eq!(Kind::of(text, &all), asked, "{text}");
        assert_eq!(Kind::of(text, &none), unasked, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn however_a_page_is_cut_it_comes_out_the_same(cuts in prop::collection::vec(0..PAGE.len(), 0..40)) {
        let mut cuts = cuts;
        cuts.push(0);
        cuts.push(PAGE.len());
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &PAGE[cut[0]..cut[1]]);
        let got = translated(Kind::Html, &site("/", "/"), pieces);
        prop_assert!(got == PUBLIC_PAGE);
    }

    #[test]
    fn whatever_comes_is_cut_without_a_difference(
        words in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "a", " href=", "style", "script", "</style>", "</script>", "'", "\"", "/", "*", "\\", "(", ")", "url(",
            "@import ", "http://", "https:\\/\\/", "mail.internal", "wiki.internal:8080", "<!--", "-->", "&quot;", " ", "=", "ü", "\n",
        ]), 0..30),
        cut in 0_usize..300,
    ) {
        let text = words.concat();
        let bytes = text.as_bytes();
        let (front, back) = bytes.split_at(cut.min(bytes.len()));
        for kind in [Kind::Html, Kind::Css, Kind::Json, Kind::Script] {
            let site = site("/", "/");
            let whole = translated(kind, &site, [bytes]);
            prop_assert_eq!(&translated(kind, &site, [front, back]), &whole);
            prop_assert_eq!(&translated(kind, &site, bytes.chunks(1)), &whole);
        }
    }
}

#[test]
fn of_attributes_with_one_name_the_first_counts() {
    check(
        Kind::Html,
        &site("/wiki", "/app"),
        "<a href=\"/app/a\" HREF=\"/app/b\">",
        "<a href=\"/wiki/a\" HREF=\"/app/b\">",
    );
}
