//! What the sign-in host shows of identity providers.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::pages::{Hidden, KEEP_FRAGMENT, fault_line};
use crate::{
    id::RequestId,
    page::{self, Page},
    providers::Choices,
};

/// Goes on without a click, with what stood behind `#`.
const GO_ON: &str = "\
for(const f of document.forms)if(f.fragment&&location.hash)f.fragment.value=location.hash;\
document.forms[0].requestSubmit()";
/// Browsers hold against this wherever an answer leads on to: the provider, and the app.
pub(super) const ANYWHERE: &str = "'self' https: http:";

/// Whether a user has to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// Shown, and left to the user.
    Waits,
    /// There is nothing to choose, so it goes on at once.
    GoesOn,
}

/// A form with a button for each provider; nothing where there is none.
pub(super) fn buttons(hidden: &Hidden<'_>, choices: &Choices) -> String {
    if choices.providers.is_empty() {
        return String::new();
    }
    let buttons: String = choices
        .providers
        .iter()
        .map(|(id, name)| {
            let name = page::escape(name);
            format!("<button formaction=\"/sign-in/with/{id}\">Sign in with {name}</button>\n")
        })
        .collect();
    let first = choices.providers.first();
    let first = first.map_or("", |(id, _)| id.as_str());
    let fields = hidden.fields();
    format!("<form method=\"post\" action=\"/sign-in/with/{first}\">\n{fields}{buttons}</form>\n")
}

/// Asks by whom to sign in, where the fabric's own accounts are no choice.
pub(super) fn choose(
    status: StatusCode,
    nonce: RequestId,
    hidden: &Hidden<'_>,
    choices: &Choices,
    (fault, pace): (&str, Pace),
) -> Response<Bytes> {
    let goal = match hidden.authority {
        "" => String::new(),
        authority => format!("<p>to go on to <b>{}</b></p>\n", page::escape(authority)),
    };
    let choice = match choices.providers.is_empty() {
        true => {
            "<p>There is no way to sign in for this app right now. Please tell its owner.</p>\n"
                .to_owned()
        }
        false => buttons(hidden, choices),
    };
    let main = format!("<h1>Sign in</h1>\n{goal}{}{choice}", fault_line(fault));
    let page = Page {
        title: "Sign in",
        nonce,
        main: &main,
        script: match pace {
            Pace::Waits => KEEP_FRAGMENT,
            Pace::GoesOn => GO_ON,
        },
        form_action: ANYWHERE,
    };
    page.respond(status)
}

/// Why a provider's answer led to no session, as far as users are told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failed {
    /// The provider said no.
    Denied,
    /// It may be better in a while.
    Away,
    /// The user is nobody whom the provider may speak for.
    User,
    /// Not all of the user's groups are known.
    Groups,
    /// The sign-in there is not as was asked for.
    TooWeak,
    /// Anything else; the log knows.
    Other,
}

/// Says that a provider's answer led to no session.
pub(super) fn failed(id: RequestId, provider: &str, to: &str, failed: Failed) -> Response<Bytes> {
    let (status, words) = match failed {
        Failed::Denied => (StatusCode::FORBIDDEN, "did not sign you in."),
        Failed::Away => (
            StatusCode::SERVICE_UNAVAILABLE,
            "does not answer right now. Please try again in a moment.",
        ),
        Failed::User => (
            StatusCode::FORBIDDEN,
            "signed you in under a name that is not accepted here. Please tell your administrator.",
        ),
        Failed::Groups => (
            StatusCode::FORBIDDEN,
            "does not say all groups that you are in, or more about you than can be kept. Please tell your administrator.",
        ),
        Failed::TooWeak => (
            StatusCode::FORBIDDEN,
            "did not ask you for as much as is needed here. Please try again.",
        ),
        Failed::Other => (
            StatusCode::BAD_GATEWAY,
            "gave an answer that is not accepted here. Please try again.",
        ),
    };
    let (provider, to) = (page::escape(provider), page::escape(to));
    let main = format!(
        r#"<h1>Not signed in</h1>
<p><b>{provider}</b> {words}</p>
<p class="aside"><a href="/sign-in?to={to}">Try again</a></p>
<p class="aside">Request {id}</p>
"#
    );
    let page = Page {
        title: "Not signed in",
        nonce: id,
        main: &main,
        script: "",
        form_action: "",
    };
    page.respond(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden() -> Hidden<'static> {
        Hidden {
            token: "t",
            to: "e",
            fragment: "",
            authority: "wiki.example.com",
        }
    }

    #[test]
    fn a_provider_is_called_what_the_operator_calls_it_and_no_html_comes_of_it() {
        let choices = Choices {
            providers: vec![("entra".parse().unwrap(), "<b>Staff".to_owned())],
            local: true,
        };
        let html = buttons(&hidden(), &choices);
        assert!(
            html.contains(
                "formaction=\"/sign-in/with/entra\">Sign in with &lt;b&gt;Staff</button>"
            ),
            "{html}"
        );
        assert!(html.contains(r#"name="to" value="e""#), "{html}");
    }

    #[test]
    fn where_nobody_is_to_choose_there_is_no_form() {
        let none = Choices {
            providers: Vec::new(),
            local: true,
        };
        assert_eq!(buttons(&hidden(), &none), "");
    }

    #[test]
    fn a_failure_says_what_helps_and_nothing_of_the_cause() {
        for (what, status) in [
            (Failed::Denied, 403),
            (Failed::Away, 503),
            (Failed::User, 403),
            (Failed::Groups, 403),
            (Failed::TooWeak, 403),
            (Failed::Other, 502),
        ] {
            let page = failed(RequestId::random(), "<Staff>", "e", what);
            assert_eq!(page.status().as_u16(), status);
            let html = String::from_utf8(page.into_body().to_vec()).unwrap();
            assert!(html.contains("<b>&lt;Staff&gt;</b>"), "{html}");
            assert!(html.contains("href=\"/sign-in?to=e\""), "{html}");
        }
    }
}
