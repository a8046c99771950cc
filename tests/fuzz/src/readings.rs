//! How origins normalise a path before they look at it, and the shortest model of who owns a path. Written without a look at the
//! model crate, so that one can be wrong without the other.

/// The longest of `prefixes` that holds `path` by whole segments, letter case heeded or not.
pub(crate) fn longest<'a>(
    prefixes: impl Iterator<Item = &'a str>,
    path: &str,
    any_case: bool,
) -> Option<&'a str> {
    let lower = |text: &str| {
        if any_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let path = format!("{}/", lower(path));
    prefixes
        .filter(|prefix| path.starts_with(&format!("{}/", lower(prefix.trim_end_matches('/')))))
        .max_by_key(|prefix| prefix.len())
}

/// The path as origins of several kinds read it.
pub(crate) fn readings(path: &str) -> Vec<String> {
    let once = decode(path);
    let twice = decode(&once);
    let mut all = vec![
        // RFC 3986, section 6: nginx, Apache, most frameworks.
        resolve(&once),
        resolve(&resolve(path)),
        // A proxy that normalises in front of a server that does so again.
        resolve(&decode(&resolve(&once))),
        resolve(&twice),
        // Servlets leave parameters out, before or after they decode.
        resolve(&once_without_parameters(path)),
        resolve(&without_parameters(&once)),
        // Windows.
        resolve(&once.replace('\\', "/")),
        resolve(&twice.replace('\\', "/")),
    ];
    // Servers that pass on what they were sent.
    all.push(path.to_owned());
    all
}

fn once_without_parameters(path: &str) -> String {
    decode(&without_parameters(path))
}

fn without_parameters(path: &str) -> String {
    let segments = path.split('/');
    let plain: Vec<_> = segments
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .collect();
    plain.join("/")
}

fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Without dot segments and empty ones.
fn resolve(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            plain => kept.push(plain),
        }
    }
    format!("/{}", kept.join("/"))
}
