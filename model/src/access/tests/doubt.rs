//! What servers may read in several ways, or take for something else.

use super::*;

#[test]
fn paths_that_servers_may_read_otherwise_are_inside_of_every_prefix() {
    let rule = changed(Grant::Block, |one| {
        one.which.paths = vec!["/admin".parse().unwrap()]
    });
    let alice = user("alice", &[]);
    for (path, want) in [
        ("/admin", "blocked r000"),
        ("/ADMIN/x", "blocked r000"),
        ("/%61dmin", "blocked r000"),
        ("/x/../admin", "blocked r000"),
        ("/admin/..%2fx", "blocked r000"),
        ("/administrator", "through"),
        ("/", "through"),
    ] {
        let facts = Facts {
            path: crate::path::read_leniently(path),
            path_is_ambiguous: crate::path::is_ambiguous(path),
            ..facts()
        };
        assert_eq!(
            verdict(std::slice::from_ref(&rule), &alice, &facts),
            want,
            "{path}"
        );
    }
}

#[test]
fn expressions_about_paths_hold_of_those_that_servers_may_read_otherwise() {
    let alice = user("alice", &[]);
    let reports = "request.path.startsWith('/reports') && !('finance' in user.groups)";
    let other = "'finance' in user.groups";
    for (when, path, want) in [
        (reports, "/reports/q3", "blocked r000"),
        (reports, "/x", "through"),
        (reports, "/reports/../x", "blocked r000"),
        (reports, r"/reports/index.php/..\..\x", "blocked r000"),
        (reports, "/x//y", "blocked r000"),
        ("request.path == '/a' || false", "/a/%2e", "blocked r000"),
        (other, "/reports/../x", "through"),
    ] {
        let when = when::Expression::new(when).unwrap();
        let rule = changed(Grant::Block, |policy| policy.when = Some(when.clone()));
        let facts = Facts {
            path: crate::path::read_leniently(path),
            path_is_ambiguous: crate::path::is_ambiguous(path),
            ..facts()
        };
        assert_eq!(verdict(&[rule], &alice, &facts), want, "{path}");
    }
}

#[test]
fn a_request_counts_as_every_method_that_it_asks_to_be_taken_for() {
    let alice = user("alice", &[]);
    let named = changed(Grant::Block, |one| {
        one.which.methods = vec!["DELETE".to_owned()];
    });
    let when = |text: &str| {
        let when = when::Expression::new(text).unwrap();
        changed(Grant::Block, |one| one.when = Some(when.clone()))
    };
    let (delete, put) = (["DELETE".to_owned()], ["PUT".to_owned()]);
    let both = ["PUT".to_owned(), "DELETE".to_owned()];
    for rule in [
        named,
        when("request.method == 'DELETE'"),
        when("!(request.method in ['GET', 'PUT'])"),
    ] {
        for (others, want) in [
            (&[][..], "through"),
            (&put, "through"),
            (&delete, "blocked r000"),
            (&both, "blocked r000"),
        ] {
            let facts = Facts {
                other_methods: others,
                ..facts()
            };
            let found = verdict(std::slice::from_ref(&rule), &alice, &facts);
            assert_eq!(found, want, "{others:?} {rule:?}");
        }
    }
}
