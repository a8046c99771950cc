//! Whose fabric it is, as people write it.

use proto::admin;
use serde::{Deserialize, Serialize};

/// Flags for it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What the pages of edges look like (logos: see `adit image set`)")]
pub(super) struct BrandFlags {
    /// Name of the organisation, at most 60 characters; empty for none.
    #[arg(long, value_name = "TEXT")]
    brand_name: Option<String>,
    /// Colour of buttons and links, such as #1d4ed8; empty for adit's own.
    #[arg(long, value_name = "COLOUR")]
    brand_accent: Option<String>,
    /// Whom to turn to, such as "Service desk: 1234"; empty for nobody.
    #[arg(long, value_name = "TEXT")]
    brand_help: Option<String>,
    /// Where help is, https: or mailto:; empty for nowhere.
    #[arg(long, value_name = "URL")]
    brand_help_url: Option<String>,
    /// Link at the foot of pages, as TEXT=URL, such as to what is said of privacy; may be repeated.
    #[arg(long = "brand-link", value_name = "TEXT=URL", value_parser = link)]
    brand_links: Vec<LinkWords>,
    /// No links at the foot of pages.
    #[arg(long, conflicts_with = "brand_links")]
    no_brand_links: bool,
}

impl BrandFlags {
    /// What was said, and which fields that are, as in a field mask.
    pub(super) fn said(&self) -> (admin::Brand, Vec<&'static str>) {
        let text = |said: &Option<String>| said.clone().unwrap_or_default();
        let brand = admin::Brand {
            name: text(&self.brand_name),
            accent: text(&self.brand_accent),
            help: text(&self.brand_help),
            help_url: text(&self.brand_help_url),
            links: self.brand_links.iter().map(LinkWords::meant).collect(),
        };
        let paths = [
            ("brand.name", self.brand_name.is_some()),
            ("brand.accent", self.brand_accent.is_some()),
            ("brand.help", self.brand_help.is_some()),
            ("brand.help_url", self.brand_help_url.is_some()),
            (
                "brand.links",
                !self.brand_links.is_empty() || self.no_brand_links,
            ),
        ];
        let given = paths.into_iter().filter(|(_, given)| *given);
        (brand, given.map(|(path, _)| path).collect())
    }
}

/// Whose fabric it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BrandWords {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) accent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) help: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) help_url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<LinkWords>,
}

/// A link at the foot of pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LinkWords {
    pub(crate) text: String,
    pub(crate) url: String,
}

impl LinkWords {
    fn meant(&self) -> admin::BrandLink {
        admin::BrandLink {
            text: self.text.clone(),
            url: self.url.clone(),
        }
    }
}

impl BrandWords {
    /// `None` for one that says nothing, as control has it.
    pub(crate) fn meant(&self) -> Option<admin::Brand> {
        (*self != Self::default()).then(|| admin::Brand {
            name: self.name.clone(),
            accent: self.accent.clone(),
            help: self.help.clone(),
            help_url: self.help_url.clone(),
            links: self.links.iter().map(LinkWords::meant).collect(),
        })
    }

    /// One line for people; empty if pages show nothing.
    pub(crate) fn line(&self) -> String {
        let links = self.links.iter().map(|link| link.text.as_str());
        let parts = [&*self.name, &self.accent, &self.help, &self.help_url];
        let parts = parts
            .into_iter()
            .chain(links)
            .filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl From<admin::Brand> for BrandWords {
    fn from(brand: admin::Brand) -> Self {
        let links = brand.links.into_iter().map(|link| LinkWords {
            text: link.text,
            url: link.url,
        });
        Self {
            name: brand.name,
            accent: brand.accent,
            help: brand.help,
            help_url: brand.help_url,
            links: links.collect(),
        }
    }
}

/// `Privacy=https://example.com/privacy`.
fn link(text: &str) -> Result<LinkWords, String> {
    let (text, url) = text
        .split_once('=')
        .ok_or("must be a text, = and an address")?;
    Ok(LinkWords {
        text: text.to_owned(),
        url: url.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brand_survives_the_api_and_is_told_in_one_line() {
        let words = BrandWords {
            name: "Acme".to_owned(),
            accent: "#1d4ed8".to_owned(),
            links: vec![link("Privacy=https://example.com/?a=b").unwrap()],
            ..BrandWords::default()
        };
        assert_eq!(words.line(), "Acme, #1d4ed8, Privacy");
        assert_eq!(words.links[0].url, "https://example.com/?a=b");
        assert_eq!(BrandWords::from(words.meant().unwrap()), words);
        assert_eq!(BrandWords::default().line(), "");
        assert_eq!(BrandWords::default().meant(), None);
        assert!(link("Privacy").is_err());
    }
}
