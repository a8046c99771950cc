//! What can be wrong, the exit code that says so, and what to do about it. The table stands in docs/operating.md too.

use serde::{Serialize, Serializer};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The configuration cannot be used.
    Configuration,
    /// The data directory cannot be written.
    DataDirectory,
    /// The node never joined, and has no join token.
    NoIdentity,
    /// The join token cannot be used.
    Token,
    /// The join token's time is over.
    TokenExpired,
    /// The node's certificate has run out.
    CertificateExpired,
    /// What is kept of the node's identity cannot be used.
    Identity,
    /// This machine's clock is wrong.
    Clock,
    /// A name has no address.
    Dns,
    /// No TCP connection comes about.
    Tcp,
    /// What answers does not speak TLS as control, or an edge, does.
    Tls,
    /// Somebody in between ends TLS in the place of control, or of an edge.
    TlsInterception,
    /// What answers is another fabric's.
    WrongCa,
    /// The node was revoked.
    Revoked,
    /// Control, or an edge, does not take the node.
    Refused,
    /// The edge is not heard over UDP.
    UdpBlocked,
    /// There is no edge to link with.
    NoEdge,
    /// Buffers of UDP sockets are small.
    Buffers,
    /// Only small packets get through.
    Packets,
    /// The process may have few connections.
    Descriptors,
    /// An origin's name has no address.
    OriginDns,
    /// The agent's own allow-list leaves an origin out.
    OriginNotAllowed,
    /// An origin takes no connection.
    OriginConnect,
    /// TLS with an origin fails.
    OriginTls,
    /// An origin gives no proper answer.
    OriginAnswer,
    /// A port cannot be listened on.
    Port,
    /// A certificate for users has run out, or covers too little.
    Certificate,
    /// A published name leads nowhere.
    HostDns,
    /// The library for Kerberos is not there.
    KerberosLibrary,
    /// The file with the keys of the agent's account is of no use.
    Keytab,
    /// No domain controller answers.
    Kdc,
    /// The agent's account gets no ticket, or there is none.
    KerberosAccount,
    /// There is no single sign-on to look at.
    NoSignOn,
    /// The domain gives no ticket in this user's name.
    SignOnUser,
    /// The domain gives no ticket for this app.
    SignOnSetup,
    /// The app does not take the ticket.
    SignOnApp,
    /// No credential is kept for the user.
    NoCredential,
    /// The credential cannot be opened, or not be sent.
    Credential,
    /// The app does not take the credential.
    CredentialRefused,
    /// Signing a user on takes too long.
    SignOnTime,
}

impl Fault {
    /// Every fault, in order of its exit code.
    pub const ALL: [Self; 40] = [
        Self::Configuration,
        Self::DataDirectory,
        Self::NoIdentity,
        Self::Token,
        Self::TokenExpired,
        Self::CertificateExpired,
        Self::Identity,
        Self::Clock,
        Self::Dns,
        Self::Tcp,
        Self::Tls,
        Self::TlsInterception,
        Self::WrongCa,
        Self::Revoked,
        Self::Refused,
        Self::UdpBlocked,
        Self::NoEdge,
        Self::Buffers,
        Self::Packets,
        Self::Descriptors,
        Self::OriginDns,
        Self::OriginNotAllowed,
        Self::OriginConnect,
        Self::OriginTls,
        Self::OriginAnswer,
        Self::Port,
        Self::Certificate,
        Self::HostDns,
        Self::KerberosLibrary,
        Self::Keytab,
        Self::Kdc,
        Self::KerberosAccount,
        Self::NoSignOn,
        Self::SignOnUser,
        Self::SignOnSetup,
        Self::SignOnApp,
        Self::NoCredential,
        Self::Credential,
        Self::CredentialRefused,
        Self::SignOnTime,
    ];

