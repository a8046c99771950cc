//! CAs whose certificates users' devices, or programs, show in the TLS handshake.

use std::{fmt, str::FromStr};

use crate::name::{ClientCaId, IdError};

/// CAs of a fabric, at most.
pub const CLIENT_CAS_MAX: usize = 50;
/// CAs that one app may name.
pub const APP_CLIENT_CAS_MAX: usize = 8;
/// Certificates of one CA, at most: a few that follow one another.
pub const CA_CERTIFICATES_MAX: usize = 8;
/// Bytes of its certificates as PEM, at most.
pub const CLIENT_CA_PEM_BYTES_MAX: usize = 64 * 1024;
/// Lists of revoked certificates that one CA may have: one for each that signs.
pub const CRLS_MAX: usize = 8;
/// Bytes of those lists as PEM, at most: some 5,000 certificates.
pub const CRL_PEM_BYTES_MAX: usize = 256 * 1024;
/// Certificates that may be revoked one by one.
pub const REVOKED_SERIALS_MAX: usize = 1_000;
/// Longest serial number (RFC 5280, section 4.1.2.2).
pub const SERIAL_BYTES_MAX: usize = 20;

/// What the certificates of a CA are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holders {
    /// Users' devices: one of them is what access rules may ask for, and signs nobody in.
    Devices,
    /// Programs: one of them stands in place of a token.
    Programs,
}

/// Longest name of a program in its certificate, in bytes.
pub const PROGRAM_NAME_BYTES_MAX: usize = 256;

/// A program that is known by its certificate: the CA that it is of, and its name there, as `jobs/ci.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program {
    ca: ClientCaId,
    text: String,
}

/// Why a text names no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// There is no slash in it.
    #[error("must be CA/NAME, such as jobs/ci.example.com, or CA/* for every program of the CA")]
    Shape,
    /// No CA has such an id.
    #[error("must begin with the id of a CA: it {0}")]
    Ca(#[source] IdError),
    /// No name is like that.
    #[error(
        "must have a name of 1 to {PROGRAM_NAME_BYTES_MAX} visible ASCII characters, and spaces only inside"
    )]
    Name,
}

impl Program {
    /// Stands for every program of a CA.
    const ANY: &str = "*";

    /// The program of that name in a certificate of that CA.
    ///
    /// # Errors
    /// [`ProgramError::Name`].
    pub fn new(ca: &ClientCaId, name: &str) -> Result<Self, ProgramError> {
        let fits = (1..=PROGRAM_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
            && name.trim() == name;
        if !fits {
            return Err(ProgramError::Name);
        }
        Ok(Self {
            ca: ca.clone(),
            text: format!("{ca}/{name}"),
        })
    }

    /// What stands for every program of its CA.
    pub fn any_of_its_ca(&self) -> Self {
        Self {
            ca: self.ca.clone(),
            text: format!("{}/{}", self.ca, Self::ANY),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its name in its certificate.
    pub fn name(&self) -> &str {
        let name = self.text.split_once('/').map(|(_, name)| name);
        name.unwrap_or_default()
    }

    /// What origins and people are told in place of a user's id; no user's has a colon.
    pub fn principal(&self) -> String {
        format!("certificate:{}", self.text)
    }
}

impl FromStr for Program {
    type Err = ProgramError;

    fn from_str(text: &str) -> Result<Self, ProgramError> {
        let (ca, name) = text.split_once('/').ok_or(ProgramError::Shape)?;
        Self::new(&ca.parse().map_err(ProgramError::Ca)?, name)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Serial number of a certificate, without leading zeros.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

/// Why a text is no serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a serial number in hexadecimal, such as 1A:2B or 1a2b, of at most {SERIAL_BYTES_MAX} bytes"
)]
pub struct SerialError;

impl Serial {
    /// As it stands in a certificate.
    ///
    /// # Errors
    /// It is too long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SerialError> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = &bytes[zeros..];
        if digits.len() > SERIAL_BYTES_MAX {
            return Err(SerialError);
        }
        Ok(Self(digits.to_vec()))
    }

    /// Big-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        // Two digits a byte, and one for the sign of the largest.
        const DIGITS_MAX: usize = 2 * (SERIAL_BYTES_MAX + 1);
        let mut digits = Vec::new();
        for char in text.chars().filter(|char| *char != ':') {
            let digit = char.to_digit(16).ok_or(SerialError)?;
            digits.push(u8::try_from(digit).map_err(|_| SerialError)?);
            if digits.len() > DIGITS_MAX {
                return Err(SerialError);
            }
        }
        if digits.is_empty() {
            return Err(SerialError);
        }
        if digits.len() % 2 == 1 {
            digits.insert(0, 0);
        }
        let bytes: Vec<_> = digits
            .chunks(2)
            .map(|pair| (pair[0] << 4) | pair[1])
            .collect();
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("00");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_a_ca_and_a_name() {
        for good in [
            "jobs/ci",
            "jobs/spiffe://example.com/ci",
            "jobs/*",
            "jobs/My CI",
        ] {
            let program: Program = good.parse().unwrap();
            assert_eq!(program.as_str(), good);
            assert!(program.principal().parse::<crate::name::UserId>().is_err());
        }
        let program: Program = "jobs/spiffe://example.com/ci".parse().unwrap();
        assert_eq!(program.name(), "spiffe://example.com/ci");
        assert_eq!(program.any_of_its_ca().as_str(), "jobs/*");
        let long = format!("jobs/{}", "x".repeat(PROGRAM_NAME_BYTES_MAX + 1));
        for bad in [
            "",
            "jobs",
            "jobs/",
            "/ci",
            "Jobs/ci",
            "jobs/ci ",
            "jobs/\u{e4}",
            "jobs/a\nb",
            &long,
        ] {
            assert!(bad.parse::<Program>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn serials_are_read_however_tools_print_them() {
        let longest = "f".repeat(2 * SERIAL_BYTES_MAX);
        for (text, want) in [
            ("1A:2B", "1a2b"),
            ("1a2b", "1a2b"),
            ("01", "01"),
            ("1", "01"),
            ("00:00:07", "07"),
            ("0", "00"),
            (&longest, &longest),
            (&format!("00{longest}"), &longest),
        ] {
            let serial: Serial = text.parse().unwrap();
            assert_eq!(serial.to_string(), want, "{text}");
            assert_eq!(Serial::from_bytes(serial.as_bytes()), Ok(serial));
        }
        for bad in [
            "",
            ":",
            "xyz",
            "1 2",
            "-1",
            &format!("01{longest}"),
            &"0".repeat(1_000),
        ] {
            assert_eq!(bad.parse::<Serial>(), Err(SerialError), "{bad}");
        }
    }
}
