use runtime::telemetry;
use tempfile::TempDir;

use super::{written::file, *};

const NETWORKS: &[((&str, u8), &str)] = &[
    (("192.0.2.0", 24), "DE"),
    (("198.51.100.0", 25), "FR"),
    (("203.0.113.0", 24), "not a code"),
    (("2001:db8::", 32), "AT"),
];

fn read(path: &Path) -> Result<Countries, CountryFileError> {
    let countries = Countries::default();
    countries.replace(path).map(|()| countries)
}

fn kept(directory: &TempDir, content: &[u8]) -> PathBuf {
    let path = directory.path().join("countries.mmdb");
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn addresses_are_in_the_countries_of_their_networks_and_else_in_none() {
    let directory = TempDir::new().unwrap();
    for key in [&["country", "iso_code"][..], &["country_code"]] {
        let countries = read(&kept(&directory, &file(key, NETWORKS))).unwrap();
        for (address, want) in [
            ("192.0.2.7", Some("DE")),
            ("198.51.100.127", Some("FR")),
            ("198.51.100.128", None),
            ("203.0.113.1", None),
            ("10.0.0.1", None),
            ("2001:db8:1::7", Some("AT")),
            ("2001:db9::", None),
            ("::1", None),
        ] {
            let found = countries.find(address.parse().unwrap());
            let found = found.map(|country| country.to_string());
            assert_eq!(found.as_deref(), want, "{address}");
        }
    }
    assert_eq!(
        Countries::default().find("192.0.2.7".parse().unwrap()),
        None
    );
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let directory = TempDir::new().unwrap();
    let good = file(&["country", "iso_code"], NETWORKS);
    let said = |content: &[u8]| read(&kept(&directory, content)).map(drop);
    assert!(said(&good).is_ok());
    for length in [0, 10, good.len() / 2, good.len() - 20] {
        let cut = said(&good[..length]);
        assert!(matches!(cut, Err(CountryFileError::Format(_))), "{length}");
    }
    // A record of the tree that leads beyond the data.
    let mut damaged = good;
    damaged[0] = 0xff;
    assert!(matches!(said(&damaged), Err(CountryFileError::Format(_))));
    let other = file(&["autonomous_system_name"], NETWORKS);
    assert!(matches!(said(&other), Err(CountryFileError::Useless)));
    let path = kept(&directory, &[]);
    File::create(&path)
        .unwrap()
        .set_len(FILE_BYTES_MAX + 1)
        .unwrap();
    assert!(matches!(read(&path), Err(CountryFileError::Size)));
    assert!(matches!(
        read(directory.path()),
        Err(CountryFileError::Kind)
    ));
    assert!(matches!(
        read(&directory.path().join("none")),
        Err(CountryFileError::Read(_))
    ));
}

#[test]
fn no_byte_of_a_file_makes_reading_it_fail_badly() {
    let directory = TempDir::new().unwrap();
    let good = file(&["country", "iso_code"], &NETWORKS[..1]);
    let address = "192.0.2.7".parse().unwrap();
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0xff;
        // Refused or not: nothing panics, and what is found is a country or none.
        if let Ok(countries) = read(&kept(&directory, &damaged)) {
            let _found: Option<Country> = countries.find(address);
        }
    }
}

/// Under a clock that is moved on, so that a look is due at once.
#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let scope = Scope::root();
    let exporter = telemetry::install_metrics(&scope).unwrap();
    let directory = TempDir::new().unwrap();
    let address = "192.0.2.7".parse().unwrap();
    let file = |code| file(&["country", "iso_code"], &[(("192.0.2.0", 24), code)]);
    let path = kept(&directory, &file("DE"));
    let countries = start(path.clone(), &scope).await.unwrap();
    let becomes = async |want: &str, shown: &str| {
        let is_so = || {
            let found = countries.find(address).map(|country| country.to_string());
            found.as_deref() == Some(want) && exporter.render().contains(shown)
        };
        while !is_so() {
            sleep(LOOK_INTERVAL).await;
        }
    };
    let built = format!("{COUNTRY_FILE_BUILT_SECONDS} {}", written::BUILT);
    becomes("DE", &built).await;
    kept(&directory, b"broken");
    let failed = format!("{COUNTRY_FILE_FAILURES_TOTAL} 1");
    becomes("DE", &failed).await;
    fs::remove_file(&path).unwrap();
    let failed = format!("{COUNTRY_FILE_FAILURES_TOTAL} 2");
    becomes("DE", &failed).await;
    kept(&directory, &file("SE"));
    becomes("SE", &built).await;
}

#[tokio::test]
async fn an_edge_does_not_start_with_a_file_that_cannot_be_used() {
    let directory = TempDir::new().unwrap();
    let path = kept(&directory, b"broken");
    let started = start(path, &Scope::root()).await;
    assert!(matches!(started, Err(CountryFileError::Format(_))));
}

#[tokio::test]
async fn rules_that_ask_in_vain_are_told_of_once() {
    let missed = |countries: &Countries| countries.is_missed.load(Ordering::Relaxed);
    let directory = TempDir::new().unwrap();
    let countries = Countries::default();
    countries.follow(false);
    assert!(!missed(&countries));
    countries.follow(true);
    assert!(missed(&countries));
    let path = kept(&directory, &file(&["country_code"], NETWORKS));
    countries.replace(&path).unwrap();
    countries.follow(true);
    assert!(!missed(&countries));
}