    /// The word for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::DataDirectory => "data_directory",
            Self::NoIdentity => "no_identity",
            Self::Token => "token",
            Self::TokenExpired => "token_expired",
            Self::CertificateExpired => "certificate_expired",
            Self::Identity => "identity",
            Self::Clock => "clock",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::TlsInterception => "tls_interception",
            Self::WrongCa => "wrong_ca",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::UdpBlocked => "udp_blocked",
            Self::NoEdge => "no_edge",
            Self::Buffers => "buffers",
            Self::Packets => "packets",
            Self::Descriptors => "descriptors",
            Self::OriginDns => "origin_dns",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::OriginConnect => "origin_connect",
            Self::OriginTls => "origin_tls",
            Self::OriginAnswer => "origin_answer",
            Self::Port => "port",
            Self::Certificate => "certificate",
            Self::HostDns => "host_dns",
            Self::KerberosLibrary => "kerberos_library",
            Self::Keytab => "keytab",
            Self::Kdc => "kdc",
            Self::KerberosAccount => "kerberos_account",
            Self::NoSignOn => "no_sign_on",
            Self::SignOnUser => "sign_on_user",
            Self::SignOnSetup => "sign_on_setup",
            Self::SignOnApp => "sign_on_app",
            Self::NoCredential => "no_credential",
            Self::Credential => "credential",
            Self::CredentialRefused => "credential_refused",
            Self::SignOnTime => "sign_on_time",
        }
    }

    /// What the process ends with, if this is the first thing to mend. 1 and 2 are of every command.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        const FIRST: u8 = 10;
        let place = Self::ALL.iter().position(|fault| *fault == self);
        FIRST + u8::try_from(place.unwrap_or_default()).unwrap_or_default()
    }

    /// What to do about it.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        match self {
            Self::Configuration => {
                "mend the file or the flags; `--check-config` tells all that is wrong"
            }
            Self::DataDirectory => {
                "give it to the user that the process runs as, on a file system with room, or name another with --data-dir"
            }
            Self::NoIdentity => {
                "make a join token (`adit token create`) and give it with --join-file"
            }
            Self::Token => "make another join token (`adit token create`) and copy it whole",
            Self::TokenExpired => "make another join token (`adit token create`)",
            Self::CertificateExpired => fix_of::CERTIFICATE_EXPIRED,
            Self::Identity => fix_of::IDENTITY,
            Self::Clock => "set this machine's clock, and keep it by NTP",
            Self::Dns => "mend the name in DNS, or this machine's resolver (/etc/resolv.conf)",
            Self::Tcp => {
                "see that it runs there, and that firewalls between here and there pass TCP to this port"
            }
            Self::Tls => {
                "see that the address leads to control, or the edge, itself: not to another server, and not to a proxy that ends TLS"
            }
            Self::TlsInterception => {
                "let the firewall or proxy that inspects TLS pass this address through unopened; nodes trust the fabric's own CA alone"
            }
            Self::WrongCa => {
                "mend the address, or give a join token of the fabric that answers there"
            }
            Self::Revoked => {
                "it was revoked by an operator; if that was a mistake, delete it (`adit agent delete`) and join under another name"
            }
            Self::Refused => {
                "read what was said; `adit agent list` and `adit audit list` tell more at control"
            }
            Self::UdpBlocked => {
                "let firewalls between here and the edge pass UDP to this port, both ways"
            }
            Self::NoEdge => "start an edge, or see with `adit edge list` why there is none",
            Self::Buffers => {
                "sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608, and the same in /etc/sysctl.d"
            }
            Self::Packets => {
                "a tunnel or VPN on the way takes room: raise its MTU, or live with somewhat more work per byte"
            }
            Self::Descriptors => {
                "raise the hard limit: LimitNOFILE=1048576 in the unit, or /etc/security/limits.conf"
            }
            Self::OriginDns => {
                "mend the name that is published, or how this machine looks names up"
            }
            Self::OriginNotAllowed => {
                "add the origin to the agent's --allow, or publish what it allows"
            }
            Self::OriginConnect => {
                "see that the server runs and listens there, and that this machine may reach it"
            }
            Self::OriginTls => {
                "publish the CA of the origin's certificate (--origin-ca), or the name it is for (--origin-server-name)"
            }
            Self::OriginAnswer => "see what the server itself logs about it",
            Self::Port => {
                "end what listens there, choose another port, or allow low ports (CAP_NET_BIND_SERVICE)"
            }
            Self::Certificate => {
                "see docs/operating.md, Certificates for users; control renews its own by itself"
            }
            Self::HostDns => "let the name point to the edges, or to the load balancer before them",
            Self::KerberosLibrary => fix_of::KERBEROS_LIBRARY,
            Self::Keytab => fix_of::KEYTAB,
            Self::Kdc => fix_of::KDC,
            Self::KerberosAccount => fix_of::KERBEROS_ACCOUNT,
            Self::NoSignOn => fix_of::NO_SIGN_ON,
            Self::SignOnUser => fix_of::SIGN_ON_USER,
            Self::SignOnSetup => fix_of::SIGN_ON_SETUP,
            Self::SignOnApp => fix_of::SIGN_ON_APP,
            Self::NoCredential => fix_of::NO_CREDENTIAL,
            Self::Credential => fix_of::CREDENTIAL,
            Self::CredentialRefused => fix_of::CREDENTIAL_REFUSED,
            Self::SignOnTime => fix_of::SIGN_ON_TIME,
        }
    }
}

