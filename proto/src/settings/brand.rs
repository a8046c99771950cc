//! Whose fabric it is, as its pages show it.

use model::brand::{Brand, BrandLink};

use crate::{admin, fabric, rules, violation::Violations};

const LINK: &str = "must be an address that begins with https:// or mailto:, of at most 1024 visible ASCII characters";

/// Reads what operators say of it.
pub(super) fn read(field: &str, wire: Option<&admin::Brand>, found: &mut Violations) -> Brand {
    let Some(wire) = wire else {
        return Brand::default();
    };
    let field = |name: &str| format!("{field}.{name}");
    for (name, text, chars) in [
        ("name", &wire.name, Brand::NAME_CHARS_MAX),
        ("help", &wire.help, Brand::HELP_CHARS_MAX),
    ] {
        found.take(&field(name), rules::line(text, chars));
    }
    let accent = match &*wire.accent {
        "" => None,
        accent => found.parse(&field("accent"), accent),
    };
    if !wire.help_url.is_empty() && !Brand::may_lead_to(&wire.help_url) {
        found.add(&field("help_url"), LINK);
    }
    let links = found.at_most(Brand::LINKS_MAX, &field("links"), "links", &wire.links);
    let mut read = Vec::new();
    for (field, link) in links {
        if link.text.is_empty() {
            found.add(&format!("{field}.text"), "must not be empty");
        }
        let text = rules::line(&link.text, Brand::LINK_CHARS_MAX);
        found.take(&format!("{field}.text"), text);
        if !Brand::may_lead_to(&link.url) {
            found.add(&format!("{field}.url"), LINK);
        }
        read.push(BrandLink {
            text: link.text.clone(),
            url: link.url.clone(),
        });
    }
    Brand {
        name: wire.name.clone(),
        accent,
        help: wire.help.clone(),
        help_url: wire.help_url.clone(),
        links: read,
    }
}

/// Nothing for a brand that says nothing.
pub(super) fn write(brand: &Brand) -> Option<admin::Brand> {
    let links = brand.links.iter().map(|link| admin::BrandLink {
        text: link.text.clone(),
        url: link.url.clone(),
    });
    (*brand != Brand::default()).then(|| admin::Brand {
        name: brand.name.clone(),
        accent: brand
            .accent
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        help: brand.help.clone(),
        help_url: brand.help_url.clone(),
        links: links.collect(),
    })
}

/// What edges are told; nothing for a brand that says nothing.
pub fn write_brand(brand: &Brand) -> Option<fabric::Brand> {
    let brand = write(brand)?;
    let links = brand.links.into_iter().map(|link| fabric::BrandLink {
        text: link.text,
        url: link.url,
    });
    Some(fabric::Brand {
        name: brand.name,
        accent: brand.accent,
        help: brand.help,
        help_url: brand.help_url,
        links: links.collect(),
    })
}

/// What control says of it, without what cannot be shown: a page's look is no reason to serve nobody.
#[must_use]
pub fn read_brand(wire: Option<&fabric::Brand>) -> Brand {
    let Some(wire) = wire else {
        return Brand::default();
    };
    let line = |text: &String, chars| {
        let is_good = rules::line(text, chars).is_ok();
        if is_good { text.clone() } else { String::new() }
    };
    let links = wire.links.iter().filter(|link| {
        let text = rules::line(&link.text, Brand::LINK_CHARS_MAX);
        text.is_ok() && !link.text.is_empty() && Brand::may_lead_to(&link.url)
    });
    let links = links.take(Brand::LINKS_MAX).map(|link| BrandLink {
        text: link.text.clone(),
        url: link.url.clone(),
    });
    Brand {
        name: line(&wire.name, Brand::NAME_CHARS_MAX),
        accent: wire.accent.parse().ok(),
        help: line(&wire.help, Brand::HELP_CHARS_MAX),
        help_url: match Brand::may_lead_to(&wire.help_url) {
            true => wire.help_url.clone(),
            false => String::new(),
        },
        links: links.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> admin::Brand {
        admin::Brand {
            name: "Büro & Söhne".to_owned(),
            accent: "#1D4ED8".to_owned(),
            help: "Call 1234.".to_owned(),
            help_url: "mailto:help@example.com".to_owned(),
            links: vec![admin::BrandLink {
                text: "Privacy".to_owned(),
                url: "https://example.com/privacy".to_owned(),
            }],
        }
    }

    #[test]
    fn a_brand_survives_the_way_to_edges() {
        let mut found = Violations::default();
        let brand = read("settings.brand", Some(&good()), &mut found);
        assert!(found.is_empty());
        assert_eq!(write(&brand).unwrap().accent, "#1d4ed8");
        assert_eq!(read_brand(write_brand(&brand).as_ref()), brand);
        assert_eq!(write_brand(&Brand::default()), None);
        assert_eq!(read_brand(None), Brand::default());
    }

    #[test]
    fn every_fault_of_a_brand_is_told_and_edges_pass_over_it() {
        let link = admin::BrandLink {
            text: String::new(),
            url: "javascript:alert(1)".to_owned(),
        };
        let bad = admin::Brand {
            name: "x".repeat(61),
            accent: "blue".to_owned(),
            help: "a\nb".to_owned(),
            help_url: "http://example.com".to_owned(),
            links: vec![link; 5],
        };
        let mut found = Violations::default();
        read("settings.brand", Some(&bad), &mut found);
        let fields: Vec<_> = found
            .into_vec()
            .into_iter()
            .map(|fault| fault.field)
            .collect();
        for field in [
            "name",
            "accent",
            "help",
            "help_url",
            "links",
            "links[0].text",
            "links[3].url",
        ] {
            assert!(
                fields.contains(&format!("settings.brand.{field}")),
                "{field}: {fields:?}"
            );
        }
        assert!(!fields.contains(&"settings.brand.links[4].url".to_owned()));
        let links = bad.links.iter().map(|link| fabric::BrandLink {
            text: link.text.clone(),
            url: link.url.clone(),
        });
        let wire = fabric::Brand {
            name: bad.name.clone(),
            accent: bad.accent.clone(),
            help: bad.help.clone(),
            help_url: bad.help_url.clone(),
            links: links.collect(),
        };
        assert_eq!(read_brand(Some(&wire)), Brand::default());
    }
}
