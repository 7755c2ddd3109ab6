//! What we read out of an X.509 certificate (RFC 5280): names, dates, usage, fingerprint.
//!
//! A view for checks and messages; whether a peer's certificate is trusted is decided by rustls in
//! [`crate::verify`], not from these fields.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// One certificate, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    subject: String,
    issuer: String,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_before: SystemTime,
    not_after: SystemTime,
    usage: Usage,
    authority: bool,
    fingerprint: [u8; 32],
}

/// What the extended key usage (RFC 5280 §4.2.1.12) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// No such extension: any use.
    Unrestricted,
    /// Only the purposes listed; `anyExtendedKeyUsage` counts as both.
    Listed {
        /// id-kp-serverAuth.
        server: bool,
        /// id-kp-clientAuth.
        client: bool,
    },
}

impl Certificate {
    /// Reads a certificate; `None` when the bytes are not one.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (mut names, addresses) = alternative_names(&certificate);
        if names.is_empty() {
            names.extend(common_name(&certificate));
        }
        let validity = certificate.validity();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            addresses,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            usage: usage(&certificate),
            authority: certificate.is_ca(),
            fingerprint,
        })
    }

    /// The subject's distinguished name, as text.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The issuer's distinguished name, as text.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The DNS names of the subject alternative name, in lower case and in order, wildcards as they
    /// stand; the common name where there are none (RFC 6125 §6.4.4).
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The IP addresses of the subject alternative name.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Whether the certificate is for this host name or address. A wildcard stands for exactly one
    /// label, the leftmost (RFC 2818 §3.1): `*.a.test` covers `b.a.test`, but neither `a.test` nor
    /// `c.b.a.test`.
    pub fn covers(&self, name: &str) -> bool {
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let name = normal(name);
        let wildcard = wildcard_of(&name);
        self.names.iter().any(|own| *own == name || wildcard.as_ref() == Some(own))
    }

    /// The first moment of validity.
    pub const fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last moment of validity.
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whole days of validity left at `now`; negative once expired, counted down so that the first
    /// day after expiry is -1.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        const DAY: u64 = 24 * 60 * 60;
        let days = |span: Duration| i64::try_from(span.as_secs() / DAY).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => days(left),
            Err(over) => -1 - days(over.duration()),
        }
    }

    /// Whether `now` lies within the dates of the certificate.
    pub fn is_current(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// What the extended key usage allows.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether it may issue certificates (basic constraints).
    pub const fn is_authority(&self) -> bool {
        self.authority
    }

    /// SHA-256 over the DER bytes.
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

impl Usage {
    /// Whether a server may present it.
    pub const fn allows_server(self) -> bool {
        match self {
            Self::Unrestricted => true,
            Self::Listed { server, client: _ } => server,
        }
    }

    /// Whether serverAuth is written in it, as Microsoft asks of an SBC's certificate.
    pub const fn lists_server(self) -> bool {
        match self {
            Self::Unrestricted => false,
            Self::Listed { server, client: _ } => server,
        }
    }
}

/// Lower case, without the root's dot.
pub(crate) fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The wildcard that covers a name: `*.` and all but its first label. A name of one label has none.
pub(crate) fn wildcard_of(name: &str) -> Option<String> {
    let (first, rest) = name.split_once('.')?;
    (!first.is_empty() && !rest.is_empty()).then(|| format!("*.{rest}"))
}

fn alternative_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (names, addresses);
    };
    for name in &extension.value.general_names {
        if let GeneralName::DNSName(name) = name {
            names.push(normal(name));
        } else if let GeneralName::IPAddress(bytes) = name {
            addresses.extend(address(bytes));
        }
    }
    (names, addresses)
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(normal)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn usage(certificate: &X509Certificate<'_>) -> Usage {
    match certificate.extended_key_usage() {
        Ok(Some(extension)) => Usage::Listed {
            server: extension.value.server_auth || extension.value.any,
            client: extension.value.client_auth || extension.value.any,
        },
        Ok(None) => Usage::Unrestricted,
        // Given twice or unreadable: nobody would accept it for anything.
        Err(_) => Usage::Listed { server: false, client: false },
    }
}

/// Unix seconds, also before 1970.
fn time(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    at.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
        date_time_ymd,
    };

    use super::*;

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        CertificateParams::new(names).unwrap()
    }

    fn read(params: &CertificateParams) -> Certificate {
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::read(certificate.der()).unwrap()
    }

    #[test]
    fn names_and_addresses_are_listed() {
        let read = read(&params(&["SBC.test", "*.sbc.test", "127.0.0.9", "::1"]));
        assert_eq!(read.names(), ["sbc.test", "*.sbc.test"]);
        assert_eq!(
            read.addresses(),
            ["127.0.0.9".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]
        );
        assert!(!read.is_authority());
    }

    #[test]
    fn tr_014_a_wildcard_covers_one_label() {
        let read = read(&params(&["sbc.test", "*.sbc.test", "127.0.0.9"]));
        let covered = ["sbc.test", "t001.sbc.test", "T001.SBC.Test", "sbc.test.", "127.0.0.9"];
        let foreign = [
            "a.b.sbc.test",
            ".sbc.test",
            "test",
            "xsbc.test",
            "",
            "127.0.0.8",
            "*.a.sbc.test",
            "::1",
        ];
        assert!(covered.iter().all(|name| read.covers(name)));
        for name in foreign {
            assert!(!read.covers(name), "{name}");
        }
    }

    #[test]
    fn the_common_name_counts_only_without_other_names() {
        let mut with = params(&["sbc.test"]);
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "Other.test");
        with.distinguished_name = name.clone();
        let mut without = params(&[]);
        without.distinguished_name = name;
        assert!(!read(&with).covers("other.test"));
        assert!(read(&without).covers("other.test"));
    }

    #[test]
    fn usage_is_told_apart() {
        let with = |usage: &[ExtendedKeyUsagePurpose]| {
            let mut params = params(&["sbc.test"]);
            params.extended_key_usages = usage.to_vec();
            read(&params).usage()
        };
        use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
        let listed = |server, client| Usage::Listed { server, client };
        assert_eq!(with(&[]), Usage::Unrestricted);
        assert_eq!(with(&[ServerAuth]), listed(true, false));
        assert_eq!(with(&[ClientAuth]), listed(false, true));
        assert_eq!(with(&[ServerAuth, ClientAuth]), listed(true, true));
        assert_eq!(with(&[Any]), listed(true, true));
        assert!(Usage::Unrestricted.allows_server() && !Usage::Unrestricted.lists_server());
        assert!(listed(true, false).allows_server() && listed(true, false).lists_server());
        assert!(!listed(false, true).allows_server() && !listed(false, true).lists_server());
    }

    #[test]
    fn tr_014_days_left_are_counted() {
        let mut params = params(&["sbc.test"]);
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 3, 1);
        let read = read(&params);
        let day = Duration::from_secs(86_400);
        let (first, last) = (read.not_before(), read.not_after());
        assert_eq!(read.days_left(first), 59);
        assert_eq!(read.days_left(last), 0);
        assert_eq!(read.days_left(last + Duration::from_secs(1)), -1);
        assert_eq!(read.days_left(last + 2 * day), -3);
        assert!(read.is_current(first) && read.is_current(last));
        assert!(!read.is_current(first - day) && !read.is_current(last + day));
    }

    #[test]
    fn junk_is_no_certificate() {
        for bytes in [&b""[..], b"junk", &[0x30, 0x82, 0xff, 0xff], &[0x30, 0x00]] {
            assert_eq!(Certificate::read(&CertificateDer::from(bytes)), None);
        }
    }
}
