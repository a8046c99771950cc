//! Who came, from where, to what, newest first.

use proto::{
    admin::{ListSignInsRequest, ListSignInsResponse, SignInResult, sign_ins_server},
    time::system_time,
};
use tonic::{Request, Response, Status};

use super::{AdminContext, refusal::Refusal};
use crate::sign_in_log::{COLLECTION, SignInLogError, Wanted};

#[cfg(test)]
mod tests;

/// Sign-ins of a page when the request does not say.
const SIZE_DEFAULT: usize = 100;
/// Most sign-ins of a page: each has a kilobyte at the most.
const SIZE_MAX: usize = 1_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct SignIns {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl sign_ins_server::SignIns for SignIns {
    async fn list_sign_ins(
        &self,
        request: Request<ListSignInsRequest>,
    ) -> Result<Response<ListSignInsResponse>, Status> {
        let mut wanted = read(request.get_ref())?;
        let size = wanted.limit;
        // One more tells whether there is another page.
        wanted.limit = size + 1;
        let found = self.context.sign_ins.list(wanted).await;
        let mut found = found.map_err(Refusal::from)?;
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().map(|(number, _)| number.to_string());
        Ok(Response::new(ListSignInsResponse {
            next_page_token: last.filter(|_| more).unwrap_or_default(),
            sign_ins: found.into_iter().map(|(_, sign_in)| sign_in).collect(),
        }))
    }
}

fn read(request: &ListSignInsRequest) -> Result<Wanted, Refusal> {
    let since = request.since.as_ref().map(system_time).transpose();
    let since = since.map_err(|fault| Refusal::field("since", fault.to_string()))?;
    let result = SignInResult::try_from(request.result)
        .map_err(|_| Refusal::field("result", "is of a kind that this version does not know"))?;
    let after = match &*request.after {
        "" => None,
        name => Some(
            name.strip_prefix(COLLECTION)
                .and_then(|number| number.parse().ok()),
        )
        .map(|number: Option<i64>| {
            number.ok_or_else(|| Refusal::field("after", "must be the name of a sign-in"))
        })
        .transpose()?,
    };
    let before = match &*request.page_token {
        "" => None,
        token => Some(token.parse().map_err(|_| {
            Refusal::field(
                "page_token",
                "must be the next_page_token of a list with the same filter",
            )
        })?),
    };
    Ok(Wanted {
        user: request.user.clone(),
        app: request.app.clone(),
        rule: request.rule.clone(),
        result: (result != SignInResult::Unspecified).then_some(result),
        since,
        after,
        before,
        limit: match usize::try_from(request.page_size) {
            Ok(0) => SIZE_DEFAULT,
            Ok(size) => size.min(SIZE_MAX),
            Err(_) => SIZE_MAX,
        },
    })
}

impl From<SignInLogError> for Refusal {
    fn from(error: SignInLogError) -> Self {
        Self::Internal(Box::new(error))
    }
}
