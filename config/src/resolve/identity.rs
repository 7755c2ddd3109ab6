//! Certificates and keys: readable, fitting, valid now, and for the names that are used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use certs::{Identity, Roots, Usage};

use crate::Surroundings;
use crate::credentials::Credentials;
use crate::fault::{Draft, Findings};
use crate::load::unreadable;
use crate::model::Key;
use crate::section::gateway::RawTls;
use crate::source::{At, PEM_LIMIT, ReadError, Span, read_bytes};
use crate::text::file::FilePath;

/// The certificates loaded so far, each once.
pub(crate) struct Identities<'a> {
    around: &'a Surroundings,
    loaded: Vec<(PathBuf, Key, Option<Arc<Identity>>)>,
    roots: Vec<(PathBuf, Option<Roots>)>,
    system: Option<Result<Roots, certs::Error>>,
}

/// What an edge or realm presents.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    pub(crate) certificate: PathBuf,
    pub(crate) key: Key,
    /// Where the certificate is named.
    pub(crate) span: Span,
    /// `None` when it could not be loaded.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// Days before expiry from which on a certificate is worth a warning; Microsoft warns as early.
const SOON: i64 = 30;

impl<'a> Identities<'a> {
    pub(crate) fn new(around: &'a Surroundings) -> Self {
        Self { around, loaded: Vec::new(), roots: Vec::new(), system: None }
    }

    /// All that could be loaded.
    pub(crate) fn credentials(self) -> Credentials {
        let loaded = self.loaded.into_iter();
        Credentials {
            identities: loaded.filter_map(|(path, key, own)| Some((path, key, own?))).collect(),
            roots: self.roots.into_iter().filter_map(|(path, own)| Some((path, own?))).collect(),
            system: self.system.and_then(Result::ok),
        }
    }

    /// Reads and checks a file of roots.
    pub(crate) fn roots(&mut self, roots: &At<FilePath>, out: &mut Findings) {
        let path = &roots.value.0;
        if self.roots.iter().any(|(known, _)| known == path) {
            return;
        }
        let text = read(path, roots.span, out);
        let read = text.and_then(|text| match Roots::from_pem(&text, path) {
            Ok(roots) => Some(roots),
            Err(error) => {
                out.fault(unusable(&error, roots.span, roots.span));
                None
            }
        });
        self.roots.push((path.clone(), read));
    }

    /// The system's roots, or why there are none.
    pub(crate) fn system(&mut self) -> Result<&Roots, &certs::Error> {
        self.system.get_or_insert_with(Roots::system).as_ref()
    }

    /// What is presented: the own certificate and key, or those of `[tls]`.
    pub(crate) fn presented(
        &mut self,
        subject: &str,
        place: Span,
        own: (Option<&At<FilePath>>, Option<&At<Key>>),
        tls: Option<&RawTls>,
        out: &mut Findings,
    ) -> Option<Presented> {
        let (certificate, key) = match own {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(At { span, .. }), None) | (None, Some(At { span, .. })) => {
                let message = format!("{subject}: `certificate` and `key` belong together");
                let help = "Give both, or neither: then those of [tls] are presented.";
                out.fault(Draft::new(message, help).at(*span, "without the other"));
                return None;
            }
            (None, None) => match tls {
                Some(RawTls { certificate, key }) => (certificate.as_ref()?, key.as_ref()?),
                None => {
                    let message = format!("{subject}: there is no certificate");
                    let help = "Add [tls] with `certificate` and `key`, or both keys here.";
                    out.fault(Draft::new(message, help).at(place, "needs a certificate"));
                    return None;
                }
            },
        };
        let identity = self.load(certificate, key, out);
        Some(Presented {
            certificate: certificate.value.0.clone(),
            key: key.value.clone(),
            span: certificate.span,
            identity,
        })
    }

    fn load(
        &mut self,
        certificate: &At<FilePath>,
        key: &At<Key>,
        out: &mut Findings,
    ) -> Option<Arc<Identity>> {
        let path = &certificate.value.0;
        let known = self.loaded.iter().find(|(file, of, _)| file == path && *of == key.value);
        if let Some((_, _, identity)) = known {
            return identity.clone();
        }
        let chain = read(path, certificate.span, out);
        let secret = self.secret(key, out);
        let identity =
            chain.zip(secret).and_then(|(chain, (secret, name))| {
                match Identity::from_pem((&chain, path), (&secret, &name)) {
                    Ok(identity) => Some(Arc::new(identity)),
                    Err(error) => {
                        out.fault(unusable(&error, certificate.span, key.span));
                        None
                    }
                }
            });
        if let Some(identity) = &identity {
            check_leaf(identity, certificate, self.around.now, out);
        }
        self.loaded.push((path.clone(), key.value.clone(), identity.clone()));
        identity
    }

    /// The PEM text of a key and how it is called in messages.
    fn secret(&self, key: &At<Key>, out: &mut Findings) -> Option<(Vec<u8>, PathBuf)> {
        match &key.value {
            Key::File(path) => {
                check_mode(path, "key", key.span, out);
                Some((read(path, key.span, out)?, path.clone()))
            }
            Key::Env(name) => match (self.around.variable)(name) {
                Some(text) => Some((text.into_bytes(), key.value.label())),
                None => {
                    let message = format!("the environment has no variable {name}");
                    let help = "Set it for the gateway's process to the PEM text of the key.";
                    out.fault(Draft::new(message, help).at(key.span, "not set"));
                    None
                }
            },
        }
    }
}

