//! One line in JSON, as logs have them, written byte by byte: one comes with each request.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Holds a usual line; longer ones grow.
const USUAL_BYTES: usize = 1024;

const SECONDS_PER_DAY: u64 = 86_400;

/// A line in the making. Keys are this program's own words and are written as they are; each is used once.
#[derive(Debug)]
pub struct Line {
    bytes: Vec<u8>,
}

impl Line {
    pub(super) fn begin(now: SystemTime, message: &'static str) -> Self {
        let mut line = Self {
            bytes: Vec::with_capacity(USUAL_BYTES),
        };
        line.bytes.extend_from_slice(b"{\"timestamp\":\"");
        line.push_time(now);
        line.bytes.extend_from_slice(b"\",\"level\":\"INFO\"");
        line.text("message", message);
        line
    }

    pub(super) fn end(mut self, target: &'static str) -> Vec<u8> {
        self.text("target", target);
        self.bytes.extend_from_slice(b"}\n");
        self.bytes
    }

    /// A field of text.
    pub fn text(&mut self, key: &'static str, value: &str) {
        self.push_key(key);
        // Without a way out, many bytes are looked at in one step.
        let is_plain = |byte: u8| (byte >= b' ') & (byte != b'"') & (byte != b'\\');
        if value.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            self.push_quoted(value.as_bytes());
        } else {
            // Fails for no text: it is written to memory.
            let _ = serde_json::to_writer(&mut self.bytes, value);
        }
    }

    /// A field of text, if there is one.
    pub fn text_if_any(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A field with a number.
    pub fn number(&mut self, key: &'static str, value: impl Into<u64>) {
        self.push_key(key);
        self.push_number(value.into(), 1);
    }

    /// A field with a time span in milliseconds, with three digits behind the point: finer is noise.
    pub fn millis(&mut self, key: &'static str, span: Duration) {
        let nanos = span.as_nanos().saturating_add(500);
        let micros = u64::try_from(nanos / 1_000).unwrap_or(u64::MAX);
        self.push_key(key);
        self.push_number(micros / 1_000, 1);
        if !micros.is_multiple_of(1_000) {
            self.bytes.push(b'.');
            self.push_number(micros % 1_000, 3);
        }
    }

    /// A field with an address.
    pub fn address(&mut self, key: &'static str, address: IpAddr) {
        self.push_key(key);
        let IpAddr::V4(address) = address else {
            return self.push_quoted(address.to_string().as_bytes());
        };
        for (index, octet) in address.octets().into_iter().enumerate() {
            self.bytes.push(if index == 0 { b'"' } else { b'.' });
            self.push_number(octet.into(), 1);
        }
        self.bytes.push(b'"');
    }

    fn push_key(&mut self, key: &'static str) {
        self.bytes.extend_from_slice(b",\"");
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    fn push_quoted(&mut self, text: &[u8]) {
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'"');
    }

    /// Decimal, with zeros in front up to `digits_min`.
    fn push_number(&mut self, mut number: u64, digits_min: usize) {
        // As many as 2^64 has.
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while number > 0 || digits.len() - first < digits_min {
            first -= 1;
            digits[first] = b"0123456789"[(number % 10) as usize];
            number /= 10;
        }
        self.bytes.extend_from_slice(&digits[first..]);
    }

    /// RFC 3339 in UTC, to the microsecond.
    fn push_time(&mut self, now: SystemTime) {
        // A clock that stands before 1970 has more to be told of than this.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = date(since.as_secs() / SECONDS_PER_DAY);
        let second = since.as_secs() % SECONDS_PER_DAY;
        for (number, digits, behind) in [
            (year, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (second / 3_600, 2, b':'),
            (second / 60 % 60, 2, b':'),
            (second % 60, 2, b'.'),
            (since.subsec_micros().into(), 6, b'Z'),
        ] {
            self.push_number(number, digits);
            self.bytes.push(behind);
        }
    }
}

/// Year, month and day of a day since 1970, by the calendar that repeats every 400 years. Years are taken to begin in March, so
/// that the day in leap years is their last.
const fn date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_0_TO_1970: u64 = 719_468;
    const DAYS_PER_400_YEARS: u64 = 146_097;
    let days = days_since_1970 + DAYS_FROM_MARCH_0_TO_1970;
    let (era, day) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    // Less the leap days before it, there are 365 in each.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March have 153 days, whichever of them the first is.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, years_more) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + years_more, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fill: impl FnOnce(&mut Line)) -> serde_json::Value {
        let mut line = Line::begin(UNIX_EPOCH, "request");
        fill(&mut line);
        let bytes = line.end("access");
        assert_eq!(bytes.last(), Some(&b'\n'));
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn every_text_is_read_back() {
        for text in [
            "",
            "wiki",
            "a\"b\\c",
            "line\nbreak\u{0}\u{7f}",
            "Grüße",
            "\u{2028}",
        ] {
            assert_eq!(read(|line| line.text("path", text))["path"], text);
        }
        let line = read(|line| {
            line.text_if_any("app", None);
            line.text_if_any("group", Some("office"));
        });
        assert!(line.get("app").is_none());
        assert_eq!(line["group"], "office");
    }

    #[test]
    fn numbers_and_addresses_are_read_back() {
        for number in [0, 7, 10, 1_234_567, u64::MAX] {
            assert_eq!(read(|line| line.number("bytes", number))["bytes"], number);
        }
        for address in ["127.0.0.1", "0.10.200.255", "2001:db8::1"] {
            let parsed = address.parse().unwrap();
            assert_eq!(read(|line| line.address("user", parsed))["user"], address);
        }
    }

    #[test]
    fn durations_are_written_to_the_microsecond() {
        for (nanos, want) in [
            (0, "0"),
            (158_024, "0.158"),
            (14_689_299, "14.689"),
            (1_000_499, "1"),
            (1_040_500, "1.041"),
            (85_000_000_500, "85000.001"),
            (3_600_000_000_000, "3600000"),
        ] {
            let line = read(|line| line.millis("took", Duration::from_nanos(nanos)));
            assert_eq!(line["took"].to_string().trim_end_matches(".0"), want);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_709_208_000, "2024-02-29T12:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            let mut line = Line { bytes: Vec::new() };
            line.push_time(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(String::from_utf8(line.bytes).unwrap(), want);
        }
        let mut line = Line { bytes: Vec::new() };
        line.push_time(UNIX_EPOCH + Duration::from_micros(1_234_567));
        assert_eq!(line.bytes, b"1970-01-01T00:00:01.234567Z");
    }
}
