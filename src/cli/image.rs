//! `adit image`: the organisation's logo, and icons of apps.

use std::{fs, path::PathBuf, time::SystemTime};

use model::image::ImageId;
use proto::admin::{DeleteImageRequest, Image, ListImagesRequest, SetImageRequest};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::{Output, Screen},
    table::{self, Row},
};

/// What to do with pictures.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImageCommand {
    /// Put a picture on pages: logo, logo-dark for dark pages, or apps/ID for an app's tile in the portal.
    ///
    /// PNG or WebP, at most 32 KiB and 1,024 by 1,024 pixels. SVG is refused: it can hold scripts.
    #[command(
        after_help = "Examples:\n  adit image set logo acme.png\n  adit image set logo-dark acme-on-dark.png\n  adit image set apps/wiki wiki.webp"
    )]
    Set {
        /// What it is of: logo, logo-dark, or apps/ and the id of an app.
        id: ImageId,
        /// The file.
        file: PathBuf,
        /// Replace only what still has this etag (see `image list`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// List all pictures.
    #[command(after_help = "Example:\n  adit image list")]
    List,
    /// Take a picture away; pages then show the name, and tiles a letter.
    #[command(after_help = "Example:\n  adit image delete apps/wiki")]
    Delete {
        /// What it is of.
        id: ImageId,
        /// Delete only if it still has this etag (see `image list`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

impl ImageCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Set { id, file, etag } => set(&id, &file, etag, control, screen).await,
            Self::List => {
                let views: Vec<_> = all(control)
                    .await?
                    .into_iter()
                    .map(ImageView::from)
                    .collect();
                let empty = "There are no pictures. `adit image set --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Delete { id, etag } => {
                let name = id.resource_name();
                let request = DeleteImageRequest {
                    name: name.clone(),
                    etag,
                };
                let mut images = control.images();
                let deletion = images.delete_image(request);
                control.delete(&name, deletion, screen).await
            }
        }
    }
}

async fn set(
    id: &ImageId,
    file: &PathBuf,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let content = fs::read(file).map_err(|source| Failure::Unreadable {
        path: file.clone(),
        source,
    })?;
    let name = id.resource_name();
    let request = SetImageRequest {
        image: Some(Image {
            name: name.clone(),
            etag,
            content: content.into(),
            ..Image::default()
        }),
    };
    let mut images = control.images();
    let image = images.set_image(request);
    let image = control.call(format!("set {name}"), image).await?;
    match screen.output {
        Output::Json => screen.json(&ImageView::from(image)),
        Output::Table => screen.line(format_args!("{name} is set")),
    }
}

async fn all(control: &Control) -> Result<Vec<Image>, Failure> {
    let fetch = async |page_token| {
        let request = ListImagesRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.images().list_images(request).await?.into_inner();
        Ok((page.images, page.next_page_token))
    };
    control.pages("list images", fetch).await
}

/// Keys of a picture in JSON.
#[derive(Debug, Serialize)]
struct ImageView {
    name: String,
    etag: String,
    media_type: String,
    size: u32,
    update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl From<Image> for ImageView {
    fn from(image: Image) -> Self {
        Self {
            name: image.name,
            etag: image.etag,
            media_type: image.media_type,
            size: image.size,
            update_time: age::rfc3339(image.update_time),
            changed: image.update_time,
        }
    }
}

impl Row for ImageView {
    const COLUMNS: &'static [&'static str] = &["IMAGE", "KIND", "BYTES", "ETAG", "CHANGED"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        let id = self.name.strip_prefix(ImageId::COLLECTION);
        vec![
            id.unwrap_or(&self.name).to_owned(),
            self.media_type.clone(),
            self.size.to_string(),
            self.etag.clone(),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}
