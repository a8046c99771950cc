//! Pictures for pages of the fabric: logos, and icons of apps.

use std::sync::Arc;

use model::{
    image::{IMAGE_BYTES_MAX, IMAGE_SIDE_MAX, IMAGES_BYTES_MAX, ImageId, ImageKind},
    name::AppId,
};
use proto::{
    admin::{
        DeleteImageRequest, GetImageRequest, Image, ListImagesRequest, ListImagesResponse,
        OperatorRole, SetImageRequest, images_server,
    },
    time::wire_timestamp,
    violation::Violation,
};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::{Refusal, violation},
    roles,
};
use crate::store::{Check, Entry, Revision};

#[cfg(test)]
mod tests;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub(crate) context: AdminContext,
    /// One write at a time, so that the sum of all pictures stays what it was counted to be.
    pub(crate) writing: Arc<Mutex<()>>,
}

#[tonic::async_trait]
impl images_server::Images for Images {
    async fn set_image(
        &self,
        request: Request<SetImageRequest>,
    ) -> Result<Response<Image>, Status> {
        let operator = Operator::of(&request)?;
        let wanted = request.into_inner().image.unwrap_or_default();
        let (id, kind) = check(&wanted)?;
        be_allowed(&operator, &id)?;
        let _turn = self.writing.lock().await;
        let attempt = || self.set(&id, kind, &wanted, &operator);
        let image = record::written(id.resource_name(), attempt).await?;
        Ok(Response::new(image))
    }

    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<Image>, Status> {
        let id = image_id("name", &request.get_ref().name);
        let id = id.map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: ImageId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            let image = read(entry)?;
            Ok(Shown::Yes(Image {
                content: bytes::Bytes::new(),
                ..image
            }))
        })
        .await?;
        Ok(Response::new(ListImagesResponse {
            images: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn delete_image(
        &self,
        request: Request<DeleteImageRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let id = image_id("name", &request.name);
        let id = id.map_err(Refusal::from)?;
        be_allowed(&operator, &id)?;
        let attempt = || self.delete(&id, &request.etag, &operator);
        record::written(id.resource_name(), attempt).await?;
        Ok(Response::new(()))
    }
}

impl Images {
    /// `None`: somebody else was faster, so look again.
    async fn set(
        &self,
        id: &ImageId,
        kind: ImageKind,
        wanted: &Image,
        operator: &Operator,
    ) -> Result<Option<Image>, Refusal> {
        let store = &*self.context.store;
        let name = id.resource_name();
        let before = store.get(&name).await?;
        if let Some(entry) = &before {
            record::check_etag(&wanted.etag, entry)?;
        } else if !wanted.etag.is_empty() {
            return Err(Refusal::EtagMismatch(name));
        }
        self.be_room_for(&name, wanted.content.len()).await?;
        let mut checks = vec![Check::as_read(&name, before.as_ref())];
        if let ImageId::App(app) = id {
            let app = app.resource_name();
            // A picture of nothing would never be deleted.
            record::existing(store, &app).await?;
            checks.push(Check::Present(Arc::from(app)));
        }
        let after = Image {
            name: name.clone(),
            etag: String::new(),
            update_time: Some(wire_timestamp(self.context.clock.wall())),
            content: wanted.content.clone(),
            media_type: kind.media_type().to_owned(),
            size: u32::try_from(wanted.content.len()).unwrap_or(u32::MAX),
        };
        let ops = vec![
            record::put(&name, &after),
            Change::of("SetImage", &name).row(operator, &self.context.clock),
        ];
        let revision = record::commit(store, checks, ops).await?;
        Ok(revision.map(|revision| output(after, revision)))
    }

    /// Whether all pictures together stay within their bound with `bytes` under `name`.
    async fn be_room_for(&self, name: &str, bytes: usize) -> Result<(), Refusal> {
        let all = self.context.store.snapshot(&[ImageId::COLLECTION]).await?;
        let others = all.entries.iter().filter(|entry| *entry.key != *name);
        let sum: usize = others.map(|entry| entry.value.len()).sum();
        if sum + bytes <= IMAGES_BYTES_MAX {
            return Ok(());
        }
        Err(Refusal::Precondition {
            resource: name.to_owned(),
            what: format!(
                "all images of the fabric together may have {} MiB: delete some first",
                IMAGES_BYTES_MAX / (1024 * 1024)
            ),
        })
    }

    async fn delete(
        &self,
        id: &ImageId,
        etag: &str,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let name = id.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, etag).await?;
        let ops = vec![
            record::delete(&name),
            Change::of("DeleteImage", &name).row(operator, &self.context.clock),
        ];
        record::commit(&*self.context.store, vec![Check::unchanged(&entry)], ops).await
    }
}

/// The key of an app's icon, which goes with the app.
pub(crate) fn icon_key(app: &AppId) -> String {
    ImageId::App(app.clone()).resource_name()
}

/// Who publishes apps may give them icons; a logo is on every page.
fn be_allowed(operator: &Operator, id: &ImageId) -> Result<(), Refusal> {
    let needed = match id {
        ImageId::App(_) => OperatorRole::Publisher,
        ImageId::Logo | ImageId::LogoDark => OperatorRole::Admin,
    };
    if roles::suffices(operator.role, needed) {
        return Ok(());
    }
    Err(Refusal::PermissionDenied(format!(
        "{} needs the role {}; {} has the role {}",
        id.resource_name(),
        roles::word(needed),
        operator.name,
        roles::word(operator.role),
    )))
}

fn check(wanted: &Image) -> Result<(ImageId, ImageKind), Refusal> {
    let (id, kind) = (
        image_id("image.name", &wanted.name),
        content(&wanted.content),
    );
    match (id, kind) {
        (Ok(id), Ok(kind)) => Ok((id, kind)),
        (id, kind) => {
            let content = kind.err().map(|what| violation("image.content", what));
            let found = id.err().into_iter().chain(content);
            Err(Refusal::Invalid(found.collect()))
        }
    }
}

/// What a picture is; or what is wrong with it.
fn content(bytes: &[u8]) -> Result<ImageKind, String> {
    let kind = ImageKind::of(bytes).ok_or("must be PNG or WebP")?;
    if bytes.len() > IMAGE_BYTES_MAX {
        return Err(format!(
            "must not have more than {} KiB",
            IMAGE_BYTES_MAX / 1024
        ));
    }
    let size = imagesize::blob_size(bytes).map_err(|_| "has a head that cannot be read")?;
    let sides = [size.width, size.height];
    if sides.iter().all(|side| (1..=IMAGE_SIDE_MAX).contains(side)) {
        Ok(kind)
    } else {
        Err(format!(
            "must not have more than {IMAGE_SIDE_MAX} by {IMAGE_SIDE_MAX} pixels"
        ))
    }
}

fn image_id(field: &str, name: &str) -> Result<ImageId, Violation> {
    let Some(id) = name.strip_prefix(ImageId::COLLECTION) else {
        let what = format!("must be a name that starts with {}", ImageId::COLLECTION);
        return Err(violation(field, what));
    };
    id.parse()
        .map_err(|fault: model::image::ImageIdError| violation(field, fault.to_string()))
}

fn read(entry: &Entry) -> Result<Image, Refusal> {
    Ok(output(record::decode(entry)?, entry.modified))
}

fn output(image: Image, modified: Revision) -> Image {
    Image {
        etag: record::etag(modified),
        ..image
    }
}