/// What is longest to say, and what to do about faults of single sign-on.
mod fix_of {
    pub(super) const CERTIFICATE_EXPIRED: &str = "within 30 days the node comes back by its key once it reaches control; after that give it a new join token, it comes back under its name";
    pub(super) const IDENTITY: &str = "name the data directory of this node with --data-dir, or empty it and join anew by a join token";
    pub(super) const KERBEROS_LIBRARY: &str = "install libgssapi-krb5-2 (Debian, Ubuntu) or krb5-libs (Fedora, RHEL), and run a build of adit for glibc; other systems than Linux have none: run the agent there";
    pub(super) const KEYTAB: &str = "export the keys of the agent's account anew, with AES, into a file that the agent's user alone may read";
    pub(super) const KDC: &str = "see that krb5.conf, or DNS, names domain controllers that run, and that firewalls pass TCP and UDP to port 88";
    pub(super) const KERBEROS_ACCOUNT: &str = "look at the account in the domain, at its password since the keytab was exported, and at this machine's clock";
    pub(super) const NO_SIGN_ON: &str =
        "see with `adit app show` that the app is of this agent's group and has single sign-on";
    pub(super) const SIGN_ON_USER: &str = "look at the user in the domain: is the name right, the account enabled, not sensitive, and the service on the list of the agent's account?";
    pub(super) const SIGN_ON_SETUP: &str = "look at the names of services in the domain, and at the delegation of the agent's account; docs/single-sign-on.md has the numbers";
    pub(super) const SIGN_ON_APP: &str =
        "look at the app's own log, at the account that it runs as, and at its keytab";
    pub(super) const NO_CREDENTIAL: &str =
        "the user enters one in the portal, or you do by `adit credential set`";
    pub(super) const CREDENTIAL: &str = "give the agent the group's vault key (vault_key_file), or enter the credential again; `adit credential list` shows by which key it is sealed";
    pub(super) const CREDENTIAL_REFUSED: &str = "see whether it still works at the app itself, and enter it again if not; a form may also look otherwise than it is published";
    pub(super) const SIGN_ON_TIME: &str =
        "look at what is named last: domain controllers and the app answer slowly, or not at all";
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_fault_has_a_word_and_a_code_of_its_own() {
        let words: HashSet<_> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
        let codes: HashSet<_> = Fault::ALL.iter().map(|fault| fault.exit_code()).collect();
        assert_eq!(
            (words.len(), codes.len()),
            (Fault::ALL.len(), Fault::ALL.len())
        );
        assert_eq!(Fault::Configuration.exit_code(), 10);
    }
}
