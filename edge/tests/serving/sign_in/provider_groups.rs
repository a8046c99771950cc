//! Groups of users who are in more than fit into a provider's token.

use proto::admin::{self, ClaimNames, ProviderEndpoints};
use serde_json::{Value, json};

use super::{
    providers::{start, wiki},
    *,
};
use crate::provider::Provider;

/// Publishes where the provider lists groups.
fn list_at(
    fabric: &mut Fabric,
    provider: &Provider,
    change: impl FnOnce(&mut admin::IdentityProvider),
) {
    let mut published = provider.published();
    let said = published.published.as_mut().unwrap();
    said.endpoints = Some(ProviderEndpoints {
        groups: format!("{}/groups", provider.issuer()),
        ..ProviderEndpoints::default()
    });
    change(said);
    fabric.set("identityProviders/entra", Kind::IdentityProvider(published));
    fabric.publish(4);
}

/// Who somebody is to the app, or the status of the answer that led to no session.
async fn groups(fabric: &Fabric, provider: &Provider) -> Result<Value, u16> {
    let mut browser = Browser::default();
    let reply = browser.sign_in_by(fabric, provider, &wiki("/x")).await;
    if reply.status != 303 {
        return Err(reply.status);
    }
    browser.open(fabric, reply.location()).await;
    let who = browser.ask(fabric, HOST, "GET /.adit/identity", "").await;
    let who: Value = serde_json::from_str(&who.body).unwrap();
    Ok(who["user_groups"].clone())
}

fn names(range: std::ops::Range<usize>) -> Value {
    let groups = range.map(|number| json!({"id": format!("g{number}")}));
    json!({"value": groups.collect::<Vec<_>>()})
}

#[tokio::test]
async fn groups_are_fetched_page_by_page_where_a_token_leaves_them_out() {
    let (mut fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    provider.say(json!({"groups": null, "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "http://127.0.0.1:1/"}}}));
    // Nobody knows where they are listed: not even with what the token says of it.
    provider.list_groups(vec![json!({"value": ["staff"]})]);
    provider.say_beside(json!({"sub": "7"}));
    assert_eq!(groups(&fabric, &provider).await, Err(403));
    list_at(&mut fabric, &provider, |_| {});
    let two = vec![
        json!({"value": [{"id": "ops"}]}),
        json!({"value": ["staff"]}),
    ];
    provider.list_groups(two);
    assert_eq!(
        groups(&fabric, &provider).await,
        Ok(json!(["ops", "staff"]))
    );
    // What is said beside does too.
    list_at(&mut fabric, &provider, |said| said.endpoints = None);
    provider.say_beside(json!({"sub": "7", "groups": ["staff"]}));
    assert_eq!(groups(&fabric, &provider).await, Ok(json!(["staff"])));
}

#[tokio::test]
async fn who_is_in_many_groups_has_those_that_the_operator_keeps() {
    let (mut fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    provider.say(json!({"groups": null, "hasgroups": true}));
    provider.list_groups(vec![names(0..150), names(150..300)]);
    list_at(&mut fabric, &provider, |_| {});
    assert_eq!(
        groups(&fabric, &provider).await,
        Err(403),
        "too many for a session"
    );
    list_at(&mut fabric, &provider, |said| {
        said.claims = Some(ClaimNames {
            kept_groups: vec!["g299".to_owned(), "g1".to_owned(), "staff".to_owned()],
            ..ClaimNames::default()
        });
    });
    assert_eq!(groups(&fabric, &provider).await, Ok(json!(["g1", "g299"])));
}

#[tokio::test]
async fn part_of_a_list_of_groups_lets_nobody_in() {
    let (mut fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    list_at(&mut fabric, &provider, |_| {});
    provider.say(json!({"groups": null, "_claim_names": {"groups": "src1"}}));
    let elsewhere = json!({"value": ["staff"], "@odata.nextLink": "http://127.0.0.1:1/groups"});
    for (pages, why) in [
        (vec![elsewhere], "it goes on elsewhere"),
        (
            vec![json!({"value": ["staff"]}), json!({})],
            "its second page is none",
        ),
        (vec![json!({"value": ["staff"]}); 30], "it has no end"),
        (
            vec![json!({"value": ["x".repeat(300 * 1024)]})],
            "a page is too long",
        ),
    ] {
        provider.list_groups(pages);
        let refused = groups(&fabric, &provider).await;
        assert!(matches!(refused, Err(403 | 503)), "{why}: {refused:?}");
    }
    provider.list_groups(vec![json!({"value": ["staff"]})]);
    provider.break_down(&["/groups"]);
    assert_eq!(groups(&fabric, &provider).await, Err(503));
}
