//! Pictures that are taken and those that are not.

use bytes::Bytes;
use images_server::Images as _;
use tonic::Code;

use super::*;
use crate::admin::tests::{Bench, app, by_admin};

/// A PNG of so many pixels, as far as its head says, padded to `bytes`.
fn png(width: u32, height: u32, bytes: usize) -> Bytes {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend(width.to_be_bytes());
    png.extend(height.to_be_bytes());
    png.extend([8, 6, 0, 0, 0]);
    png.resize(bytes.max(png.len()), 0);
    png.into()
}

fn images(bench: &Bench) -> Images {
    Images {
        context: bench.context.clone(),
        writing: Arc::default(),
    }
}

fn set(name: &str, content: Bytes) -> Request<SetImageRequest> {
    by_admin(SetImageRequest {
        image: Some(Image {
            name: name.to_owned(),
            content,
            ..Image::default()
        }),
    })
}

fn by_publisher<T>(message: T) -> Request<T> {
    let mut request = by_admin(message);
    if let Some(operator) = request.extensions_mut().get_mut::<Operator>() {
        operator.role = OperatorRole::Publisher;
    }
    request
}

#[tokio::test]
async fn a_picture_is_set_listed_without_content_replaced_and_deleted() {
    let bench = Bench::with_office().await;
    let images = images(&bench);
    let first = images.set_image(set("images/logo", png(64, 64, 0))).await;
    let first = first.unwrap().into_inner();
    assert_eq!((&*first.media_type, first.size), ("image/png", 29));
    let list = images
        .list_images(by_admin(ListImagesRequest::default()))
        .await;
    let list = list.unwrap().into_inner().images;
    assert_eq!(list.len(), 1);
    assert!(list[0].content.is_empty());
    let mut again = set("images/logo", png(32, 32, 0));
    again.get_mut().image.as_mut().unwrap().etag = "0".to_owned();
    let status = images.set_image(again).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    images
        .set_image(set("images/logo", png(32, 32, 0)))
        .await
        .unwrap();
    let name = || "images/logo".to_owned();
    let found = images
        .get_image(by_admin(GetImageRequest { name: name() }))
        .await;
    assert_eq!(found.unwrap().into_inner().content, png(32, 32, 0));
    let delete = DeleteImageRequest {
        name: name(),
        etag: String::new(),
    };
    images.delete_image(by_admin(delete)).await.unwrap();
    let found = images
        .get_image(by_admin(GetImageRequest { name: name() }))
        .await;
    assert_eq!(found.unwrap_err().code(), Code::NotFound);
    let methods: Vec<_> = bench
        .audit()
        .await
        .into_iter()
        .map(|event| event.method)
        .collect();
    assert_eq!(methods[..3], ["DeleteImage", "SetImage", "SetImage"]);
}

#[tokio::test]
async fn what_is_no_small_picture_of_something_is_refused() {
    let bench = Bench::with_office().await;
    let images = images(&bench);
    let svg = Bytes::from_static(b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>");
    for (name, content, code) in [
        ("images/logo", svg, Code::InvalidArgument),
        ("images/logo", Bytes::new(), Code::InvalidArgument),
        (
            "images/logo",
            png(64, 64, IMAGE_BYTES_MAX + 1),
            Code::InvalidArgument,
        ),
        ("images/logo", png(2_000, 1, 0), Code::InvalidArgument),
        ("images/logo", png(0, 1, 0), Code::InvalidArgument),
        (
            "images/logo",
            Bytes::from_static(b"\x89PNG\r\n\x1a\n"),
            Code::InvalidArgument,
        ),
        ("images/poster", png(64, 64, 0), Code::InvalidArgument),
        ("logo", png(64, 64, 0), Code::InvalidArgument),
        ("images/apps/wiki", png(64, 64, 0), Code::NotFound),
    ] {
        let status = images.set_image(set(name, content)).await.unwrap_err();
        assert_eq!(status.code(), code, "{name}: {status:?}");
    }
}

#[tokio::test]
async fn an_icon_goes_with_its_app_and_is_its_publishers_to_set() {
    let bench = Bench::with_office().await;
    let images = images(&bench);
    bench
        .create_app("wiki", app("wiki.example.com"))
        .await
        .unwrap();
    let request = set("images/apps/wiki", png(64, 64, 0)).into_inner();
    images.set_image(by_publisher(request)).await.unwrap();
    let logo = set("images/logo", png(64, 64, 0)).into_inner();
    let status = images.set_image(by_publisher(logo)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    bench.delete_app("wiki").await;
    let name = "images/apps/wiki".to_owned();
    let found = images.get_image(by_admin(GetImageRequest { name })).await;
    assert_eq!(found.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn all_pictures_together_have_a_bound() {
    let bench = Bench::with_office().await;
    let images = images(&bench);
    let large = || png(64, 64, IMAGE_BYTES_MAX);
    // Past the API, as a thousand apps would only cost time.
    let full = (0..IMAGES_BYTES_MAX / IMAGE_BYTES_MAX).map(|number| {
        let image = Image {
            content: large(),
            ..Image::default()
        };
        record::put(&format!("images/apps/a{number}"), &image)
    });
    for op in full {
        bench.context.store.txn(Vec::new(), vec![op]).await.unwrap();
    }
    let status = images
        .set_image(set("images/logo", large()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    bench
        .context
        .store
        .txn(
            Vec::new(),
            vec![
                record::delete("images/apps/a0"),
                record::delete("images/apps/a1"),
            ],
        )
        .await
        .unwrap();
    images.set_image(set("images/logo", large())).await.unwrap();
}
