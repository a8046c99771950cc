//! CAs whose certificates an app asks for.

use model::{app::Access, client_ca::APP_CLIENT_CAS_MAX, name::ClientCaId};

use super::Violations;

/// What can be used of them; what cannot is among the violations.
pub(super) fn read(
    wire: &[String],
    access: Option<&Access>,
    found: &mut Violations,
) -> Vec<ClientCaId> {
    const FIELD: &str = "app.client_cas";
    if !wire.is_empty() && access == Some(&Access::Passthrough) {
        found.add(FIELD, "must be empty unless users sign in");
    }
    let mut authorities = Vec::new();
    for (field, name) in found.at_most(APP_CLIENT_CAS_MAX, FIELD, "CAs", wire) {
        match ClientCaId::from_resource_name(name) {
            Some(Ok(id)) if authorities.contains(&id) => {
                found.add(&field, format_args!("repeats {name}"));
            }
            Some(Ok(id)) => authorities.push(id),
            Some(Err(fault)) => found.add(&field, format_args!("has an id that {fault}")),
            None => {
                let collection = ClientCaId::COLLECTION;
                found.add(
                    &field,
                    format_args!("must be a name that starts with {collection}"),
                );
            }
        }
    }
    authorities
}

pub(super) fn write(authorities: &[ClientCaId]) -> Vec<String> {
    authorities.iter().map(ClientCaId::resource_name).collect()
}

#[cfg(test)]
mod tests {
    use model::app::Assignment;

    use super::*;

    #[test]
    fn cas_are_few_named_once_and_of_apps_with_sign_in() {
        let closed = Access::SignIn(Assignment::default());
        let nine: Vec<_> = (0..9)
            .map(|number| format!("clientCas/c{number}"))
            .collect();
        let nine: Vec<_> = nine.iter().map(String::as_str).collect();
        for (names, access, want) in [
            (&[][..], &Access::Passthrough, &[][..]),
            (&["clientCas/laptops", "clientCas/jobs"], &closed, &[]),
            (
                &["clientCas/laptops"],
                &Access::Passthrough,
                &["app.client_cas"],
            ),
            (
                &["clientCas/a", "clientCas/a"],
                &closed,
                &["app.client_cas[1]"],
            ),
            (
                &["laptops", "clientCas/A"],
                &closed,
                &["app.client_cas[0]", "app.client_cas[1]"],
            ),
            (&nine, &closed, &["app.client_cas"]),
        ] {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let mut found = Violations::default();
            let read = read(&names, Some(access), &mut found);
            let fields: Vec<_> = found
                .into_vec()
                .into_iter()
                .map(|fault| fault.field)
                .collect();
            assert_eq!(fields, want, "{names:?}");
            if want.is_empty() {
                assert_eq!(write(&read), names);
            }
        }
    }
}
