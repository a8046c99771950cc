use super::*;

fn read(raw: RawWayOut<'_>) -> Result<WayOutSettings, Vec<String>> {
    let mut problems = Problems::new();
    let settings = WayOutSettings::new(raw, &mut problems);
    problems.finish(settings).map_err(|problems| {
        let told = problems.found().iter();
        told.map(|problem| format!("{}: {}", problem.key, problem.message))
            .collect()
    })
}

#[test]
fn a_proxy_is_written_as_it_was_read() {
    let list = ["10.0.0.0/8".to_owned(), "wiki.internal".to_owned()];
    let raw = RawWayOut {
        proxy: Some("http://ann@proxy:3128"),
        password_file: Some(Path::new("proxy.password")),
        unproxied: Some(&list),
        ..RawWayOut::default()
    };
    let settings = read(raw).unwrap();
    assert_eq!(settings.written_proxy().as_deref(), raw.proxy);
    let (file, variable) = settings.written_password();
    assert_eq!((file.as_deref(), variable), (raw.password_file, None));
    assert_eq!(settings.written_unproxied().as_deref(), raw.unproxied);
}

#[test]
fn nothing_means_the_environment_and_off_means_directly() {
    assert_eq!(read(RawWayOut::default()), Ok(WayOutSettings::Environment));
    let off = RawWayOut {
        proxy: Some("off"),
        ..RawWayOut::default()
    };
    assert_eq!(read(off), Ok(WayOutSettings::Direct));
}

#[test]
fn what_cannot_be_meant_is_told_with_its_key_and_without_the_password() {
    let wrong = ["a b".to_owned()];
    let (file, list) = (Some(Path::new("x")), Some(&wrong[..]));
    let plain = RawWayOut::default();
    for (raw, key) in [
        (
            RawWayOut {
                proxy: Some("http://ann:hunter2@proxy:1"),
                ..plain
            },
            "proxy",
        ),
        (
            RawWayOut {
                proxy: Some("ftp://ann:hunter2@proxy:1"),
                ..plain
            },
            "proxy",
        ),
        (
            RawWayOut {
                proxy: Some("http://proxy:1"),
                password_file: file,
                ..plain
            },
            "proxy",
        ),
        (
            RawWayOut {
                password_file: file,
                ..plain
            },
            "proxy",
        ),
        (
            RawWayOut {
                proxy: Some("off"),
                password_env: Some("X"),
                ..plain
            },
            "proxy",
        ),
        (
            RawWayOut {
                proxy: Some("http://a@p:1"),
                password_file: file,
                password_env: Some("X"),
                ..plain
            },
            "proxy_password_file",
        ),
        (
            RawWayOut {
                proxy: Some("http://p:1"),
                unproxied: list,
                ..plain
            },
            "no_proxy",
        ),
    ] {
        let told = read(raw).unwrap_err().join("\n");
        assert!(told.starts_with(&format!("{key}: ")), "{raw:?}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_password_is_read_from_its_file_without_the_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    for (content, want) in [("pw\n", "pw"), ("pw\r\n", "pw"), (" pw ", " pw "), ("", "")] {
        fs::write(&path, content).unwrap();
        let read = PasswordSource::File(path.clone()).read().unwrap();
        assert_eq!(read.expose(), want);
    }
    let missing = PasswordSource::File(folder.path().join("none"));
    assert!(matches!(missing.read(), Err(WayOutError::File { .. })));
    let unset = PasswordSource::Variable("ADIT_TEST_IS_NOT_SET".to_owned());
    assert!(matches!(unset.read(), Err(WayOutError::Variable { .. })));
}

#[test]
fn the_usual_variables_name_a_proxy_and_what_does_without() {
    let of = |variables: &[(&str, &str)]| {
        let found = of_variables(&|name| {
            let set = variables.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| OsString::from(*value))
        });
        found.map(|way| {
            let target = "control.example.com:7443".parse().unwrap();
            way.proxy_to(&target).map(ToString::to_string)
        })
    };
    let proxy = |url: &str| Some(url.to_owned());
    for (variables, want) in [
        (&[][..], None),
        (&[("HTTPS_PROXY", "")], None),
        (&[("HTTP_PROXY", "http://p:1")], None),
        (&[("HTTPS_PROXY", "http://u:pw@p:1")], proxy("http://u@p:1")),
        (
            &[("https_proxy", "p:1"), ("HTTPS_PROXY", "q:1")],
            proxy("http://p:1"),
        ),
        (&[("ALL_PROXY", "socks5h://p")], proxy("socks5://p:1080")),
        (
            &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", ".example.com")],
            None,
        ),
        (
            &[("HTTPS_PROXY", "p:1"), ("no_proxy", "example.org")],
            proxy("http://p:1"),
        ),
    ] {
        assert_eq!(of(variables).unwrap(), want, "{variables:?}");
    }
    let error = of(&[("ALL_PROXY", "socks4://u:hunter2@p:1")]).unwrap_err();
    assert!(error.to_string().contains("ALL_PROXY"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_variable_that_cannot_be_read_is_no_leave_to_go_directly() {
    use std::os::unix::ffi::OsStringExt as _;

    let no_text = || OsString::from_vec(b"http://pr\xf6xy:1".to_vec());
    let long = || OsString::from("a,".repeat(1_001));
    for (proxy, unproxied, want) in [
        (
            no_text(),
            OsString::new(),
            "HTTPS_PROXY cannot be used: it is not UTF-8",
        ),
        (
            "p:1".into(),
            no_text(),
            "NO_PROXY cannot be used: it is not UTF-8",
        ),
        (
            "p:1".into(),
            long(),
            "NO_PROXY cannot be used: it has more than 1000",
        ),
    ] {
        let found = of_variables(&|name| match name {
            "HTTPS_PROXY" => Some(proxy.clone()),
            "NO_PROXY" => Some(unproxied.clone()),
            _ => None,
        });
        let told = found.unwrap_err().to_string();
        assert!(told.contains(want), "{told}");
    }
}
