//! Answers that access rules keep back: what users may look at an app for, and not take away.

use http::{HeaderMap, header};
use model::access::Permit;
use proto::tunnel::ResponseHead;

use crate::failure::RequestError;

/// Refuses an answer that the rules of the permit keep back.
pub(crate) fn check(permit: &Permit<'_>, head: &ResponseHead) -> Result<(), RequestError> {
    if permit.strings().no_download.is_empty() {
        return Ok(());
    }
    let fields = tunnel::fields::decode(head.fields.clone());
    let fields = fields.map_err(|_| RequestError::Answer("fields"))?;
    let is_attachment = is_attachment(&fields);
    // One without a type may still be an attachment.
    let is_kept = permit.strings().keep_back("", is_attachment)
        || fields.get_all(header::CONTENT_TYPE).iter().any(|value| {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            let media_type = text.split(';').next().unwrap_or_default().trim();
            permit.strings().keep_back(media_type, is_attachment)
        });
    if is_kept {
        return Err(RequestError::DownloadRefused);
    }
    Ok(())
}

/// What is not `inline` is to be saved, also by a word that is not known (RFC 6266, section 4.2).
fn is_attachment(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(header::CONTENT_DISPOSITION).iter();
    lines.any(|line| {
        let word = line.as_bytes().split(|byte| *byte == b';').next();
        let word = word.unwrap_or_default().trim_ascii();
        !word.eq_ignore_ascii_case(b"inline")
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_not_shown_in_place_is_saved() {
        for (value, want) in [
            ("attachment; filename=\"a.pdf\"", true),
            ("ATTACHMENT", true),
            ("inline", false),
            (" Inline ; filename=x", false),
            ("filename=x", true),
        ] {
            let mut fields = HeaderMap::new();
            let value = HeaderValue::from_str(value).unwrap();
            fields.insert(header::CONTENT_DISPOSITION, value.clone());
            assert_eq!(is_attachment(&fields), want, "{value:?}");
        }
        assert!(!is_attachment(&HeaderMap::new()));
    }
}