/// Notes that a name of ours is not covered by what is presented for it.
pub(crate) fn check_name(
    presented: &Presented,
    subject: &str,
    name: &At<String>,
    out: &mut Findings,
) {
    let Some(identity) = &presented.identity else { return };
    let leaf = identity.leaf();
    if leaf.covers(&name.value) {
        return;
    }
    let names: Vec<_> = leaf.names().iter().take(8).map(String::as_str).collect();
    let deep =
        names.iter().filter_map(|own| own.strip_prefix('*')).any(|own| name.value.ends_with(own));
    let why = if deep { " A wildcard stands for one label." } else { "" };
    let help = format!(
        "It is for {}.{why} Get one with \"{}\" among its subject alternative names.",
        if names.is_empty() { "no name".to_owned() } else { names.join(", ") },
        name.value
    );
    out.fault(
        Draft::new(format!("{subject}: the certificate does not cover \"{}\"", name.value), help)
            .at(name.span, "this name")
            .at(presented.span, "this certificate"),
    );
}

fn read(path: &Path, span: Span, out: &mut Findings) -> Option<Vec<u8>> {
    out.files.note(path);
    match read_bytes(path, PEM_LIMIT) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let denied = matches!(&error, ReadError::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied);
            let help = match denied {
                true => "Give the gateway's user the right to read it.",
                false => "Check the path; it is relative to this file.",
            };
            unreadable(path, &error, Some(span), help, out);
            None
        }
    }
}

/// The fault that a chain, key or file of roots cannot be used.
fn unusable(error: &certs::Error, certificate: Span, key: Span) -> Draft {
    use certs::Error as E;
    let (span, label, help) = match error {
        E::NoKey { .. } | E::EncryptedKey { .. } | E::UnusableKey { .. } => {
            (key, "this key", "Name the PEM file of the private key, without a passphrase.")
        }
        E::WrongKey { .. } | E::LeafNotFirst { .. } => (
            key,
            "this key",
            "Name the key that was made for the certificate; its leaf stands first.",
        ),
        E::Read { .. }
        | E::NoCertificate { .. }
        | E::Armour { .. }
        | E::Damaged { .. }
        | E::UnusableRoot { .. }
        | E::NoSystemRoots
        | E::BadName { .. }
        | E::NoNames
        | _ => (
            certificate,
            "this file",
            "Name a PEM file: leaf first, then intermediates; or the roots.",
        ),
    };
    let mut draft = Draft::new(error.to_string(), help).at(span, label);
    if span == key && certificate != key {
        draft = draft.at(certificate, "its certificate");
    }
    draft
}

/// Dates and purpose.
fn check_leaf(
    identity: &Identity,
    certificate: &At<FilePath>,
    now: SystemTime,
    out: &mut Findings,
) {
    let leaf = identity.leaf();
    let file = certificate.value.0.display();
    let days = leaf.days_left(now);
    let draft = |message: String, help: &str, label: &str| {
        Draft::new(message, help).at(certificate.span, label)
    };
    const RENEW: &str = "Renew it.";
    if now < leaf.not_before() {
        let help = "Check the clock, or wait until it is valid.";
        out.fault(draft(
            format!("{file}: the certificate is not valid yet"),
            help,
            "not valid yet",
        ));
    } else if days < 0 {
        let ago = match -days {
            1 => "less than a day ago".to_owned(),
            days => format!("{} days ago", days - 1),
        };
        out.fault(draft(format!("{file}: the certificate expired {ago}"), RENEW, "expired"));
    } else if days < SOON {
        out.warn(draft(
            format!("{file}: the certificate expires in {days} days"),
            RENEW,
            "expires soon",
        ));
    }
    match leaf.usage() {
        Usage::Listed { server: true, .. } => {}
        Usage::Listed { server: false, .. } => out.fault(draft(
            format!("{file}: the certificate is not for servers"),
            "Get one with serverAuth in its extended key usage: Microsoft always requires it.",
            "no serverAuth",
        )),
        Usage::Unrestricted => out.warn(draft(
            format!("{file}: the certificate lists no extended key usage"),
            "Get one with serverAuth in it: Microsoft always requires it.",
            "no serverAuth",
        )),
    }
}

/// A secret that everyone can read is worth a warning.
pub(crate) fn check_mode(path: &Path, what: &str, span: Span, out: &mut Findings) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let message = format!("{}: every user of this host can read the {what}", path.display());
        let help = format!("chmod 600 {} (its mode is {mode:03o}).", path.display());
        out.warn(Draft::new(message, help).at(span, "readable by all"));
    }
}
