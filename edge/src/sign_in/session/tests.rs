use super::*;

#[test]
fn a_session_says_every_group_or_does_not_fit() {
    let session = |count: usize| {
        let groups = (0..count).map(|one| format!("{one:040}").parse().unwrap());
        let user = User {
            groups: groups.collect(),
            ..User::new("alice".parse().unwrap())
        };
        Session::begin(user, 0)
    };
    for (count, want) in [(0, true), (60, true), (70, false), (USER_GROUPS_MAX, false)] {
        let session = session(count);
        assert_eq!(session.fits(), want, "{count}");
        assert_eq!(session.write().user_groups.len(), count);
    }
}
